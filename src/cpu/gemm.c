/* gemm.c - matrix products as tiles: what a product is cut into, and what computes a tile.
 *
 * Tiles depend on the shape alone. With AVX-512 a tile is a call of the micro product (micro.h), in f32 and,
 * where the CPU has it (AVX-512 or AMX), in bf16; elsewhere it is a single-threaded call of the BLAS, and bf16
 * operands are widened to f32 in scratch first, which changes no value (a product of two bf16 numbers is exact
 * in f32). */
#include "config.h"
#include "cpu/gemm.h"

#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cpu/micro.h"
#include "cpu/simd.h"

enum {
  PANEL = 64,              /* columns of B that are packed side by side */
  TILE_M = 96, TILE_N = 256, LEAST_M = 48,   /* multiples of SONDE_GROUP */
  MIN_TILES = 16,          /* so that a handful of threads share them out evenly */
  LINE = 16,               /* words of a cache line */
  PACK_K = 32,             /* words of k that are packed by one tile */
  BLOCK_K = 512,           /* words of k at a time: a panel and a strip of A stay in the L2 cache */
  CAP = 4 * 1024 * 1024,   /* bytes of one operand that are packed at a time */
  BLAS_M = 256, BLAS_N = 512, BLAS_LEAST = 64,
  STRETCH = 16 * 1024,
  THIN = 3,                /* up to so many rows a product is dot products: packing costs more than it saves */
  THIN_SHARE = 2, THIN_LEAST = 16, THIN_MOST = 256   /* tiles a thread then, of so many rows of B */
};

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

static int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t bytes_of(int type) { return type == SONDE_F32 ? 4 : 2; }

/* ---- one product on the calling thread ----------------------------------------------------------- */

/* B is transposed panel by panel into a buffer of its own; everything else is read where it is. */
static void tile_micro(const sonde_micro *micro, int ta, int tb, int64_t m, int64_t n, int64_t k,
                       const float *a, int64_t lda, const float *b, int64_t ldb, int add, float *c,
                       int64_t ldc) {
  int64_t rs = ta ? 1 : lda, cs = ta ? lda : 1, chunk = tb ? BLOCK_K / 2 : BLOCK_K;
  uint32_t panel[BLOCK_K / 2 * PANEL];
  for (int64_t p = 0; p < k; p += chunk) {
    int64_t depth = least(chunk, k - p);
    if (!tb) {
      micro->f32(m, n, depth, a + p * cs, rs, cs, 0, b + p * ldb, ldb, add || p, c, ldc, SONDE_F32);
      continue;
    }
    for (int64_t j = 0; j < n; j += PANEL) {
      int64_t width = least(PANEL, n - j);
      micro->transpose(panel, PANEL, b + j * ldb + p, ldb * 4, width, depth);
      micro->f32(m, width, depth, a + p * cs, rs, cs, 0, (const float *)(void *)panel, PANEL, add || p, c + j,
                 ldc, SONDE_F32);
    }
  }
}

