/* safetensors_write.c - writing safetensors, straight from the tensors' memory. */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/mem.h"
#include "cpu/simd.h"
#include "io/json.h"
#include "io/safetensors.h"

enum { CHUNK = 4096 };

int sonde_st_dtype_of(int dtype) {
  switch (dtype) {
    case SONDE_F32: return SONDE_ST_F32;
    case SONDE_BF16: return SONDE_ST_BF16;
    case SONDE_I32: return SONDE_ST_I32;
    default: return -1;
  }
}

/* Round to nearest even, as the hardware does; overflow goes to infinity (which check_range refuses), NaN stays one. */
static uint16_t to_f16(float f) {
  uint32_t bits, sign, magnitude;
  memcpy(&bits, &f, sizeof bits);
  sign = bits >> 16 & 0x8000;
  magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);       /* 65520 and up */
  if (magnitude < 0x38800000) {                                        /* under 2^-14: subnormal */
    float small;
    memcpy(&small, &magnitude, sizeof small);
    small += 0.5f;             /* the sum's last bit is worth 2^-24: the addition rounds for us */
    memcpy(&bits, &small, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000));
  }
  uint32_t odd = magnitude >> 13 & 1;
  return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

static int64_t item_count(const sonde_st_item *it) {
  int64_t n = 1;
  for (int i = 0; i < it->rank; i++)
    if (it->dim[i] < 0 || __builtin_mul_overflow(n, it->dim[i], &n)) return -1;
  return n;
}

static int by_width_and_name(const void *a, const void *b) {
  const sonde_st_item *x = *(const sonde_st_item *const *)a, *y = *(const sonde_st_item *const *)b;
  int64_t wx = sonde_st_dtype_size(x->dtype), wy = sonde_st_dtype_size(y->dtype);
  return wx != wy ? (wx > wy ? -1 : 1) : strcmp(x->name, y->name);
}

static int check_item(const char *path, const sonde_st_item *it, sonde_error *err) {
  if (!sonde_st_dtype_name(it->dtype) || it->rank < 0 || it->rank > SONDE_ST_MAX_RANK || item_count(it) < 0 ||
      !strcmp(it->name, "__metadata__"))
    return sonde_fail(err, SONDE_EINVAL, "%s: tensor '%s' has no dtype, shape or name that can be saved",
                      path, it->name);
  if (it->from_f32 && it->dtype != SONDE_ST_F16 && it->dtype != SONDE_ST_BF16)
    return sonde_fail(err, SONDE_EINVAL, "%s: tensor '%s': f32 is rounded to F16 or BF16 only", path,
                      it->name);
  return 0;
}

static json_t *describe(const sonde_st_item *it, int64_t begin, int64_t end) {
  json_t *shape = json_array();
  for (int i = 0; shape && i < it->rank; i++) json_array_append_new(shape, json_integer(it->dim[i]));
  return json_pack("{s:s, s:o, s:[I,I]}", "dtype", sonde_st_dtype_name(it->dtype), "shape", shape,
                   "data_offsets", (json_int_t)begin, (json_int_t)end);
}

static json_t *make_header(const char *path, const sonde_st_item *const *item, int64_t n,
                           const char *const *meta, sonde_error *err) {
  json_t *header = json_object();
  int64_t at = 0, failed = !header;
  if (meta && *meta) {
    json_t *m = json_object();
    for (; *meta && m; meta += 2) failed |= json_object_set_new(m, meta[0], json_string(meta[1])) != 0;
    failed |= json_object_set_new(header, "__metadata__", m) != 0;
  }
  for (int64_t i = 0; i < n && !failed; i++) {
    int64_t end = at + item_count(item[i]) * sonde_st_dtype_size(item[i]->dtype);
    if (json_object_get(header, item[i]->name)) {
      sonde_fail(err, SONDE_EINVAL, "%s: two tensors are named '%s'", path, item[i]->name);
      json_decref(header);
      return NULL;
    }
    failed = json_object_set_new(header, item[i]->name, describe(item[i], at, end)) != 0;
    at = end;
  }
  if (!failed) return header;
  sonde_fail(err, SONDE_EINVAL, "%s: out of memory, or a name that is no UTF-8", path);
  json_decref(header);
  return NULL;
}

