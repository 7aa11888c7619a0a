/* teacher_cache.c - see teacher_cache.h. */
#include "config.h"
#include "train/teacher_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"

typedef struct header {
  char magic[8];
  uint32_t version, k;
  int64_t rows, context, vocab;
  double temperature;
  int64_t seed;
  uint8_t teacher[32], tokenizer[32], corpus[32];
  uint8_t bf16, zero[99];
  uint32_t crc;
} header;
_Static_assert(sizeof(header) == 256, "the header is 256 bytes on disk");

static const char MAGIC[8] = {'S', 'O', 'N', 'D', 'E', 'T', 'C', 'H'};
enum { CACHE_VERSION = 1, NARROW = 65536, STEPS = 2048, LOSSES = 4 };
#define MOST_VOCAB ((int64_t)1 << 31)
#define MOST_CONTEXT ((int64_t)1 << 20)

/* Where the parts of a row are, in bytes from its beginning. */
typedef struct layout { int64_t logs, ids, crc, bytes; int width; } layout;

static layout layout_of(const header *h) {
  layout l = {.logs = LOSSES * 8, .width = h->vocab <= NARROW ? 2 : 4};
  l.ids = l.logs + h->context * ((int64_t)h->k + 1) * 2;
  l.bytes = (l.ids + h->context * (int64_t)h->k * l.width + 4 + 7) / 8 * 8;
  l.crc = l.bytes - 4;
  return l;
}

static uint32_t header_crc(const header *h) { return (uint32_t)crc32_z(0, (const Bytef *)h, offsetof(header, crc)); }
static uint32_t row_crc(const layout *l, const void *row) { return (uint32_t)crc32_z(0, row, (size_t)l->crc); }

