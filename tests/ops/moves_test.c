/* moves_test.c - ops that only move elements do so for bf16 and i32 as for f32: moving what was cast gives the
 * bits of casting what was moved. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "sonde_build.h"

static const char *const ops[] = {"reshape", "permute", "slice", "pad_slice", "concat", "expand", "gather"};

static int moves(const op_case *c) {
  for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
    if (!strcmp(c->op, ops[k])) return 1;
  return 0;
}

static sonde_node *cast(sonde_node *x, int dtype) {
  sonde_attr a = {{0}, {dtype}};
  return sonde_op(sonde_node_graph(x), "cast", &x, 1, &a);
}

/* The case's op on inputs scaled to 1000 and, if `early`, cast to the dtype; else its result is cast. */
static sonde_node *moved(const op_case *c, sonde_graph *g, int dtype, int early) {
  sonde_node *in[SONDE_MAX_IN] = {NULL};
  for (int k = 0; k < c->n_in; k++) {
    char name[] = {'x', (char)('0' + k), 0};
    in[k] = sonde_find(g, name);
    if (!in[k]) in[k] = sonde_input(g, name, &c->in[k].shape);
    if (c->in[k].shape.dtype != SONDE_F32) continue;
    in[k] = sonde_scale(in[k], 1000);
    if (early) in[k] = cast(in[k], dtype);
  }
  sonde_node *y = sonde_op(g, c->op, in, c->n_in, &c->attr);
  assert_non_null(y);
  assert_int_equal(sonde_node_shape(y).dtype, early ? dtype : SONDE_F32);
  return cast(early ? y : cast(y, dtype), SONDE_F32);
}

static void check(sonde_ctx *ctx, const op_case *c, int dtype) {
  sonde_error err = {0};
  op_run *made = op_run_new(ctx, c, 0, 0);   /* for its inputs */
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_node *out[2] = {moved(c, g, dtype, 1), moved(c, g, dtype, 0)};
  sonde_shape s = sonde_node_shape(out[0]);
  sonde_plan *p = sonde_plan_new(g, out, NULL, 2, NULL, &err);
  if (!p) fail_msg("%s: %s", c->name, err.text);
  for (int k = 0; k < c->n_in; k++) {
    const void *x = sonde_tensor_write(made->in[k], NULL);
    assert_int_equal(sonde_plan_set_input(p, (char[]){'x', (char)('0' + k), 0}, x, &err), SONDE_OK);
  }
  if (sonde_plan_run(p, &err)) fail_msg("%s: %s", c->name, err.text);
  const float *a = sonde_plan_output(p, 0), *b = sonde_plan_output(p, 1);
  for (int64_t k = 0; k < sonde_shape_count(&s); k++)
    if (memcmp(&a[k], &b[k], sizeof *a))
      fail_msg("%s as dtype %d: element %lld is %.9g, not %.9g", c->name, dtype, (long long)k, a[k], b[k]);
  sonde_plan_free(p);
  sonde_graph_free(g);
  op_run_free(made);
}

static void check_all(int dtype) {
  op_cases *all = op_cases_load();
  sonde_ctx *ctx = op_ctx_new(2);
  int count = 0;
  for (int k = 0; k < all->n; k++)
    if (moves(&all->at[k])) {
      check(ctx, &all->at[k], dtype);
      count++;
    }
  assert_true(count >= 30);
  sonde_ctx_free(ctx);
  op_cases_free(all);
}

static void test_bf16(void **state) {
  (void)state;
  check_all(SONDE_BF16);
}

static void test_i32(void **state) {
  (void)state;
  check_all(SONDE_I32);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bf16),
      cmocka_unit_test(test_i32),
  };
  return cmocka_run_group_tests_name("moves of other dtypes", tests, NULL, NULL);
}
