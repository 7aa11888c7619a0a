/* elementwise.c - pointwise ops: names, documentation and gradient rules. Their inner loops are the stretch
 * functions of src/cpu (sonde_simd_table.vec), which the graph core looks up by name as it registers this
 * table; broadcasting and the walk over a whole tensor are the executor's.
 *
 * Each rule is one formula. In the macros x (a, b, c) are the inputs, y is the result, dy its gradient;
 * gradients are summed down to an input that was broadcast. */
#include "ops/common.h"

#include <math.h>
#include <string.h>

#include "cpu/formulas.h"
#include "cpu/simd.h"
#include "ops/families.h"

#define RULE_HEAD(op)                                                                                 \
  static int grad_##op(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) { \
    sonde_node *y __attribute__((unused)) = self, *dy __attribute__((unused)) = dout[0];              \
    sonde_inputs inputs __attribute__((unused)) = sonde_inputs_of(self);                              \
    const sonde_attr *attr __attribute__((unused)) = sonde_node_attr(self);

#define UNARY(op, dx)                                   \
  RULE_HEAD(op)                                         \
  sonde_node *x __attribute__((unused)) = inputs.in[0]; \
  din[0] = sonde_sum_like(dx, inputs.in[0]);            \
  return sonde_rule_end(g);                             \
  }

#define BINARY(op, da, db)                                                                         \
  RULE_HEAD(op)                                                                                    \
  sonde_node *a __attribute__((unused)) = inputs.in[0], *b __attribute__((unused)) = inputs.in[1]; \
  din[0] = sonde_sum_like(da, inputs.in[0]);                                                       \
  din[1] = sonde_sum_like(db, inputs.in[1]);                                                       \
  return sonde_rule_end(g);                                                                        \
  }

#define TERNARY(op, da, db, dc)                                                                    \
  RULE_HEAD(op)                                                                                    \
  sonde_node *a __attribute__((unused)) = inputs.in[0], *b __attribute__((unused)) = inputs.in[1]; \
  sonde_node *c __attribute__((unused)) = inputs.in[2];                                            \
  din[0] = sonde_sum_like(da, inputs.in[0]);                                                       \
  din[1] = sonde_sum_like(db, inputs.in[1]);                                                       \
  din[2] = sonde_sum_like(dc, inputs.in[2]);                                                       \
  return sonde_rule_end(g);                                                                        \
  }

#define ADD sonde_add
#define SUB sonde_sub
#define MUL sonde_mul
#define SCALE sonde_scale
#define NONE ((sonde_node *)NULL)

static sonde_node *neg(sonde_node *x) { return sonde_op1("neg", x); }
static sonde_node *mul3(sonde_node *a, sonde_node *b, sonde_node *c) { return MUL(MUL(a, b), c); }

static sonde_node *op3(const char *op, sonde_node *a, sonde_node *b, sonde_node *c) {
  sonde_node *in[3] = {a, b, c};
  return a && b && c ? sonde_op(sonde_node_graph(a), op, in, 3, NULL) : NULL;
}

/* 1 where a > b, 1/2 where a = b, else 0: how max shares a gradient among equals */
static sonde_node *share(sonde_node *a, sonde_node *b) {
  return sonde_affine(SUB(sonde_op2("greater", a, b), sonde_op2("greater", b, a)), 0.5, 0.5);
}

/* silu'' = s (1 - s) (2 + x (1 - 2 s)), s = sigmoid(x) */
static sonde_node *silu_second(sonde_node *x) {
  sonde_node *s = sonde_sigmoid(x);
  sonde_node *slope = SUB(s, sonde_square(s));
  return MUL(slope, sonde_affine(MUL(x, sonde_affine(s, -2, 1)), 1, 2));
}

/* gelu'' = phi(x) (2 - x^2), phi the normal density */
static sonde_node *gelu_second(sonde_node *x) {
  sonde_node *square = sonde_square(x);
  sonde_node *density = SCALE(sonde_exp(SCALE(square, -0.5)), 1 / sqrt(2 * M_PI));
  return MUL(density, sonde_affine(square, -1, 2));
}

