/* micro_avx512.c - the AVX-512 product of micro.h: a block of up to 6 x 64 results stays in registers (24
 * of the 32) while k runs, fed by loads of B and broadcasts of A from memory. */
#include "config.h"
#include "cpu/micro_words.h"

#include "sonde.h"

enum { MR = 6, NR = 4 * LANES, FULL = 0xffff };
#define KERNEL static inline __attribute__((always_inline)) void

/* ---- results ------------------------------------------------------------------------------------- */

/* Writes one row of the block; `last` masks its last vector. */
KERNEL put_row(const __m512 *acc, int nv, __mmask16 last, int how, void *c, int64_t at, int out_type) {
  for (int j = 0; j < nv; j++) {
    __mmask16 mask = j == nv - 1 ? last : 0xffff;
    if (out_type == SONDE_F32) {
      float *to = (float *)c + at + j * LANES;
      __m512 v = how & SONDE_ADDS ? _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), acc[j]) : acc[j];
      _mm512_mask_storeu_ps(to, mask, v);
    } else {
      _mm256_mask_storeu_epi16((uint16_t *)c + at + j * LANES, mask, rounded(acc[j]));
    }
  }
}

/* ---- f32 ----------------------------------------------------------------------------------------- */

KERNEL block_f32(const int mr, const int nv, __mmask16 last, int64_t k, const float *a, int64_t rs,
                 int64_t cs, const float *b, int64_t ldb, int how, void *c, int64_t ldc,
                 int out_type) {
  __m512 acc[MR][4];
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++) acc[i][j] = _mm512_setzero_ps();
  for (int64_t p = 0; p < k; p++, a += cs, b += ldb) {
    __m512 v[4];
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++)
      v[j] = j == nv - 1 && last != FULL ? _mm512_maskz_loadu_ps(last, b + j * LANES) : _mm512_loadu_ps(b + j * LANES);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
      __m512 x = _mm512_set1_ps(a[i * rs]);
#pragma GCC unroll 4
      for (int j = 0; j < nv; j++) acc[i][j] = _mm512_fmadd_ps(x, v[j], acc[i][j]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) put_row(acc[i], nv, last, how, c, i * ldc, out_type);
}

/* ---- bf16 ---------------------------------------------------------------------------------------- */

#ifdef __AVX512BF16__
static inline __attribute__((always_inline)) __m512bh pair(const uint16_t *a) {
  uint32_t w;
  __builtin_memcpy(&w, a, sizeof w);
  return (__m512bh)_mm512_set1_epi32((int)w);
}

KERNEL block_bf16(const int mr, const int nv, __mmask16 last, int64_t k, const uint16_t *a, int64_t rs,
                  int64_t cs, const uint32_t *b, int64_t ldb, int how, void *c, int64_t ldc,
                  int out_type) {
  __m512 acc[MR][4];
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++) acc[i][j] = _mm512_setzero_ps();
  for (int64_t p = 0; p < k / 2; p++, a += cs, b += ldb) {
    __m512i v[4];
#pragma GCC unroll 4
    for (int j = 0; j < nv; j++)
      v[j] = j == nv - 1 && last != FULL ? _mm512_maskz_loadu_epi32(last, b + j * LANES)
                                         : _mm512_loadu_si512(b + j * LANES);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
      __m512bh x = pair(a + i * rs);
#pragma GCC unroll 4
      for (int j = 0; j < nv; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], x, (__m512bh)v[j]);
    }
  }
  if (k % 2)
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
      for (int j = 0; j < nv; j++) {
        __m512i v = _mm512_maskz_loadu_epi32(j == nv - 1 ? last : 0xffff, b + j * LANES);
        acc[i][j] = _mm512_dpbf16_ps(acc[i][j], (__m512bh)_mm512_set1_epi32(a[i * rs]), (__m512bh)v);
      }
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) put_row(acc[i], nv, last, how, c, i * ldc, out_type);
}
#endif

/* ---- all blocks of a product --------------------------------------------------------------------- */