void sonde_gemm_tile(int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                     const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  const sonde_micro *micro = sonde_simd_get()->micro;
  if (m <= 0 || n <= 0) return;
  if (k > 0 && micro && (beta == 0 || beta == 1)) {
    tile_micro(micro, ta, tb, m, n, k, a, lda, b, ldb, beta == 1, c, ldc);
    return;
  }
  cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n,
              (int)k, 1.0f, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

/* ---- the product at hand ------------------------------------------------------------------------- */

typedef struct product {
  sonde_gemm g;
  const sonde_simd_table *simd;
  const sonde_micro *micro;
  const char *a, *b;
  char *c;
  int64_t words;               /* of k: k in f32, pairs of k in bf16 */
  int64_t tile_m, tile_n, down, across;      /* of the rows, columns and batch entries at hand: */
  int64_t row, rows, col, cols, entry, entries;
  uint32_t *pack_a, *pack_b;
} product;

/* Large tiles run fastest, but there must be enough of them to share out evenly. */
static void cut(product *p, int64_t most_m, int64_t least_m, int64_t most_n, int64_t least_n) {
  p->tile_m = most_m;
  p->tile_n = most_n;
  while (p->entries * parts(p->rows, p->tile_m) * parts(p->cols, p->tile_n) < MIN_TILES) {
    if (p->tile_n > least_n) p->tile_n /= 2;
    else if (p->tile_m > least_m) p->tile_m /= 2;
    else break;
  }
  p->down = parts(p->rows, p->tile_m);
  p->across = parts(p->cols, p->tile_n);
}

/* Where tile number `tile` lies; neighbours in number share their part of B. */
typedef struct place { int64_t entry, i, j, m, n; } place;

static place place_of(const product *p, int64_t tile) {
  int64_t at = tile % (p->down * p->across);
  place t = {
      .entry = tile / (p->down * p->across), .i = at % p->down * p->tile_m, .j = at / p->down * p->tile_n};
  t.m = least(p->tile_m, p->rows - t.i);
  t.n = least(p->tile_n, p->cols - t.j);
  return t;
}

/* ---- tiles of the micro product ------------------------------------------------------------------ */

static int packs_a(const sonde_gemm *g) { return g->ta; }
static int packs_b(const sonde_gemm *g) { return g->tb || g->in_type == SONDE_BF16; }

/* Words of one packed group of rows of A and of one packed panel of B, and of all of them for `rows` and
 * `cols`. A cache line more than the numbers take: at distances of a power of two all groups would compete
 * for the same cache sets. */
static int64_t group_a(int64_t words) {
  return parts(words, SONDE_GROUP_WORDS) * SONDE_GROUP_WORDS * SONDE_GROUP + LINE;
}
static int64_t panel_b(int64_t words) { return words * PANEL + LINE; }
static int64_t packed_a(int64_t rows, int64_t words) { return parts(rows, SONDE_GROUP) * group_a(words); }
static int64_t packed_b(int64_t cols, int64_t words) { return parts(cols, PANEL) * panel_b(words); }

/* Some words of k of all groups of A, from A stored [k, m]: whole rows. */
static void pack_groups(void *arg, int64_t tile, int worker) {
  (void)worker;
  const product *p = arg;
  const sonde_gemm *g = &p->g;
  int64_t chunks = parts(p->words, PACK_K), entry = tile / chunks, first = tile % chunks * PACK_K;
  int64_t size = bytes_of(g->in_type), per = 4 / size, rows = least(PACK_K * per, g->k - first * per);
  const char *from = p->a + ((p->entry + entry) * g->stride_a + first * per * g->lda + p->row) * size;
  uint32_t *to = p->pack_a + entry * packed_a(p->rows, p->words) + first * SONDE_GROUP;
  if (per == 1)
    p->micro->pack_f32(to, group_a(p->words), (const float *)(const void *)from, g->lda, rows, p->rows);
  else
    p->micro->pack_bf16(to, group_a(p->words), (const uint16_t *)(const void *)from, g->lda, rows, p->rows);
}

/* Some words of k of all panels of a bf16 B stored [k, n]: [words, PANEL] each. */
static void pack_panels(void *arg, int64_t tile, int worker) {
  (void)worker;
  const product *p = arg;
  const sonde_gemm *g = &p->g;
  int64_t chunks = parts(p->words, PACK_K), entry = tile / chunks, first = tile % chunks * PACK_K;
  int64_t last = least(first + PACK_K, p->words), step = panel_b(p->words);
  for (int64_t q = first; q < last; q++) {
    const uint16_t *from =
        (const uint16_t *)(const void *)p->b + (p->entry + entry) * g->stride_b + q * 2 * g->ldb + p->col;
    uint32_t *to = p->pack_b + entry * packed_b(p->cols, p->words) + q * PANEL;
    p->micro->spread_bf16(to, PANEL, step, from, g->ldb, least(2, g->k - q * 2), p->cols);
  }
}

/* Some words of k of one panel of a B stored [n, k]. */
static void turn_panel(void *arg, int64_t tile, int worker) {
  (void)worker;
  const product *p = arg;
  const sonde_gemm *g = &p->g;
  int64_t chunks = parts(p->words, BLOCK_K), panels = parts(p->cols, PANEL), panel = tile / chunks,
          first = tile % chunks * BLOCK_K;
  int64_t entry = panel / panels, j = panel % panels * PANEL, n = least(PANEL, p->cols - j),
          last = least(first + BLOCK_K, p->words);
  int64_t size = bytes_of(g->in_type), per = 4 / size, whole = least(last, g->k / per);
  const char *b = p->b + ((p->entry + entry) * g->stride_b + (p->col + j) * g->ldb) * size;
  uint32_t *to = p->pack_b + panel * panel_b(p->words) + first * PANEL;
  p->micro->transpose(to, PANEL, b + first * 4, g->ldb * size, n, whole - first);
  if (whole < last)   /* the last pair of an odd k is half outside its row */
    for (int64_t x = 0; x < n; x++)
      to[(whole - first) * PANEL + x] = ((const uint16_t *)(const void *)b)[x * g->ldb + g->k - 1];
}

static void micro_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const product *p = arg;
  const sonde_gemm *g = &p->g;
  const int narrow = g->in_type == SONDE_BF16, per = narrow ? 2 : 1;
  place t = place_of(p, tile);
  int64_t entry = p->entry + t.entry, size = bytes_of(g->in_type), next = per, step = 0;   /* word of A */
  const char *a = p->a + (entry * g->stride_a + (p->row + t.i) * g->lda) * size;
  if (g->ta) {
    a = (const char *)(p->pack_a + t.entry * packed_a(p->rows, p->words) +
                       t.i / SONDE_GROUP * group_a(p->words));
    next = per * SONDE_GROUP, step = per * group_a(p->words);
  }
  char *c = p->c + (entry * g->stride_c + (p->row + t.i) * g->ldc + p->col + t.j) * bytes_of(g->out_type);
  int64_t chunk = g->out_type == SONDE_F32 ? BLOCK_K : p->words;
  for (int64_t q = 0; q < p->words; q += chunk)
    for (int64_t j = 0; j < t.n; j += PANEL) {
      int64_t n = least(PANEL, t.n - j), depth = least(chunk * per, g->k - q * per), ldb = PANEL;
      const void *b = p->pack_b + t.entry * packed_b(p->cols, p->words) +
                      (t.j + j) / PANEL * panel_b(p->words) + q * PANEL;
      if (!packs_b(g)) {
        b = (const float *)(const void *)p->b + entry * g->stride_b + q * g->ldb + p->col + t.j + j;
        ldb = g->ldb;
      }
      const char *from = a + q * next * size;
      int add = g->beta != 0 || q > 0;
      char *to = c + j * bytes_of(g->out_type);
      if (narrow)
        p->micro->bf16(t.m, n, depth, (const uint16_t *)(const void *)from, g->lda, step, b, ldb, add, to,
                       g->ldc, g->out_type);
      else
        p->micro->f32(t.m, n, depth, (const float *)(const void *)from, g->lda, 1, step, b, ldb, add, to, g->ldc,
                      g->out_type);
    }
}

