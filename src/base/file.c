/* file.c - reading whole files, writing files atomically, folders, mappings. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/crash.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/temp.h"
#include "base/sha256.h"

#define DEFAULT_LIMIT ((int64_t)1 << 30)

/* ---- reading ----------------------------------------------------------------------------------------- */

/* O_NONBLOCK: opening a pipe would block before its type can be checked. */
static int open_to_read(const char *path, struct stat *st, sonde_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || fstat(fd, st)) {
    sonde_fail_errno(err, errno == ENOENT ? SONDE_ENOENT : SONDE_EIO, "cannot read '%s'", path);
    if (fd >= 0) close(fd);
    return -1;
  }
  return fd;
}

/* Pipes and /proc have no size to trust: reads until the end, growing, never past `limit` bytes. */
static int read_all(int fd, const char *path, int64_t hint, int64_t limit, char **data, int64_t *size,
                    sonde_error *err) {
  int64_t room = hint < limit ? hint + 1 : limit + 1, n = 0;
  char *p = sonde_alloc((size_t)room + 1);
  if (!p) return sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s' (%lld bytes)", path, (long long)room);
  for (;;) {
    ssize_t got = read(fd, p + n, (size_t)(room - n));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      sonde_fail_errno(err, SONDE_EIO, "cannot read '%s'", path);
      break;
    }
    n += got;
    if (n > limit) {
      sonde_fail(err, SONDE_ELIMIT, "'%s' is larger than the %lld bytes that are read of such a file", path,
                 (long long)limit);
      break;
    }
    if (got == 0) {
      *data = p;
      *size = n;
      return SONDE_OK;
    }
    if (n == room) {
      int64_t wider = room < limit / 2 ? 2 * room : limit + 1;
      char *q = sonde_grow(p, (size_t)room + 1, (size_t)wider + 1);
      if (!q) {
        sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s' (%lld bytes)", path, (long long)wider);
        break;
      }
      p = q;
      room = wider;
    }
  }
  sonde_release(p);
  return err ? err->code : SONDE_EIO;
}

static int refuse_kind(const char *path, const struct stat *st, sonde_error *err) {
  return sonde_fail(err, SONDE_EINVAL, "cannot read '%s': it is %s", path,
                    S_ISDIR(st->st_mode)    ? "a folder"
                    : S_ISFIFO(st->st_mode) ? "a pipe, not a file"
                                            : "not a regular file");
}

/* A stream that the caller has named on purpose: a device, /dev/stdin, or a shell's <(...). */
static int is_named_stream(const char *path, const struct stat *st) {
  return S_ISCHR(st->st_mode) || !strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6);
}

/* A stream's descriptor waits for what comes. */
static int open_stream(const char *path, struct stat *st, sonde_error *err) {
  int fd = open_to_read(path, st, err), rc = SONDE_OK;
  if (fd < 0 || S_ISREG(st->st_mode)) return fd;
  if (S_ISDIR(st->st_mode) || !is_named_stream(path, st))
    rc = refuse_kind(path, st, err);
  else if (fcntl(fd, F_SETFL, 0))
    rc = sonde_fail_errno(err, SONDE_EIO, "cannot read '%s'", path);
  if (!rc) return fd;
  close(fd);
  return -1;
}

int sonde_file_stream(const char *path, sonde_error *err) {
  struct stat st;
  return open_stream(path, &st, err);
}

int sonde_file_read(const char *path, int64_t max_bytes, char **data, int64_t *size, sonde_error *err) {
  sonde_error own;
  struct stat st;
  if (!err) err = &own;
  int fd = open_stream(path, &st, err);
  if (fd < 0) return err->code;
  int64_t hint = S_ISREG(st.st_mode) ? st.st_size : 65536;
  int rc = read_all(fd, path, hint, max_bytes > 0 ? max_bytes : DEFAULT_LIMIT, data, size, err);
  close(fd);
  return rc;
}

int sonde_file_open(const char *path, int64_t *size, sonde_error *err) {
  struct stat st;
  int fd = open_to_read(path, &st, err);
  if (fd >= 0 && !S_ISREG(st.st_mode)) {
    refuse_kind(path, &st, err);
    close(fd);
    return -1;
  }
  if (fd >= 0 && size) *size = st.st_size;
  return fd;
}

int sonde_file_part(const char *path, const char *what, sonde_error *err) {
  for (;;) {
    struct stat there, ours;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
      sonde_fail_errno(err, SONDE_EIO, "%s: cannot open", path);
      return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB)) {
      if (errno == EWOULDBLOCK)
        sonde_fail(err, SONDE_EINVAL, "%s: another process writes %s; wait for it to end", path, what);
      else
        sonde_fail_errno(err, SONDE_EIO, "%s: cannot lock", path);
      close(fd);
      return -1;
    }
    /* Its writer may have finished it and taken the name away since it was opened. */
    int same = !fstat(fd, &ours) && !stat(path, &there) && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
    if (same) return fd;
    close(fd);
  }
}

