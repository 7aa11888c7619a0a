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
  float *x = sonde_tensor_write(f->run->in[w], NULL), old = x[at];
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

static const op_case *case_named(const op_cases *all, const char *name) {
  for (int k = 0; k < all->n; k++)
    if (!strcmp(all->at[k].name, name)) return &all->at[k];
  fail_msg("no case '%s'", name);
  return NULL;
}

static void test_rules_of_rules(void **state) {
  (void)state;
  static const char *const names[] = {
      "neg", "exp", "log", "sqrt", "rsqrt", "square", "reciprocal", "abs", "tanh", "erf", "sigmoid", "silu", "gelu",
      "gelu_tanh", "relu", "relu2", "sin", "cos", "affine", "add", "sub/row", "mul/row", "div/row", "swiglu",
      "sum/middle", "expand/middle", "reshape", "permute/10_5x7", "slice/1_3", "pad_slice/2", "concat/1",
      "gather", "softmax", "log_softmax", "matmul/00", "matmul/01/batched", "matmul/11", "rope"};
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(1);
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    const op_case *c = case_named(all, names[k]);
    double d = worst(ctx, c, 2);
    if (!(d <= BOUND)) fail_msg("%s: second gradient and finite differences are %.3g apart", c->name, d);
  }
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

/* Where several results are used, their gradients add up: the sum's is that of one and that of the other. */
static void check_together(sonde_ctx *ctx, const op_case *c) {
  sonde_error err = {0};
  op_run *made = op_run_new(ctx, c, 0, 0);   /* for its inputs */
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_node *in[SONDE_MAX_IN], *wrt[SONDE_MAX_IN], *apart[SONDE_MAX_IN], *sum[SONDE_MAX_IN] = {0};
  sonde_node *total = NULL, *out[2 * SONDE_MAX_IN];
  for (int k = 0; k < c->n_in; k++) in[k] = sonde_leaf(g, (char[]){'x', (char)('0' + k), 0}, made->in[k]);
  for (int k = 0; k < c->n_wrt; k++) wrt[k] = in[c->wrt[k]];
  sonde_node *y = sonde_op(g, c->op, in, c->n_in, &c->attr);
  for (int j = 0; j < c->n_out; j++) {
    sonde_node *yj = sonde_result(y, j), *uj = sonde_scale(sonde_sigmoid(yj), j + 1);
    assert_int_equal(sonde_grad(yj, uj, wrt, c->n_wrt, apart, &err), SONDE_OK);
    for (int k = 0; k < c->n_wrt; k++) sum[k] = sum[k] ? sonde_add(sum[k], apart[k]) : apart[k];
    /* softplus is what has sigmoid as its gradient */
    sonde_node *softplus = sonde_log(sonde_affine(sonde_exp(yj), 1, 1));
    sonde_node *part = sonde_scale(sonde_sum_all(softplus), j + 1);
    total = total ? sonde_add(total, part) : part;
  }
  assert_int_equal(sonde_grad(total, NULL, wrt, c->n_wrt, out, &err), SONDE_OK);
  memcpy(out + c->n_wrt, sum, (size_t)c->n_wrt * sizeof *sum);
  sonde_plan *p = sonde_plan_new(g, out, NULL, 2 * c->n_wrt, NULL, &err);
  if (!p || sonde_plan_run(p, &err)) fail_msg("%s: %s", c->name, err.text);
  for (int k = 0; k < c->n_wrt; k++) {
    sonde_shape s = sonde_node_shape(out[k]);
    const float *a = sonde_plan_output(p, k), *b = sonde_plan_output(p, c->n_wrt + k);
    double off = 0, size = 0;
    for (int64_t e = 0; e < sonde_shape_count(&s); e++) {
      off += (a[e] - b[e]) * (double)(a[e] - b[e]);
      size += (double)b[e] * b[e];
    }
    if (!(off <= 1e-11 * size)) fail_msg("%s: by input %d off by %.3g", c->name, c->wrt[k], sqrt(off / size));
  }
  sonde_plan_free(p);
  sonde_graph_free(g);
  op_run_free(made);
}

static void test_results_together(void **state) {
  (void)state;
  static const char *const names[] = {"cross_entropy", "cross_entropy/batched", "rmsnorm", "layernorm"};
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(1);
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) check_together(ctx, case_named(all, names[k]));
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

/* Ops with a rule that no case differentiates, with the test that does it instead. */
static const char *const elsewhere[] = {
    "cast",      /* cast_test.c */
    "dropout",   /* dropout_test.c */
    "grouped_matmul", "grouped_outer",   /* grouped_test.c */
    "distill", "distill_cached",         /* tests/distill/reference.lua */
    "detach",    /* reference_test.c: its gradient is not its derivative */
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
      cmocka_unit_test(test_results_together),
      cmocka_unit_test(test_every_rule_is_covered),
      cmocka_unit_test(test_a_wrong_rule_is_found),
  };
  return cmocka_run_group_tests_name("gradient rules against finite differences", tests, NULL, NULL);
}
