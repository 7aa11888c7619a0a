/* simd_vector.h - gcc's vector type of LANES floats, for the files that are compiled once per instruction
 * set: no intrinsics, so the same source serves SSE2, AVX2 and AVX-512. */
#ifndef SONDE_CPU_SIMD_VECTOR_H
#define SONDE_CPU_SIMD_VECTOR_H

#include <stdint.h>

/* The length of a register: gcc would keep sums of longer vectors in memory. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float uvec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t word __attribute__((vector_size(4 * LANES)));
typedef uint32_t uword __attribute__((vector_size(4 * LANES), aligned(2), may_alias));

/* x, rounded: what is added to it later is not joined with its product to one operation that rounds once. */
static inline vec rounded_product(vec x) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(x));
#elif defined(__x86_64__)
  __asm__("" : "+x"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#endif
  return x;
}

static inline vec load(const float *x) { return *(const uvec *)x; }
static inline void store(float *y, vec v) { *(uvec *)y = v; }

static inline vec choose(ivec where, vec a, vec b) { return (vec)(((ivec)a & where) | ((ivec)b & ~where)); }

/* A NaN anywhere is the result: (a > b) is false beside a NaN, so the NaN of either side is kept. */
static inline vec max_of(vec a, vec b) { return choose((a > b) | (a != a), a, b); }

/* exp(x) within 1.1 ulp where it is a normal f32; below 2^-126 it is 0, above the largest f32 infinite. x = n ln 2 + r,
 * |r| <= ln(2)/2; the polynomial for exp(r) is that of Cephes' expf. Adding a large number leaves n in the low bits of
 * t; adding n to the exponent bits of exp(r) reaches n = 128, where 2^n itself is not an f32. That would lose a NaN, so
 * NaNs are selected at the end. One macro for two uses: vectors, and loops over single numbers that gcc vectorises.
 * (The last selection has a constant in it: otherwise gcc contracts the formulas around it differently.) */
#define EXP_LEAST -87.33654f
#define EXP_MOST 88.72283f
#define EXP_BODY(real, bits, pick)                                        \
  const float large = 12582912.0f;                                        \
  real t = x * 1.44269504f + large, n = t - large;                        \
  real r = x - n * 0.693359375f - n * -2.12194440e-4f;                    \
  real p = r * 1.9875691500e-4f + 1.3981999507e-3f;                       \
  p = p * r + 8.3334519073e-3f;                                           \
  p = p * r + 4.1665795894e-2f;                                           \
  p = p * r + 1.6666665459e-1f;                                           \
  p = p * r + 5.0000001201e-1f;                                           \
  p = p * (r * r) + r + 1.0f;                                             \
  real e = pick(real, bits(uint32_t, p) + (bits(uint32_t, t) << 23));

static inline vec exp_of(vec x) {
#define AS_BITS(type, v) ((word)(v))
#define AS_REAL(type, v) ((vec)(v))
  EXP_BODY(vec, AS_BITS, AS_REAL)
#undef AS_BITS
#undef AS_REAL
  e = choose(x < EXP_LEAST, (vec){0}, e);
  e = choose(x != x, x, e);
  return choose(x > EXP_MOST, (vec){0} + __builtin_inff(), e);
}

typedef union word_or_float { uint32_t u; float f; } word_or_float;

static inline float exp_one(float x) {
#define AS_BITS(type, v) (((word_or_float){.f = (v)}).u)
#define AS_REAL(type, v) (((word_or_float){.u = (v)}).f)
  EXP_BODY(float, AS_BITS, AS_REAL)
#undef AS_BITS
#undef AS_REAL
  e = x < EXP_LEAST ? 0.0f : e;
  e = x != x ? x : e;
  return x > EXP_MOST ? __builtin_inff() : e;
}

/* tanh(x) within 6 ulp and at most 1, as x P(x^2) / Q(x^2) up to 9.01; from there on tanh is 1 in f32 and must be
 * exactly 1: with one ulp less, 1 - tanh^2 never vanishes, and an optimizer that divides by the gradient's magnitude
 * takes full steps of it. Ten multiply-adds and a division, half the cost of libmvec's tanhf. P and Q are the minimax
 * fit of the relative error, which is a third of half an ulp (tests/reference/fit_bounded.py); the rest is rounding. A
 * NaN fails every comparison and is propagated. */
static inline float tanh_one(float x) {
  const float end = 9.0109f;
  float size = __builtin_fabsf(x);
  size = size > end ? end : size;
  float s = size * size;
  float p = s * 1.3319053e-08f + 2.0583468e-05f;
  p = p * s + 0.0034940336f;
  p = p * s + 0.13379717f;
  p = p * s + 1.0f;
  p *= size;
  float q = s * 7.7620115e-07f + 0.00032830914f;
  q = q * s + 0.02587107f;
  q = q * s + 0.46713033f;
  q = q * s + 1.0f;
  p = p > q ? q : p;
  float y = p / q;
  y = size == end ? 1.0f : y;          /* a line of its own: in the condition above it keeps gcc from making vectors */
  return __builtin_copysignf(y, x);
}

/* erf(x) within 8 ulp, likewise: x P(x^2) / Q(x^2) up to 3.9192059, from where erf is 1 in f32. A quarter of half an
 * ulp is the fit's. */
static inline float erf_one(float x) {
  const float end = 3.9192059f;
  float size = __builtin_fabsf(x);
  size = size > end ? end : size;
  float s = size * size;
  float p = s * 2.1167411e-06f + 0.00028582622f;
  p = p * s + 0.0036618093f;
  p = p * s + 0.052444655f;
  p = p * s + 0.18756059f;
  p = p * s + 1.1283791f;
  p *= size;
  float q = s * 3.8826634e-05f + 0.0011433262f;
  q = q * s + 0.014760618f;
  q = q * s + 0.11299823f;
  q = q * s + 0.49955413f;
  q = q * s + 1.0f;
  p = p > q ? q : p;
  float y = p / q;
  y = size == end ? 1.0f : y;
  return __builtin_copysignf(y, x);
}

/* The slope of it, 2 / sqrt(pi) exp(-x^2). */
static inline float erf_slope(float x) { return 1.1283792f * exp_one(-(x * x)); }

#endif