/* The next strip of A. */
static inline void fetch_rows(const void *p, int64_t ld_bytes, int64_t bytes, int64_t rows) {
  enum { MOST = 1024 };   /* from there on the hardware has seen enough of the row */
  for (int64_t i = 0; i < rows && i < MR; i++)
    for (int64_t k = 0; k < bytes && k < MOST; k += 64) fetch((const char *)p + i * ld_bytes + k);
}

/* One compiled block for each height and width: the sizes must be constants for the results to stay in registers.
 * Width 5 is a full 4, which loads without a mask: one takes the place of a multiply-add. */
#define CASE(block, mr, nv, last) \
  case mr * 8 + nv: block(mr, nv < 5 ? nv : 4, last, k, a, rs, cs, b, ldb, how, c, ldc, out_type); break;
#define CASES(block, mr) CASE(block, mr, 1, last) CASE(block, mr, 2, last) CASE(block, mr, 3, last) \
  CASE(block, mr, 4, last) CASE(block, mr, 5, FULL)

#define PRODUCT(name, block, type_a, type_b)                                                                 \
  static __attribute__((noinline)) void name##_block(                                                        \
      int64_t mr, int64_t nv, __mmask16 last, int64_t k, const type_a *a, int64_t rs, int64_t cs,            \
      const type_b *b, int64_t ldb, int how, void *c, int64_t ldc, int out_type) {                           \
    switch (mr * 8 + (nv == 4 && last == FULL ? 5 : nv)) {                                                   \
      CASES(block, 1) CASES(block, 2) CASES(block, 3) CASES(block, 4) CASES(block, 5) CASES(block, 6)        \
    }                                                                                                        \
  }                                                                                                          \
  static void name(int64_t m, int64_t n, int64_t k, const type_a *a, int64_t rs, int64_t cs, int64_t step,   \
                   const type_b *b, int64_t ldb, int how, void *c, int64_t ldc, int out_type) {              \
    int64_t size = out_type == SONDE_F32 ? 4 : 2;                                                            \
    if (step) rs = 4 / (int64_t)sizeof *a, cs = rs * SONDE_GROUP;                                            \
    for (int64_t j = 0; j < n; j += NR) {                                                                    \
      int64_t width = n - j < NR ? n - j : NR, nv = (width + LANES - 1) / LANES;                             \
      __mmask16 last = (__mmask16)(0xffffu >> (nv * LANES - width));                                         \
      for (int64_t i = 0, mr; i < m; i += mr) {                                                              \
        const type_a *from = step ? a + i / SONDE_GROUP * step + i % SONDE_GROUP * rs : a + i * rs;          \
        mr = step && i % SONDE_GROUP ? MR - 1 : MR; /* a group of 16 is 6 + 5 + 5 */                         \
        if (mr > m - i) mr = m - i;                                                                          \
        if (j == 0 && cs * (int64_t)sizeof *a == 4)                                                          \
          fetch_rows(from + mr * rs, rs * (int64_t)sizeof *a, k * (int64_t)sizeof *a, m - i - mr);           \
        name##_block(mr, nv, last, k, from, rs, cs, b + j, ldb, how,                                         \
                     (char *)c + (i * ldc + j) * size, ldc, out_type);                                       \
      }                                                                                                      \
    }                                                                                                        \
  }

PRODUCT(product_f32, block_f32, float, float)
#ifdef __AVX512BF16__
PRODUCT(pairs_bf16, block_bf16, uint16_t, uint32_t)

static void nothing(void) {}

static void product_bf16(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t rs, int64_t step,
                         const uint32_t *b, int64_t ldb, int how, void *c, int64_t ldc, int out_type) {
  pairs_bf16(m, n, k, a, rs, 2, step, b, ldb, how, c, ldc, out_type);
}
#endif

/* ---- packing ------------------------------------------------------------------------------------- */

/* Rows that packing prefetches ahead: packing from memory becomes six times as fast. */
enum { AHEAD = 16 };

