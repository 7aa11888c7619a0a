/* gemm.c - matrix products as tiles: what a product is cut into, and what computes a tile.
 *
 * A tile is calls of the micro product (micro.h), in f32 and, where the CPU has it (AVX-512 or AMX), in bf16; elsewhere
 * bf16 operands are widened to f32 in scratch first, which changes no value (a product of two bf16 numbers is exact in
 * f32). A result's sum has one order, whatever the tile and however many rows the product has; that of products of at
 * most three rows with a B stored [n, k] is another (gemm_thin.h). */
#include "config.h"
#include "cpu/gemm_thin.h"
#include "cpu/gemm_tiles.h"

#include <string.h>

enum {
  TILE_M = 96, TILE_N = 256, LEAST_M = 48,   /* of the results of a tile: multiples of SONDE_GROUP */
  MIN_TILES = 16,          /* so that a handful of threads share them out evenly */
  SPARE_K = BLOCK_K / 4,   /* words left at the end that are not worth another pass over C (bf16) */
  CAP = 4 * 1024 * 1024,   /* bytes of one operand that are packed at a time */
  LARGE = 4 * 1024 * 1024, /* bytes of results that are out of the caches when they are read (bf16) */
  STRETCH = 16 * 1024
};

/* ---- one product on the calling thread ----------------------------------------------------------- */

/* B is transposed panel by panel into a buffer of its own; everything else is read where it is. */
static void tile_micro(const sonde_micro *micro, int ta, int tb, int64_t m, int64_t n, int64_t k,
                       const float *a, int64_t lda, const float *b, int64_t ldb, int add, float *c,
                       int64_t ldc) {
  int64_t rs = ta ? 1 : lda, cs = ta ? lda : 1, chunk = tb ? micro->depth / 2 : micro->depth;
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
  const sonde_simd_table *simd = sonde_simd_get();
  if (m <= 0 || n <= 0) return;
  for (int64_t i = 0; i < m && beta != 1; i++) {
    if (beta == 0 && k <= 0) memset(c + i * ldc, 0, (size_t)n * sizeof *c);
    else if (beta != 0) simd->common.scale(c + i * ldc, c + i * ldc, beta, n);
  }
  if (k > 0) tile_micro(simd->micro, ta, tb, m, n, k, a, lda, b, ldb, beta != 0, c, ldc);
}

/* ---- the products at hand ------------------------------------------------------------------------ */

/* Numbers the tiles; returns how many there are. */
static int64_t count_tiles(gemm_product *p) {
  int64_t n = 0;
  for (int e = 0; e < p->entries; e++) {
    p->tile[e] = n;
    n += parts(p->entry[e].m, p->tile_m) * parts(p->entry[e].n, p->tile_n);
  }
  return n;
}

/* Large tiles run fastest, but there must be enough of them to share out evenly. Tiles that pack A stay wide enough to
 * pay for it. Returns how many there are. */
static int64_t cut(gemm_product *p, int64_t most_m, int64_t least_m, int64_t most_n, int64_t least_n) {
  int64_t tiles;
  p->tile_m = most_m;
  p->tile_n = most_n;
  while ((tiles = count_tiles(p)) < MIN_TILES) {
    if (p->tile_n > least_n && (!p->g.ta || p->tile_n >= 2 * p->tile_m || p->tile_m <= TILE_M)) p->tile_n /= 2;
    else if (p->tile_m > least_m) p->tile_m /= 2;
    else break;
  }
  return tiles;
}

/* Where tile number `tile` lies; neighbours in number share their part of B. */
typedef struct place { const gemm_entry *of; int64_t i, j, m, n; } place;

static place place_of(const gemm_product *p, int64_t tile) {
  const int e = gemm_entry_of(p, p->tile, tile);
  const gemm_entry *x = &p->entry[e];
  const int64_t at = tile - p->tile[e], down = parts(x->m, p->tile_m);
  place t = {.of = x, .i = at % down * p->tile_m, .j = at / down * p->tile_n};
  t.m = least(p->tile_m, x->m - t.i);
  t.n = least(p->tile_n, x->n - t.j);
  return t;
}