/* The amount packed at a time: all, or as many batch entries, rows or columns as fit into CAP. */
typedef struct portion { int64_t entries, rows, cols; } portion;

/* n in equal shares of whole tiles, each at most `most` if that is at least one tile. */
static int64_t share(int64_t n, int64_t most, int64_t tile) {
  int64_t tiles = most / tile > 0 ? most / tile : 1, shares = parts(parts(n, tile), tiles);
  return least(n, parts(parts(n, tile), shares) * tile);
}

static portion portion_of(const sonde_gemm *g) {
  int64_t words = parts(g->k, g->in_type == SONDE_F32 ? 1 : 2), room = CAP / 4 / words;
  portion x = {g->batch, g->m, g->n};
  if (packs_a(g)) x.rows = share(g->m, room, TILE_M);
  if (packs_b(g)) x.cols = share(g->n, room, TILE_N);
  if (packs_a(g)) x.entries = least(x.entries, room / x.rows);
  if (packs_b(g)) x.entries = least(x.entries, room / x.cols);
  if (x.entries < 1 || x.rows < g->m || x.cols < g->n) x.entries = 1;
  return x;
}

static int64_t micro_scratch(const sonde_gemm *g) {
  portion x = portion_of(g);
  int64_t words = parts(g->k, g->in_type == SONDE_F32 ? 1 : 2), total = 0;
  if (packs_a(g)) total += x.entries * packed_a(x.rows, words);
  if (packs_b(g)) total += x.entries * packed_b(x.cols, words);
  return total * 4;
}

static void run_micro(product *p, void *scratch, sonde_pool *pool) {
  const sonde_gemm *g = &p->g;
  portion x = portion_of(g);
  p->words = parts(g->k, g->in_type == SONDE_F32 ? 1 : 2);
  p->pack_a = scratch;
  p->pack_b = p->pack_a + (packs_a(g) ? x.entries * packed_a(x.rows, p->words) : 0);
  int64_t chunks = parts(p->words, PACK_K);
  for (p->entry = 0; p->entry < g->batch; p->entry += x.entries)
    for (p->col = 0; p->col < g->n; p->col += x.cols)
      for (p->row = 0; p->row < g->m; p->row += x.rows) {
        p->entries = least(x.entries, g->batch - p->entry);
        p->cols = least(x.cols, g->n - p->col);
        p->rows = least(x.rows, g->m - p->row);
        cut(p, TILE_M, LEAST_M, TILE_N, PANEL);
        if (g->tb && p->row == 0)
          sonde_pool_run(pool, p->entries * parts(p->cols, PANEL) * parts(p->words, BLOCK_K), turn_panel, p);
        else if (packs_b(g) && p->row == 0) sonde_pool_run(pool, p->entries * chunks, pack_panels, p);
        if (packs_a(g)) sonde_pool_run(pool, p->entries * chunks, pack_groups, p);
        sonde_pool_run(pool, p->entries * p->down * p->across, micro_tile, p);
      }
}