int sonde_map_file(const char *path, sonde_mapping *m, sonde_error *err) {
  sonde_error own;
  int64_t size = 0;
  if (!err) err = &own;
  *m = (sonde_mapping){NULL, 0};
  int fd = sonde_file_open(path, &size, err), rc = SONDE_OK;
  if (fd < 0) return err->code;
  if (size > 0) {
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
      rc = sonde_fail_errno(err, SONDE_EIO, "cannot map '%s'", path);
    else {
      *m = (sonde_mapping){p, size};
      sonde_crash_region(p, (size_t)size, SONDE_BACKED_BY_FILE, path);
    }
  }
  close(fd);
  return rc;
}

void sonde_unmap_file(sonde_mapping *m) {
  sonde_crash_forget(m->data);
  if (m->data) munmap((void *)m->data, (size_t)m->size);
  *m = (sonde_mapping){NULL, 0};
}

int sonde_file_sha256(const char *path, char hex[65], sonde_error *err) {
  sonde_sha256 s;
  sonde_mapping m;
  int rc = sonde_map_file(path, &m, err);
  if (rc) return rc;
  sonde_sha256_init(&s);
  sonde_sha256_add(&s, m.data, (size_t)m.size);
  sonde_sha256_hex(&s, hex);
  sonde_unmap_file(&m);
  return SONDE_OK;
}

/* ---- writing ----------------------------------------------------------------------------------------- */

struct sonde_outfile {
  FILE *stream;
  char *path;      /* where it goes: links followed */
  sonde_temp temp; /* where it is written; no path: straight to `path`, which is a device or a pipe */
  int error;       /* errno of a write that failed without stdio */
};

static int is_stream(const char *path, const struct stat *st) {
  return !S_ISREG(st->st_mode) || !strncmp(path, "/dev/", 5);
}

/* The file behind `path`, so that a link stays a link; a path that does not exist is taken as it is. */
static char *resolve(const char *path) {
  char *real = realpath(path, NULL);
  char *copy = sonde_strdup(real ? real : path);
  free(real);
  return copy;
}

/* Opens a new file beside f->path, with the mode of the one that it will replace. The lock on it is kept by another
 * descriptor until it has its name: the stream's is closed before. */
static int open_temp(sonde_outfile *f, const struct stat *old) {
  if (sonde_temp_file(f->path, 0666, &f->temp)) return -1;
  int fd = old && fchmod(f->temp.fd, old->st_mode & 07777) ? -1 : fcntl(f->temp.fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) {
    int saved = errno;
    unlink(f->temp.path);
    sonde_temp_end(&f->temp);
    errno = saved;
  }
  return fd;
}

static void outfile_free(sonde_outfile *f) {
  sonde_release(f->path);
  sonde_temp_end(&f->temp);
  sonde_release(f);
}

sonde_outfile *sonde_outfile_open(const char *path, sonde_error *err) {
  struct stat st;
  int exists = !stat(path, &st);
  if (!*path) {
    sonde_fail(err, SONDE_EIO, "cannot write '': a file needs a name");
    return NULL;
  }
  if (exists && S_ISDIR(st.st_mode)) {
    sonde_fail(err, SONDE_EINVAL, "cannot write '%s': it is a folder", path);
    return NULL;
  }
  sonde_outfile *f = sonde_alloc(sizeof *f);
  if (!f || !(f->path = resolve(path))) {
    sonde_fail(err, SONDE_ENOMEM, "no memory to write '%s'", path);
    sonde_release(f);
    return NULL;
  }
  f->temp.fd = -1;
  int fd = exists && is_stream(path, &st) ? open(path, O_WRONLY | O_CLOEXEC) : open_temp(f, exists ? &st : NULL);
  if (fd >= 0) f->stream = fdopen(fd, "w");
  if (!f->stream) {
    sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
    if (fd >= 0) {
      close(fd);
      if (f->temp.path) unlink(f->temp.path);
    }
    outfile_free(f);
    return NULL;
  }
  return f;
}

FILE *sonde_outfile_stream(sonde_outfile *f) {
  return f->stream;
}

/* Some file systems cannot sync a folder (EINVAL), and one that may be written but not read cannot be opened for it:
 * the order of writes is then theirs to keep, and no error of ours. */
int sonde_sync_folder(const char *path, sonde_error *err) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno == EACCES) return SONDE_OK;
  int bad = fd < 0 || (fsync(fd) && errno != EINVAL);
  int rc = bad ? sonde_fail_errno(err, SONDE_EIO, "cannot sync the folder '%s'", path) : SONDE_OK;
  if (fd >= 0) close(fd);
  return rc;
}

/* The rename is on disk only when the folder is. */
static int sync_folder_of(const char *path, sonde_error *err) {
  const char *slash = strrchr(path, '/');
  char *folder = slash ? sonde_strdup(path) : sonde_strdup(".");
  if (!folder) return sonde_fail(err, SONDE_ENOMEM, "no memory to write '%s'", path);
  if (slash) folder[slash == path ? 1 : slash - path] = '\0';
  int rc = sonde_sync_folder(folder, err);
  sonde_release(folder);
  return rc;
}