/* Rows [row, row + rows) and columns [col, col + cols) of batch entry `at`. */
static gemm_entry entry_at(const gemm_product *p, int64_t at, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  const sonde_gemm *g = &p->g;
  const int64_t size = bytes_of(g->in_type);
  return (gemm_entry){.a = p->a + (at * g->stride_a + (g->ta ? row : row * g->lda)) * size,
                      .b = p->b + (at * g->stride_b + (g->tb ? col * g->ldb : col)) * bytes_of_b(g),
                      .c = p->c + (at * g->stride_c + row * g->ldc + col) * bytes_of(g->out_type),
                      .m = rows, .n = cols, .k = g->k};
}

/* An f32 B stored [k, n] is read where it is, or copied by each tile panel by panel, which takes a hundredth of the
 * tile's instructions: where its rows lie so far apart that they compete for the same cache sets (at 8 KiB a product
 * takes 1.5 to 1.9 times as long without), where they are many, as the hardware prefetches across none of them, and
 * where the tile's rows are. */
enum { CROWDED = 512, WORTH = 32 };     /* words: rows at multiples of this distance share few sets; rows of a tile */
static int copies_b(const sonde_gemm *g, int64_t rows) {
  return !g->tb && g->in_type == SONDE_F32 && g->out_type == SONDE_F32 && rows >= WORTH &&
         (g->ldb % CROWDED == 0 || g->k > BLOCK_K || rows >= TURNED_M);
}

/* ---- tiles of the micro product ------------------------------------------------------------------ */

enum { STRIP = BLOCK_K * SONDE_GROUP + LINE };   /* words of a group of A in a tile's own memory */

static void tile_f32(const gemm_product *p, const place *t) {
  const sonde_gemm *g = &p->g;
  const gemm_entry *e = t->of;
  uint32_t strip[TURNED_M / SONDE_GROUP * STRIP] __attribute__((aligned(64)));
  uint32_t panel[BLOCK_K * PANEL] __attribute__((aligned(64)));
  const int turns = turns_b(g, e->m), copies = copies_b(g, t->m);
  char *c = e->c + (t->i * g->ldc + t->j) * bytes_of(g->out_type);
  const int64_t chunk = g->out_type == SONDE_F32 ? p->micro->depth : e->k;
  for (int64_t q = 0; q < e->k; q += chunk) {
    const int64_t depth = least(chunk, e->k - q), rs = g->ta ? 1 : g->lda, cs = g->ta ? g->lda : 1;
    const float *a = (const float *)(const void *)e->a + t->i * rs + q * cs;
    const int packed = g->ta && depth <= BLOCK_K;
    if (packed) p->micro->pack_f32(strip, SONDE_GROUP, STRIP, a, g->lda, depth, t->m);
    for (int64_t j = 0; j < t->n; j += PANEL) {
      const int64_t width = least(PANEL, t->n - j), at = t->j + j;
      const float *b = (const float *)(const void *)e->b + (g->tb ? at * g->ldb + q : q * g->ldb + at);
      if (turns) p->micro->transpose(panel, PANEL, b, g->ldb * 4, width, depth);
      else if (copies) p->micro->pack_f32(panel, PANEL, SONDE_GROUP, b, g->ldb, depth, width);
      if (turns || copies) b = (const float *)(const void *)panel;
      else if (g->tb) b = (const float *)(const void *)(e->pack_b + at / PANEL * panel_b(e->k) + q * PANEL);
      p->micro->f32(t->m, width, depth, packed ? (const float *)(const void *)strip : a, rs, cs, packed ? STRIP : 0, b,
                    g->tb || copies ? PANEL : g->ldb, g->beta != 0 || q > 0, c + j * bytes_of(g->out_type), g->ldc,
                    g->out_type);
    }
  }
}

static void tile_bf16(const gemm_product *p, const place *t) {
  const sonde_gemm *g = &p->g;
  const gemm_entry *e = t->of;
  const int64_t words = words_of(g, e->k), most = g->out_type == SONDE_F32 ? BLOCK_K : words;
  const uint16_t *a = (const uint16_t *)(const void *)e->a + t->i * g->lda;
  int64_t next = 2, step = 0;                    /* numbers from a word of A to the next */
  if (g->ta) {
    a = (const uint16_t *)(const void *)(e->pack_a + t->i / SONDE_GROUP * group_a(words));
    next = 2 * SONDE_GROUP, step = 2 * group_a(words);
  }
  char *c = e->c + (t->i * g->ldc + t->j) * bytes_of(g->out_type);
  p->micro->begin();
  for (int64_t q = 0, chunk; q < words; q += chunk) {
    chunk = words - q <= most + SPARE_K ? words - q : most;
    const int how = (g->beta != 0 || q > 0 ? SONDE_ADDS : 0) | (g->large && chunk == words ? SONDE_FAR : 0);
    for (int64_t j = 0; j < t->n; j += PANEL)
      p->micro->bf16(t->m, least(PANEL, t->n - j), least(chunk * 2, e->k - q * 2), a + q * next, g->lda, step,
                     e->pack_b + (t->j + j) / PANEL * panel_b(words) + q * PANEL, PANEL, how,
                     c + j * bytes_of(g->out_type), g->ldc, g->out_type);
  }
  p->micro->end();
}

