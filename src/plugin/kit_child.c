/* kit_child.c - a function in a process of its own, so that a plugin that crashes, hangs, ends the program or prints
 * is reported in one line by a parent that stays whole. */
#include "config.h"
#include "base/clock.h"
#include "plugin/kit.h"

#include "base/crash.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 64 << 20 };

static int write_all(int fd, const char *p, size_t n) {
  while (n > 0) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno != EINTR) return -1;
    if (k > 0) p += k, n -= (size_t)k;
  }
  return 0;
}

/* A recursion without end must meet a bound even where the system sets none; a crash leaves no core file. */
static void set_bounds(void) {
  struct rlimit stack;
  if (!getrlimit(RLIMIT_STACK, &stack) && (stack.rlim_cur == RLIM_INFINITY || stack.rlim_cur > STACK_BYTES)) {
    stack.rlim_cur = STACK_BYTES;
    setrlimit(RLIMIT_STACK, &stack);
  }
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static void in_child(kit *k, kit_child *c, int fd, FILE *prints) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  /* A crash must end the child, whatever the caller does with signals. */
  sonde_crash_watch_end();
  static const int signals[] = {SIGINT, SIGTERM, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
  for (size_t s = 0; s < sizeof signals / sizeof signals[0]; s++) signal(signals[s], SIG_DFL);
  set_bounds();
  dup2(fileno(prints), STDOUT_FILENO);
  dup2(fileno(prints), STDERR_FILENO);
  c->fn(k, c->arg, c->out);
  fflush(NULL);
  _exit(write_all(fd, c->out, c->size) ? 1 : 0);
}

/* Processor time of a child, in milliseconds. */
static int64_t cpu_ms(pid_t pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Bytes that came before the end, a failure, or the time-out: `seconds` of processor time, or as long without any, so
 * that a machine with other work to do makes nothing late. */
static size_t read_all(int fd, char *p, size_t n, pid_t child, int seconds, int *late) {
  enum { LOOK_MS = 200 };
  int64_t used = 0, since = sonde_clock_ns() / 1000000, most = (int64_t)seconds * 1000;
  size_t got = 0;
  while (got < n) {
    struct pollfd f = {fd, POLLIN, 0};
    int ready = poll(&f, 1, LOOK_MS);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      int64_t cpu = cpu_ms(child), now = sonde_clock_ns() / 1000000;
      if (cpu != used) used = cpu, since = now;
      if (used >= most || now - since >= most) {
        *late = 1;
        break;
      }
      continue;
    }
    ssize_t k = read(fd, p + got, n - got);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) break;
    got += (size_t)k;
  }
  return got;
}

static void first_line(FILE *f, char *line, size_t size) {
  line[0] = '\0';
  rewind(f);
  while (fgets(line, (int)size, f)) {
    line[strcspn(line, "\n")] = '\0';
    if (*line) return;
  }
  line[0] = '\0';
}

int kit_in_child(kit *k, kit_child *c, sonde_error *err) {
  int fd[2], status = 0, late = 0, seconds = k->opts.seconds ? k->opts.seconds : 60;
  FILE *prints = tmpfile();
  c->printed[0] = '\0';
  if (!prints) return sonde_fail_errno(err, SONDE_EIO, "no temporary file for a check's output");
  pid_t pid = -1;
  if (!pipe(fd)) {
    fflush(NULL);
    if (!(pid = fork())) {
      close(fd[0]);
      in_child(k, c, fd[1], prints);
    }
    close(fd[1]);
    if (pid < 0) close(fd[0]);
  }
  if (pid < 0) {
    fclose(prints);
    return sonde_fail_errno(err, SONDE_ENOMEM, "no process for a check");
  }
  size_t got = read_all(fd[0], c->out, c->size, pid, seconds, &late);
  close(fd[0]);
  if (got < c->size && late) kill(pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  first_line(prints, c->printed, sizeof c->printed);
  fclose(prints);
  if (got == c->size) return SONDE_OK;
  const char *said = *c->printed ? "; it printed: " : "";
  if (late) return sonde_fail(err, SONDE_EINTR, "it hangs: no end after %d seconds", seconds);
  if (WIFSIGNALED(status))
    return sonde_fail(err, SONDE_EBUG, "it crashed: %s%s%s", strsignal(WTERMSIG(status)), said, c->printed);
  return sonde_fail(err, SONDE_EBUG, "it ended the whole process (exit status %d)%s%s", WEXITSTATUS(status), said,
                    c->printed);
}
