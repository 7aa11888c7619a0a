/* kill_test.c - kill -9 at any instant, then the same command: the run ends in the bits of one that was never killed.
 *
 * Instants are taken in two ways. The calls that change files (below, in front of the C library's) count themselves and
 * end the process at the n-th, for every n of a run; and a parent kills at moments of its own. */
#include "tiny.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 8, INSTANTS = 70, KILLS = 25 };

/* ---- calls that count ------------------------------------------------------------------------------------ */

static long calls, die_at;

static void count(void) {
  if (++calls == die_at) kill(getpid(), SIGKILL);
}

int fsync(int fd) { return count(), (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return count(), (int)syscall(SYS_fdatasync, fd); }
int rename(const char *from, const char *to) {
  return count(), (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int symlink(const char *to, const char *at) { return count(), (int)syscall(SYS_symlinkat, to, AT_FDCWD, at); }
int mkdir(const char *path, mode_t mode) { return count(), (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode); }
int unlink(const char *path) { return count(), (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) {
  return count(), (int)syscall(SYS_unlinkat, at, path, flags);
}
int rmdir(const char *path) { return count(), (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR); }
int ftruncate(int fd, off_t n) { return count(), (int)syscall(SYS_ftruncate, fd, n); }
ssize_t write(int fd, const void *p, size_t n) { return count(), (ssize_t)syscall(SYS_write, fd, p, n); }

/* ---- one session of a run, in a process of its own ------------------------------------------------------------ */

static char root[] = "/tmp/sonde-kill-XXXXXX";

/* Trains to the end and prints to `out` the SHA-256 of the weights and how many file calls there were. */
static void session(const char *name, int steps, int every, int out) {
  tiny m;
  char hex[65];
  sonde_error err = {0};
  sonde_run *run = sonde_run_open(root, name, &err);
  if (!run) fail_msg("%s", err.text);
  tiny_make(&m, 2, 2);
  m.opts.schedule.steps = steps;
  m.opts.run = run;
  m.opts.checkpoint_every = every;
  m.opts.log_every = 1;
  m.opts.eval_tokens = 64;
  if (sonde_run_begin(run, "kill_test", 2, &err)) fail_msg("%s", err.text);
  sonde_trainer *t = tiny_trainer(&m);
  tiny_train(t, NULL);
  if (sonde_run_end(run, "done", "", &err)) fail_msg("%s", err.text);
  assert_int_equal(sonde_params_sha256(m.params, hex), 0);
  dprintf(out, "%s %ld", hex, calls);
  sonde_trainer_free(t);
  tiny_free(&m);
  sonde_run_close(run);
}

/* Starts a session that dies at its `instant`-th file call (0: does not). */
static pid_t start(const char *name, int steps, int every, long instant, int out[2]) {
  assert_int_equal(pipe(out), 0);
  pid_t child = fork();
  if (child) return close(out[1]), child;
  close(out[0]);
  calls = 0;
  die_at = instant;
  session(name, steps, every, out[1]);
  _exit(0);
}

/* Waits for it; 1: it came to its end, with `hex` and the calls. */
static int finish(pid_t child, int out[2], char hex[65], long *n_calls) {
  char text[128] = "";
  int status;
  ssize_t n = read(out[0], text, sizeof text - 1);
  close(out[0]);
  waitpid(child, &status, 0);
  if (n <= 0) {
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
      fail_msg("a session failed with status %d", status);
    return 0;
  }
  return sscanf(text, "%64s %ld", hex, n_calls) == 2;
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

static void whole_run(const char *name, int steps, int every, char hex[65], long *n_calls) {
  int out[2];
  pid_t child = start(name, steps, every, 0, out);
  assert_int_equal(finish(child, out, hex, n_calls), 1);
  has_each_step_once(name, steps);
}

/* ---- the tests --------------------------------------------------------------------------------------------- */

static void death_at_any_file_call_loses_nothing(void **state) {
  (void)state;
  char want[65], got[65];
  long total, n;
  int out[2], killed = 0;
  whole_run("whole", STEPS, 2, want, &total);
  assert_true(total > INSTANTS);
  for (int k = 0; k < INSTANTS; k++) {
    long instant = 1 + (total - 1) * k / (INSTANTS - 1);
    pid_t child = start("killed", STEPS, 2, instant, out);
    killed += !finish(child, out, got, &n);
    child = start("killed", STEPS, 2, 0, out);
    if (!finish(child, out, got, &n)) fail_msg("after a death at call %ld the run does not go on", instant);
    if (strcmp(got, want)) fail_msg("after a death at call %ld the run ends in other bits", instant);
    has_each_step_once("killed", STEPS);
    clear("killed");
  }
  assert_int_equal(killed, INSTANTS);
}

static void death_at_any_moment_loses_nothing(void **state) {
  (void)state;
  enum { LONG = 60 };
  char want[65], got[65];
  long n;
  int out[2], ended = 0;
  whole_run("long", LONG, 1, want, &n);
  for (int k = 0; k < KILLS && !ended; k++) {
    struct timespec pause = {0, (long)(1e6 + 30e6 * hashed(99, (uint32_t)k))};   /* 1 to 31 ms */
    pid_t child = start("again", LONG, 1, 0, out);
    nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    ended = finish(child, out, got, &n);
  }
  if (!ended) {
    pid_t child = start("again", LONG, 1, 0, out);
    assert_int_equal(finish(child, out, got, &n), 1);
  }
  assert_string_equal(got, want);
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
      cmocka_unit_test(death_at_any_moment_loses_nothing),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
