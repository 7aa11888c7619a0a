/* lock.c - see lock.h. flock, because unlike fcntl's locks it also excludes a second opening in the same process. */
#include "record/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static long holder(int fd) {
  char text[32] = "";
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  return n > 0 ? strtol(text, NULL, 10) : 0;
}

static int refuse(int fd, const char *path, sonde_error *err) {
  long pid = holder(fd);
  if (pid > 0)
    return sonde_fail(err, SONDE_ELOCK,
                      "%s: process %ld is at work in this folder; wait for it or stop it (kill %ld)", path, pid,
                      pid);
  return sonde_fail(err, SONDE_ELOCK, "%s: another process is at work in this folder; wait for it to end", path);
}

int sonde_lock_take(const char *path, int *out, sonde_error *err) {
  char text[32];
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0)
    return sonde_fail_errno(err, SONDE_EIO,
                            "%s: cannot make the lock of the folder; choose a folder you can write to", path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    int code = errno == EWOULDBLOCK ? refuse(fd, path, err)
                                    : sonde_fail_errno(err, SONDE_EIO, "%s: cannot lock", path);
    close(fd);
    return code;
  }
  int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n) {
    int code = sonde_fail_errno(err, SONDE_EIO, "%s: cannot write", path);
    close(fd);
    return code;
  }
  *out = fd;
  return SONDE_OK;
}

void sonde_lock_drop(int fd) {
  if (fd >= 0) close(fd);
}

int sonde_lock_is_held(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return 0;
  int held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(fd);
  return held;
}