/* Whether the numbers of a header can be; the products of the layout then fit. */
static int in_range(const header *h) {
  return h->rows >= 1 && h->rows <= (int64_t)1 << 40 && h->context >= 1 && h->context <= MOST_CONTEXT &&
      h->vocab >= 2 && h->vocab <= MOST_VOCAB && h->k >= 1 && (int64_t)h->k <= h->vocab && h->k <= 1 << 20 &&
      isfinite(h->temperature) && h->temperature > 0 && h->bf16 <= 1;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

struct sonde_taught {
  sonde_mapping map;
  header h;
  layout l;
  sonde_taught_info info;
  char *path;
};

static int check_file(sonde_taught *c, sonde_error *err) {
  const header *h = &c->h;
  int64_t rows;
  if (c->map.size < (int64_t)sizeof *h || memcmp(c->map.data, MAGIC, sizeof MAGIC))
    return sonde_fail(err, SONDE_EFORMAT, "%s: is no teacher's cache; `sonde teach` makes one", c->path);
  memcpy(&c->h, c->map.data, sizeof *h);
  if (h->version != CACHE_VERSION)
    return sonde_fail(err, SONDE_EFORMAT, "%s: a teacher's cache of version %u; this Sonde reads %d: make it again",
                      c->path, h->version, CACHE_VERSION);
  int clean = h->crc == header_crc(h);
  for (size_t i = 0; i < sizeof h->zero; i++) clean &= !h->zero[i];
  if (!clean || !in_range(h))
    return sonde_fail(err, SONDE_EFORMAT, "%s: the header of the teacher's cache is damaged", c->path);
  c->l = layout_of(h);
  if (__builtin_mul_overflow(h->rows, c->l.bytes, &rows) || rows != c->map.size - (int64_t)sizeof *h)
    return sonde_fail(err, SONDE_EFORMAT, "%s: %lld bytes do not hold %lld rows: cut short or damaged", c->path,
                      (long long)c->map.size, (long long)h->rows);
  return SONDE_OK;
}

sonde_taught *sonde_taught_open(const char *path, sonde_error *err) {
  sonde_taught *c = sonde_alloc(sizeof *c);
  if (c) c->path = sonde_strdup(path);
  int rc = c && c->path ? sonde_map_file(path, &c->map, err) : sonde_fail(err, SONDE_ENOMEM, "no memory for a cache");
  if (!rc) rc = check_file(c, err);
  if (rc) {
    sonde_taught_free(c);
    return NULL;
  }
  c->info = (sonde_taught_info){.rows = c->h.rows, .context = c->h.context, .vocab = c->h.vocab, .k = c->h.k,
                               .temperature = c->h.temperature, .seed = c->h.seed, .bf16 = c->h.bf16};
  sonde_sha256_to_hex(c->h.teacher, c->info.teacher);
  sonde_sha256_to_hex(c->h.tokenizer, c->info.tokenizer);
  sonde_sha256_to_hex(c->h.corpus, c->info.corpus);
  return c;
}

void sonde_taught_free(sonde_taught *c) {
  if (!c) return;
  sonde_unmap_file(&c->map);
  sonde_release(c->path);
  sonde_release(c);
}

const sonde_taught_info *sonde_taught_info_of(const sonde_taught *c) { return &c->info; }

/* The bytes of a row that is whole. */
static const char *row_at(const sonde_taught *c, int64_t row, sonde_error *err) {
  if (row < 0 || row >= c->h.rows) {
    sonde_fail(err, SONDE_EINVAL, "%s: has %lld rows, and row %lld was read: make one of more tokens", c->path,
               (long long)c->h.rows, (long long)row);
    return NULL;
  }
  const char *at = (const char *)c->map.data + sizeof c->h + row * c->l.bytes;
  uint32_t crc;
  memcpy(&crc, at + c->l.crc, sizeof crc);
  if (crc == row_crc(&c->l, at)) return at;
  sonde_fail(err, SONDE_EFORMAT, "%s: row %lld is damaged; make the cache again", c->path, (long long)row);
  return NULL;
}

static void widen(const char *from, int width, int64_t n, int32_t *out) {
  if (width == 2)
    for (int64_t i = 0; i < n; i++) out[i] = ((const uint16_t *)(const void *)from)[i];
  else memcpy(out, from, (size_t)n * sizeof *out);
}

int sonde_taught_read(const sonde_taught *c, int64_t row, int32_t *ids, float *logs, sonde_error *err) {
  const char *at = row_at(c, row, err);
  if (!at) return err->code;
  const int64_t n = c->h.context * (int64_t)c->h.k, more = n + c->h.context;
  const uint16_t *steps = (const uint16_t *)(const void *)(at + c->l.logs);
  for (int64_t i = 0; logs && i < more; i++) logs[i] = -(float)steps[i] / STEPS;
  if (!ids) return SONDE_OK;
  widen(at + c->l.ids, c->l.width, n, ids);
  for (int64_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= c->h.vocab)
      return sonde_fail(err, SONDE_EFORMAT, "%s: row %lld has the class %d of a vocabulary of %lld", c->path,
                        (long long)row, ids[i], (long long)c->h.vocab);
  return SONDE_OK;
}

int sonde_taught_losses(const sonde_taught *c, sonde_taught_loss *loss, sonde_error *err) {
  *loss = (sonde_taught_loss){0, 0, 0, 0};
  for (int64_t row = 0; row < c->h.rows; row++) {
    const char *at = row_at(c, row, err);
    sonde_taught_loss one;
    if (!at) return err->code;
    memcpy(&one, at, sizeof one);
    loss->rest += one.rest;
    loss->entropy += one.entropy;
    loss->rounding += one.rounding;
    loss->worst = fmax(loss->worst, one.worst);
  }
  const double tokens = (double)c->h.rows * (double)c->h.context;
  loss->rest /= tokens;
  loss->entropy /= tokens;
  loss->rounding /= tokens;
  return SONDE_OK;
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

struct sonde_taught_writer {
  header h;
  layout l;
  char *path, *part;
  int fd;
  int64_t rows;                  /* written */
  char *row;
};

static int failed(const sonde_taught_writer *w, const char *doing, sonde_error *err) {
  return sonde_fail(err, SONDE_EIO, "%s: cannot %s: %s", w->part, doing, strerror(errno));
}

static int write_all(const sonde_taught_writer *w, const void *data, int64_t n, sonde_error *err) {
  for (int64_t at = 0; at < n;) {
    ssize_t k = write(w->fd, (const char *)data + at, (size_t)(n - at));
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return failed(w, "write", err);
    at += k;
  }
  return SONDE_OK;
}

/* 1: all of it was read. */
static int read_all(int fd, void *data, int64_t n) {
  for (int64_t at = 0; at < n;) {
    ssize_t k = read(fd, (char *)data + at, (size_t)(n - at));
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return 0;
    at += k;
  }
  return 1;
}

/* Counts the whole rows of what is there, and cuts the file behind them. */
static int go_on(sonde_taught_writer *w, sonde_error *err) {
  header there;
  int64_t size = lseek(w->fd, 0, SEEK_END);
  if (size < 0 || lseek(w->fd, 0, SEEK_SET) < 0) return failed(w, "read", err);
  if (size < (int64_t)sizeof there) {              /* killed before its header was whole, or new */
    if (ftruncate(w->fd, 0)) return failed(w, "write", err);
    return write_all(w, &w->h, sizeof w->h, err);
  }
  if (!read_all(w->fd, &there, sizeof there)) return failed(w, "read", err);
  if (memcmp(&there, &w->h, sizeof there))
    return sonde_fail(err, SONDE_EINVAL, "%s: is a cache of another teacher, text or options that was not finished; "
                      "remove it, or choose another name", w->part);
  uint32_t crc;
  while (w->rows < w->h.rows && read_all(w->fd, w->row, w->l.bytes)) {
    memcpy(&crc, w->row + w->l.crc, sizeof crc);
    if (crc != row_crc(&w->l, w->row)) break;
    w->rows++;
  }
  const int64_t end = (int64_t)sizeof there + w->rows * w->l.bytes;
  return ftruncate(w->fd, end) || lseek(w->fd, end, SEEK_SET) < 0 ? failed(w, "write", err) : SONDE_OK;
}

static int open_part(sonde_taught_writer *w, sonde_error *err) {
  w->fd = sonde_file_part(w->part, "this cache", err);
  return w->fd < 0 ? err->code : go_on(w, err);
}

sonde_taught_writer *sonde_taught_writer_open(const char *path, const sonde_taught_info *info, int64_t *done,
                                            sonde_error *err) {
  header h = {.version = CACHE_VERSION, .k = (uint32_t)info->k, .rows = info->rows, .context = info->context,
              .vocab = info->vocab, .temperature = info->temperature, .seed = info->seed, .bf16 = info->bf16 != 0};
  memcpy(h.magic, MAGIC, sizeof MAGIC);
  sonde_sha256_from_hex(info->teacher, h.teacher);
  sonde_sha256_from_hex(info->tokenizer, h.tokenizer);
  sonde_sha256_from_hex(info->corpus, h.corpus);
  h.crc = header_crc(&h);
  if (info->k < 1 || info->k > INT32_MAX || !in_range(&h)) {
    sonde_fail(err, SONDE_EINVAL, "a cache of %lld rows of %lld tokens, %lld of %lld classes: out of range",
               (long long)info->rows, (long long)info->context, (long long)info->k, (long long)info->vocab);
    return NULL;
  }
  sonde_taught_writer *w = sonde_alloc(sizeof *w);
  size_t length = strlen(path) + 6;
  if (w) {
    w->h = h;
    w->l = layout_of(&h);
    w->fd = -1;
    w->path = sonde_strdup(path);
    w->part = sonde_alloc(length);
    w->row = sonde_alloc((size_t)w->l.bytes);
  }
  int rc = SONDE_OK;
  if (!w || !w->path || !w->part || !w->row) rc = sonde_fail(err, SONDE_ENOMEM, "no memory for a cache");
  if (!rc) {
    snprintf(w->part, length, "%s.part", path);
    rc = open_part(w, err);
  }
  if (rc) {
    sonde_taught_writer_close(w);
    return NULL;
  }
  *done = w->rows;
  return w;
}

static uint16_t steps_of(float log) {
  const float steps = -log * STEPS + 0.5f;
  return !(steps > 0) ? 0 : steps >= 65535 ? 65535 : (uint16_t)steps;
}

/* What is lost of one token: its K + 1 logarithms, and the entropy of all classes. */
static void add_loss(const float *logs, const uint16_t *stored, int64_t n, double entropy, sonde_taught_loss *loss) {
  double kept = 0, variation = 0;
  for (int64_t j = 0; j < n; j++) {
    const double p = exp((double)logs[j]), q = exp(-(double)stored[j] / STEPS);
    kept -= p * (double)logs[j];
    variation += 0.5 * fabs(p - q);
  }
  loss->rest += exp((double)logs[n - 1]);
  loss->entropy += fmax(0, entropy - kept);
  loss->rounding += variation;
  loss->worst = fmax(loss->worst, variation);
}

int sonde_taught_append(sonde_taught_writer *w, const int32_t *ids, const float *logs, const float *entropy,
                       sonde_error *err) {
  const int64_t k = w->h.k, T = w->h.context;
  sonde_taught_loss loss = {0, 0, 0, 0};
  uint16_t *steps = (uint16_t *)(void *)(w->row + w->l.logs);
  if (w->rows == w->h.rows) return sonde_fail(err, SONDE_EINVAL, "%s: all rows are there", w->part);
  memset(w->row, 0, (size_t)w->l.bytes);
  for (int64_t i = 0; i < T * (k + 1); i++) {
    if (!isfinite(logs[i]))
      return sonde_fail(err, SONDE_EINVAL, "%s: the teacher's distribution of token %lld of row %lld is not finite",
                        w->part, (long long)(i / (k + 1)), (long long)w->rows);
    steps[i] = steps_of(logs[i]);
  }
  for (int64_t t = 0; t < T; t++)
    add_loss(logs + t * (k + 1), steps + t * (k + 1), k + 1, (double)entropy[t], &loss);
  memcpy(w->row, &loss, sizeof loss);
  if (w->l.width == 4) memcpy(w->row + w->l.ids, ids, (size_t)(T * k) * sizeof *ids);
  else
    for (int64_t i = 0; i < T * k; i++) ((uint16_t *)(void *)(w->row + w->l.ids))[i] = (uint16_t)ids[i];
  uint32_t crc = row_crc(&w->l, w->row);
  memcpy(w->row + w->l.crc, &crc, sizeof crc);
  int rc = write_all(w, w->row, w->l.bytes, err);
  if (!rc) w->rows++;
  return rc;
}

int64_t sonde_taught_writer_context(const sonde_taught_writer *w) { return w->h.context; }

int sonde_taught_commit(sonde_taught_writer *w, sonde_error *err) {
  int rc = SONDE_OK;
  if (w->rows < w->h.rows)
    rc = sonde_fail(err, SONDE_EINVAL, "%s: has %lld of %lld rows", w->part, (long long)w->rows, (long long)w->h.rows);
  if (!rc && fsync(w->fd)) rc = failed(w, "sync", err);
  if (!rc && rename(w->part, w->path)) rc = failed(w, "rename", err);
  if (!rc) {
    char *slash = strrchr(w->path, '/');
    if (slash) *slash = '\0';
    rc = sonde_sync_folder(!slash ? "." : *w->path ? w->path : "/", err);
  }
  sonde_taught_writer_close(w);
  return rc;
}

void sonde_taught_writer_close(sonde_taught_writer *w) {
  if (!w) return;
  if (w->fd >= 0) close(w->fd);
  sonde_release(w->path);
  sonde_release(w->part);
  sonde_release(w->row);
  sonde_release(w);
}