static int write_header(FILE *f, const json_t *header) {
  char *text = sonde_json_text(header, 0);
  if (!text) return errno = ENOMEM, -1;
  size_t n = strlen(text), padded = (n + 7) / 8 * 8;
  unsigned char length[8];
  for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)padded >> 8 * i);
  int ok = fwrite(length, 1, 8, f) == 8 && fwrite(text, 1, n, f) == n;
  for (; ok && n < padded; n++) ok = fputc(' ', f) != EOF;
  sonde_release(text);
  return ok ? 0 : -1;
}

/* Rounding may lose digits, but a number that it makes infinite would break the model silently. */
static int check_range(const char *path, const sonde_st_item *it, const uint16_t *half, const float *x, size_t n,
                       sonde_error *err) {
  const unsigned exponent = it->dtype == SONDE_ST_BF16 ? 0x7f80 : 0x7c00;
  for (size_t i = 0; i < n; i++)
    if ((half[i] & exponent) == exponent && isfinite(x[i]))
      return sonde_fail(err, SONDE_EINVAL, "%s: '%s' holds %g, which is too large for %s; save it as another dtype",
                        path, it->name, (double)x[i], sonde_st_dtype_name(it->dtype));
  return 0;
}

static int write_item(FILE *f, const char *path, const sonde_st_item *it, sonde_error *err) {
  int64_t count = item_count(it);
  size_t bytes = (size_t)(count * sonde_st_dtype_size(it->dtype));
  if (!it->from_f32)
    return fwrite(it->data, 1, bytes, f) == bytes ? 0 : sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
  const float *x = it->data;
  uint16_t half[CHUNK];
  for (int64_t at = 0; at < count; at += CHUNK) {
    size_t n = (size_t)(count - at < CHUNK ? count - at : CHUNK);
    if (it->dtype == SONDE_ST_BF16)
      sonde_simd_get()->common.to_bf16(half, x + at, (int64_t)n);
    else
      for (size_t i = 0; i < n; i++) half[i] = to_f16(x[at + (int64_t)i]);
    int rc = check_range(path, it, half, x + at, n, err);
    if (rc) return rc;
    if (fwrite(half, 2, n, f) != n) return sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path);
  }
  return 0;
}

static int write_file(const char *path, const sonde_st_item *const *item, int64_t n, const json_t *header,
                      sonde_error *err) {
  sonde_outfile *out = sonde_outfile_open(path, err);
  if (!out) return err->code;
  FILE *f = sonde_outfile_stream(out);
  int rc = write_header(f, header) ? sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path) : 0;
  for (int64_t i = 0; i < n && !rc; i++) rc = write_item(f, path, item[i], err);
  if (!rc) return sonde_outfile_commit(out, err);
  sonde_outfile_abandon(out);
  return rc;
}

int sonde_st_save(const char *path, const sonde_st_item *items, int64_t n, const char *const *meta,
                  sonde_error *err) {
  const sonde_st_item **order = sonde_alloc((size_t)(n + 1) * sizeof *order);
  json_t *header = NULL;
  int rc = order ? 0 : sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path);
  for (int64_t i = 0; i < n && !rc; i++) {
    order[i] = &items[i];
    rc = check_item(path, &items[i], err);
  }
  if (!rc) {
    qsort(order, (size_t)n, sizeof *order, by_width_and_name);
    header = make_header(path, order, n, meta, err);
    rc = header ? write_file(path, order, n, header, err) : (err->code);
  }
  json_decref(header);
  sonde_release(order);
  return rc;
}
