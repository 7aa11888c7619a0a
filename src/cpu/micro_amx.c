/* micro_amx.c - the bf16 product of micro.h with AMX: 32 x 32 results stay in four of the eight tile registers
 * while k runs, 32 numbers a step; two tiles hold A, two B.
 *
 * Operands are loaded where they lie, B's words being the order that the tiles want. A tile that reaches over
 * an edge (of m, n or k) is copied first, with zeros around it: nothing outside the operands is read, and
 * nothing in them beyond k meets anything but a zero that is our own. The sum of an element begins with C if
 * that is added to, and takes the even and the odd numbers of k by turns, 32 at a time: the hardware's order.
 * AMX takes denormal numbers as zero, in C too, and gives zero for them, whatever the rounding mode is.
 *
 * `end` gives the tiles back, so no thread carries their 8 KiB from one context switch to the next for longer than it
 * computes with them. */
#include "config.h"
#include "cpu/micro_words.h"

#include "sonde.h"

enum { T = 16, DEPTH = 32 };      /* a tile: 16 rows of 16 words, or of 32 numbers in bf16 */
#define KERNEL static inline __attribute__((always_inline))

/* The compiler does not know that loads of tiles read memory. */
#define SETTLED __asm__ volatile("" ::: "memory")

static const struct __attribute__((packed, aligned(64))) {
  uint8_t palette, start, unused[14];
  uint16_t bytes[16];                           /* of a row of each tile */
  uint8_t rows[16];
} shape = {.palette = 1,
           .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
           .rows = {T, T, T, T, T, T, T, T}};

/* Where a tile is loaded from. */
typedef struct place { const void *at; int64_t pitch; } place;

static __attribute__((noinline)) place copied(const void *from, int64_t pitch, int64_t rows, __mmask32 mask,
                                              uint16_t *copy) {
  SETTLED;
  for (int64_t r = 0; r < T; r++) {
    const char *row = (const char *)from + (r < rows ? r * pitch : 0);
    _mm512_storeu_si512(copy + r * DEPTH, _mm512_maskz_loadu_epi16(r < rows ? mask : 0, row));
  }
  SETTLED;
  return (place){copy, 64};
}

/* Where a tile of A of so many rows of so many numbers (or more) is loaded from; the same in words, for B and C.
 * whole: it is known that no edge is near. */
static inline place in_bf16(int whole, const void *from, int64_t pitch, int64_t rows, int64_t numbers,
                            uint16_t *copy) {
  if (whole || (rows >= T && numbers >= DEPTH)) return (place){from, pitch};
  __mmask32 mask = numbers < DEPTH ? (1u << numbers) - 1 : 0xffffffffu;
  return copied(from, pitch, rows, mask, copy);
}
static inline place in_words(int whole, const void *from, int64_t pitch, int64_t rows, int64_t words,
                             uint16_t *copy) {
  return in_bf16(whole, from, pitch, rows, 2 * words, copy);
}

/* ---- a block of results -------------------------------------------------------------------------- */

/* Of one call; distances in bytes. */
typedef struct product {
  int64_t k, rs, ahead;          /* from a row of A to the next, and from a tile of it to the next along k */
  int64_t ldb, ldc;
  int accumulate, out_type;
  int streams;                   /* whole lines of C go past the caches */
} product;

/* Of one block: A's rows from 0 and from T on, how many rows and columns there are, or more. */
typedef struct operands {
  const char *a[2], *b;
  char *c;
  int64_t rows, cols;
  int direct;                    /* tiles of C are stored where they belong, not in results */
  float results[4][T * T] __attribute__((aligned(64)));
  uint16_t copy[T * DEPTH] __attribute__((aligned(64)));
} operands;

/* Tile registers are part of the instruction: 0 to 3 hold C, 4 and 5 A, 6 and 7 B. */
#define LOAD(number, where)                       \
  do {                                            \
    place source = where;                         \
    _tile_loadd(number, source.at, source.pitch); \
  } while (0)
#define BEGIN(number, i, j)                                                                              \
  do {                                                                                                   \
    const char *from = x->c + (i) * p->ldc + (j) * 4;                                                    \
    if (p->accumulate)                                                                                   \
      LOAD(number, in_words(whole, from, p->ldc, x->rows - (i), x->cols - (j), x->copy));                \
    else _tile_zero(number);                                                                             \
  } while (0)
#define END(number, i, j)                                                                                \
  do {                                                                                                   \
    if (whole && x->direct) _tile_stored(number, x->c + (i) * p->ldc + (j) * 4, p->ldc);                 \
    else _tile_stored(number, x->results[number], 64);                                                   \
  } while (0)

/* Adds the products of DEPTH numbers of k, or of what is left of it if not full, from q on. The last step stores
 * each tile of C as soon as it is complete: four stores in a row take half as long again as 24 steps do, where
 * operands and C are in the L2 cache. */
