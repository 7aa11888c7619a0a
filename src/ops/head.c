/* head.c - see head.h. */
#include "config.h"
#include "ops/head.h"

#include "cpu/simd.h"

/* A chunk has this many logits at most (32 MiB), and at least LEAST_ROWS rows. */
enum { CHUNK = 8 * 1024 * 1024, LEAST_ROWS = 64, MOST_ROWS = 512 };

int64_t sonde_head_rows(int64_t n, int64_t v) {
  int64_t rows = CHUNK / v / LEAST_ROWS * LEAST_ROWS;
  if (rows < LEAST_ROWS) rows = LEAST_ROWS;
  if (rows > MOST_ROWS) rows = MOST_ROWS;
  return rows < n ? rows : n;
}

sonde_gemm sonde_head_logits(int64_t rows, int64_t v, int64_t d, int type) {
  return (sonde_gemm){.m = rows, .n = v, .k = d, .batch = 1, .tb = 1, .in_type = type, .out_type = SONDE_F32,
                      .lda = d, .ldb = d, .ldc = v};
}

static sonde_gemm product_dx(int64_t rows, int64_t v, int64_t d, int type) {
  return (sonde_gemm){.m = rows, .n = d, .k = v, .batch = 1, .in_type = type, .out_type = SONDE_F32,
                      .lda = v, .ldb = d, .ldc = d};
}

static sonde_gemm product_dw(int64_t rows, int64_t v, int64_t d, int type, float beta) {
  return (sonde_gemm){.m = v, .n = d, .k = rows, .batch = 1, .ta = 1, .in_type = type, .out_type = SONDE_F32,
                      .lda = v, .ldb = d, .ldc = d, .beta = beta};
}

void sonde_head_gradient(const sonde_head_chunk *k) {
  const sonde_gemm gx = product_dx(k->count, k->v, k->d, k->type),
                   gw = product_dw(k->count, k->v, k->d, k->type, k->first > 0);
  if (k->dx) sonde_gemm_run(&gx, k->slope, k->w, k->dx + k->first * k->d, k->scratch, k->pool);
  if (k->dw)
    sonde_gemm_run(&gw, k->slope, sonde_head_from(k->x, k->first, k->d, k->type), k->dw, k->scratch, k->pool);
}

static int64_t scratch_of(int64_t rows, int64_t v, int64_t d, int type, int gradient) {
  sonde_gemm g[3] = {sonde_head_logits(rows, v, d, type), product_dx(rows, v, d, type),
                     product_dw(rows, v, d, type, 0)};
  int64_t most = 0;
  for (int k = 0; k < (gradient ? 3 : 1); k++) {
    int64_t need = sonde_gemm_scratch(&g[k]);
    if (need > most) most = need;
  }
  return most;
}

int64_t sonde_head_scratch(int64_t n, int64_t rows, int64_t v, int64_t d, int type, int gradient) {
  int64_t most = scratch_of(rows, v, d, type, gradient),
          last = scratch_of(n % rows, v, d, type, gradient);   /* fewer rows may well need more */
  return most > last ? most : last;
}

void sonde_head_cap(float *z, float cap, int64_t v) {
  const sonde_simd *simd = &sonde_simd_get()->common;
  simd->scale(z, z, 1 / cap, v);
  simd->tanh(z, z, v);
  simd->scale(z, z, cap, v);
}
