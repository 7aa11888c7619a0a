/* gemm_pack.c - packing of the operands of matrix products, in pieces that threads share out. */
#include "config.h"
#include "cpu/gemm_tiles.h"

int gemm_entry_of(const gemm_product *p, const int64_t *first, int64_t at) {
  int low = 0, high = p->entries - 1;
  while (low < high) {
    int middle = (low + high + 1) / 2;
    if (first[middle] <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/* Some words of k of all groups of a bf16 A stored [k, m]: whole rows. */
static void pack_groups(const gemm_product *p, const gemm_entry *e, int64_t chunk) {
  const sonde_gemm *g = &p->g;
  int64_t first = chunk * PACK_K, rows = least(PACK_K * 2, e->k - first * 2);
  const uint16_t *from = (const uint16_t *)(const void *)e->a + first * 2 * g->lda;
  p->micro->pack_bf16(e->pack_a + first * SONDE_GROUP, group_a(words_of(g, e->k)), from, g->lda, rows, e->m);
}

/* The same of an f32 B: two rows at a time are rounded. */
static void round_panels(const gemm_product *p, const gemm_entry *e, int64_t q, int64_t rows) {
  enum { STRETCH_N = 16 * PANEL };
  const sonde_gemm *g = &p->g;
  const float *from = (const float *)(const void *)e->b + q * 2 * g->ldb;
  const int64_t step = panel_b(words_of(g, e->k));
  uint16_t pair[2 * STRETCH_N];
  for (int64_t j = 0; j < e->n; j += STRETCH_N) {
    const int64_t n = least(STRETCH_N, e->n - j);
    p->micro->round(pair, STRETCH_N, from + j, g->ldb, rows, n);
    p->micro->spread_bf16(e->pack_b + j / PANEL * step + q * PANEL, PANEL, step, pair, STRETCH_N, rows, n);
  }
}

/* Some words of k of all panels of a bf16 B stored [k, n]: [words, PANEL] each. */
static void pack_panels(const gemm_product *p, const gemm_entry *e, int64_t chunk) {
  const sonde_gemm *g = &p->g;
  int64_t first = chunk * PACK_K, words = words_of(g, e->k), last = least(first + PACK_K, words);
  for (int64_t q = first; q < last; q++) {
    const uint16_t *from = (const uint16_t *)(const void *)e->b + q * 2 * g->ldb;
    const int64_t rows = least(2, e->k - q * 2);
    if (g->wide_b) round_panels(p, e, q, rows);
    else p->micro->spread_bf16(e->pack_b + q * PANEL, PANEL, panel_b(words), from, g->ldb, rows, e->n);
  }
}

/* Words [first, last) of k of an f32 B stored [n, k], rounded: `n` rows from b on become the panel `to`. */
static void round_turned(const gemm_product *p, const gemm_entry *e, const float *b, int64_t n, int64_t first,
                         int64_t last, uint32_t *to) {
  enum { STRETCH_K = 128 };        /* words at a time, of as many rows as a panel has columns */
  uint32_t rounded[PANEL * STRETCH_K];
  for (int64_t q = first, words; q < last; q += words) {
    words = least(STRETCH_K, last - q);
    if (last * 2 > e->k)           /* the last pair of an odd k is half outside its row */
      for (int64_t x = 0; x < n; x++) rounded[x * STRETCH_K + words - 1] = 0;
    p->micro->round((uint16_t *)(void *)rounded, STRETCH_K * 2, b + q * 2, p->g.ldb, n, least(words * 2, e->k - q * 2));
    p->micro->transpose(to + (q - first) * PANEL, PANEL, rounded, STRETCH_K * 4, n, words);
  }
}

/* Some words of k of one panel of a B stored [n, k]. */
static void turn_panel(const gemm_product *p, const gemm_entry *e, int64_t piece) {
  const sonde_gemm *g = &p->g;
  int64_t words = words_of(g, e->k), chunks = parts(words, BLOCK_K), panel = piece / chunks,
          first = piece % chunks * BLOCK_K, last = least(first + BLOCK_K, words);
  int64_t j = panel * PANEL, n = least(PANEL, e->n - j), size = bytes_of(g->in_type),
          whole = least(last, e->k * size / 4);
  const char *b = e->b + j * g->ldb * bytes_of_b(g);
  uint32_t *to = e->pack_b + panel * panel_b(words) + first * PANEL;
  if (g->wide_b) {
    round_turned(p, e, (const float *)(const void *)b, n, first, last, to);
    return;
  }
  p->micro->transpose(to, PANEL, b + first * 4, g->ldb * size, n, whole - first);
  if (whole < last)   /* the last pair of an odd k is half outside its row */
    for (int64_t x = 0; x < n; x++)
      to[(whole - first) * PANEL + x] = ((const uint16_t *)(const void *)b)[x * g->ldb + e->k - 1];
}

/* Pieces of an entry's B, and of its A behind them. */
static int64_t pieces_b(const gemm_product *p, const gemm_entry *e) {
  const int64_t words = words_of(&p->g, e->k);
  if (!packs_b(&p->g, e->m) || p->keeps_b) return 0;
  return p->g.tb ? parts(e->n, PANEL) * parts(words, BLOCK_K) : parts(words, PACK_K);
}
static int64_t pieces_a(const gemm_product *p, const gemm_entry *e) {
  return packs_a(&p->g) ? parts(words_of(&p->g, e->k), PACK_K) : 0;
}

void gemm_pack(void *arg, int64_t number, int worker) {
  (void)worker;
  const gemm_product *p = arg;
  const int k = gemm_entry_of(p, p->piece, number);
  const gemm_entry *e = &p->entry[k];
  const int64_t at = number - p->piece[k], of_b = pieces_b(p, e);
  if (at >= of_b) pack_groups(p, e, at - of_b);
  else if (p->g.tb) turn_panel(p, e, at);
  else pack_panels(p, e, at);
}

int64_t gemm_pieces(const gemm_product *p, const gemm_entry *e) { return pieces_b(p, e) + pieces_a(p, e); }
