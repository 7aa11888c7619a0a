/* gemm_thin.c - see gemm_thin.h. */
#include "config.h"
#include "cpu/gemm_thin.h"

#include <string.h>

#include "cpu/simd.h"

enum {
  ROWS = 3,                                 /* at most */
  SHARE = 2, LEAST = 16, MOST = 256         /* tiles a thread, of so many rows of B */
};

typedef struct thin {
  const sonde_gemm *g;
  const sonde_simd_table *simd;
  const char *a, *b;
  char *c;
  int64_t rows, tiles;                      /* of B in a tile; of a batch entry */
} thin;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t bytes_of(int type) { return type == SONDE_F32 ? 4 : 2; }

int sonde_gemm_is_thin(const sonde_gemm *g) { return g->m <= ROWS && !g->ta && g->tb && !g->wide_b; }

/* Each result is one sum, whatever its tile, so here the tiles may depend on the threads: the longer a thread's stretch
 * of B, the less is prefetched twice at the boundaries. */
static void thin_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const thin *t = arg;
  const sonde_gemm *g = t->g;
  const int64_t size = bytes_of(g->in_type), entry = tile / t->tiles, first = tile % t->tiles * t->rows,
                rows = least(t->rows, g->n - first);
  const void *w = t->b + (entry * g->stride_b + first * g->ldb) * size;
  for (int64_t i = 0; i < g->m; i++) {
    const void *x = t->a + (entry * g->stride_a + i * g->lda) * size;
    void *to = t->c + (entry * g->stride_c + i * g->ldc + first) * bytes_of(g->out_type);
    float sums[MOST];
    if (g->in_type == SONDE_F32) t->simd->dots(sums, x, w, g->ldb, rows, g->k);
    else t->simd->dots_bf16(sums, x, w, g->ldb, rows, g->k);
    if (g->out_type == SONDE_BF16) t->simd->common.to_bf16(to, sums, rows);
    else if (g->beta != 0) t->simd->common.axpy(to, sums, 1, rows);
    else memcpy(to, sums, (size_t)rows * sizeof *sums);
  }
}

void sonde_gemm_thin_run(const sonde_gemm *g, const void *a, const void *b, void *c, sonde_pool *pool) {
  const int64_t shares = (int64_t)SHARE * sonde_pool_threads(pool), rows = (g->n + shares - 1) / shares;
  thin t = {.g = g, .simd = sonde_simd_get(), .a = a, .b = b, .c = c, .rows = rows < LEAST ? LEAST : least(rows, MOST)};
  t.tiles = (g->n + t.rows - 1) / t.rows;
  sonde_pool_run(pool, g->batch * t.tiles, thin_tile, &t);
}
