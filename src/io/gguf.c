/* gguf.c - model files of llama.cpp, written. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "io/gguf.h"
#include "io/item.h"

enum { FORMAT = 3, ALIGNMENT = 32, MAX_RANK = 4 };
enum { TYPE_U32 = 4, TYPE_I32, TYPE_F32, TYPE_BOOL, TYPE_STRING, TYPE_ARRAY };      /* of values */

/* ---- little-endian numbers and strings -------------------------------------------------------------------- */

static int add_number(sonde_bytes *b, uint64_t value, int bytes) {
  char raw[8];
  for (int i = 0; i < bytes; i++) raw[i] = (char)(value >> 8 * i);
  return sonde_bytes_add(b, raw, bytes);
}

static int add_f32(sonde_bytes *b, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return add_number(b, bits, 4);
}

static int add_string(sonde_bytes *b, const char *s) {
  size_t n = strlen(s);
  return add_number(b, n, 8) || sonde_bytes_add(b, s, (int64_t)n);
}

/* ---- keys ---------------------------------------------------------------------------------------------------- */

static void begin(sonde_gguf *g, const char *key, unsigned type) {
  g->n++;
  g->failed |= add_string(&g->keys, key) || add_number(&g->keys, type, 4);
}

static void begin_array(sonde_gguf *g, const char *key, unsigned type, int64_t n) {
  begin(g, key, TYPE_ARRAY);
  g->failed |= add_number(&g->keys, type, 4) || add_number(&g->keys, (uint64_t)n, 8);
}

void sonde_gguf_u32(sonde_gguf *g, const char *key, uint32_t value) {
  begin(g, key, TYPE_U32);
  g->failed |= add_number(&g->keys, value, 4);
}

void sonde_gguf_f32(sonde_gguf *g, const char *key, float value) {
  begin(g, key, TYPE_F32);
  g->failed |= add_f32(&g->keys, value);
}

void sonde_gguf_bool(sonde_gguf *g, const char *key, int value) {
  begin(g, key, TYPE_BOOL);
  g->failed |= add_number(&g->keys, value != 0, 1);
}

void sonde_gguf_string(sonde_gguf *g, const char *key, const char *value) {
  begin(g, key, TYPE_STRING);
  g->failed |= add_string(&g->keys, value);
}

void sonde_gguf_strings(sonde_gguf *g, const char *key, const char *const *value, int64_t n) {
  begin_array(g, key, TYPE_STRING, n);
  for (int64_t i = 0; i < n && !g->failed; i++) g->failed |= add_string(&g->keys, value[i]);
}

void sonde_gguf_i32s(sonde_gguf *g, const char *key, const int64_t *value, int64_t n) {
  begin_array(g, key, TYPE_I32, n);
  for (int64_t i = 0; i < n && !g->failed; i++) g->failed |= add_number(&g->keys, (uint64_t)value[i], 4);
}

void sonde_gguf_f32s(sonde_gguf *g, const char *key, const double *value, int64_t n) {
  begin_array(g, key, TYPE_F32, n);
  for (int64_t i = 0; i < n && !g->failed; i++) g->failed |= add_f32(&g->keys, (float)value[i]);
}

void sonde_gguf_free(sonde_gguf *g) {
  sonde_bytes_free(&g->keys);
  *g = (sonde_gguf){0};
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static int tensor_type(int dtype) {
  switch (dtype) {
    case SONDE_ST_F32: return 0;
    case SONDE_ST_F16: return 1;
    case SONDE_ST_BF16: return 30;
    default: return -1;
  }
}

static int64_t aligned(int64_t n) { return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int add_tensor(sonde_bytes *b, const sonde_st_item *it, int64_t offset) {
  int failed = add_string(b, it->name) || add_number(b, (uint64_t)it->rank, 4);
  for (int i = it->rank - 1; i >= 0; i--) failed |= add_number(b, (uint64_t)it->dim[i], 8);
  return failed || add_number(b, (uint64_t)tensor_type(it->dtype), 4) || add_number(b, (uint64_t)offset, 8);
}

static int make_header(const sonde_gguf *g, const char *path, const sonde_st_item *items, int64_t n, sonde_bytes *b,
                       sonde_error *err) {
  int64_t at = 0;
  int failed = g->failed || sonde_bytes_add(b, "GGUF", 4) || add_number(b, FORMAT, 4) ||
               add_number(b, (uint64_t)n, 8) || add_number(b, g->n, 8) || sonde_bytes_add(b, g->keys.data, g->keys.n);
  for (int64_t i = 0; i < n && !failed; i++) {
    if (tensor_type(items[i].dtype) < 0 || items[i].rank > MAX_RANK)
      return sonde_fail(err, SONDE_EINVAL, "%s: tensor '%s' has a dtype or a number of dimensions that GGUF lacks",
                        path, items[i].name);
    failed = add_tensor(b, &items[i], at);
    at += aligned(sonde_item_bytes(&items[i]));
  }
  static const char zeros[ALIGNMENT];
  failed = failed || sonde_bytes_add(b, zeros, aligned(b->n) - b->n);
  return failed ? sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path) : SONDE_OK;
}

static int write_body(FILE *f, const char *path, const sonde_st_item *items, int64_t n, sonde_error *err) {
  for (int64_t i = 0; i < n; i++) {
    int rc = sonde_item_write(f, path, &items[i], err);
    if (rc) return rc;
    for (int64_t at = sonde_item_bytes(&items[i]), end = aligned(at); at < end; at++)
      if (fputc(0, f) == EOF) return sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
  }
  return SONDE_OK;
}

int sonde_gguf_save(const sonde_gguf *g, const char *path, const sonde_st_item *items, int64_t n, sonde_error *err) {
  sonde_bytes header = {0};
  int rc = SONDE_OK;
  for (int64_t i = 0; i < n && !rc; i++) rc = sonde_item_check(path, &items[i], err);
  if (!rc) rc = make_header(g, path, items, n, &header, err);
  sonde_outfile *out = rc ? NULL : sonde_outfile_open(path, err);
  if (!rc && !out) rc = err->code;
  if (out) {
    FILE *f = sonde_outfile_stream(out);
    if (fwrite(header.data, 1, (size_t)header.n, f) != (size_t)header.n)
      rc = sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
    if (!rc) rc = write_body(f, path, items, n, err);
    if (rc) sonde_outfile_abandon(out);
    else rc = sonde_outfile_commit(out, err);
  }
  sonde_bytes_free(&header);
  return rc;
}
