/* gemm_tiles.h - what the files of the matrix product share: the products of a call, and how operands are packed. */
#ifndef SONDE_CPU_GEMM_TILES_H
#define SONDE_CPU_GEMM_TILES_H

#include "cpu/gemm.h"
#include "cpu/micro.h"
#include "cpu/simd.h"

enum {
  PANEL = 64,              /* columns of B that are packed side by side */
  PACKING_M = 256,         /* rows of a tile that packs B for itself: enough of them pay for it */
  TURNED_M = 192, TURNED_N = 512,   /* of the results of a tile that packs A, stored [k, m] */
  LINE = 16,               /* words of a cache line */
  PACK_K = 32,             /* words of k that are packed by one tile */
  BLOCK_K = 512,           /* words of k at a time, at most: a panel and a strip of A stay in the L2 cache */
  ENTRIES = 64             /* products whose tiles are one list, at most */
};

static inline int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t bytes_of(int type) { return type == SONDE_F32 ? 4 : 2; }
static inline int64_t bytes_of_b(const sonde_gemm *g) { return g->wide_b ? 4 : bytes_of(g->in_type); }

/* One of the products of a call, or the part of one that is packed at a time. */
typedef struct gemm_entry {
  const char *a, *b;           /* its first elements */
  char *c;
  int64_t m, n, k;
  uint32_t *pack_a, *pack_b;
} gemm_entry;

/* Entries are packed together and their tiles are one list, so that threads wait for each other twice, not twice an
 * entry. */
typedef struct gemm_product {
  sonde_gemm g;
  const sonde_simd_table *simd;
  const sonde_micro *micro;
  const char *a, *b;
  char *c;
  int64_t tile_m, tile_n;
  int entries, keeps_b;                        /* B was packed before */
  gemm_entry entry[ENTRIES];
  int64_t tile[ENTRIES], piece[ENTRIES];       /* numbers of the first tile and the first piece to pack of each */
} gemm_product;

/* ---- packing ------------------------------------------------------------------------------------- */

/* An f32 A stored [k, m] is packed by each tile for itself: that takes two instructions for 16 numbers, which are
 * multiplied with all columns of the tile. bf16 products are too fast for it. */
static inline int packs_a(const sonde_gemm *g) { return g->ta && g->in_type == SONDE_BF16; }

/* An f32 B stored [n, k] is transposed panel by panel, by each tile for itself where that is at most twice for each
 * panel: in the tile's own caches, where it is used at once. Where `rows` are more, it is transposed once before. */
static inline int turns_b(const sonde_gemm *g, int64_t rows) {
  return g->tb && g->in_type == SONDE_F32 && g->out_type == SONDE_F32 && rows <= 2 * PACKING_M;
}
static inline int packs_b(const sonde_gemm *g, int64_t rows) {
  return (g->tb && !turns_b(g, rows)) || g->in_type == SONDE_BF16;
}

/* Words of k: numbers in f32, pairs in bf16. */
static inline int64_t words_of(const sonde_gemm *g, int64_t k) { return parts(k, g->in_type == SONDE_F32 ? 1 : 2); }

/* Words of one packed group of rows of A and of one packed panel of B, and of all of them for `rows` and
 * `cols`. A cache line more than the numbers take: at distances of a power of two all groups would compete
 * for the same cache sets. */
static inline int64_t group_a(int64_t words) {
  return parts(words, SONDE_GROUP_WORDS) * SONDE_GROUP_WORDS * SONDE_GROUP + LINE;
}
static inline int64_t panel_b(int64_t words) { return words * PANEL + LINE; }
static inline int64_t packed_a(int64_t rows, int64_t words) { return parts(rows, SONDE_GROUP) * group_a(words); }
static inline int64_t packed_b(int64_t cols, int64_t words) { return parts(cols, PANEL) * panel_b(words); }

/* Pieces that packing an entry's operands is cut into. */
int64_t gemm_pieces(const gemm_product *p, const gemm_entry *e);

/* Packs piece number `piece` of the product `arg`: a function for the pool. */
void gemm_pack(void *arg, int64_t piece, int worker);

/* The entry of which `first` numbers the tiles or pieces from first[e] on that has number `at`. */
int gemm_entry_of(const gemm_product *p, const int64_t *first, int64_t at);

#endif
