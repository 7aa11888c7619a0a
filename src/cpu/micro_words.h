/* micro_words.h - shared by the AVX-512 and the AMX product: vectors of 16 words, their rounding, pairing and
 * transposition. */
#ifndef SONDE_CPU_MICRO_WORDS_H
#define SONDE_CPU_MICRO_WORDS_H

#include "cpu/micro.h"

#include <immintrin.h>

enum { LANES = 16 };

/* Prefetch: rows are a few cache lines long and far apart, which the hardware does not predict. Addresses past the end
 * do no harm. */
static inline void fetch(const void *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }

static inline __mmask16 first_of(int64_t n) {
  return n < LANES ? (__mmask16)(0xffffu >> (LANES - n)) : 0xffff;
}

static inline __m512i paired(const uint16_t *even, const uint16_t *odd, __mmask16 mask) {
  __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even));
  if (!odd) return low;
  return _mm512_or_si512(low,
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, odd)), 16));
}

/* To bf16, to nearest even by integer arithmetic; a NaN keeps its top bits and is made quiet. */
static inline __m256i rounded(__m512 x) {
  __m512i u = _mm512_castps_si512(x);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}

/* 16 x 16 words: four rounds that exchange halves of 1, 2, 4 and 8 words. */
static inline void transpose_block(uint32_t *dst, int64_t ldd, const char *src, int64_t lds_bytes) {
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(src + i * lds_bytes);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    _mm512_storeu_si512(dst + i * ldd, _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88));
    _mm512_storeu_si512(dst + (i + 4) * ldd, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
    _mm512_storeu_si512(dst + (i + 8) * ldd, _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd));
    _mm512_storeu_si512(dst + (i + 12) * ldd, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
  }
}

#endif
