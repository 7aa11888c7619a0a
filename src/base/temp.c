/* temp.c - see temp.h. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/temp.h"

enum { TRIES = 100, NAME_BYTES = 64 };

/* Whether `name` is `base` (NULL: anything) with ".tmp-", a number, "-" and a number behind it. */
static int is_temp_of(const char *name, const char *base) {
  size_t n = base ? strlen(base) : 0;
  const char *s = base ? name + n : strstr(name, ".tmp-");
  if ((base && strncmp(name, base, n)) || !s || strncmp(s, ".tmp-", 5)) return 0;
  s += 5;
  size_t process = strspn(s, "0123456789"), number = s[process] == '-' ? strspn(s + process + 1, "0123456789") : 0;
  return process && number && !s[process + 1 + number];
}

/* Removes `name` in `folder` unless it is locked, or that is unknown. */
static void remove_abandoned(const char *folder, const char *name) {
  size_t n = strlen(folder) + strlen(name) + 2;
  char *path = sonde_alloc(n);
  if (!path) return;
  snprintf(path, n, "%s/%s", folder, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) sonde_remove_tree(path, NULL);
  if (fd >= 0) close(fd);
  sonde_release(path);
}

static void sweep(const char *folder, const char *base) {
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d)); )
    if (is_temp_of(e->d_name, base)) remove_abandoned(folder, e->d_name);
  if (d) closedir(d);
}

void sonde_temp_sweep(const char *folder) { sweep(folder, NULL); }

static void sweep_beside(const char *path) {
  const char *slash = strrchr(path, '/');
  char *folder = sonde_strdup(slash ? path : ".");
  if (!folder) return;
  if (slash) folder[slash == path ? 1 : slash - path] = '\0';
  sweep(folder, slash ? slash + 1 : path);
  sonde_release(folder);
}

/* Takes the lock; 0 when somebody came between who took the new one for abandoned. Where nothing can be locked, nothing
 * is removed either. */
static int hold(const sonde_temp *t) {
  struct stat mine, there;
  if (flock(t->fd, LOCK_EX | LOCK_NB)) return errno != EWOULDBLOCK;
  return !fstat(t->fd, &mine) && !lstat(t->path, &there) && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

static int make(const char *path, int folder, int mode, sonde_temp *t) {
  static _Atomic unsigned counter;
  size_t n = strlen(path) + NAME_BYTES;
  t->fd = -1;
  if (!(t->path = sonde_alloc(n))) {
    errno = ENOMEM;
    return -1;
  }
  sweep_beside(path);
  for (int k = 0; k < TRIES; k++) {
    snprintf(t->path, n, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&counter, 1));
    if (!folder) t->fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    else if (!mkdir(t->path, 0777)) t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (t->fd >= 0 && hold(t)) return 0;
    int gone = t->fd >= 0 || (folder && errno == ENOENT && k < TRIES / 2), taken = errno == EEXIST;
    if (t->fd >= 0) close(t->fd);
    t->fd = -1;
    if (!gone && !taken) break;
  }
  int reason = errno;
  sonde_release(t->path);
  t->path = NULL;
  errno = reason;
  return -1;
}

int sonde_temp_file(const char *path, int mode, sonde_temp *t) { return make(path, 0, mode, t); }
int sonde_temp_folder(const char *path, sonde_temp *t) { return make(path, 1, 0, t); }

void sonde_temp_end(sonde_temp *t) {
  if (t->fd >= 0) close(t->fd);
  sonde_release(t->path);
  *t = (sonde_temp){NULL, -1};
}