/* With u = k (x + a x^3), t = tanh u: gelu_tanh'' = (1 - t^2) (u' + x (u''/2 - t u'^2)),
 * u' = k (1 + 3 a x^2), u'' = 6 k a x */
static sonde_node *gelu_tanh_second(sonde_node *x) {
  const double k = sqrt(2 / M_PI), a = 0.044715;
  sonde_node *square = sonde_square(x);
  sonde_node *t = sonde_tanh(MUL(x, sonde_affine(square, k * a, k)));
  sonde_node *slope = sonde_affine(square, 3 * k * a, k);
  sonde_node *inner = SUB(SCALE(x, 3 * k * a), MUL(t, sonde_square(slope)));
  return MUL(sonde_affine(sonde_square(t), -1, 1), ADD(slope, MUL(x, inner)));
}

UNARY(neg, neg(dy))
UNARY(exp, MUL(dy, y))
UNARY(log, sonde_div(dy, x))
UNARY(sqrt, sonde_div(SCALE(dy, 0.5), y))
UNARY(rsqrt, mul3(SCALE(dy, -0.5), y, sonde_square(y)))
UNARY(square, MUL(SCALE(dy, 2), x))
UNARY(reciprocal, neg(MUL(dy, sonde_square(y))))
UNARY(abs, MUL(dy, sonde_op1("sign", x)))
UNARY(sign, NONE)
UNARY(tanh, sonde_op2("tanh_grad", y, dy))
UNARY(erf, MUL(SCALE(dy, M_2_SQRTPI), sonde_exp(neg(sonde_square(x)))))
UNARY(sigmoid, sonde_op2("sigmoid_grad", y, dy))
UNARY(silu, sonde_op2("silu_grad", x, dy))
UNARY(gelu, sonde_op2("gelu_grad", x, dy))
UNARY(gelu_tanh, sonde_op2("gelu_tanh_grad", x, dy))
UNARY(relu, sonde_op2("relu_grad", x, dy))
UNARY(relu2, sonde_op2("relu2_grad", x, dy))
UNARY(sin, MUL(dy, sonde_op1("cos", x)))
UNARY(cos, neg(MUL(dy, sonde_op1("sin", x))))
UNARY(affine, SCALE(dy, attr->f[0]))

BINARY(add, dy, dy)
BINARY(sub, dy, neg(dy))
BINARY(mul, MUL(dy, b), MUL(dy, a))
BINARY(div, sonde_div(dy, b), neg(sonde_div(MUL(dy, y), b)))
BINARY(max, MUL(dy, share(a, b)), MUL(dy, share(b, a)))
BINARY(min, MUL(dy, share(b, a)), MUL(dy, share(a, b)))
BINARY(greater, NONE, NONE)
BINARY(swiglu, op3("swiglu_dgate", a, b, dy), sonde_op2("swiglu_dup", a, dy))
TERNARY(where, NONE, op3("where", a, dy, sonde_scalar(g, 0)), op3("where", a, sonde_scalar(g, 0), dy))

/* The slopes themselves: f_grad(x, dy) = dy f'(x), by a = x and b = dy; here dy is that result's gradient. */
BINARY(tanh_grad, mul3(SCALE(a, -2), b, dy), sonde_op2("tanh_grad", a, dy))
BINARY(sigmoid_grad, mul3(sonde_affine(a, -2, 1), b, dy), sonde_op2("sigmoid_grad", a, dy))
BINARY(silu_grad, mul3(silu_second(a), b, dy), sonde_op2("silu_grad", a, dy))
BINARY(gelu_grad, mul3(gelu_second(a), b, dy), sonde_op2("gelu_grad", a, dy))
BINARY(gelu_tanh_grad, mul3(gelu_tanh_second(a), b, dy), sonde_op2("gelu_tanh_grad", a, dy))
BINARY(relu_grad, NONE, sonde_op2("relu_grad", a, dy))
BINARY(relu2_grad, sonde_op2("relu_grad", a, MUL(SCALE(b, 2), dy)), sonde_op2("relu2_grad", a, dy))
TERNARY(swiglu_dgate, mul3(silu_second(a), MUL(b, c), dy), sonde_op2("silu_grad", a, MUL(c, dy)),
        sonde_op2("silu_grad", a, MUL(b, dy)))
