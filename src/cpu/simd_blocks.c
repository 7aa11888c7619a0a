/* simd_blocks.c - the inner loops of blocked attention, compiled once per instruction set (SONDE_ISA). A
 * block is [keys, SONDE_BLOCK queries], of which SONDE_GROUP queries are taken at a time: a query is a lane, so that
 * maxima and sums over keys need no sums across a vector. */
#include "config.h"
#include <stddef.h>

#include "cpu/micro.h"
#include "cpu/simd_isa.h"
#include "cpu/simd_vector.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

enum { WIDE = SONDE_GROUP / LANES, TURNS = 4 };

/* Four maxima in turn: each waits for the one before it. */
static void col_max(float *top, const float *s, int64_t keys) {
  vec m[TURNS][WIDE];
  int64_t k = 0;
  for (int t = 0; t < TURNS; t++)
    for (int v = 0; v < WIDE; v++) m[t][v] = load(top + v * LANES);
  for (; k + TURNS <= keys; k += TURNS)
    for (int t = 0; t < TURNS; t++, s += SONDE_BLOCK)
      for (int v = 0; v < WIDE; v++) m[t][v] = max_of(load(s + v * LANES), m[t][v]);
  for (; k < keys; k++, s += SONDE_BLOCK)
    for (int v = 0; v < WIDE; v++) m[0][v] = max_of(load(s + v * LANES), m[0][v]);
  for (int v = 0; v < WIDE; v++)
    store(top + v * LANES, max_of(max_of(m[0][v], m[1][v]), max_of(m[2][v], m[3][v])));
}

/* The hardware's rounding takes denormal numbers as zero, as its products would. */
static inline void put(float *wide, uint16_t *narrow, vec x) {
#ifdef __AVX512BF16__
  if (narrow) {
    _mm256_storeu_si256((__m256i *)(void *)narrow, (__m256i)_mm512_cvtneps_pbh((__m512)x));
    return;
  }
#endif
  (void)narrow;
  store(wide, x);
}

/* Inlined for either case of `weighed`, so that the loop does not ask. x of a hidden key is -infinity, whose product
 * with its weight, 0, would be none. */
static inline __attribute__((always_inline)) void exp_sums(float *s, uint16_t *narrow, float scale, const float *top,
                                                           float *sum, float *weighed, int64_t keys) {
  vec most[WIDE], total[WIDE], by_x[WIDE];
  for (int v = 0; v < WIDE; v++) most[v] = load(top + v * LANES), total[v] = load(sum + v * LANES);
  for (int v = 0; v < WIDE; v++) by_x[v] = weighed ? load(weighed + v * LANES) : total[v];
  for (int64_t k = 0; k < keys; k++)
    for (int v = 0; v < WIDE; v++) {
      const int64_t at = k * SONDE_BLOCK + v * LANES;
      const vec x = (load(s + at) - most[v]) * scale, e = exp_of(x);
      put(s + at, narrow ? narrow + at : NULL, e);
      total[v] += e;
      if (weighed) by_x[v] += e * max_of((vec){0} + EXP_LEAST, x);
    }
  for (int v = 0; v < WIDE; v++) store(sum + v * LANES, total[v]);
  for (int v = 0; v < WIDE && weighed; v++) store(weighed + v * LANES, by_x[v]);
}

static void col_exp(float *s, uint16_t *narrow, float scale, const float *top, float *sum, float *weighed,
                    int64_t keys) {
  if (weighed) exp_sums(s, narrow, scale, top, sum, weighed, keys);
  else exp_sums(s, narrow, scale, top, sum, NULL, keys);
}

/* The shift holds a rounded product with the same scale: were this one joined with the difference, that of the largest
 * score would not be 0, and at scores from 1e4 on its exponential not 1. */
static void col_grad(float *s, float *ds, const float *slope, uint16_t *const narrow[2], float scale,
                     const float *shift, const float *delta, int64_t keys) {
  vec down[WIDE], less[WIDE];
  for (int v = 0; v < WIDE; v++) down[v] = load(shift + v * LANES), less[v] = load(delta + v * LANES);
  for (int64_t k = 0; k < keys; k++)
    for (int v = 0; v < WIDE; v++) {
      const int64_t at = k * SONDE_BLOCK + v * LANES;
      vec p = exp_of(rounded_product(load(s + at) * scale) - down[v]);
      vec d = p * (load(ds + at) - less[v]) * scale;
      if (slope) d *= load(slope + at);
      put(s + at, narrow ? narrow[0] + at : NULL, p);
      put(ds + at, narrow ? narrow[1] + at : NULL, d);
    }
}

void ISA_NAME(sonde_blocks)(sonde_simd_table *t) {
  t->col_max = col_max;
  t->col_exp = col_exp;
  t->col_grad = col_grad;
}
