/* item.c - a tensor on its way into a file. */
#include "config.h"

#include <math.h>
#include <string.h>
#include "cpu/simd.h"
#include "io/item.h"

enum { CHUNK = 4096 };

static int64_t item_count(const sonde_st_item *it) {
  int64_t n = 1;
  for (int i = 0; i < it->rank; i++)
    if (it->dim[i] < 0 || __builtin_mul_overflow(n, it->dim[i], &n)) return -1;
  return n;
}

int64_t sonde_item_bytes(const sonde_st_item *it) {
  int64_t n = item_count(it), bytes;
  return n < 0 || __builtin_mul_overflow(n, sonde_st_dtype_size(it->dtype), &bytes) ? -1 : bytes;
}

int sonde_item_check(const char *path, const sonde_st_item *it, sonde_error *err) {
  if (!sonde_st_dtype_name(it->dtype) || it->rank < 0 || it->rank > SONDE_ST_MAX_RANK || sonde_item_bytes(it) < 0 ||
      !strcmp(it->name, "__metadata__"))
    return sonde_fail(err, SONDE_EINVAL, "%s: tensor '%s' has no dtype, shape or name that can be saved",
                      path, it->name);
  if (it->from_f32 && it->dtype != SONDE_ST_F16 && it->dtype != SONDE_ST_BF16)
    return sonde_fail(err, SONDE_EINVAL, "%s: tensor '%s': f32 is rounded to F16 or BF16 only", path,
                      it->name);
  return 0;
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

int sonde_item_write(FILE *f, const char *path, const sonde_st_item *it, sonde_error *err) {
  int64_t count = item_count(it);
  size_t bytes = (size_t)sonde_item_bytes(it);
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