BINARY(swiglu_dup, sonde_op2("silu_grad", a, MUL(b, dy)), sonde_op2("swiglu_dup", a, dy))

#define FORMULA(name, formula) static const char formula_##name[] = #formula;
SONDE_FORMULAS(FORMULA, FORMULA, FORMULA)
SONDE_AFFINE(FORMULA)

#define DEF_OF_FORM(op, inputs, text, which, more)                                                             \
  {                                                                                                            \
    .size = sizeof(sonde_op_def), .name = #op, .min_in = inputs, .max_in = inputs, .n_out = 1,                 \
    .flags = SONDE_OP_ELEMENTWISE | SONDE_OP_INPLACE | (more), .doc = text, .grad = grad_##op, .form = which,  \
    .formula = formula_##op                                                                                    \
  }
#define DEF(op, inputs, text) DEF_OF_FORM(op, inputs, text, SONDE_FORM_NONE, 0)

/* ---- cast: a kernel of its own, as it reads and writes other dtypes than f32 --------------------------- */

static int cast_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                      sonde_error *err) {
  (void)n_in;
  if (!sonde_dtype_size((int)a->i[0]) || a->i[0] != (int)a->i[0])
    return sonde_fail(err, SONDE_EINVAL, "cast: %lld is not a dtype", (long long)a->i[0]);
  *out = in[0];
  out->dtype = (int32_t)a->i[0];
  return SONDE_OK;
}

/* Gradients are f32, whatever the dtype of what they are of. */
static int cast_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  if (sonde_node_shape(sonde_inputs_of(self).in[0]).dtype != SONDE_I32 && sonde_node_shape(self).dtype != SONDE_I32)
    din[0] = dout[0];
  return sonde_rule_end(g);
}

/* Through f32, a piece at a time; i32 to i32 and f32 to f32 are copies. Towards i32 fractions are cut off,
 * and what does not fit becomes the nearest integer that does (NaN: 0). */
enum { PIECE = 256 };

static const float *as_f32(const void *x, int dtype, int64_t at, float *piece, int64_t n) {
  if (dtype != SONDE_I32) return sonde_row_in(sonde_simd_get(), x, dtype, at, n, piece);
  for (int64_t k = 0; k < n; k++) piece[k] = (float)((const int32_t *)x)[at + k];
  return piece;
}

static int32_t to_i32(float x) {
  if (x != x) return 0;
  if (x >= 2147483648.0f) return INT32_MAX;
  return x <= -2147483648.0f ? INT32_MIN : (int32_t)x;
}

static void cast_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const sonde_call *c = arg;
  int from = c->in_shape[0].dtype, to = c->out_shape[0].dtype;
  int64_t total = sonde_shape_count(&c->in_shape[0]), end = (tile + 1) * SONDE_TILE;
  float piece[PIECE];
  for (int64_t at = tile * SONDE_TILE; at < end && at < total; at += PIECE) {
    int64_t n = total - at < PIECE ? total - at : PIECE;
    if (from == to) {
      size_t bytes = (size_t)sonde_dtype_size(to);
      memcpy((char *)c->out[0] + (size_t)at * bytes, (const char *)c->in[0] + (size_t)at * bytes,
             (size_t)n * bytes);
      continue;
    }
    const float *x = as_f32(c->in[0], from, at, piece, n);
    if (to == SONDE_BF16) sonde_simd_get()->common.to_bf16((uint16_t *)c->out[0] + at, x, n);
    else if (to == SONDE_F32) memcpy((float *)c->out[0] + at, x, (size_t)n * sizeof *x);
    else
      for (int64_t k = 0; k < n; k++) ((int32_t *)c->out[0])[at + k] = to_i32(x[k]);
  }
}

