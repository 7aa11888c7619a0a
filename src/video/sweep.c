/* sweep.c - see sweep.h. A process writes a byte for each row, and at its end what became of it. */
#include "config.h"

#include "video/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/crash.h"
#include "base/mem.h"

static const double HASH_RATE = 2e7;     /* bytes a second that the hash of a clip takes at least */
enum { ROW = 'r', END = 'e', MAX_WORKERS = 1024 };

typedef struct job { char *clip, *path; double start, end; } job;

typedef struct worker {
  pid_t pid;                             /* 0: free */
  int fd, late;
  int64_t job;
  double last, patience;                 /* when something was heard of it, and how long it may be silent */
  size_t got;                            /* of the message at its end */
  char message[1 + sizeof(sonde_error)];
} worker;

struct sonde_sweep {
  sonde_feature_opts opts;
  job *jobs;
  int64_t n, room, started, ended, rows;
  int workers;
  worker *worker;
};

sonde_sweep *sonde_sweep_new(const sonde_feature_opts *o, int workers, sonde_error *err) {
  if (sonde_video_ready(err)) return NULL;
  if (workers < 1 || workers > MAX_WORKERS) {
    sonde_fail(err, SONDE_EINVAL, "from 1 to %d clips can be worked on at a time, not %d", MAX_WORKERS, workers);
    return NULL;
  }
  sonde_sweep *s = sonde_alloc(sizeof *s);
  if (s && (s->worker = sonde_alloc((size_t)workers * sizeof *s->worker))) {
    s->opts = *o;
    s->workers = workers;
    return s;
  }
  sonde_fail(err, SONDE_ENOMEM, "no memory for a sweep of clips");
  sonde_release(s);
  return NULL;
}

static void end_worker(worker *w) {
  if (!w->pid) return;
  kill(w->pid, SIGKILL);
  while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(w->fd);
  w->pid = 0;
}

void sonde_sweep_free(sonde_sweep *s) {
  if (!s) return;
  for (int k = 0; k < s->workers; k++) end_worker(&s->worker[k]);
  for (int64_t k = 0; k < s->n; k++) sonde_release(s->jobs[k].clip), sonde_release(s->jobs[k].path);
  sonde_release(s->jobs);
  sonde_release(s->worker);
  sonde_release(s);
}

int sonde_sweep_add(sonde_sweep *s, const char *clip, const char *path, double start, double end, sonde_error *err) {
  if (s->n == s->room) {
    int64_t room = s->room ? 2 * s->room : 64;
    job *more = sonde_grow(s->jobs, (size_t)s->n * sizeof *more, (size_t)room * sizeof *more);
    if (!more) return sonde_fail(err, SONDE_ENOMEM, "no memory for %lld clips", (long long)room);
    s->jobs = more;
    s->room = room;
  }
  job j = {sonde_strdup(clip), sonde_strdup(path), start, end};
  if (!j.clip || !j.path) {
    sonde_release(j.clip);
    sonde_release(j.path);
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the clip '%s'", clip);
  }
  s->jobs[s->n++] = j;
  return 0;
}

int64_t sonde_sweep_left(const sonde_sweep *s) { return s->n - s->ended; }
int64_t sonde_sweep_rows(const sonde_sweep *s) { return s->rows; }

/* ---- in the process of a clip ---- */

static void say(int fd, const void *data, size_t n) {
  const char *p = data;
  while (n > 0) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno != EINTR) _exit(1);       /* nobody listens */
    if (k > 0) p += k, n -= (size_t)k;
  }
}

static void say_row(void *arg) {
  char row = ROW;
  say(*(const int *)arg, &row, 1);
}

static void in_child(const sonde_sweep *s, const job *j, int fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sonde_crash_watch_end();
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
  for (size_t k = 0; k < sizeof signals / sizeof signals[0]; k++) signal(signals[k], SIG_DFL);
  signal(SIGPIPE, SIG_IGN);
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  sonde_feature_opts o = s->opts;
  sonde_error err = {0};
  char end = END;
  o.start = j->start;
  o.end = j->end;
  o.analysis.video.threads = 1;
  sonde_features_make(j->path, j->clip, &o, say_row, &fd, &err);
  say(fd, &end, 1);
  say(fd, &err, sizeof err);
  _exit(0);
}

