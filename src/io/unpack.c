/* unpack.c - zlib and zstd behind one function that gives bytes. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include "base/file.h"
#include "base/mem.h"
#include "io/unpack.h"

enum { CHUNK = 1 << 18 };

struct sonde_unpack {
  const char *name;
  int fd, file_ended;
  char *in;                    /* bytes of the file: in[at] .. in[n] are not used yet */
  int64_t at, n;
  z_stream *z;                 /* gzip, */
  ZSTD_DStream *zstd;          /* or zstd, or neither */
  int inside;                  /* a packed piece has begun and not ended: a file ends between two */
};

const char *sonde_unpack_name(const sonde_unpack *u) {
  return u->name;
}

/* Reads on when nothing is left; returns what there is, 0 at the end of the file, or a negative code. */
static int64_t fill(sonde_unpack *u, sonde_error *err) {
  while (u->at == u->n && !u->file_ended) {
    ssize_t got = read(u->fd, u->in, CHUNK);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sonde_fail_errno(err, SONDE_EIO, "cannot read '%s'", u->name);
    u->at = 0;
    u->n = got;
    u->file_ended = got == 0;
  }
  return u->n - u->at;
}

/* ---- what it is ---------------------------------------------------------------------------------------- */

typedef struct magic { const char *what, *bytes; int n; } magic;

static const char GZIP[] = "\x1f\x8b", ZSTD[] = "\x28\xb5\x2f\xfd";

static const magic foreign[] = {
  {"bzip2", "BZh", 3}, {"xz", "\xfd" "7zXZ", 6}, {"lz4", "\x04\x22\x4d\x18", 4}, {"compress (.Z)", "\x1f\x9d", 2},
  {"lzip", "LZIP", 4}, {"zip", "PK\x03\x04", 4}, {"7-Zip", "7z\xbc\xaf\x27\x1c", 6},
};

static int begins(const sonde_unpack *u, const char *bytes, int n) {
  return u->n >= n && !memcmp(u->in, bytes, (size_t)n);
}

static int ends_with(const char *name, const char *end) {
  size_t n = strlen(name), m = strlen(end);
  return n > m && !strcmp(name + n - m, end);
}

/* A pipe gives its first bytes in any portions: enough of them to tell. */
static int peek(sonde_unpack *u, sonde_error *err) {
  while (u->n < 8 && !u->file_ended) {
    ssize_t got = read(u->fd, u->in + u->n, (size_t)(CHUNK - u->n));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sonde_fail_errno(err, SONDE_EIO, "cannot read '%s'", u->name);
    u->n += got;
    u->file_ended = got == 0;
  }
  return 0;
}

static int start(sonde_unpack *u, sonde_error *err) {
  int rc = peek(u, err);
  if (rc) return rc;
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
    if (begins(u, foreign[i].bytes, foreign[i].n))
      return sonde_fail(err, SONDE_EFORMAT, "%s: packed by %s, which is not read; unpack it, or use gzip or zstd",
                        u->name, foreign[i].what);
  if (begins(u, GZIP, 2)) {
    u->z = sonde_alloc(sizeof *u->z);
    if (u->z && inflateInit2(u->z, 15 + 16) == Z_OK) return 0;
    sonde_release(u->z);
    u->z = NULL;
    return sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s'", u->name);
  }
  if (begins(u, ZSTD, 4))
    return (u->zstd = ZSTD_createDStream()) ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s'", u->name);
  if (ends_with(u->name, ".gz") || ends_with(u->name, ".zst"))
    return sonde_fail(err, SONDE_EFORMAT, "%s: not a %s file, whatever its name says", u->name,
                      ends_with(u->name, ".gz") ? "gzip" : "zstd");
  return 0;
}

sonde_unpack *sonde_unpack_open(const char *path, sonde_error *err) {
  int standard = !strcmp(path, "-");
  sonde_unpack *u = sonde_alloc(sizeof *u);
  if (!u || !(u->in = sonde_alloc(CHUNK))) {
    sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s'", path);
    sonde_release(u);
    return NULL;
  }
  u->name = standard ? "standard input" : path;
  u->fd = standard ? fcntl(0, F_DUPFD_CLOEXEC, 3) : sonde_file_stream(path, err);
  if (standard && u->fd < 0) sonde_fail_errno(err, SONDE_EIO, "cannot read standard input");
  if (u->fd >= 0 && !start(u, err)) return u;
  sonde_unpack_close(u);
  return NULL;
}

void sonde_unpack_close(sonde_unpack *u) {
  if (!u) return;
  if (u->fd >= 0) close(u->fd);
  if (u->z) inflateEnd(u->z);
  ZSTD_freeDStream(u->zstd);
  sonde_release(u->z);
  sonde_release(u->in);
  sonde_release(u);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static int damaged(const sonde_unpack *u, sonde_error *err) {
  return sonde_fail(err, SONDE_EFORMAT, "%s: the compressed data is damaged or cut short", u->name);
}

/* Bytes that zlib decompresses from the buffered input, or a negative code. */
static int64_t inflate_some(sonde_unpack *u, char *buf, int64_t n, sonde_error *err) {
  z_stream *z = u->z;
  if (!u->inside && inflateReset(z) != Z_OK) return damaged(u, err);
  z->next_in = (Bytef *)u->in + u->at;
  z->avail_in = (uInt)(u->n - u->at);
  z->next_out = (Bytef *)buf;
  z->avail_out = (uInt)n;
  int code = inflate(z, Z_NO_FLUSH);
  u->at = u->n - z->avail_in;
  u->inside = code != Z_STREAM_END;
  if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) return damaged(u, err);
  return n - z->avail_out;
}

static int64_t unzstd_some(sonde_unpack *u, char *buf, int64_t n, sonde_error *err) {
  ZSTD_inBuffer in = {u->in + u->at, (size_t)(u->n - u->at), 0};
  ZSTD_outBuffer out = {buf, (size_t)n, 0};
  size_t code = ZSTD_decompressStream(u->zstd, &out, &in);
  u->at += (int64_t)in.pos;
  u->inside = code != 0;
  return ZSTD_isError(code) ? damaged(u, err) : (int64_t)out.pos;
}

int64_t sonde_unpack_read(sonde_unpack *u, char *buf, int64_t n, sonde_error *err) {
  if (n > CHUNK) n = CHUNK;
  for (;;) {
    int64_t there = fill(u, err), got;
    if (there < 0) return there;
    if (!u->z && !u->zstd) {
      if (there > n) there = n;
      memcpy(buf, u->in + u->at, (size_t)there);
      u->at += there;
      return there;
    }
    /* Buffered output needs no more input, so the decompressor is called at the end of the file too. */
    if (!there && !u->inside) return 0;
    int64_t before = u->at;
    got = u->z ? inflate_some(u, buf, n, err) : unzstd_some(u, buf, n, err);
    if (got) return got;
    if (!there && u->at == before && u->inside) return damaged(u, err);
  }
}
