/* micro_vec.c - the f32 product of micro.h for CPUs without AVX-512, compiled once per instruction set (SONDE_ISA): a
 * block of 6 rows and two vectors of results stays in registers (12 of 16) while k runs, fed by loads of B and
 * broadcasts of A from memory. */
#include "config.h"
#include "cpu/micro.h"
#include "cpu/simd_isa.h"
#include "cpu/simd_vector.h"

#include <string.h>

#include "sonde.h"
#include "tensor/bf16.h"

enum { MR = 6, NV = 2, NR = NV * LANES, TURNS = 4 };
#define KERNEL static inline __attribute__((always_inline)) void

/* ---- results ------------------------------------------------------------------------------------- */

/* One row of the block. Of its last vector, which lies `back` columns further left than it would, the first `back`
 * results are those of the vector before it. */
KERNEL put_row(const vec *acc, int nv, int64_t back, int how, void *c, int64_t at, int out_type) {
  for (int j = 0; j < nv; j++) {
    const int64_t skip = j == nv - 1 ? back : 0, to = at + j * LANES - skip;
    float *row = (float *)c + to;
    if (out_type == SONDE_F32 && !skip) {
      store(row, how & SONDE_ADDS ? load(row) + acc[j] : acc[j]);
      continue;
    }
    float x[LANES];
    store(x, acc[j]);
    for (int64_t i = skip; i < LANES; i++) {
      if (out_type != SONDE_F32) ((uint16_t *)c)[to + i] = sonde_to_bf16(x[i]);
      else row[i] = how & SONDE_ADDS ? row[i] + x[i] : x[i];
    }
  }
}

/* ---- blocks -------------------------------------------------------------------------------------- */

/* acc += one column of A, whose numbers are at[i][p], times one row of B. */
KERNEL add_product(vec acc[MR][NV], const int mr, const int nv, int64_t back, const float *const *at, int64_t p,
                   const float *b) {
  vec v[NV];
#pragma GCC unroll 2
  for (int j = 0; j < nv; j++) v[j] = load(b + j * LANES - (j == nv - 1 ? back : 0));
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) {
    const vec x = at[i][p] - (vec){0};
#pragma GCC unroll 2
    for (int j = 0; j < nv; j++) acc[i][j] += x * v[j];
  }
}

KERNEL block(const int mr, const int nv, const int turns, int64_t back, int64_t k, const float *a, int64_t rs,
             int64_t cs, const float *b, int64_t ldb, int how, void *c, int64_t ldc, int out_type) {
  vec acc[MR][NV];
  const float *at[MR];
  int64_t p = 0;
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) {
    at[i] = a + i * rs;
#pragma GCC unroll 2
    for (int j = 0; j < nv; j++) acc[i][j] = (vec){0};
  }
  for (; p + turns <= k; p += turns) {
#pragma GCC unroll 4
    for (int t = 0; t < turns; t++, b += ldb) add_product(acc, mr, nv, back, at, t * cs, b);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
      at[i] += turns * cs;
      /* Six pointers in registers: gcc would make one of them, and many offsets in memory. */
      if (!__builtin_constant_p(rs)) __asm__("" : "+r"(at[i]));
    }
  }
  for (; turns > 1 && p < k; p++, b += ldb) {
    add_product(acc, mr, nv, back, at, 0, b);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) at[i] += cs;
  }
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) put_row(acc[i], nv, back, how, c, i * ldc, out_type);
}

/* One compiled block for each height and width: the sizes must be constants for the results to stay in registers. Most
 * blocks are whole, of an A by rows or a packed one: four k at a time, with constants in place of strides, they take a
 * tenth fewer instructions. */
#define CASE(mr, nv) case mr * 4 + nv: block(mr, nv, 1, back, k, a, rs, cs, b, ldb, how, c, ldc, out_type); break;
#define WHOLE(mr, rs, cs) block(mr, NV, TURNS, 0, k, a, rs, cs, b, ldb, how, c, ldc, out_type)
static __attribute__((noinline)) void any_block(int64_t mr, int64_t nv, int64_t back, int64_t k, const float *a,
                                                int64_t rs, int64_t cs, const float *b, int64_t ldb, int how, void *c,
                                                int64_t ldc, int out_type) {
  const int is_whole = nv == NV && !back, is_packed = rs == 1 && cs == SONDE_GROUP;
  if (is_whole && mr == MR && cs == 1) WHOLE(MR, rs, 1);
  else if (is_whole && mr == MR && is_packed) WHOLE(MR, 1, SONDE_GROUP);
  else if (is_whole && mr == MR - 1 && is_packed) WHOLE(MR - 1, 1, SONDE_GROUP);
  else switch (mr * 4 + nv) {
    CASE(1, 1) CASE(2, 1) CASE(3, 1) CASE(4, 1) CASE(5, 1) CASE(6, 1)
    CASE(1, 2) CASE(2, 2) CASE(3, 2) CASE(4, 2) CASE(5, 2) CASE(6, 2)
  }
}

/* B is narrower than a vector. */
static void narrow_row(int64_t n, int64_t k, const float *a, int64_t cs, const float *b, int64_t ldb, int how, void *c,
                       int64_t at, int out_type) {
  vec acc = {0};
  for (int64_t p = 0; p < k; p++, a += cs, b += ldb) {
    vec v = {0};
    memcpy(&v, b, (size_t)n * sizeof *b);
    acc += (*a - (vec){0}) * v;
  }
  for (int64_t j = 0; j < n; j++) {
    float *to = (float *)c + at + j;
    if (out_type != SONDE_F32) ((uint16_t *)c)[at + j] = sonde_to_bf16(acc[j]);
    else *to = how & SONDE_ADDS ? *to + acc[j] : acc[j];
  }
}