KERNEL void one_step(const product *p, const int mr, const int nr, const int whole, const int full, const int last,
                     operands *x, int64_t q) {
  const int64_t numbers = full ? DEPTH : p->k - q, words = (numbers + 1) / 2, at = q / DEPTH * p->ahead;
  const char *b = x->b + q / 2 * p->ldb;
  LOAD(6, in_words(whole && full, b, p->ldb, words, x->cols, x->copy));
  LOAD(4, in_bf16(whole && full, x->a[0] + at, p->rs, x->rows, numbers, x->copy));
  _tile_dpbf16ps(0, 4, 6);
  if (last) END(0, 0, 0);
  if (mr > 1) {
    LOAD(5, in_bf16(whole && full, x->a[1] + at, p->rs, x->rows - T, numbers, x->copy));
    _tile_dpbf16ps(2, 5, 6);
    if (last) END(2, T, 0);
  }
  if (nr > 1) {
    LOAD(7, in_words(whole && full, b + T * 4, p->ldb, words, x->cols - T, x->copy));
    _tile_dpbf16ps(1, 4, 7);
    if (last) END(1, 0, T);
  }
  if (mr > 1 && nr > 1) {
    _tile_dpbf16ps(3, 5, 7);
    if (last) END(3, T, T);
  }
}

/* Writes what C has of tile `number` of the results. No number of it is denormal, so the hardware's rounding is
 * the same as everyone's. */
static inline void put(const product *p, const operands *x, int number, int64_t i, int64_t j) {
  int64_t rows = x->rows - i < T ? x->rows - i : T;
  __mmask16 mask = first_of(x->cols - j);
  for (int64_t r = 0; r < rows; r++) {
    __m512 v = _mm512_load_ps(x->results[number] + r * T);
    char *to = x->c + (i + r) * p->ldc;
    if (p->out_type == SONDE_F32 && p->streams && mask == 0xffff) _mm512_stream_ps((float *)(void *)(to + j * 4), v);
    else if (p->out_type == SONDE_F32) _mm512_mask_storeu_ps(to + j * 4, mask, v);
    else _mm256_mask_storeu_epi16(to + j * 2, mask, (__m256i)_mm512_cvtneps_pbh(v));
  }
}

/* The same of two tiles side by side, in bf16: a cache line at a time. */
static inline void put_pair(const product *p, const operands *x, int number, int64_t i) {
  const int64_t rows = x->rows - i < T ? x->rows - i : T;
  const __mmask32 mask = x->cols < 2 * T ? (1u << x->cols) - 1 : 0xffffffffu;
  const float *left = x->results[number], *right = x->results[number + 1];
  char *to = x->c + i * p->ldc;
  for (int64_t r = 0; r < rows; r++, left += T, right += T, to += p->ldc) {
    const __m512i v = (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(right), _mm512_load_ps(left));
    if (p->streams && mask == 0xffffffffu && (uintptr_t)to % 64 == 0) _mm512_stream_si512((__m512i *)(void *)to, v);
    else _mm512_mask_storeu_epi16(to, mask, v);
  }
}

/* A block of mr x nr tiles. whole: rows and columns are those of whole tiles. */
KERNEL void block(const product *p, const int mr, const int nr, const int whole, operands *x) {
  int64_t q = 0;
  BEGIN(0, 0, 0);
  if (nr > 1) BEGIN(1, 0, T);
  if (mr > 1) BEGIN(2, T, 0);
  if (mr > 1 && nr > 1) BEGIN(3, T, T);
  for (; q + DEPTH < p->k; q += DEPTH) one_step(p, mr, nr, whole, 1, 0, x, q);
  if (q + DEPTH == p->k) one_step(p, mr, nr, whole, 1, 1, x, q);
  else one_step(p, mr, nr, whole, 0, 1, x, q);
  if (whole && x->direct) return;
  SETTLED;
  if (nr > 1 && p->out_type != SONDE_F32) {
    put_pair(p, x, 0, 0);
    if (mr > 1) put_pair(p, x, 2, T);
    return;
  }
  put(p, x, 0, 0, 0);
  if (nr > 1) put(p, x, 1, 0, T);
  if (mr > 1) put(p, x, 2, T, 0);
  if (mr > 1 && nr > 1) put(p, x, 3, T, T);
}

static __attribute__((noinline)) void any_block(const product *p, operands *x) {
  const int whole = x->cols >= 2 * T && p->k > 0;
  if (whole && x->rows >= 2 * T) block(p, 2, 2, 1, x);
  else if (whole && x->rows == T) block(p, 1, 2, 1, x);
  else if (x->rows > T && x->cols > T) block(p, 2, 2, 0, x);
  else if (x->rows > T) block(p, 2, 1, 0, x);
  else if (x->cols > T) block(p, 1, 2, 0, x);
  else block(p, 1, 1, 0, x);
}

