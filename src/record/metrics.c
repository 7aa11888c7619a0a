/* metrics.c - see metrics.h. */
#include "record/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sha256.h"

struct sonde_metrics {
  int fd, overflow;
  char *path, *line;
  int64_t room, used, size;
  sonde_sha256 sum;        /* of the `size` bytes so far */
};

sonde_metrics *sonde_metrics_open(const char *path, int64_t line_bytes, sonde_error *err) {
  struct stat st;
  sonde_metrics *m = sonde_alloc(sizeof *m);
  if (m) {
    m->fd = -1;
    m->room = line_bytes;
    m->line = sonde_alloc((size_t)line_bytes);
    m->path = sonde_strdup(path);
  }
  if (!m || !m->line || !m->path) {
    sonde_fail(err, SONDE_ENOMEM, "%s: no memory for the metrics", path);
    sonde_metrics_close(m);
    return NULL;
  }
  m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (m->fd < 0 || fstat(m->fd, &st) != 0) {
    sonde_fail_errno(err, SONDE_EIO, "%s: cannot open", path);
    sonde_metrics_close(m);
    return NULL;
  }
  m->size = st.st_size;
  return m;
}

void sonde_metrics_close(sonde_metrics *m) {
  if (!m) return;
  if (m->fd >= 0) close(m->fd);
  sonde_release(m->line);
  sonde_release(m->path);
  sonde_release(m);
}

static void __attribute__((format(printf, 2, 3))) put(sonde_metrics *m, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(m->line + m->used, (size_t)(m->room - m->used), fmt, ap);
  va_end(ap);
  if (n < 0 || n >= m->room - m->used) m->overflow = 1;
  else m->used += n;
}

static void put_number(sonde_metrics *m, double value) {
  if (isfinite(value)) put(m, "%.10g", value);
  else put(m, "null");
}

static void put_key(sonde_metrics *m, const char *key) { put(m, "%s\"%s\":", m->used > 1 ? "," : "", key); }

void sonde_metrics_begin(sonde_metrics *m) {
  m->used = m->overflow = 0;
  put(m, "{");
}

void sonde_metrics_integer(sonde_metrics *m, const char *key, int64_t value) {
  put_key(m, key);
  put(m, "%lld", (long long)value);
}

void sonde_metrics_number(sonde_metrics *m, const char *key, double value) {
  put_key(m, key);
  put_number(m, value);
}

void sonde_metrics_numbers(sonde_metrics *m, const char *key, const double *value, int64_t n) {
  put_key(m, key);
  for (int64_t i = 0; i < n; i++) {
    put(m, i ? "," : "[");
    put_number(m, value[i]);
  }
  put(m, n ? "]" : "[]");
}

int sonde_metrics_end(sonde_metrics *m, sonde_error *err) {
  put(m, "}\n");
  if (m->overflow)
    return sonde_fail(err, SONDE_EBUG, "%s: a line is longer than its %lld bytes", m->path, (long long)m->room);
  ssize_t n;
  while ((n = write(m->fd, m->line, (size_t)m->used)) < 0 && errno == EINTR) {}
  if (n == m->used) {
    m->size += n;
    sonde_sha256_add(&m->sum, m->line, (size_t)n);
    return SONDE_OK;
  }
  int code = n < 0 ? sonde_fail_errno(err, SONDE_EIO, "%s: cannot write", m->path)
                   : sonde_fail(err, SONDE_EIO, "%s: cannot write: the disk took %lld of %lld bytes; make room",
                                m->path, (long long)n, (long long)m->used);
  if (n > 0 && ftruncate(m->fd, m->size) != 0)
    return sonde_fail_errno(err, SONDE_EIO, "%s: cannot cut off a line that the disk did not take", m->path);
  return code;
}

int64_t sonde_metrics_size(const sonde_metrics *m) { return m->size; }

void sonde_metrics_sha256(const sonde_metrics *m, char hex[65]) {
  sonde_sha256 copy = m->sum;
  sonde_sha256_hex(&copy, hex);
}

int sonde_metrics_sync(sonde_metrics *m, sonde_error *err) {
  return fdatasync(m->fd) == 0 ? SONDE_OK : sonde_fail_errno(err, SONDE_EIO, "%s: cannot sync", m->path);
}

static int sum_of_file(sonde_metrics *m, sonde_error *err) {
  char block[65536];
  sonde_sha256_init(&m->sum);
  for (int64_t at = 0; at < m->size; ) {
    int64_t left = m->size - at;
    ssize_t n = pread(m->fd, block, left < (int64_t)sizeof block ? (size_t)left : sizeof block, at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return sonde_fail_errno(err, SONDE_EIO, "%s: cannot read", m->path);
    sonde_sha256_add(&m->sum, block, (size_t)n);
    at += n;
  }
  return SONDE_OK;
}

int sonde_metrics_rewind(sonde_metrics *m, int64_t size, sonde_error *err) {
  if (size < 0 || size > m->size)
    return sonde_fail(
        err, SONDE_EFORMAT,
        "%s: holds %lld bytes, but the checkpoint was made after %lld; remove the run folder to start again",
        m->path, (long long)m->size, (long long)size);
  if (ftruncate(m->fd, size) != 0) return sonde_fail_errno(err, SONDE_EIO, "%s: cannot cut back", m->path);
  m->size = size;
  return sum_of_file(m, err);
}