/* ---- all blocks of a product --------------------------------------------------------------------- */

/* The next strip of A: rows are a few cache lines long and far apart, which the hardware does not predict. Addresses
 * past the end do no harm. */
static inline void fetch_rows(const float *a, int64_t rs, int64_t k, int64_t rows) {
  enum { MOST = 256, OF_A_LINE = 16 };   /* from there on the hardware has seen enough of the row */
  for (int64_t i = 0; i < rows && i < MR; i++)
    for (int64_t p = 0; p < k && p < MOST; p += OF_A_LINE) __builtin_prefetch(a + i * rs + p);
}

static void product(int64_t m, int64_t n, int64_t k, const float *a, int64_t rs, int64_t cs, int64_t step,
                    const float *b, int64_t ldb, int how, void *c, int64_t ldc, int out_type) {
  const int64_t size = out_type == SONDE_F32 ? 4 : 2;
  if (step) rs = 1, cs = SONDE_GROUP;
  for (int64_t j = 0; j < n; j += NR) {
    const int64_t width = n - j < NR ? n - j : NR, nv = (width + LANES - 1) / LANES, back = nv * LANES - width;
    for (int64_t i = 0, mr; i < m; i += mr) {
      const float *from = step ? a + i / SONDE_GROUP * step + i % SONDE_GROUP : a + i * rs;
      mr = step && i % SONDE_GROUP ? MR - 1 : MR;          /* a group of 16 is 6 + 5 + 5 */
      if (mr > m - i) mr = m - i;
      if (j == 0 && cs == 1) fetch_rows(from + mr * rs, rs, k, m - i - mr);
      if (n < LANES)
        for (int64_t r = 0; r < mr; r++)
          narrow_row(n, k, from + r * rs, cs, b, ldb, how, c, (i + r) * ldc, out_type);
      else any_block(mr, nv, back, k, from, rs, cs, b + j, ldb, how, (char *)c + (i * ldc + j) * size, ldc, out_type);
    }
  }
}

/* ---- packing ------------------------------------------------------------------------------------- */

/* Rows that packing prefetches ahead. */
enum { AHEAD = 8 };

#ifdef __clang__
#define SHUFFLE __builtin_shufflevector
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif
/* Of each quarter of 4 words of two vectors: the lower or the upper two, word by word or two words at a time. */
#if defined(__AVX__)
#define LOW1(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH1(a, b) SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW2(a, b) SHUFFLE(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH2(a, b) SHUFFLE(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define LOW1(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define HIGH1(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define LOW2(a, b) SHUFFLE(a, b, 0, 1, 4, 5)
#define HIGH2(a, b) SHUFFLE(a, b, 2, 3, 6, 7)
#endif

/* Four columns of LANES rows: quarter q of a vector comes from row 4 q + j. */
KERNEL transpose_columns(uint32_t *dst, int64_t ldd, const char *src, int64_t lds_bytes) {
  word r[4];
  for (int j = 0; j < 4; j++)
    for (int q = 0; q < LANES / 4; q++) memcpy((char *)&r[j] + 16 * q, src + (4 * q + j) * lds_bytes, 16);
  const word t[4] = {LOW1(r[0], r[1]), HIGH1(r[0], r[1]), LOW1(r[2], r[3]), HIGH1(r[2], r[3])};
  *(uword *)dst = LOW2(t[0], t[2]);
  *(uword *)(dst + ldd) = HIGH2(t[0], t[2]);
  *(uword *)(dst + 2 * ldd) = LOW2(t[1], t[3]);
  *(uword *)(dst + 3 * ldd) = HIGH2(t[1], t[3]);
}

static void transpose(uint32_t *dst, int64_t ldd, const void *src, int64_t lds_bytes, int64_t rows, int64_t cols) {
  const char *from = src;
  for (int64_t i = 0; i < rows; i += LANES)
    for (int64_t j = 0; j < cols; j += 4) {
      if (j % 16 == 0)
        for (int64_t y = i; y < i + LANES; y++) __builtin_prefetch(from + (AHEAD + y) * lds_bytes + j * 4);
      if (i + LANES <= rows && j + 4 <= cols) {
        transpose_columns(dst + j * ldd + i, ldd, from + i * lds_bytes + j * 4, lds_bytes);
        continue;
      }
      for (int64_t y = i; y < rows && y < i + LANES; y++)
        for (int64_t x = j; x < cols && x < j + 4; x++) memcpy(dst + x * ldd + y, from + y * lds_bytes + x * 4, 4);
    }
}

static void pack_f32(uint32_t *dst, int64_t width, int64_t step, const float *src, int64_t lds, int64_t rows,
                     int64_t cols) {
  for (int64_t r = 0; r < rows; r++, dst += width, src += lds)
    for (int64_t j = 0; j < cols; j += SONDE_GROUP) {
      uint32_t *to = dst + j / SONDE_GROUP * step;
      __builtin_prefetch(src + AHEAD * lds + j);
      if (cols - j >= SONDE_GROUP) memcpy(to, src + j, SONDE_GROUP * sizeof *to);
      else memcpy(to, src + j, (size_t)(cols - j) * sizeof *to);
    }
}

const sonde_micro *ISA_NAME(sonde_micro_vec)(void) {
  static const sonde_micro table = {.depth = 256, .f32 = product, .pack_f32 = pack_f32, .transpose = transpose};
  return &table;
}