static void begin(void) { _tile_loadconfig(&shape); }
static void end(void) {
  _tile_release();
  _mm_sfence();                  /* what went past the caches is there for other threads */
}

static void product_bf16(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t rs, int64_t step,
                         const uint32_t *b, int64_t ldb, int how, void *c, int64_t ldc, int out_type) {
  int64_t size = out_type == SONDE_F32 ? 4 : 2;
  product p = {.k = k, .rs = step ? 64 : rs * 2, .ahead = step ? T * 64 : 64, .ldb = ldb * 4, .ldc = ldc * size,
               .accumulate = how & SONDE_ADDS, .out_type = out_type,
               .streams = how == SONDE_FAR && (out_type != SONDE_F32 || ((uintptr_t)c % 64 == 0 && ldc % T == 0))};
  int64_t half = step ? step * 2 : T * p.rs;   /* bytes from 16 rows of A to the next 16 */
  operands x;
  x.direct = out_type == SONDE_F32 && !p.streams;
  for (int64_t i = 0; i < m; i += 2 * T)
    for (int64_t j = 0; j < n; j += 2 * T) {
      x.a[0] = (const char *)a + i / T * half, x.a[1] = x.a[0] + half;
      x.b = (const char *)(b + j), x.c = (char *)c + i * p.ldc + j * size;
      x.rows = m - i, x.cols = n - j;
      any_block(&p, &x);
    }
}

/* ---- packing ------------------------------------------------------------------------------------- */

/* A tile of A, [16 rows][32 numbers], from `from` [32 numbers, 16 rows]: eight rows at a time, of which every lane has
 * its eight numbers of k. */
static inline void turn_tile(uint32_t *dst, const uint16_t *from, int64_t lds) {
  const int64_t pitch = lds * (int64_t)sizeof *from;
#pragma GCC unroll 2
  for (int half = 0; half < 2; half++, from += T / 2, dst += T / 2 * T) {
    __m512i r[8], t[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) r[j] = in_lanes((const char *)from + j * pitch, 8 * pitch);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      t[j] = _mm512_unpacklo_epi16(r[2 * j], r[2 * j + 1]);
      t[j + 4] = _mm512_unpackhi_epi16(r[2 * j], r[2 * j + 1]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 8; j += 2) {             /* four numbers: of rows 0 1, 2 3, 4 5, 6 7 */
      r[j] = _mm512_unpacklo_epi32(t[j], t[j + 1]);
      r[j + 1] = _mm512_unpackhi_epi32(t[j], t[j + 1]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      const __m512i low = r[j / 2 * 4 + j % 2], high = r[j / 2 * 4 + j % 2 + 2];
      _mm512_storeu_si512(dst + 2 * j * T, _mm512_unpacklo_epi64(low, high));
      _mm512_storeu_si512(dst + (2 * j + 1) * T, _mm512_unpackhi_epi64(low, high));
    }
  }
}

/* A group is a row of tiles, [words/16][16 rows][16 words], the last one filled up with zeros. */
static void pack_bf16(uint32_t *dst, int64_t step, const uint16_t *src, int64_t lds, int64_t rows, int64_t cols) {
  uint16_t edge[DEPTH * T] __attribute__((aligned(64)));
  for (int64_t q = 0; q < rows; q += DEPTH, dst += T * T, src += DEPTH * lds)
    for (int64_t i = 0; i < cols; i += T) {
      const uint16_t *from = src + i;
      uint32_t *to = dst + i / T * step;
      if (q + DEPTH <= rows && i + T <= cols) {
        for (int64_t r = 0; i % (2 * T) == 0 && r < DEPTH; r++) fetch(from + (DEPTH + r) * lds);
        turn_tile(to, from, lds);
        continue;
      }
      for (int64_t r = 0; r < DEPTH; r++) {
        const __mmask16 mask = q + r < rows ? first_of(cols - i) : 0;
        _mm256_store_si256((__m256i *)(void *)(edge + r * T), _mm256_maskz_loadu_epi16(mask, from + r * lds));
      }
      turn_tile(to, edge, T);
    }
}

/* Everything but the bf16 product and its groups of A is as without AMX. */
const sonde_micro *sonde_micro_amx(void) {
  static sonde_micro table;
  table = *sonde_micro_avx512(1);
  table.begin = begin;
  table.end = end;
  table.bf16 = product_bf16;
  table.pack_bf16 = pack_bf16;
  return &table;
}

/* ---- the peak ------------------------------------------------------------------------------------ */

double sonde_amx_stretch(int64_t steps) {
  _tile_loadconfig(&shape);
  /* Loading the configuration has cleared the tiles. */
  for (int64_t s = 0; s < steps; s++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 2.0 * T * T * DEPTH * 4 * (double)steps;
}
