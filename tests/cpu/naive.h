/* naive.h - what the tests of src/cpu compare with: plain loops in double precision, and numbers to run
 * them on. */
#ifndef SONDE_TESTS_CPU_NAIVE_H
#define SONDE_TESTS_CPU_NAIVE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cpu/simd_isa.h"

/* Numbers in [-1, 1) that depend on seed and place only. */
static inline void numbers(float *x, int64_t n, uint32_t seed) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t h = (uint32_t)i * 2654435761u + seed * 40503u;
    h ^= h >> 15, h *= 2246822519u, h ^= h >> 13, h *= 3266489917u, h ^= h >> 16;
    x[i] = (float)((double)h / 2147483648.0 - 1.0);
  }
}

static inline float from_half(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

/* f32 to bf16, nearest even, by the value: the candidate below and above, and the nearer of the two. */
static inline uint16_t to_half(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  uint16_t low = (uint16_t)(u >> 16), high = (uint16_t)(low + 1);
  double below = fabs((double)x - from_half(low)), above = fabs((double)from_half(high) - x);
  if (isnan(x) || isinf(x)) return isnan(x) ? (uint16_t)(low | 0x40) : low;
  return below < above || (below == above && low % 2 == 0) ? low : high;
}

static inline void *zeros(int64_t bytes) {
  void *p = aligned_alloc(64, ((size_t)bytes + 127) / 64 * 64);
  assert_non_null(p);
  memset(p, 0, ((size_t)bytes + 127) / 64 * 64);
  return p;
}

static inline void assert_near(double got, double want, double tolerance, const char *what, int64_t at) {
  double scale = fabs(want) > 1 ? fabs(want) : 1;
  if ((isnan(got) && isnan(want)) || got == want || fabs(got - want) <= tolerance * scale) return;
  fail_msg("%s, element %lld: %.9g instead of %.9g", what, (long long)at, got, want);
}

/* The tables this machine can run, narrowest first. */
static inline int tables(const sonde_simd_table *t[SONDE_LEVELS]) {
  int n = 0;
  for (int level = 0; level < SONDE_LEVELS; level++) {
    const sonde_simd_table *x = sonde_simd_level(level);
    if (n == 0 || t[n - 1] != x) t[n++] = x;
  }
  return n;
}

#endif
