/* gradients_test.c - every gradient rule against finite differences of the op's own values: it needs no
 * reference, so it also finds an error that the reference shares. The rules of what a Jacobian probe passes
 * through are differentiated once more. With a wrong rule, which must be found out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "sonde_build.h"

static const double BOUND = 1e-3;      /* on |differences - gradient| / |gradient|, in f32 */
static const double LEAST = 0.1;       /* what a smaller |gradient| counts as: differences are rounded */
static const float STEP = 1.0f / 64;   /* exact, so that x + STEP and x - STEP are 2 STEP apart */
enum { SAMPLES = 24 };

/* What is differentiated: value number `value` of a run, as its inner product with the numbers of a seed. */
typedef struct function {
  op_run *run;
  int value;
  uint32_t seed;
} function;

/* The function with element `at` of input w moved by `by`. */
static double moved(const function *f, int w, int64_t at, float by) {
  int64_t n;
  float *x = sonde_tensor_data(f->run->in[w]), old = x[at];
  x[at] = old + by;
  op_run_run(f->run, 0);
  const float *y = op_run_value(f->run, f->value, &n);
  double sum = op_projection(y, n, f->seed);
  x[at] = old;
  return sum;
}

/* Five-point rule: the error is of the order STEP^4. */
static double difference(const function *f, int w, int64_t at) {
  double near = moved(f, w, at, STEP) - moved(f, w, at, -STEP);
  double far = moved(f, w, at, 2 * STEP) - moved(f, w, at, -2 * STEP);
  return (8 * near - far) / (12.0 * STEP);
}

/* The relative distance of a gradient by input w to the differences of f, over sampled elements. */
static double distance(const function *f, int w, const float *gradient, int64_t n) {
  double off = 0, size = 0, size_rule = 0;
  int64_t samples = n < SAMPLES ? n : SAMPLES;
  for (int64_t s = 0; s < samples; s++) {
    int64_t at = n <= SAMPLES ? s : s * 7919 % n;
    double d = difference(f, w, at);
    off += (d - gradient[at]) * (d - gradient[at]);
    size += d * d;
    size_rule += (double)gradient[at] * gradient[at];
  }
  return sqrt(off) / fmax(sqrt(fmax(size, size_rule)), LEAST);
}

/* Order 1: of the result, whose gradients are then checked; 2: of its gradient by the first wrt input. */
static double worst(sonde_ctx *ctx, const op_case *c, int order) {
  op_run *r = op_run_new(ctx, c, order, 0), *lower = op_run_new(ctx, c, order - 1, 0);
  function f = {lower, order == 1 ? c->result : c->n_out, c->seed + (uint32_t)order - 1};
  double most = 0;
  op_run_run(r, 0);
  for (int k = 0; k < c->n_wrt; k++) {
    int64_t n;
    const float *gradient = op_run_value(r, r->n_out + (order - 1) * c->n_wrt + k, &n);
    most = fmax(most, distance(&f, c->wrt[k], gradient, n));
  }
  op_run_free(r);
  op_run_free(lower);
  return most;
}

static void test_rules(void **state) {
  (void)state;
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(1);
  for (int k = 0; k < all->n; k++) {
    if (!all->at[k].differences || !all->at[k].n_wrt) continue;
    double d = worst(ctx, &all->at[k], 1);
    if (!(d <= BOUND)) fail_msg("%s: gradient and finite differences are %.3g apart", all->at[k].name, d);
  }
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

static void test_rules_of_rules(void **state) {
  (void)state;
  static const char *const names[] = {
      "neg", "exp", "log", "sqrt", "rsqrt", "square", "reciprocal", "abs", "tanh", "sigmoid", "silu", "gelu",
      "gelu_tanh", "relu", "relu2", "sin", "cos", "affine", "add", "sub/row", "mul/row", "div/row", "swiglu",
      "sum/middle", "expand/middle", "reshape", "permute/10_5x7", "slice/1_3", "pad_slice/2", "concat/1",
      "gather", "softmax", "log_softmax", "matmul/00", "matmul/01/batched", "matmul/11", "rope"};
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(1);
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    const op_case *c = NULL;
    for (int j = 0; j < all->n; j++)
      if (!strcmp(all->at[j].name, names[k])) c = &all->at[j];
    if (!c) fail_msg("no case '%s'", names[k]);
    double d = worst(ctx, c, 2);
    if (!(d <= BOUND)) fail_msg("%s: second gradient and finite differences are %.3g apart", c->name, d);
  }
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

/* Ops with a rule that no case differentiates, with the test that does it instead. */
static const char *const elsewhere[] = {
    "cast",      /* cast_test.c */
    "dropout",   /* dropout_test.c */
};

static void test_every_rule_is_covered(void **state) {
  (void)state;
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(1);
  for (int k = 0; k < sonde_ops_count(ctx); k++) {
    const sonde_op_def *def = sonde_ops_at(ctx, k);
    int checked = 0;
    for (int j = 0; j < all->n; j++)
      checked |= !strcmp(all->at[j].op, def->name) && all->at[j].differences && all->at[j].n_wrt;
    for (size_t e = 0; e < sizeof elsewhere / sizeof *elsewhere; e++)
      checked |= !strcmp(elsewhere[e], def->name);
    if (def->grad && !checked) fail_msg("op '%s' has a gradient rule that no case checks", def->name);
  }
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

/* Right when the upstream gradient is the same for all elements, so a test with ones would let it pass. */
static int wrong_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_error err;
  sonde_node *x;
  sonde_node_inputs(self, &x);
  sonde_shape s = sonde_node_shape(x);
  sonde_node *mean = sonde_scale(sonde_sum_all(dout[0]), 1.0 / (double)sonde_shape_count(&s));
  din[0] = sonde_mul(sonde_scale(x, 2), mean);
  return sonde_graph_error(g, &err);
}

static void test_a_wrong_rule_is_found(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_ctx *ctx = op_ctx_new(1);
  sonde_op_def def = *sonde_ops_find(ctx, "square");
  op_case c = {.name = "wrong", .op = "square", .n_in = 1, .n_out = 1, .n_wrt = 1, .seed = 5,
               .in = {{.shape = {SONDE_F32, 2, {3, 5, 1, 1, 1}}, .seed = 9, .lo = -1, .hi = 1}}};
  assert_true(worst(ctx, &c, 1) < BOUND);
  def.name = c.op = "wrong_square";
  def.grad = wrong_grad;
  assert_int_equal(sonde_ops_add(ctx, &def, &err), SONDE_OK);
  assert_true(worst(ctx, &c, 1) > 0.1);
  sonde_ctx_free(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rules),
      cmocka_unit_test(test_rules_of_rules),
      cmocka_unit_test(test_every_rule_is_covered),
      cmocka_unit_test(test_a_wrong_rule_is_found),
  };
  return cmocka_run_group_tests_name("gradient rules against finite differences", tests, NULL, NULL);
}