/* ---- in the caller's ---- */

static int start(sonde_sweep *s, worker *w, sonde_error *err) {
  const job *j = &s->jobs[s->started];
  struct stat st;
  int fd[2];
  *w = (worker){.job = s->started++, .last = sonde_clock_seconds(), .patience = 2 * s->opts.analysis.video.patience};
  if (!stat(j->clip, &st) && S_ISREG(st.st_mode)) w->patience += (double)st.st_size / HASH_RATE;
  if (pipe2(fd, O_CLOEXEC)) return sonde_fail_errno(err, SONDE_EIO, "'%s': cannot start a process", j->clip);
  pid_t pid = fork();
  if (pid == 0) {
    close(fd[0]);
    in_child(s, j, fd[1]);
  }
  close(fd[1]);
  w->fd = fd[0];
  if (pid > 0) {
    w->pid = pid;
    return 0;
  }
  sonde_fail_errno(err, SONDE_EIO, "'%s': cannot start a process", j->clip);
  close(fd[0]);
  return err->code;
}

static void take_bytes(sonde_sweep *s, worker *w, const char *p, size_t n) {
  for (; n > 0 && !w->got && *p == ROW; p++, n--) s->rows++;
  size_t room = sizeof w->message - w->got, more = n < room ? n : room;
  memcpy(w->message + w->got, p, more);
  w->got += more;
}

/* Reads what a process wrote; 1 when it has ended. */
static int listen_to(sonde_sweep *s, worker *w) {
  char buffer[4096];
  ssize_t n = read(w->fd, buffer, sizeof buffer);
  if (n < 0) return errno != EINTR && errno != EAGAIN;
  if (n == 0) return 1;
  w->last = sonde_clock_seconds();
  take_bytes(s, w, buffer, (size_t)n);
  return 0;
}

static void finish(sonde_sweep *s, worker *w, sonde_sweep_result *r) {
  const char *clip = s->jobs[w->job].clip;
  int status = 0;
  if (w->late) kill(w->pid, SIGKILL);
  while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) continue;
  close(w->fd);
  w->pid = 0;
  s->ended++;
  *r = (sonde_sweep_result){.job = w->job};
  if (w->late)
    sonde_fail(&r->error, SONDE_ELIMIT, "'%s': the decoder gave no frame for %.0f seconds and was ended", clip,
               w->patience);
  else if (WIFSIGNALED(status))
    sonde_fail(&r->error, SONDE_EFORMAT, "'%s': the decoder died of signal %d (%s)", clip, WTERMSIG(status),
               strsignal(WTERMSIG(status)));
  else if (w->got < sizeof w->message || w->message[0] != END)
    sonde_fail(&r->error, SONDE_EFORMAT, "'%s': the decoder ended without a result (status %d)", clip,
               WEXITSTATUS(status));
  else memcpy(&r->error, w->message + 1, sizeof r->error);
}

int sonde_sweep_next(sonde_sweep *s, double seconds, sonde_sweep_result *r) {
  enum { LOOK_MS = 200 };
  double until = sonde_clock_seconds() + seconds;
  for (;;) {
    struct pollfd fds[MAX_WORKERS];
    worker *of[MAX_WORKERS];
    int n = 0;
    for (int k = 0; k < s->workers; k++) {
      worker *w = &s->worker[k];
      if (!w->pid && s->started < s->n) {
        *r = (sonde_sweep_result){.job = s->started};
        if (start(s, w, &r->error)) {
          s->ended++;
          return 1;
        }
      }
      if (w->pid) fds[n] = (struct pollfd){w->fd, POLLIN, 0}, of[n++] = w;
    }
    double now = sonde_clock_seconds(), left = fmin(until - now, LOOK_MS * 1e-3);
    if (!n) return 0;
    poll(fds, (nfds_t)n, left > 0 ? (int)(left * 1000) + 1 : 0);
    for (int k = 0; k < n; k++) {
      of[k]->late = sonde_clock_seconds() - of[k]->last > of[k]->patience;
      if ((fds[k].revents && listen_to(s, of[k])) || (!fds[k].revents && of[k]->late)) {
        finish(s, of[k], r);
        return 1;
      }
    }
    if (sonde_clock_seconds() >= until) return 0;
  }
}
