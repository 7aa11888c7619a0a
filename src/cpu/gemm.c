/* gemm.c - matrix products as tiles: what a product is cut into, and which library computes a tile.
 *
 * Tiles depend on the shape alone. f32 tiles are single-threaded calls of the BLAS; bf16 operands are widened to f32
 * in scratch first, which changes no value (a product of two bf16 numbers is exact in f32). */
#include "config.h"
#include "cpu/gemm.h"

#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cpu/simd.h"

enum { MIN_TILES = 16, TILE_M = 256, TILE_N = 512, TILE_LEAST = 64, STRIP = 16 * 1024 };

/* OpenBLAS's own; absent in another BLAS, which then must be single-threaded by itself. */
extern void openblas_set_num_threads(int) __attribute__((weak));
extern char *openblas_get_config(void) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));

static void setup(void) {
  if (openblas_set_num_threads) openblas_set_num_threads(1);
}

void sonde_gemm_setup(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, setup);
}

void sonde_gemm_tile(int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc) {
  cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
              1.0f, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* ---- tiles -------------------------------------------------------------------------------------------- */

typedef struct product {
  const sonde_gemm *g;
  const sonde_simd_table *simd;
  const void *a, *b;          /* as given */
  const float *a32, *b32;     /* what the tiles read */
  void *c;
  int64_t tile_m, tile_n, across, down;
} product;

static int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }

/* Large tiles run fastest, but there must be enough of them to share out evenly. */
static void cut(product *p) {
  const sonde_gemm *g = p->g;
  int64_t mt = g->m < TILE_M ? g->m : TILE_M, nt = g->n < TILE_N ? g->n : TILE_N;
  while (g->batch * parts(g->m, mt) * parts(g->n, nt) < MIN_TILES && (mt > TILE_LEAST || nt > TILE_LEAST)) {
    if (nt >= mt && nt > TILE_LEAST) nt = (nt / 2 + 15) / 16 * 16;
    else if (mt > TILE_LEAST) mt = (mt / 2 + 15) / 16 * 16;
    else nt = (nt / 2 + 15) / 16 * 16;
  }
  p->tile_m = mt;
  p->tile_n = nt;
  p->down = parts(g->m, mt);
  p->across = parts(g->n, nt);
}

typedef struct widening {
  const sonde_simd_table *simd;
  const uint16_t *from;
  float *to;
  int64_t n;
} widening;

static void widen_stretch(void *arg, int64_t tile, int worker) {
  (void)worker;
  const widening *w = arg;
  int64_t at = tile * STRIP, n = w->n - at < STRIP ? w->n - at : STRIP;
  w->simd->common.from_bf16(w->to + at, w->from + at, n);
}

static void widen(const product *p, const void *from, float *to, int64_t n, sonde_pool *pool) {
  widening w = {p->simd, from, to, n};
  sonde_pool_run(pool, parts(n, STRIP), widen_stretch, &w);
}

static void run_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const product *p = arg;
  const sonde_gemm *g = p->g;
  int64_t batch = tile / (p->down * p->across), at = tile % (p->down * p->across);
  int64_t i = at / p->across * p->tile_m, j = at % p->across * p->tile_n;
  int64_t m = g->m - i < p->tile_m ? g->m - i : p->tile_m, n = g->n - j < p->tile_n ? g->n - j : p->tile_n;
  const float *a = p->a32 + batch * g->stride_a + (g->ta ? i : i * g->lda);
  const float *b = p->b32 + batch * g->stride_b + (g->tb ? j * g->ldb : j);
  int64_t to = batch * g->stride_c + i * g->ldc + j;
  if (g->out_type == SONDE_F32) {
    sonde_gemm_tile(g->ta, g->tb, m, n, g->k, a, g->lda, b, g->ldb, g->beta, (float *)p->c + to, g->ldc);
    return;
  }
  float strip[STRIP];
  int64_t rows = STRIP / n;
  for (int64_t r = 0; r < m; r += rows) {
    int64_t h = m - r < rows ? m - r : rows;
    sonde_gemm_tile(g->ta, g->tb, h, n, g->k, a + (g->ta ? r : r * g->lda), g->lda, b, g->ldb, 0, strip, n);
    for (int64_t q = 0; q < h; q++) p->simd->common.to_bf16((uint16_t *)p->c + to + (r + q) * g->ldc, strip + q * n, n);
  }
}

/* Elements from the first to one past the last that an operand reads, all batches. */
static int64_t span(int64_t rows, int64_t width, int64_t ld, int64_t stride, int64_t batch) {
  return rows > 0 && batch > 0 ? (batch - 1) * stride + (rows - 1) * ld + width : 0;
}

static int64_t span_a(const sonde_gemm *g) {
  return span(g->ta ? g->k : g->m, g->ta ? g->m : g->k, g->lda, g->stride_a, g->batch);
}

static int64_t span_b(const sonde_gemm *g) {
  return span(g->tb ? g->n : g->k, g->tb ? g->k : g->n, g->ldb, g->stride_b, g->batch);
}

static int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }

int64_t sonde_gemm_scratch(const sonde_gemm *g, int threads) {
  (void)threads;
  if (g->in_type == SONDE_F32) return 0;
  return (padded(span_a(g)) + padded(span_b(g))) * (int64_t)sizeof(float);
}

static void clear(const sonde_gemm *g, void *c) {
  int64_t size = g->out_type == SONDE_F32 ? 4 : 2;
  for (int64_t b = 0; b < g->batch; b++)
    for (int64_t i = 0; i < g->m; i++)
      memset((char *)c + (b * g->stride_c + i * g->ldc) * size, 0, (size_t)(g->n * size));
}

void sonde_gemm_run(const sonde_gemm *g, const void *a, const void *b, void *c, void *scratch, sonde_pool *pool) {
  if (g->m <= 0 || g->n <= 0 || g->batch <= 0) return;
  if (g->k <= 0) {
    if (g->beta == 0) clear(g, c);
    return;
  }
  product p = {.g = g, .simd = sonde_simd_get(), .a = a, .b = b, .a32 = a, .b32 = b, .c = c};
  if (g->in_type == SONDE_BF16) {
    int64_t na = span_a(g), nb = span_b(g);
    float *to = scratch;
    widen(&p, a, to, na, pool);
    widen(&p, b, to + padded(na), nb, pool);
    p.a32 = to;
    p.b32 = to + padded(na);
  }
  cut(&p);
  sonde_pool_run(pool, g->batch * p.down * p.across, run_tile, &p);
}

static char library[2][160];

static void name_library(void) {
  char name[32] = "BLAS", version[32] = "";
  if (openblas_get_config) sscanf(openblas_get_config(), "%31s %31s", name, version);
  const char *core = openblas_get_corename ? openblas_get_corename() : "unknown core";
  snprintf(library[0], sizeof library[0], "%s %s (%s)", name, version, core);
  snprintf(library[1], sizeof library[1], "%s %s (%s), bf16 widened to f32", name, version, core);
}

const char *sonde_gemm_library(int dtype) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, name_library);
  return library[dtype == SONDE_BF16];
}
