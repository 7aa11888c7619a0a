/* reference_test.c - every op's values and gradients against PyTorch's (tests/reference/ops.json), planned
 * with and without fusion; and that no op is left out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"

/* The bound for the squared error over the squared norm (f32 itself: 1e-15). */
static const double BOUND = 1e-12;

static void compare(const op_cases *all, const op_case *c, const char *what, int index,
                    const op_expected *want, const sonde_shape *shape, const float *x) {
  assert_int_equal(shape->rank, want->shape.rank);
  for (int k = 0; k < shape->rank; k++) assert_int_equal(shape->dim[k], want->shape.dim[k]);
  int64_t n = sonde_shape_count(shape);
  double error = 0, power = 0;
  for (int k = 0; k < want->n; k++) {
    double value = x[want->n < n ? k * all->stride % n : k], off = value - want->values[k];
    error += off * off;
    power += want->values[k] * want->values[k];
  }
  /* A sample of zeros says nothing of the scale; the norm does. What is 0 may be a rounding of numbers near 1. */
  if (want->norm == 0 && error < 1e-13 * n) return;
  double scale = fmax(power, want->norm * want->norm * want->n / (double)n);
  double off = op_projection(x, n, all->projection_seed) - want->projection;
  if (!(error <= BOUND * scale))
    fail_msg("%s: %s %d: NMSE %.3g over %.3g", c->name, what, index, error / scale, BOUND);
  if (!(off * off <= BOUND * want->norm * want->norm))
    fail_msg("%s: %s %d: projection off by %.3g of the norm, NMSE over %.3g", c->name, what, index,
             off / want->norm, BOUND);
}

static void check(sonde_ctx *ctx, const op_cases *all, const op_case *c, int no_fuse) {
  op_run *r = op_run_new(ctx, c, 1, no_fuse);
  op_run_run(r, 0);
  for (int j = 0; j < r->n_out + r->n_din; j++) {
    int64_t n;
    sonde_shape shape = sonde_node_shape(r->node[j]);
    const float *x = op_run_value(r, j, &n);
    if (j < r->n_out) compare(all, c, "output", j, &c->out[j], &shape, x);
    else compare(all, c, "gradient by input", c->wrt[j - r->n_out], &c->din[j - r->n_out], &shape, x);
  }
  op_run_free(r);
}

static void check_all(int no_fuse) {
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(2);
  for (int k = 0; k < all->n; k++) check(ctx, all, &all->at[k], no_fuse);
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

static void test_fused(void **state) {
  (void)state;
  check_all(0);
}

static void test_unfused(void **state) {
  (void)state;
  check_all(1);
}

/* With part of the inputs fixed, a gradient kernel has results that nothing reads: those have no memory. */
static void test_one_gradient_at_a_time(void **state) {
  (void)state;
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(2);
  for (int k = 0; k < all->n; k++)
    for (int w = 0; w < all->at[k].n_wrt && all->at[k].n_wrt > 1; w++) {
      op_case one = all->at[k];
      one.n_wrt = 1;
      one.wrt[0] = all->at[k].wrt[w];
      one.din[0] = all->at[k].din[w];
      check(ctx, all, &one, 0);
    }
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

/* Ops that no case runs, with the test that does it instead. */
static const char *const elsewhere[] = {
    "cast",      /* cast_test.c: other dtypes than f32 */
    "dropout",   /* dropout_test.c: random */
    /* tests/distill/reference.lua: their attributes name a function */
    "distill", "distill_grad", "distill_cached", "distill_cached_grad", "teacher_top",
    "grouped_matmul", "grouped_outer",   /* grouped_test.c: offsets that hold all rows */
    "cache_write", "attention_cached",   /* tests/lua/generate.lua: against the full forward pass */
    "attention_blocks_cached",           /* tests/lua/patterns.lua: likewise */
};

static void mark(const sonde_ctx *ctx, sonde_node *n, char *seen) {
  sonde_node *in[SONDE_MAX_IN];
  for (int k = 0; k < sonde_ops_count(ctx); k++)
    if (!strcmp(sonde_ops_at(ctx, k)->name, sonde_node_op(n))) seen[k] = 1;
  int count = sonde_node_inputs(n, in);
  for (int k = 0; k < count; k++) mark(ctx, in[k], seen);
}

/* An op counts as covered when the value or the gradient of a case is computed with it. */
static void test_every_op_is_covered(void **state) {
  (void)state;
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(1);
  char seen[512] = {0};
  assert_in_range(sonde_ops_count(ctx), 40, (int)sizeof seen);
  for (int k = 0; k < all->n; k++) {
    op_run *r = op_run_new(ctx, &all->at[k], 1, 0);
    for (int j = 0; j < r->n_out + r->n_din; j++) mark(ctx, r->node[j], seen);
    op_run_free(r);
  }
  for (int k = 0; k < sonde_ops_count(ctx); k++) {
    const char *name = sonde_ops_at(ctx, k)->name;
    int listed = 0;
    for (size_t e = 0; e < sizeof elsewhere / sizeof *elsewhere; e++) listed |= !strcmp(elsewhere[e], name);
    if (!seen[k] && !listed) fail_msg("op '%s' has no case in tests/reference/make_ops.py", name);
    if (seen[k] && listed) fail_msg("op '%s' is listed as tested elsewhere, but has a case", name);
  }
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fused),
      cmocka_unit_test(test_unfused),
      cmocka_unit_test(test_one_gradient_at_a_time),
      cmocka_unit_test(test_every_op_is_covered),
  };
  return cmocka_run_group_tests_name("ops against PyTorch", tests, NULL, NULL);
}