static int cast_run(const sonde_call *c) {
  sonde_pool_run(c->pool, sonde_parts(sonde_shape_count(&c->in_shape[0]), SONDE_TILE), cast_tile,
                 (void *)(uintptr_t)c);
  return SONDE_OK;
}

const sonde_op_def sonde_ops_elementwise[] = {
    DEF(neg, 1, "y = -x"),
    DEF(exp, 1, "y = e^x"),
    DEF(log, 1, "y = ln x"),
    DEF(sqrt, 1, "y = x^(1/2)"),
    DEF(rsqrt, 1, "y = x^(-1/2)"),
    DEF(square, 1, "y = x^2"),
    DEF(reciprocal, 1, "y = 1/x"),
    DEF(abs, 1, "y = |x|; gradient 0 at 0"),
    DEF(sign, 1, "y = -1, 0 or 1; gradient 0"),
    DEF(tanh, 1, "y = tanh x"),
    DEF(erf, 1, "y = erf x"),
    DEF(sigmoid, 1, "y = 1/(1 + e^-x)"),
    DEF(silu, 1, "y = x sigmoid(x)"),
    DEF(gelu, 1, "y = x (1 + erf(x/sqrt 2))/2"),
    DEF(gelu_tanh, 1, "y = x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))/2"),
    DEF(relu, 1, "y = max(x, 0)"),
    DEF(relu2, 1, "y = max(x, 0)^2"),
    DEF(sin, 1, "y = sin x"),
    DEF(cos, 1, "y = cos x"),
    DEF_OF_FORM(affine, 1, "y = f0 x + f1", SONDE_FORM_AFFINE, 0),
    DEF_OF_FORM(add, 2, "y = a + b", SONDE_FORM_ADD, SONDE_OP_F32_TERMS),
    DEF_OF_FORM(sub, 2, "y = a - b", SONDE_FORM_NONE, SONDE_OP_F32_TERMS),
    DEF_OF_FORM(mul, 2, "y = a b", SONDE_FORM_MUL, 0),
    DEF(div, 2, "y = a/b"),
    DEF(max, 2, "y = max(a, b); equals share the gradient"),
    DEF(min, 2, "y = min(a, b); equals share the gradient"),
    DEF(greater, 2, "y = 1 where a > b, else 0; gradient 0"),
    DEF(where, 3, "y = a where c is not 0, else b: where(c, a, b)"),
    DEF(swiglu, 2, "y = silu(gate) up: swiglu(gate, up)"),
    DEF(tanh_grad, 2, "dx = dy (1 - y^2): tanh_grad(y, dy)"),
    DEF(sigmoid_grad, 2, "dx = dy y (1 - y): sigmoid_grad(y, dy)"),
    DEF(silu_grad, 2, "dx = dy silu'(x): silu_grad(x, dy)"),
    DEF(gelu_grad, 2, "dx = dy gelu'(x): gelu_grad(x, dy)"),
    DEF(gelu_tanh_grad, 2, "dx = dy gelu_tanh'(x): gelu_tanh_grad(x, dy)"),
    DEF(relu_grad, 2, "dx = dy where x > 0, else 0: relu_grad(x, dy)"),
    DEF(relu2_grad, 2, "dx = 2 dy max(x, 0): relu2_grad(x, dy)"),
    DEF(swiglu_dgate, 3, "d gate = dy up silu'(gate): swiglu_dgate(gate, up, dy)"),
    DEF(swiglu_dup, 2, "d up = dy silu(gate): swiglu_dup(gate, dy)"),
    {.size = sizeof(sonde_op_def), .name = "cast", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "x as another dtype: i0 = 0 f32, 1 bf16 (rounded to nearest even), 2 i32 (fraction cut off)",
     .shape = cast_shape, .grad = cast_grad, .run = cast_run, .flops = sonde_no_flops, .form = SONDE_FORM_CAST},
    {0},
};
