/* rows.h - rows of f32 or bf16 data, seen as f32 by a kernel; kernels that go row by row. */
#ifndef SONDE_OPS_ROWS_H
#define SONDE_OPS_ROWS_H

#include "base/pool.h"
#include "cpu/simd.h"

/* Elements [at, at+n) of x as f32: where they are, or widened into buf. */
static inline const float *sonde_row_in(const sonde_simd_table *s, const void *x, int dtype, int64_t at,
                                        int64_t n, float *buf) {
  if (dtype == SONDE_F32) return (const float *)x + at;
  s->common.from_bf16(buf, (const uint16_t *)x + at, n);
  return buf;
}

/* Where to compute elements [at, at+n) of y: in place, or in buf, which sonde_row_done then rounds into y. */
static inline float *sonde_row_out(void *y, int dtype, int64_t at, float *buf) {
  return dtype == SONDE_F32 ? (float *)y + at : buf;
}

static inline void sonde_row_done(const sonde_simd_table *s, void *y, int dtype, int64_t at, int64_t n,
                                  const float *buf) {
  if (dtype == SONDE_BF16) s->common.to_bf16((uint16_t *)y + at, buf, n);
}

static inline int64_t sonde_parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

/* Product of the leading dims, all but the last `keep`. */
static inline int64_t sonde_leading(const sonde_shape *s, int keep) {
  int64_t n = 1;
  for (int k = 0; k < s->rank - keep; k++) n *= s->dim[k];
  return n;
}

/* The host's services `rows` and `rows_scratch` (sonde_plugin.h); tiles are run by `parallel`, which sonde_on_pool is
 * for the core's own ops: they run without a host too. */
typedef void (*sonde_parallel)(const sonde_call *c, int64_t tiles, sonde_tile fn, void *arg);
void sonde_on_pool(const sonde_call *c, int64_t tiles, sonde_tile fn, void *arg);
const float *sonde_rows_run(const sonde_call *c, sonde_parallel parallel, int64_t rows, int64_t width, int64_t n,
                            sonde_rows fn, void *arg);
int64_t sonde_rows_scratch(int64_t rows, int64_t width, int64_t n);

static inline int sonde_is_real(const sonde_shape *s) {
  return s->dtype == SONDE_F32 || s->dtype == SONDE_BF16;
}

#endif