/* ---- tiles of the BLAS --------------------------------------------------------------------------- */

static void blas_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const product *p = arg;
  const sonde_gemm *g = &p->g;
  place t = place_of(p, tile);
  const float *a = (const float *)(const void *)p->a + t.entry * g->stride_a + (g->ta ? t.i : t.i * g->lda);
  const float *b = (const float *)(const void *)p->b + t.entry * g->stride_b + (g->tb ? t.j * g->ldb : t.j);
  int64_t to = t.entry * g->stride_c + t.i * g->ldc + t.j;
  if (g->out_type == SONDE_F32) {
    sonde_gemm_tile(g->ta, g->tb, t.m, t.n, g->k, a, g->lda, b, g->ldb, g->beta, (float *)(void *)p->c + to,
                    g->ldc);
    return;
  }
  float strip[STRETCH];
  int64_t rows = STRETCH / t.n;
  for (int64_t r = 0; r < t.m; r += rows) {
    int64_t h = least(rows, t.m - r);
    sonde_gemm_tile(g->ta, g->tb, h, t.n, g->k, a + (g->ta ? r : r * g->lda), g->lda, b, g->ldb, 0, strip,
                    t.n);
    for (int64_t q = 0; q < h; q++)
      p->simd->common.to_bf16((uint16_t *)(void *)p->c + to + (r + q) * g->ldc, strip + q * t.n, t.n);
  }
}

/* ---- few rows: dot products ---------------------------------------------------------------------- */

static int is_thin(const sonde_gemm *g) { return g->m <= THIN && !g->ta && g->tb; }

typedef struct thin { product p; int64_t rows, tiles; } thin;

/* Each result is one sum, whatever its tile, so here the tiles may depend on the threads: the longer a thread's stretch
 * of B, the less is prefetched twice at the boundaries. */
static void thin_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const thin *t = arg;
  const product *p = &t->p;
  const sonde_gemm *g = &p->g;
  int64_t size = bytes_of(g->in_type), entry = tile / t->tiles;
  int64_t first = tile % t->tiles * t->rows, rows = least(t->rows, g->n - first);
  const void *w = p->b + (entry * g->stride_b + first * g->ldb) * size;
  for (int64_t i = 0; i < g->m; i++) {
    const void *x = p->a + (entry * g->stride_a + i * g->lda) * size;
    int64_t to = entry * g->stride_c + i * g->ldc + first;
    float sums[THIN_MOST];
    if (g->in_type == SONDE_F32) p->simd->dots(sums, x, w, g->ldb, rows, g->k);
    else p->simd->dots_bf16(sums, x, w, g->ldb, rows, g->k);
    if (g->out_type == SONDE_BF16) p->simd->common.to_bf16((uint16_t *)(void *)p->c + to, sums, rows);
    else if (g->beta != 0) p->simd->common.axpy((float *)(void *)p->c + to, sums, 1, rows);
    else memcpy((float *)(void *)p->c + to, sums, (size_t)rows * sizeof *sums);
  }
}

static void run_thin(const product *p, sonde_pool *pool) {
  int64_t rows = parts(p->g.n, (int64_t)THIN_SHARE * sonde_pool_threads(pool));
  thin t = {*p, rows < THIN_LEAST ? THIN_LEAST : least(rows, THIN_MOST), 0};
  t.tiles = parts(p->g.n, t.rows);
  sonde_pool_run(pool, p->g.batch * t.tiles, thin_tile, &t);
}

/* ---- any product --------------------------------------------------------------------------------- */

typedef struct widening {
  const sonde_simd_table *simd;
  const uint16_t *from;
  float *to;
  int64_t n;
} widening;

static void widen_stretch(void *arg, int64_t tile, int worker) {
  (void)worker;
  const widening *w = arg;
  int64_t at = tile * STRETCH;
  w->simd->common.from_bf16(w->to + at, w->from + at, least(STRETCH, w->n - at));
}

