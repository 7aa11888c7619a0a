/* process.c - see process.h. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/process.h"

enum { LOOK_MS = 100, MOST = 4096 };

struct sonde_process {
  pid_t pid, parent;
  int fd;              /* its standard error; -1: it has closed it */
  int ended, status;   /* as waitpid gives it */
};

static void become_child(int error_fd, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);   /* it has ended already */
  int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO), close(null);
  dup2(error_fd, STDERR_FILENO);
  close(error_fd);
}

int sonde_process_fork(sonde_process **out, sonde_error *err) {
  int fd[2];
  pid_t parent = getpid();
  sonde_process *p = sonde_alloc(sizeof *p);
  *out = NULL;
  if (!p) return sonde_fail(err, SONDE_ENOMEM, "no memory for a process");
  if (pipe2(fd, O_CLOEXEC)) {
    sonde_release(p);
    return sonde_fail_errno(err, SONDE_EIO, "cannot start a process");
  }
  fflush(NULL);   /* or both would write what is not written yet */
  pid_t pid = fork();
  if (pid == 0) {
    close(fd[0]);
    become_child(fd[1], parent);
    sonde_release(p);
    return SONDE_OK;
  }
  int code = pid < 0 ? sonde_fail_errno(err, SONDE_ENOMEM, "cannot start a process") : SONDE_OK;
  close(fd[1]);
  if (code) {
    close(fd[0]);
    sonde_release(p);
    return code;
  }
  fcntl(fd[0], F_SETFL, O_NONBLOCK);
  *p = (sonde_process){.pid = pid, .parent = parent, .fd = fd[0]};
  *out = p;
  return SONDE_OK;
}

void sonde_process_leave(int status) {
  fflush(NULL);
  _exit(status);
}

void sonde_process_wait(sonde_process *const *p, int n, double seconds) {
  struct pollfd f[MOST];
  if (n > MOST) n = MOST;
  for (int k = 0; k < n; k++) f[k] = (struct pollfd){.fd = p[k]->fd, .events = POLLIN};
  /* One that others keep the pipe of, or that has closed it, ends without a word: so look now and then. */
  int ms = seconds > 0 && seconds * 1000 < LOOK_MS ? (int)(seconds * 1000) : LOOK_MS;
  poll(f, (nfds_t)n, ms);
}

int64_t sonde_process_read(sonde_process *p, char *buffer, int64_t size) {
  if (p->fd < 0) return 0;
  ssize_t n = read(p->fd, buffer, (size_t)size);
  if (n > 0) return n;
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  close(p->fd);
  p->fd = -1;
  return 0;
}

int sonde_process_ended(sonde_process *p, int *status, int *number) {
  if (!p->ended) {
    pid_t pid = waitpid(p->pid, &p->status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR)) return 0;
    if (pid < 0) p->status = 0;
    p->ended = 1;
  }
  *number = WIFSIGNALED(p->status) ? WTERMSIG(p->status) : 0;
  *status = WIFEXITED(p->status) ? WEXITSTATUS(p->status) : 1;
  return 1;
}

void sonde_process_signal(sonde_process *p, int number) {
  if (!p->ended && p->parent == getpid()) kill(p->pid, number);
}

void sonde_process_close(sonde_process *p) {
  if (!p) return;
  if (!p->ended && p->parent == getpid()) {
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR) continue;
  }
  if (p->fd >= 0) close(p->fd);
  sonde_release(p);
}