static void micro_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const gemm_product *p = arg;
  const place t = place_of(p, tile);
  if (p->g.in_type == SONDE_F32) tile_f32(p, &t);
  else tile_bf16(p, &t);
}

/* Cuts the results into tiles, which may be of any size: the order in which k is summed is the same. */
static int64_t cut_micro(gemm_product *p) {
  const sonde_gemm *g = &p->g;
  int packing = copies_b(g, WORTH);
  if (g->ta && g->in_type == SONDE_F32) return cut(p, TURNED_M, LEAST_M, TURNED_N, PANEL);
  for (int e = 0; e < p->entries; e++) packing |= turns_b(g, p->entry[e].m);
  return cut(p, packing ? PACKING_M : TILE_M, LEAST_M, TILE_N, PANEL);
}

static void run_entries(gemm_product *p, sonde_pool *pool) {
  int64_t pieces = 0;
  for (int e = 0; e < p->entries; e++) {
    p->piece[e] = pieces;
    pieces += gemm_pieces(p, &p->entry[e]);
  }
  if (pieces) sonde_pool_run(pool, pieces, gemm_pack, p);
  sonde_pool_run(pool, cut_micro(p), micro_tile, p);
}

/* The amount packed at a time: all, or as many batch entries, rows or columns as fit into CAP. */
typedef struct portion { int64_t entries, rows, cols; } portion;

/* n in equal shares of whole tiles, each at most `most` if that is at least one tile. */
static int64_t share(int64_t n, int64_t most, int64_t tile) {
  int64_t tiles = most / tile > 0 ? most / tile : 1, shares = parts(parts(n, tile), tiles);
  return least(n, parts(parts(n, tile), shares) * tile);
}

static portion portion_of(const sonde_gemm *g) {
  int64_t room = CAP / 4 / words_of(g, g->k);
  portion x = {g->batch, g->m, g->n};
  if (packs_a(g)) x.rows = share(g->m, room, TILE_M);
  if (packs_b(g, g->m)) x.cols = share(g->n, room, TILE_N);
  if (packs_a(g)) x.entries = least(x.entries, room / x.rows);
  if (packs_b(g, g->m)) x.entries = least(x.entries, room / x.cols);
  if (x.entries < 1 || x.rows < g->m || x.cols < g->n) x.entries = 1;
  x.entries = least(x.entries, ENTRIES);
  return x;
}

/* Words of scratch of one entry's A and B. */
static int64_t need_a(const sonde_gemm *g, int64_t rows, int64_t k) {
  return packs_a(g) ? packed_a(rows, words_of(g, k)) : 0;
}
static int64_t need_b(const sonde_gemm *g, int64_t cols, int64_t k) {
  return packs_b(g, g->m) ? packed_b(cols, words_of(g, k)) : 0;
}

/* The scratch from a word on; NULL where nothing is packed, so that there is none. */
static uint32_t *words_at(void *scratch, int64_t at) { return scratch ? (uint32_t *)scratch + at : NULL; }

static int64_t micro_scratch(const sonde_gemm *g) {
  portion x = portion_of(g);
  return x.entries * (need_a(g, x.rows, g->k) + need_b(g, x.cols, g->k)) * 4;
}