/* Everything up to the rename; 0 or the errno of what failed. stdio forgets why a write in the middle failed. */
static int finish(sonde_outfile *f) {
  errno = 0;
  int bad = f->error || ferror(f->stream) || fflush(f->stream) || (f->temp.path && fsync(fileno(f->stream)));
  int reason = !bad ? 0 : f->error ? f->error : errno ? errno : EIO;
  if (fclose(f->stream) && !reason) reason = errno;
  if (!reason && f->temp.path && rename(f->temp.path, f->path)) reason = errno;
  return reason;
}

int sonde_outfile_commit(sonde_outfile *f, sonde_error *err) {
  int rc = SONDE_OK, reason = finish(f);
  if (reason) {
    if (f->temp.path) unlink(f->temp.path);
    errno = reason;
    rc = sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", f->path);
  } else if (f->temp.path) {
    rc = sync_folder_of(f->path, err);
  }
  outfile_free(f);
  return rc;
}

void sonde_outfile_abandon(sonde_outfile *f) {
  if (!f) return;
  fclose(f->stream);
  if (f->temp.path) unlink(f->temp.path);
  outfile_free(f);
}

int sonde_file_write(const char *path, const void *data, int64_t size, sonde_error *err) {
  sonde_error own;
  sonde_outfile *f = sonde_outfile_open(path, err ? err : &own);
  if (!f) return err ? err->code : own.code;
  for (const char *p = data; size > 0 && !f->error; ) {
    ssize_t n = write(fileno(f->stream), p, (size_t)size);
    if (n >= 0) p += n, size -= n;
    else if (errno != EINTR) f->error = errno;
  }
  return sonde_outfile_commit(f, err);
}

int sonde_file_check(const char *path, sonde_error *err) {
  sonde_error own;
  struct stat st;
  if (!err) err = &own;
  /* A pipe is not opened: its reader would see it end. */
  if (!stat(path, &st) && !S_ISDIR(st.st_mode) && is_stream(path, &st))
    return access(path, W_OK) ? sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path) : SONDE_OK;
  sonde_outfile *f = sonde_outfile_open(path, err);
  if (!f) return err->code;
  sonde_outfile_abandon(f);
  return SONDE_OK;
}

/* ---- folders ----------------------------------------------------------------------------------------- */

int sonde_mkdirs(const char *path, sonde_error *err) {
  char *p = sonde_strdup(path);
  if (!p) return sonde_fail(err, SONDE_ENOMEM, "no memory to create the folder '%s'", path);
  int rc = SONDE_OK;
  for (char *s = p; *s && !rc; ) {
    s += strspn(s, "/");
    s += strcspn(s, "/");
    char kept = *s;
    struct stat st;
    *s = '\0';
    if (*p && mkdir(p, 0777)) {
      if (errno != EEXIST)
        rc = sonde_fail_errno(err, SONDE_EIO, "cannot create the folder '%s'", p);
      else if (!stat(p, &st) && !S_ISDIR(st.st_mode))
        rc = sonde_fail(err, SONDE_EIO, "cannot create the folder '%s': '%s' is a file", path, p);
    }
    *s = kept;
  }
  sonde_release(p);
  return rc;
}

int sonde_folder_check(const char *path, sonde_error *err) {
  struct stat st;
  size_t n = strlen(path);
  char *p = sonde_alloc(n + 48);
  if (!p) return sonde_fail(err, SONDE_ENOMEM, "no memory to create the folder '%s'", path);
  memcpy(p, path, n + 1);
  while (n && stat(p, &st)) {   /* up to the first that exists; "" is the working folder */
    while (n && p[n - 1] == '/') n--;
    while (n && p[n - 1] != '/') n--;
    while (n > 1 && p[n - 1] == '/') n--;   /* "file/" would not be there, and "file" is */
    p[n] = '\0';
  }
  snprintf(p + n, 48, "%s.check", n ? "/" : "");
  sonde_temp t;
  int rc = sonde_temp_folder(p, &t) ? -1 : rmdir(t.path);
  if (rc) rc = sonde_fail_errno(err, SONDE_EIO, "cannot write the folder '%s'", path);
  sonde_temp_end(&t);
  sonde_release(p);
  return rc;
}

int sonde_path_exists(const char *path) {
  struct stat st;
  return !stat(path, &st);
}

int sonde_is_folder(const char *path) {
  struct stat st;
  return !stat(path, &st) && S_ISDIR(st.st_mode);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where) {
  (void)st, (void)type, (void)where;
  return remove(path) && errno != ENOENT ? -1 : 0;
}

int sonde_remove_tree(const char *path, sonde_error *err) {
  struct stat st;
  if (lstat(path, &st) && errno == ENOENT) return SONDE_OK;
  if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS))
    return sonde_fail_errno(err, SONDE_EIO, "cannot remove '%s'", path);
  return SONDE_OK;
}
