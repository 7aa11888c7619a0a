/* rows.c - blocks of rows and the sums over all of them (see rows.h).
 *
 * A block is about BLOCK numbers: with less at a time the threads read and write in so many places by turns that the
 * memory gives less (rows of 512 numbers: 32 a block take 1.3 times as long as 512). Small work is cut into BLOCKS all
 * the same, for machines of many cores. A block's sums are kept on its thread's stack, where they stay in the nearest
 * cache, until it ends. */
#include "config.h"
#include "ops/rows.h"

#include <string.h>

enum { BLOCK = 1 << 18, BLOCKS = 32, ROWS_AT_LEAST = 16, ON_STACK = 8192, COLUMNS = 64, LINE = 16 };

static int64_t rows_a_block(int64_t rows, int64_t width) {
  int64_t by_size = BLOCK / (width > 0 ? width : 1), by_count = rows / BLOCKS;
  int64_t n = by_size < by_count ? by_size : by_count;
  return n < ROWS_AT_LEAST ? ROWS_AT_LEAST : n;
}

/* Sums of a block, and totals, begin on a cache line. */
static int64_t pitch_of(int64_t n) { return sonde_parts(n, LINE) * LINE; }

typedef struct row_run {
  int64_t rows, block, blocks, n;
  sonde_rows fn;
  void *arg;
  float *total;              /* [n], and the sums of each block behind it */
} row_run;

static float *sums_of(const row_run *r, int64_t block) { return r->total + (block + 1) * pitch_of(r->n); }

static void run_block(void *arg, int64_t block, int worker) {
  const row_run *r = arg;
  int64_t begin = block * r->block, end = begin + r->block;
  float near[ON_STACK], *kept = r->n ? sums_of(r, block) : near, *sums = r->n <= ON_STACK ? near : kept;
  (void)worker;
  memset(sums, 0, (size_t)r->n * sizeof *sums);
  r->fn(r->arg, begin, end < r->rows ? end : r->rows, sums);
  if (sums != kept) memcpy(kept, sums, (size_t)r->n * sizeof *sums);
}

static void add_columns(void *arg, int64_t tile, int worker) {
  const row_run *r = arg;
  int64_t begin = tile * COLUMNS, count = r->n - begin < COLUMNS ? r->n - begin : COLUMNS;
  double sum[COLUMNS] = {0};
  (void)worker;
  for (int64_t b = 0; b < r->blocks; b++) {
    const float *part = sums_of(r, b) + begin;
    for (int64_t k = 0; k < count; k++) sum[k] += (double)part[k];
  }
  for (int64_t k = 0; k < count; k++) r->total[begin + k] = (float)sum[k];
}

void sonde_on_pool(const sonde_call *c, int64_t tiles, sonde_tile fn, void *arg) {
  sonde_pool_run(c->pool, tiles, fn, arg);
}

const float *sonde_rows_run(const sonde_call *c, sonde_parallel parallel, int64_t rows, int64_t width, int64_t n,
                            sonde_rows fn, void *arg) {
  row_run r = {rows, rows_a_block(rows, width), 0, n, fn, arg, c->scratch};
  r.blocks = sonde_parts(rows, r.block);
  parallel(c, r.blocks, run_block, &r);
  if (!n) return NULL;
  parallel(c, sonde_parts(n, COLUMNS), add_columns, &r);
  return r.total;
}

int64_t sonde_rows_scratch(int64_t rows, int64_t width, int64_t n) {
  int64_t blocks = sonde_parts(rows, rows_a_block(rows, width));
  return n ? (blocks + 1) * pitch_of(n) * (int64_t)sizeof(float) : 0;
}
