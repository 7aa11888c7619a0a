/* simd_vec.c - the stretch functions of elementwise ops, compiled once per instruction set (SONDE_ISA).
 * Each is one formula of formulas.h in a loop that gcc vectorises. */
#include "config.h"
#include "cpu/formulas.h"
#include "cpu/simd_isa.h"
#include "cpu/simd_vector.h"

#include <string.h>

#define INV_SQRT2 0.70710678118654752f
#define INV_SQRT_2PI 0.39894228040143268f
#define SQRT_2_PI 0.79788456080286536f

#define UNARY(name, formula)                                       \
  static void v##name(const sonde_vec *v) {                          \
    const float *in0 = v->in[0];                                   \
    float *out = v->out;                                           \
    int64_t n = v->n;                                              \
    _Pragma("GCC ivdep")                                           \
    for (int64_t i = 0; i < n; i++) {                              \
      float x = in0[i];                                            \
      out[i] = (formula);                                          \
    }                                                              \
  }
#define BINARY(name, formula)                                      \
  static void v##name(const sonde_vec *v) {                          \
    const float *in0 = v->in[0], *in1 = v->in[1];                  \
    float *out = v->out;                                           \
    int64_t n = v->n;                                              \
    _Pragma("GCC ivdep")                                           \
    for (int64_t i = 0; i < n; i++) {                              \
      float x = in0[i], y = in1[i];                                \
      out[i] = (formula);                                          \
    }                                                              \
  }
#define TERNARY(name, formula)                                     \
  static void v##name(const sonde_vec *v) {                          \
    const float *in0 = v->in[0], *in1 = v->in[1], *in2 = v->in[2]; \
    float *out = v->out;                                           \
    int64_t n = v->n;                                              \
    _Pragma("GCC ivdep")                                           \
    for (int64_t i = 0; i < n; i++) {                              \
      float x = in0[i], y = in1[i], z = in2[i];                    \
      out[i] = (formula);                                          \
    }                                                              \
  }

static inline float sigmoid_of(float x) { return 1.0f / (1.0f + exp_one(-x)); }

/* (1 + tanh z) / 2 is sigmoid(2 z), which keeps its digits where tanh is near -1. */
static inline float gelu_tanh_argument(float x) { return 2.0f * SQRT_2_PI * (x + 0.044715f * x * x * x); }

/* Slopes, for gradients. */
static inline float silu_slope(float x) {
  float s = sigmoid_of(x);
  return s * (1.0f + x * (1.0f - s));
}
static inline float gelu_slope(float x) {
  return 0.5f * (1.0f + erff(x * INV_SQRT2)) + x * INV_SQRT_2PI * exp_one(-0.5f * x * x);
}
static inline float gelu_tanh_slope(float x) {
  /* behind 30 the slope is 0 or 1, and x^2 must not become infinite beside a 0 */
  float c = x > 30.0f ? 30.0f : x;
  c = c < -30.0f ? -30.0f : c;
  float s = sigmoid_of(gelu_tanh_argument(c));
  return s * (1.0f + c * (1.0f - s) * 2.0f * SQRT_2_PI * (1.0f + 3.0f * 0.044715f * c * c));
}

#define AFFINE(name, formula)                                      \
  static void v##name(const sonde_vec *v) {                        \
    const float *in0 = v->in[0];                                   \
    const float f0 = (float)v->attr->f[0], f1 = (float)v->attr->f[1]; \
    float *out = v->out;                                           \
    int64_t n = v->n;                                              \
    _Pragma("GCC ivdep")                                           \
    for (int64_t i = 0; i < n; i++) {                              \
      float x = in0[i];                                            \
      out[i] = (formula);                                          \
    }                                                              \
  }
SONDE_FORMULAS(UNARY, BINARY, TERNARY)
SONDE_AFFINE(AFFINE)

/* Counter-based: the decision for element `index` at `step` is a hash of (seed, step, index) alone. The
 * mixer is C. Wellons' lowbias32 (32-bit xorshift-multiply), run once on the low word and once more under a
 * second key. */
static inline uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ (h >> 16);
}

static void vdropout(const sonde_vec *v) {
  const float p = (float)v->attr->f[0], keep = p < 1 ? 1.0f / (1.0f - p) : 0.0f, *x = v->in[0];
  const uint64_t seed = (uint64_t)v->attr->i[0], step = v->block->number;
  const double cut = (double)p * 4294967296.0;
  const uint32_t limit = cut < 4294967295.0 ? (uint32_t)cut : 4294967295u;
  const uint32_t key0 = mix((uint32_t)seed ^ mix((uint32_t)step));
  const uint32_t key1 = mix((uint32_t)(seed >> 32) + mix((uint32_t)(step >> 32) ^ key0));
  int64_t done = 0;
  while (done < v->n) {   /* the high word of the index is the same for up to 2^32 elements */
    uint64_t at = v->index + (uint64_t)done;
    uint32_t low = (uint32_t)at, high = key1 ^ mix((uint32_t)(at >> 32) + 0x9e3779b9u);
    int64_t n = v->n - done, room = (int64_t)(0x100000000u - low);
    if (n > room) n = room;
    const float *from = x + done;
    float *out = v->out + done;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
      uint32_t h = mix(mix((low + (uint32_t)i) ^ key0) + high);
      out[i] = h >= limit ? from[i] * keep : 0.0f;
    }
    done += n;
  }
}

#define ENTRY(name, formula) {#name, v##name},
static const struct {
  const char *name;
  void (*run)(const sonde_vec *v);
} table[] = {SONDE_FORMULAS(ENTRY, ENTRY, ENTRY) SONDE_AFFINE(ENTRY){"dropout", vdropout}};

void (*ISA_NAME(sonde_vec_find)(const char *name))(const sonde_vec *v) {
  for (size_t k = 0; k < sizeof table / sizeof *table; k++)
    if (!strcmp(table[k].name, name)) return table[k].run;
  return NULL;
}
