/* simd_vec.c - the stretch functions of elementwise ops, compiled once per instruction set (SONDE_ISA).
 * Each is one formula in a loop that gcc vectorises; the formulas are those of src/ops/elementwise.c. NaN
 * comes through everywhere: where a comparison decides, it is written so that the NaN is what is kept. */
#include "config.h"
#include "cpu/simd_isa.h"
#include "cpu/simd_vector.h"

#include <string.h>

#define INV_SQRT2 0.70710678118654752f
#define INV_SQRT_2PI 0.39894228040143268f
#define SQRT_2_PI 0.79788456080286536f

/* x, y, z name the inputs' elements, f0 and f1 the attributes. */
#define UNARY(name, formula)                                       \
  static void name(const sonde_vec *v) {                           \
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
  static void name(const sonde_vec *v) {                           \
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
  static void name(const sonde_vec *v) {                           \
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

UNARY(vneg, -x)
UNARY(vexp, exp_one(x))
UNARY(vlog, logf(x))
UNARY(vsqrt, sqrtf(x))
UNARY(vrsqrt, 1.0f / sqrtf(x))
UNARY(vsquare, x * x)
UNARY(vreciprocal, 1.0f / x)
UNARY(vabs, fabsf(x))
UNARY(vsign, x > 0 ? 1.0f : x < 0 ? -1.0f : x)
UNARY(vtanh, tanh_one(x))
UNARY(vsigmoid, sigmoid_of(x))
UNARY(vsilu, x * sigmoid_of(x))
UNARY(vgelu, 0.5f * x * (1.0f + erff(x * INV_SQRT2)))
UNARY(vgelu_tanh, x * sigmoid_of(gelu_tanh_argument(x)))
UNARY(vrelu, x < 0 ? 0.0f : x)
UNARY(vrelu2, x < 0 ? 0.0f : x * x)
UNARY(vsin, sinf(x))
UNARY(vcos, cosf(x))

static void vaffine(const sonde_vec *v) {
  const float a = (float)v->attr->f[0], b = (float)v->attr->f[1], *x = v->in[0];
  float *out = v->out;
  int64_t n = v->n;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; i++) out[i] = a * x[i] + b;
}

BINARY(vadd, x + y)
BINARY(vsub, x - y)
BINARY(vmul, x * y)
BINARY(vdiv, x / y)
BINARY(vmax, x > y || x != x ? x : y)
BINARY(vmin, x < y || x != x ? x : y)
BINARY(vgreater, x > y ? 1.0f : 0.0f)
TERNARY(vwhere, x != 0 ? y : z)
BINARY(vswiglu, x * sigmoid_of(x) * y)

/* Backward helpers; y is the upstream gradient unless the comment says otherwise. */
static inline float silu_slope(float x) {
  float s = sigmoid_of(x);
  return s * (1.0f + x * (1.0f - s));
}
static inline float gelu_slope(float x) {
  return 0.5f * (1.0f + erff(x * INV_SQRT2)) + x * INV_SQRT_2PI * exp_one(-0.5f * x * x);
}
static inline float gelu_tanh_slope(float x) {
  float c = x > 30.0f ? 30.0f : x;        /* behind 30 the slope is 0 or 1, and x^2 must not become infinite beside a 0 */
  c = c < -30.0f ? -30.0f : c;
  float s = sigmoid_of(gelu_tanh_argument(c));
  return s * (1.0f + c * (1.0f - s) * 2.0f * SQRT_2_PI * (1.0f + 3.0f * 0.044715f * c * c));
}

BINARY(vsilu_grad, y * silu_slope(x))
BINARY(vgelu_grad, y * gelu_slope(x))
BINARY(vgelu_tanh_grad, y * gelu_tanh_slope(x))
BINARY(vtanh_grad, y * (1.0f - x * x))             /* x: tanh's result */
BINARY(vsigmoid_grad, y * x * (1.0f - x))          /* x: sigmoid's result */
BINARY(vrelu_grad, x > 0 ? y : x != x ? x : 0.0f)
BINARY(vrelu2_grad, x > 0 ? 2.0f * x * y : x != x ? x : 0.0f)
TERNARY(vswiglu_dgate, z * y * silu_slope(x))      /* gate, up, dy */
BINARY(vswiglu_dup, x * sigmoid_of(x) * y)         /* gate, dy */

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

static const struct {
  const char *name;
  void (*run)(const sonde_vec *v);
} table[] = {
    {"neg", vneg}, {"exp", vexp}, {"log", vlog}, {"sqrt", vsqrt}, {"rsqrt", vrsqrt}, {"square", vsquare},
    {"reciprocal", vreciprocal}, {"abs", vabs}, {"sign", vsign}, {"tanh", vtanh}, {"sigmoid", vsigmoid},
    {"silu", vsilu}, {"gelu", vgelu}, {"gelu_tanh", vgelu_tanh}, {"relu", vrelu}, {"relu2", vrelu2},
    {"sin", vsin}, {"cos", vcos}, {"affine", vaffine}, {"add", vadd}, {"sub", vsub}, {"mul", vmul},
    {"div", vdiv}, {"max", vmax}, {"min", vmin}, {"greater", vgreater}, {"where", vwhere},
    {"swiglu", vswiglu}, {"silu_grad", vsilu_grad}, {"gelu_grad", vgelu_grad},
    {"gelu_tanh_grad", vgelu_tanh_grad}, {"tanh_grad", vtanh_grad}, {"sigmoid_grad", vsigmoid_grad},
    {"relu_grad", vrelu_grad}, {"relu2_grad", vrelu2_grad}, {"swiglu_dgate", vswiglu_dgate},
    {"swiglu_dup", vswiglu_dup}, {"dropout", vdropout},
};

void (*ISA_NAME(sonde_vec_find)(const char *name))(const sonde_vec *v) {
  for (size_t k = 0; k < sizeof table / sizeof *table; k++)
    if (!strcmp(table[k].name, name)) return table[k].run;
  return NULL;
}