static void run_micro(gemm_product *p, void *scratch, sonde_pool *pool) {
  const sonde_gemm *g = &p->g;
  const portion x = portion_of(g);
  const int64_t of_a = need_a(g, x.rows, g->k), of_b = need_b(g, x.cols, g->k);
  for (int64_t first = 0; first < g->batch; first += x.entries)
    for (int64_t col = 0; col < g->n; col += x.cols)
      for (int64_t row = 0; row < g->m; row += x.rows) {
        int64_t at = 0;
        p->entries = (int)least(x.entries, g->batch - first);
        p->keeps_b = row > 0;
        for (int e = 0; e < p->entries; e++, at += of_a + of_b) {
          p->entry[e] = entry_at(p, first + e, row, least(x.rows, g->m - row), col, least(x.cols, g->n - col));
          p->entry[e].pack_a = words_at(scratch, at), p->entry[e].pack_b = words_at(scratch, at + of_a);
        }
        run_entries(p, pool);
      }
}

/* ---- any product --------------------------------------------------------------------------------- */

typedef struct widening {
  const sonde_simd_table *simd;
  const char *from;
  float *to;
  int64_t n;
  int rounds;                  /* from f32: to what bf16 makes of it */
} widening;

static void widen_stretch(void *arg, int64_t tile, int worker) {
  (void)worker;
  const widening *w = arg;
  const int64_t at = tile * STRETCH, n = least(STRETCH, w->n - at);
  uint16_t rounded[STRETCH];
  if (w->rounds) w->simd->common.to_bf16(rounded, (const float *)(const void *)w->from + at, n);
  w->simd->common.from_bf16(w->to + at, w->rounds ? rounded : (const uint16_t *)(const void *)w->from + at, n);
}

static const char *widen(const gemm_product *p, const char *from, int rounds, float *to, int64_t n, sonde_pool *pool) {
  widening w = {p->simd, from, to, n, rounds};
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
  return g->in_type == SONDE_BF16 && !sonde_gemm_is_thin(g) && !simd->micro->bf16;
}

int64_t sonde_gemm_scratch(const sonde_gemm *g) {
  const sonde_simd_table *simd = sonde_simd_get();
  sonde_gemm f = *g;
  int64_t wide = 0;
  if (g->m <= 0 || g->n <= 0 || g->k <= 0 || g->batch <= 0 || sonde_gemm_is_thin(g)) return 0;
  if (must_widen(g, simd)) {
    wide = (padded(span_a(g)) + padded(span_b(g))) * 4;
    f.in_type = SONDE_F32, f.wide_b = 0;
  }
  return wide + micro_scratch(&f);
}

/* Whether what reads the results finds them in no cache. */
static int is_large(const sonde_gemm *g) {
  return g->m * g->n * (g->stride_c ? g->batch : 1) * bytes_of(g->out_type) >= LARGE;
}

static void clear(const sonde_gemm *g, char *c) {
  int64_t size = bytes_of(g->out_type);
  for (int64_t b = 0; b < g->batch; b++)
    for (int64_t i = 0; i < g->m; i++)
      memset(c + (b * g->stride_c + i * g->ldc) * size, 0, (size_t)(g->n * size));
}

void sonde_gemm_run(const sonde_gemm *g, const void *a, const void *b, void *c, void *scratch,
                    sonde_pool *pool) {
  gemm_product p = {.g = *g, .simd = sonde_simd_get(), .a = a, .b = b, .c = c};
  p.micro = p.simd->micro;
  p.g.large = g->large || is_large(g);
  if (g->m <= 0 || g->n <= 0 || g->batch <= 0) return;
  if (g->k <= 0) {
    if (g->beta == 0) clear(g, c);
    return;
  }
  if (sonde_gemm_is_thin(g)) {
    sonde_gemm_thin_run(g, a, b, c, pool);
    return;
  }
  char *room = scratch;
  if (must_widen(g, p.simd)) {
    int64_t na = span_a(g), nb = span_b(g);
    p.a = widen(&p, a, 0, (float *)(void *)room, na, pool);
    p.b = widen(&p, b, g->wide_b, (float *)(void *)(room + padded(na) * 4), nb, pool);
    p.g.in_type = SONDE_F32, p.g.wide_b = 0;
    room += (padded(na) + padded(nb)) * 4;
  }
  run_micro(&p, room, pool);
}

/* ---- products of groups of rows ------------------------------------------------------------------- */

/* Words that groups are packed into together, few enough to be in the L2 cache still when they are multiplied; rows of
 * a group that is too large for that, at a time. */
enum { ROOM = 1024 * 1024 / 4, ALONE_K = 4096 };

static sonde_gemm group_of(const sonde_gemm *g, int64_t rows) {
  sonde_gemm x = *g;
  x.batch = 1;
  if (g->ta) x.k = rows;
  else x.m = rows;
  return x;
}

