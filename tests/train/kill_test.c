/* kill_test.c - kill -9 at any instant, or a file call that fails, then the same command: the run ends in the bits of
 * one that nothing happened to.
 *
 * Instants are taken in two ways. The calls that change files (below, in front of the C library's) count themselves and
 * end the process at the n-th, or fail there, for every n of a run; and a parent kills at moments of its own. */
#include "tiny.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 8, INSTANTS = 70, KILLS = 25, FAILURES = 120 };

/* ---- calls that count ------------------------------------------------------------------------------------ */

static long calls, at;      /* so far; and the one at which something happens, 0: none */
static int failure;         /* what: the errno it fails with, or 0: the process dies */

/* 1: this call is to fail. */
static int count(void) {
  if (++calls != at) return 0;
  if (!failure) kill(getpid(), SIGKILL);
  errno = failure;
  return 1;
}

#define COUNTED(call) (count() ? -1 : (call))

int fsync(int fd) { return (int)COUNTED(syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { return (int)COUNTED(syscall(SYS_fdatasync, fd)); }
int rename(const char *from, const char *to) {
  return (int)COUNTED(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int symlink(const char *to, const char *path) { return (int)COUNTED(syscall(SYS_symlinkat, to, AT_FDCWD, path)); }
int mkdir(const char *path, mode_t mode) { return (int)COUNTED(syscall(SYS_mkdirat, AT_FDCWD, path, mode)); }
int unlink(const char *path) { return (int)COUNTED(syscall(SYS_unlinkat, AT_FDCWD, path, 0)); }
int unlinkat(int dir, const char *path, int flags) { return (int)COUNTED(syscall(SYS_unlinkat, dir, path, flags)); }
int rmdir(const char *path) { return (int)COUNTED(syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)); }
int ftruncate(int fd, off_t n) { return (int)COUNTED(syscall(SYS_ftruncate, fd, n)); }
ssize_t write(int fd, const void *p, size_t n) { return (ssize_t)COUNTED(syscall(SYS_write, fd, p, n)); }
ssize_t pwrite(int fd, const void *p, size_t n, off_t o) {
  return (ssize_t)COUNTED(syscall(SYS_pwrite64, fd, p, n, o));
}
ssize_t pwrite64(int fd, const void *p, size_t n, off_t o) {
  return (ssize_t)COUNTED(syscall(SYS_pwrite64, fd, p, n, o));
}

/* Files of a run alone: what else a process opens (plugins, /proc) is not written. */
static int open_at(const char *path, int flags, mode_t mode) {
  if (strncmp(path, "/tmp/sonde-kill-", 16) == 0 && count()) return -1;
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(name)                                        \
  int name(const char *path, int flags, ...) {            \
    va_list ap;                                           \
    va_start(ap, flags);                                  \
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0; \
    va_end(ap);                                           \
    return open_at(path, flags, mode);                    \
  }
OPEN(open)
OPEN(open64)

/* ---- one session of a run, in a process of its own ------------------------------------------------------------ */

static char root[] = "/tmp/sonde-kill-XXXXXX";

/* What a session tells: the SHA-256 of the weights at its end ("" if it came to none), how many file calls there were,
 * at which step it began and at which the last checkpoint was made. */
typedef struct report { char hex[65]; long calls; long long first, saved; } report;

static int train_to_the_end(sonde_trainer *t, report *r, sonde_error *err) {
  sonde_train_event e;
  do {
    if (sonde_trainer_run(t, &e, err)) return err->code;
    if (e.what & SONDE_TRAIN_CHECKPOINT) r->saved = e.step;
  } while (!(e.what & SONDE_TRAIN_DONE));
  return SONDE_OK;
}

/* Trains to the end, or to an error, which must say something. */
static void session(const char *name, int steps, int every, report *r) {
  tiny m;
  sonde_error err = {0};
  tiny_make(&m, 2, 2);
  sonde_run *run = sonde_run_open(root, name, &err);
  m.opts.schedule.steps = steps;
  m.opts.run = run;
  m.opts.checkpoint_every = every;
  m.opts.log_every = 1;
  m.opts.eval_tokens = 64;
  sonde_trainer *t = NULL;
  if (run && !sonde_run_begin(run, "kill_test", 2, &err)) t = sonde_trainer_new(m.ctx, &m.opts, &err);
  if (t) r->first = r->saved = sonde_trainer_step(t);
  int ended = t && !train_to_the_end(t, r, &err) && !sonde_run_end(run, "done", "", &err);
  if (!ended && (!*err.text || strchr(err.text, '\n'))) fail_msg("no line says what failed at call %ld", at);
  if (ended) assert_int_equal(sonde_params_sha256(m.params, r->hex), 0);
  r->calls = calls;
  sonde_trainer_free(t);
  tiny_free(&m);
  sonde_run_close(run);
}

/* Starts a session to which something happens at its `instant`-th file call (0: nothing): death, or the failure
 * `number`. */
static pid_t start(const char *name, int steps, int every, long instant, int number, int out[2]) {
  assert_int_equal(pipe(out), 0);
  pid_t child = fork();
  if (child) return close(out[1]), child;
  report r = {.saved = -1};
  close(out[0]);
  calls = 0;
  at = instant;
  failure = number;
  session(name, steps, every, &r);
  at = 0;
  if (write(out[1], &r, sizeof r) != sizeof r) _exit(1);
  _exit(0);
}

/* Waits for it; 1: it was not killed, and *r is what it tells. */
static int finish(pid_t child, int out[2], report *r) {
  int status;
  ssize_t n = read(out[0], r, sizeof *r);
  close(out[0]);
  waitpid(child, &status, 0);
  if (n == sizeof *r) return 1;
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) fail_msg("a session failed with status %d", status);
  return 0;
}

static report whole(const char *name, int steps, int every) {
  report r;
  int out[2];
  pid_t child = start(name, steps, every, 0, 0, out);
  assert_int_equal(finish(child, out, &r), 1);
  return r;
}

/* Steps of the lines of metrics.jsonl, which must be whole. */
static int metric_steps(const char *name, int *step) {
  char path[256];
  int n = 0;
  snprintf(path, sizeof path, "%s/%s/metrics.jsonl", root, name);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  char line[4096];
  while (fgets(line, sizeof line, f)) {
    assert_int_equal(sscanf(line, "{\"step\":%d,", &step[n]), 1);
    assert_int_equal(line[strlen(line) - 1], '\n');
    n++;
  }
  fclose(f);
  return n;
}

static void has_each_step_once(const char *name, int steps) {
  int step[256];
  assert_int_equal(metric_steps(name, step), steps);
  for (int k = 0; k < steps; k++) assert_int_equal(step[k], k + 1);
}

static void clear(const char *name) {
  char path[256];
  sonde_error err = {0};
  snprintf(path, sizeof path, "%s/%s", root, name);
  assert_int_equal(sonde_remove_tree(path, &err), SONDE_OK);
}

/* ---- the tests --------------------------------------------------------------------------------------------- */

/* The same command after something happened at call `instant` of run `name`: ends in the bits that `want` has. */
static void goes_on(const char *name, long instant, const report *want, long long saved) {
  report r = whole(name, STEPS, 2);
  if (strcmp(r.hex, want->hex)) fail_msg("after call %ld the run ends in other bits, or not at all", instant);
  if (r.first < saved)
    fail_msg("after call %ld the run goes on at step %lld, and had saved %lld", instant, r.first, saved);
  has_each_step_once(name, STEPS);
  clear(name);
}

/* The calls of a whole run, in a root that has had others (which have made the index). */
static report whole_again(void) {
  whole("whole", STEPS, 2);
  has_each_step_once("whole", STEPS);
  clear("whole");
  return whole("whole", STEPS, 2);
}

static void death_at_any_file_call_loses_nothing(void **state) {
  (void)state;
  report want = whole_again(), r;
  int out[2], killed = 0;
  assert_true(want.calls > INSTANTS);
  for (int k = 0; k < INSTANTS; k++) {
    long instant = 1 + (want.calls - 1) * k / (INSTANTS - 1);
    pid_t child = start("killed", STEPS, 2, instant, 0, out);
    killed += !finish(child, out, &r);
    goes_on("killed", instant, &want, 0);
  }
  assert_true(killed > INSTANTS * 9 / 10);   /* SQLite's calls vary a little */
}

static void a_failure_of_any_file_call_loses_no_checkpoint(void **state) {
  (void)state;
  static const int number[] = {EIO, ENOSPC, EINTR};
  report want = whole_again(), r;
  int out[2], ended = 0, refused = 0;
  long tries = getenv("SONDE_ALL_FAILURES") ? 3 * want.calls : FAILURES;   /* by hand: every call, each way */
  for (long k = 0; k < tries; k++) {
    long instant = 1 + (want.calls - 1) * k / (tries - 1);
    pid_t child = start("failed", STEPS, 2, instant, number[k % 3], out);
    assert_int_equal(finish(child, out, &r), 1);
    if (*r.hex) assert_string_equal(r.hex, want.hex);
    ended += *r.hex != 0;
    refused += !*r.hex;
    goes_on("failed", instant, &want, r.saved);
  }
  assert_true(ended > 0 && refused > 0);
}

static void death_at_any_moment_loses_nothing(void **state) {
  (void)state;
  enum { LONG = 60 };
  report want = whole("long", LONG, 1), r;
  int out[2], ended = 0;
  has_each_step_once("long", LONG);
  for (int k = 0; k < KILLS && !ended; k++) {
    struct timespec pause = {0, (long)(1e6 + 30e6 * hashed(99, (uint32_t)k))};   /* 1 to 31 ms */
    pid_t child = start("again", LONG, 1, 0, 0, out);
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    ended = finish(child, out, &r);
  }
  if (!ended) r = whole("again", LONG, 1);
  assert_string_equal(r.hex, want.hex);
  has_each_step_once("again", LONG);
}

static int setup(void **state) {
  (void)state;
  return mkdtemp(root) == NULL;
}

static int teardown(void **state) {
  sonde_error err;
  (void)state;
  return sonde_remove_tree(root, &err);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(death_at_any_file_call_loses_nothing),
      cmocka_unit_test(a_failure_of_any_file_call_loses_no_checkpoint),
      cmocka_unit_test(death_at_any_moment_loses_nothing),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
