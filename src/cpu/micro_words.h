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
static inline __m256i rounded_by_integers(__m512 x) {
  __m512i u = _mm512_castps_si512(x);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}

/* The same by the CPU's instruction, a quarter of the work, which takes subnormal numbers for 0. */
static inline __m256i rounded(__m512 x) {
#ifdef __AVX512BF16__
  enum { SUBNORMAL = 0x20 };
  if (__builtin_expect(!_mm512_fpclass_ps_mask(x, SUBNORMAL), 1)) return (__m256i)_mm512_cvtneps_pbh(x);
#endif
  return rounded_by_integers(x);
}

/* The 16 bytes at `from` and those one, two and three times `pitch` bytes behind, in the four lanes of a vector: loads
 * that leave the port alone on which shuffles wait for one another. */
static inline __m512i in_lanes(const char *from, int64_t pitch) {
  __m512i r = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)from));
  r = _mm512_inserti32x4(r, _mm_loadu_si128((const __m128i *)(const void *)(from + pitch)), 1);
  r = _mm512_inserti32x4(r, _mm_loadu_si128((const __m128i *)(const void *)(from + 2 * pitch)), 2);
  return _mm512_inserti32x4(r, _mm_loadu_si128((const __m128i *)(const void *)(from + 3 * pitch)), 3);
}

/* 16 x 16 words, four columns at a time: their rows are loaded so that every result has its four words of a lane in the
 * same lane of four vectors. */
static inline void transpose_block(uint32_t *dst, int64_t ldd, const char *src, int64_t lds_bytes) {
#pragma GCC unroll 4
  for (int c = 0; c < 16; c += 4, dst += 4 * ldd) {
    __m512i r[4], t[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) r[j] = in_lanes(src + j * lds_bytes + c * 4, 4 * lds_bytes);
    t[0] = _mm512_unpacklo_epi32(r[0], r[1]), t[1] = _mm512_unpackhi_epi32(r[0], r[1]);
    t[2] = _mm512_unpacklo_epi32(r[2], r[3]), t[3] = _mm512_unpackhi_epi32(r[2], r[3]);
    _mm512_storeu_si512(dst, _mm512_unpacklo_epi64(t[0], t[2]));
    _mm512_storeu_si512(dst + ldd, _mm512_unpackhi_epi64(t[0], t[2]));
    _mm512_storeu_si512(dst + 2 * ldd, _mm512_unpacklo_epi64(t[1], t[3]));
    _mm512_storeu_si512(dst + 3 * ldd, _mm512_unpackhi_epi64(t[1], t[3]));
  }
}

#endif