static const char *widen(const product *p, const char *from, float *to, int64_t n, sonde_pool *pool) {
  widening w = {p->simd, (const uint16_t *)(const void *)from, to, n};
  sonde_pool_run(pool, parts(n, STRETCH), widen_stretch, &w);
  return (const char *)to;
}

/* Elements from the first to one past the last that an operand reads, all batch entries. */
static int64_t span(int64_t rows, int64_t width, int64_t ld, int64_t stride, int64_t batch) {
  return rows > 0 && batch > 0 ? (batch - 1) * stride + (rows - 1) * ld + width : 0;
}

static int64_t span_a(const sonde_gemm *g) {
  return span(g->ta ? g->k : g->m, g->ta ? g->m : g->k, g->lda, g->stride_a, g->batch);
}

static int64_t span_b(const sonde_gemm *g) {
  return span(g->tb ? g->n : g->k, g->tb ? g->k : g->n, g->ldb, g->stride_b, g->batch);
}

static int64_t padded(int64_t count) { return parts(count, 16) * 16; }

static int must_widen(const sonde_gemm *g, const sonde_simd_table *simd) {
  return g->in_type == SONDE_BF16 && !is_thin(g) && !(simd->micro && simd->micro->bf16);
}

int64_t sonde_gemm_scratch(const sonde_gemm *g) {
  const sonde_simd_table *simd = sonde_simd_get();
  sonde_gemm f = *g;
  int64_t wide = 0;
  if (g->m <= 0 || g->n <= 0 || g->k <= 0 || g->batch <= 0 || is_thin(g)) return 0;
  if (must_widen(g, simd)) {
    wide = (padded(span_a(g)) + padded(span_b(g))) * 4;
    f.in_type = SONDE_F32;
  }
  return wide + (simd->micro ? micro_scratch(&f) : 0);
}

static void clear(const sonde_gemm *g, char *c) {
  int64_t size = bytes_of(g->out_type);
  for (int64_t b = 0; b < g->batch; b++)
    for (int64_t i = 0; i < g->m; i++)
      memset(c + (b * g->stride_c + i * g->ldc) * size, 0, (size_t)(g->n * size));
}

void sonde_gemm_run(const sonde_gemm *g, const void *a, const void *b, void *c, void *scratch,
                    sonde_pool *pool) {
  product p = {.g = *g, .simd = sonde_simd_get(), .a = a, .b = b, .c = c};
  p.micro = p.simd->micro;
  if (g->m <= 0 || g->n <= 0 || g->batch <= 0) return;
  if (g->k <= 0) {
    if (g->beta == 0) clear(g, c);
    return;
  }
  if (is_thin(g)) {
    run_thin(&p, pool);
    return;
  }
  char *room = scratch;
  if (must_widen(g, p.simd)) {
    int64_t na = span_a(g), nb = span_b(g);
    p.a = widen(&p, a, (float *)(void *)room, na, pool);
    p.b = widen(&p, b, (float *)(void *)(room + padded(na) * 4), nb, pool);
    p.g.in_type = SONDE_F32;
    room += (padded(na) + padded(nb)) * 4;
  }
  if (p.micro) {
    run_micro(&p, room, pool);
    return;
  }
  p.entries = g->batch, p.rows = g->m, p.cols = g->n;
  cut(&p, BLAS_M, BLAS_LEAST, BLAS_N, BLAS_LEAST);
  sonde_pool_run(pool, p.entries * p.down * p.across, blas_tile, &p);
}

/* ---- what computes ------------------------------------------------------------------------------- */

const char *sonde_gemm_library(int dtype) {
  static char text[2][160];   /* one a dtype: the names of both may be wanted at once */
  const sonde_simd_table *simd = sonde_simd_get();
  if (simd->micro && dtype == SONDE_F32) return "Sonde AVX-512";
  if (simd->micro && simd->bf16) return simd->bf16 == SONDE_BF16_AMX ? "Sonde AMX bf16" : "Sonde AVX-512 bf16";
  if (simd->micro) return "Sonde AVX-512, bf16 widened to f32";
  char name[32] = "BLAS", version[32] = "";
  if (openblas_get_config) sscanf(openblas_get_config(), "%31s %31s", name, version);
  snprintf(text[dtype != SONDE_F32], sizeof *text, "%s %s (%s)%s", name, version,
           openblas_get_corename ? openblas_get_corename() : "unknown core",
           dtype == SONDE_F32 ? "" : ", bf16 widened to f32");
  return text[dtype != SONDE_F32];
}