static void transpose(uint32_t *dst, int64_t ldd, const void *src, int64_t lds_bytes, int64_t rows,
                      int64_t cols) {
  const char *from = src;
  for (int64_t i = 0; i < rows; i += 16)
    for (int64_t j = 0; j < cols; j += 16) {
      if (i + 16 <= rows && j + 16 <= cols) {
        for (int64_t y = i; y < i + 16; y++) fetch(from + (AHEAD + y) * lds_bytes + j * 4);
        transpose_block(dst + j * ldd + i, ldd, from + i * lds_bytes + j * 4, lds_bytes);
        continue;
      }
      for (int64_t y = i; y < rows && y < i + 16; y++)
        for (int64_t x = j; x < cols && x < j + 16; x++)
          __builtin_memcpy(dst + x * ldd + y, from + y * lds_bytes + x * 4, 4);
    }
}

static void interleave(uint32_t *dst, int64_t ldd, const uint16_t *src, int64_t lds, int64_t rows,
                       int64_t cols) {
  for (int64_t r = 0; r < rows; r += 2, dst += ldd, src += 2 * lds)
    for (int64_t c = 0; c < cols; c += LANES) {
      __mmask16 mask = first_of(cols - c);
      fetch(src + AHEAD * lds + c);
      fetch(src + (AHEAD + 1) * lds + c);
      _mm512_mask_storeu_epi32(dst + c, mask, paired(src + c, r + 1 < rows ? src + lds + c : NULL, mask));
    }
}

static void pack_f32(uint32_t *dst, int64_t width, int64_t step, const float *src, int64_t lds, int64_t rows,
                     int64_t cols) {
  for (int64_t r = 0; r < rows; r++, dst += width, src += lds)
    for (int64_t j = 0; j < cols; j += SONDE_GROUP) {
      __mmask16 mask = first_of(cols - j);
      fetch(src + AHEAD / 2 * lds + j);
      _mm512_mask_storeu_epi32(dst + j / SONDE_GROUP * step, mask, _mm512_maskz_loadu_epi32(mask, src + j));
    }
}

static void spread_bf16(uint32_t *dst, int64_t width, int64_t step, const uint16_t *src, int64_t lds,
                        int64_t rows, int64_t cols) {
  for (int64_t j = 0; j < cols; j += width, dst += step)
    for (int64_t c = 0; c < width && j + c < cols; c += LANES) {
      __mmask16 mask = first_of(cols - j - c);
      fetch(src + AHEAD * lds + j + c);
      fetch(src + (AHEAD + 1) * lds + j + c);
      _mm512_mask_storeu_epi32(dst + c, mask, paired(src + j + c, rows > 1 ? src + lds + j + c : NULL, mask));
    }
}

#ifdef __AVX512BF16__
static void round_rows(uint16_t *dst, int64_t ldd, const float *src, int64_t lds, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; r++, dst += ldd, src += lds)
    for (int64_t c = 0; c < cols; c += LANES) {
      const __mmask16 mask = first_of(cols - c);
      fetch(src + AHEAD / 2 * lds + c);
      _mm256_mask_storeu_epi16(dst + c, mask, rounded(_mm512_maskz_loadu_ps(mask, src + c)));
    }
}
#endif

static void pack_bf16(uint32_t *dst, int64_t step, const uint16_t *src, int64_t lds, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; r += 2, dst += SONDE_GROUP, src += 2 * lds)
    spread_bf16(dst, SONDE_GROUP, step, src, lds, rows - r, cols);
}

const sonde_micro *sonde_micro_avx512(int bf16) {
  static const sonde_micro plain = {.depth = 512, .f32 = product_f32, .pack_f32 = pack_f32, .pack_bf16 = pack_bf16,
                                    .transpose = transpose, .interleave = interleave, .spread_bf16 = spread_bf16};
#ifdef __AVX512BF16__
  static const sonde_micro narrow = {.depth = 512, .f32 = product_f32, .begin = nothing, .end = nothing,
                                     .bf16 = product_bf16, .pack_f32 = pack_f32, .pack_bf16 = pack_bf16,
                                     .transpose = transpose, .interleave = interleave, .round = round_rows,
                                     .spread_bf16 = spread_bf16};
  if (bf16) return &narrow;
#endif
  (void)bf16;
  return &plain;
}
