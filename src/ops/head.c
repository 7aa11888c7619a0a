/* head.c - see head.h. */
#include "config.h"
#include "ops/head.h"

#include <string.h>

#include "cpu/simd.h"
#include "ops/rows.h"

/* A chunk has this many logits at most (32 MiB), and at least LEAST_ROWS rows. */
enum { CHUNK = 8 * 1024 * 1024, LEAST_ROWS = 64, MOST_ROWS = 512 };
enum { TILE_ROWS = 8 };

int64_t sonde_head_rows(int64_t n, int64_t v) {
  int64_t rows = CHUNK / v / LEAST_ROWS * LEAST_ROWS;
  if (rows < LEAST_ROWS) rows = LEAST_ROWS;
  if (rows > MOST_ROWS) rows = MOST_ROWS;
  return rows < n ? rows : n;
}

static sonde_gemm product_logits(int64_t rows, int64_t v, int64_t d, int type) {
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

static int64_t scratch_of(int64_t rows, int64_t v, int64_t d, int type, int gradient) {
  sonde_gemm g[3] = {product_logits(rows, v, d, type), product_dx(rows, v, d, type),
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

/* ---- a pass ---------------------------------------------------------------------------------------- */

typedef struct chunk { const sonde_head_pass *p; int64_t first, count; } chunk;

static const void *rows_from(const sonde_head *h, int64_t first) {
  return (const char *)h->x + first * h->d * (h->type == SONDE_F32 ? 4 : 2);
}

static void logits_of(const chunk *k, const sonde_head *h) {
  const sonde_gemm g = product_logits(k->count, k->p->v, h->d, h->type);
  sonde_gemm_run(&g, rows_from(h, k->first), h->w, h->logits, k->p->scratch, k->p->pool);
}

static void some_rows(void *arg, int64_t tile, int worker) {
  (void)worker;
  const chunk *k = arg;
  int64_t end = (tile + 1) * TILE_ROWS < k->count ? (tile + 1) * TILE_ROWS : k->count;
  for (int64_t i = tile * TILE_ROWS; i < end; i++) k->p->row(k->p->task, k->first + i, i);
}

/* The chunk's rows of dx, and its part of dw, which the first chunk begins and the others add to. */
static void gradient_of(const chunk *k) {
  const sonde_head_pass *p = k->p;
  const sonde_head *h = &p->own;
  const sonde_gemm gx = product_dx(k->count, p->v, h->d, h->type),
                   gw = product_dw(k->count, p->v, h->d, h->type, k->first > 0);
  if (p->dx) sonde_gemm_run(&gx, p->slope, h->w, p->dx + k->first * h->d, p->scratch, p->pool);
  if (p->dw) sonde_gemm_run(&gw, p->slope, rows_from(h, k->first), p->dw, p->scratch, p->pool);
}

void sonde_head_run(const sonde_head_pass *p) {
  if (p->n == 0 && p->slope && p->dw) memset(p->dw, 0, (size_t)(p->v * p->own.d) * sizeof *p->dw);
  for (chunk k = {.p = p}; k.first < p->n; k.first += p->rows) {
    k.count = p->n - k.first < p->rows ? p->n - k.first : p->rows;
    logits_of(&k, &p->own);
    if (p->other.w) logits_of(&k, &p->other);
    sonde_pool_run(p->pool, sonde_parts(k.count, TILE_ROWS), some_rows, &k);
    if (p->slope) gradient_of(&k);
  }
}

void sonde_head_cap(float *z, float cap, int64_t v) {
  const sonde_simd *simd = &sonde_simd_get()->common;
  simd->scale(z, z, 1 / cap, v);
  simd->tanh(z, z, v);
  simd->scale(z, z, cap, v);
}