static int64_t need_of(const sonde_gemm *g) { return need_a(g, g->m, g->k) + need_b(g, g->n, g->k); }

/* Whether a group's tiles may be in one list with other groups'. */
static int is_shared(const sonde_gemm *g, const sonde_simd_table *simd) {
  return !must_widen(g, simd) && g->m > 0 && g->n > 0 && g->k > 0 &&
         !sonde_gemm_is_thin(g) && need_of(g) <= ROOM;
}

int64_t sonde_gemm_groups_scratch(const sonde_gemm *g) {
  const int64_t rows = g->ta ? g->k : g->m, some = least(g->batch, rows);
  int64_t most = 0;
  for (int64_t r = g->ta ? 1 : rows; r <= rows && (r <= ALONE_K || !g->ta); r++) {
    const sonde_gemm alone = group_of(g, r);
    const int64_t bytes = sonde_gemm_scratch(&alone);
    if (bytes > most) most = bytes;
  }
  /* 34: each group may begin SONDE_GROUP_WORDS and a line further on, in pairs. */
  const int64_t shared = g->ta ? need_a(g, g->m, g->k + 34 * some) + need_b(g, g->n, g->k + 34 * some)
                               : some * need_b(g, g->n, g->k);
  return least(shared, ROOM) * 4 > most ? least(shared, ROOM) * 4 : most;
}

static void run_alone(const sonde_gemm *g, const gemm_entry *e, void *scratch, sonde_pool *pool) {
  const int64_t size = bytes_of(g->in_type), most = g->ta ? ALONE_K : g->k;
  int64_t at = 0;
  do {      /* once without rows: zeros */
    sonde_gemm x = *g;
    x.k = least(most, g->k - at);
    if (at) x.beta = 1;
    sonde_gemm_run(&x, e->a + at * g->lda * size, e->b + at * g->ldb * bytes_of_b(g), e->c, scratch, pool);
    at += most;
  } while (at < g->k);
}

void sonde_gemm_groups_run(const sonde_gemm *g, const int32_t *first, const void *a, const void *b, void *c,
                           void *scratch, sonde_pool *pool) {
  gemm_product p = {.g = *g, .simd = sonde_simd_get()};
  p.g.large = is_large(g);
  const int64_t in = bytes_of(g->in_type), out = bytes_of(g->out_type);
  int64_t used = 0;
  p.micro = p.simd->micro;
  for (int64_t k = 0; k < g->batch; k++) {
    const sonde_gemm x = group_of(&p.g, first[k + 1] - first[k]);
    gemm_entry e = {.a = (const char *)a + first[k] * g->lda * in,
               .b = (const char *)b + (g->ta ? first[k] * g->ldb : k * g->stride_b) * bytes_of_b(g),
               .c = (char *)c + (g->ta ? k * g->stride_c : first[k] * g->ldc) * out, .m = x.m, .n = x.n, .k = x.k};
    if (!is_shared(&x, p.simd)) {
      run_alone(&x, &e, scratch, pool);
      continue;
    }
    if (p.entries == ENTRIES || used + need_of(&x) > ROOM) {
      run_entries(&p, pool);
      p.entries = 0, used = 0;
    }
    e.pack_a = words_at(scratch, used), e.pack_b = words_at(scratch, used + need_a(&x, x.m, x.k));
    used += need_of(&x);
    p.entry[p.entries++] = e;
  }
  if (p.entries) run_entries(&p, pool);
}

/* ---- names ----------------------------------------------------------------------------------------- */

const char *sonde_gemm_kernels(int dtype) {
  const sonde_simd_table *simd = sonde_simd_get();
  const int wide = !strcmp(simd->isa, "avx512") || !strcmp(simd->isa, "amx"), is_f32 = dtype == SONDE_F32;
  if (!is_f32 && simd->bf16) return simd->bf16 == SONDE_BF16_AMX ? "Sonde AMX bf16" : "Sonde AVX-512 bf16";
  if (wide) return is_f32 ? "Sonde AVX-512" : "Sonde AVX-512, bf16 widened to f32";
  if (!strcmp(simd->isa, "avx2")) return is_f32 ? "Sonde AVX2" : "Sonde AVX2, bf16 widened to f32";
  return is_f32 ? "Sonde base" : "Sonde base, bf16 widened to f32";
}
