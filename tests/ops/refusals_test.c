/* refusals_test.c - what ops refuse: at tracing time shapes and attributes, at run time indices that point
 * nowhere. Every refusal names the op and what it was given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"

#define F(...) SHAPE(SONDE_F32, __VA_ARGS__)
#define I(...) SHAPE(SONDE_I32, __VA_ARGS__)
#define SHAPE(dtype, ...) {dtype, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}}

typedef struct refusal {
  const char *op;
  sonde_shape in[4];
  int n_in, code;
  sonde_attr attr;
  const char *says[3];        /* parts of the message beside the op's name */
} refusal;

static const refusal refusals[] = {
    {"add", {F(2, 3), F(4)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[2, 3]", "[4]"}},
    {"where", {F(2), F(3), F(1)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"[2]", "[3]"}},
    {"cast", {F(2)}, 1, SONDE_EINVAL, {{0}, {7}}, {"7"}},
    {"sum", {F(4, 6)}, 1, SONDE_ESHAPE, {{0}, {2, 4, 5}}, {"[4, 5]", "[4, 6]"}},
    {"sum", {F(6)}, 1, SONDE_ESHAPE, {{0}, {2, 1, 6}}, {"[1, 6]", "[6]"}},
    {"sum", {F(6)}, 1, SONDE_EINVAL, {{0}, {6}}, {"rank 6", "5"}},
    {"sum", {F(6)}, 1, SONDE_EINVAL, {{0}, {1, -2}}, {"[-2]"}},
    {"sum", {I(6)}, 1, SONDE_ESHAPE, {{0}, {0}}, {"i32 [6]", "f32"}},
    {"amax", {F(4, 6)}, 1, SONDE_ESHAPE, {{0}, {1, 4}}, {"[4]", "[4, 6]"}},
    {"expand", {F(4, 1)}, 1, SONDE_ESHAPE, {{0}, {2, 3, 6}}, {"[4, 1]", "[3, 6]"}},
    {"expand", {F(4)}, 1, SONDE_EINVAL, {{0}, {-1}}, {"rank -1"}},
    {"expand", {F(1)}, 1, SONDE_EINVAL, {{0}, {3, INT64_MAX / 2, 8, 8}}, {"too many elements"}},
    {"reshape", {F(4, 6)}, 1, SONDE_ESHAPE, {{0}, {2, 5, 5}}, {"[4, 6]", "24", "[5, 5]"}},
    {"reshape", {F(4, 6)}, 1, SONDE_ESHAPE, {{0}, {2, 5, -1}}, {"[4, 6]", "24"}},
    {"reshape", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {2, -1, -1}}, {"two dims"}},
    {"reshape", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {2, -3, -8}}, {"negative"}},
    {"permute", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {1, 0}}, {"1 axes", "[4, 6]"}},
    {"permute", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {2, 1, 1}}, {"axis 2 twice", "[4, 6]"}},
    {"permute", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {2, 0, 2}}, {"no axis 3", "[4, 6]", "from 1"}},
    {"slice", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {1, 4, 3}},
     {"3 elements from element 5 on, of axis 2", "[4, 6]", "1 to 6"}},
    {"slice", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {1, -1, 3}}, {"element 0", "[4, 6]"}},
    {"slice", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {1, 2, INT64_MAX}}, {"[4, 6]"}},
    {"slice", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {2, 0, 1}}, {"no axis 3", "[4, 6]"}},
    {"slice", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {0, 0, 0}}, {"0 elements", "[4, 6]"}},
    {"pad_slice", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {0, 3, 6}}, {"[4, 6]", "at element 4 of axis 1", "6"}},
    {"pad_slice", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {-1, 0, 6}}, {"no axis 0"}},
    {"concat", {F(2, 3), F(3, 4)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[3, 4]", "[2, 3]", "axis 1"}},
    {"concat", {F(2, 3), F(2)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[2]", "[2, 3]"}},
    {"concat", {F(2, 3), I(2, 3)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"i32 [2, 3]", "f32 [2, 3]"}},
    {"rope", {F(1, 2, 1, 8), F(8)}, 2, SONDE_ESHAPE, {{100, 1}, {0}}, {"a head of 8", "half as many", "[8]"}},
    {"rope", {F(1, 2, 1, 8), F(4), F(1)}, 3, SONDE_ESHAPE, {{100, 1}, {0}}, {"position must be one i32"}},
    {"rope", {F(1, 2, 1, 8), I(1), I(1)}, 3, SONDE_ESHAPE, {{100, 1}, {0}}, {"a position and then another"}},
    {"rope_frequencies", {F(2)}, 1, SONDE_ESHAPE, {{0}, {8}}, {"theta must be one f32"}},
    {"rope_frequencies", {F(1)}, 1, SONDE_EINVAL, {{0}, {7}}, {"width of 7"}},
    {"rope", {F(1, 2, 1, 8), F(4)}, 2, SONDE_EINVAL, {{100, 1, -1}, {0}}, {"amplitude", "-1"}},
    {"rope", {F(1, 2, 1, 7)}, 1, SONDE_ESHAPE, {{100, 1}, {0}}, {"even head width"}},
    {"rope_frequencies", {F(1)}, 1, SONDE_EINVAL, {{0}, {8, 5}}, {"scheme 5"}},
    {"rope_frequencies", {F(1)}, 1, SONDE_EINVAL, {{8, 1, 4, 64}, {8, 3}}, {"at least beta_slow", "1, 4 and 64"}},
    {"rope_by_length", {F(4), F(3)}, 2, SONDE_ESHAPE, {{0}, {8, 8}}, {"[4]", "[3]", "one shape"}},
    {"rope_by_length", {F(4), F(4), F(1)}, 3, SONDE_ESHAPE, {{0}, {8, 8}}, {"position must be one i32"}},
    {"rope_by_length", {F(4), F(4)}, 2, SONDE_EINVAL, {{0}, {0, 8}}, {"at least 1", "0 and 8"}},
    {"lm_loss", {F(2, 3), F(4, 3), I(2)}, 3, SONDE_EINVAL, {{-1}, {0}}, {"soft-cap", "-1"}},
    {"rope_frequencies", {F(1)}, 1, SONDE_EINVAL, {{0.5}, {8, 1}}, {"factor must be at least 1", "0.5"}},
    {"rope_frequencies", {F(1)}, 1, SONDE_EINVAL, {{8, 4, 4, 64}, {8, 2}}, {"over the low one", "4"}},
    {"positions", {F(4)}, 1, SONDE_ESHAPE, {{0}, {0}}, {"[4]", "[B, T, ..]"}},
    {"positions", {F(4, 6), F(1)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"one i32", "f32 [1]"}},
    {"topk_mask", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {7}}, {"[4, 6]", "of a row of 6 numbers 7"}},
    {"topk_mask", {F(4, 6)}, 1, SONDE_EINVAL, {{0}, {0}}, {"of a row of 6 numbers 0"}},
    {"alibi_slopes", {F(2)}, 1, SONDE_ESHAPE, {{0}, {4}}, {"one f32", "[2]"}},
    {"alibi_slopes", {F(1)}, 1, SONDE_EINVAL, {{0}, {0}}, {"1 to 65536", "0"}},
    {"gather", {F(4, 6), F(2)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"f32 [2]", "i32"}},
    {"gather", {F(4), I(2)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"f32 [4]", "[V, D]"}},
    {"scatter_add", {I(2), F(3, 6)}, 2, SONDE_ESHAPE, {{0}, {5}}, {"[2]", "[3, 6]"}},
    {"scatter_add", {I(2), F(2, 6)}, 2, SONDE_EINVAL, {{0}, {0}}, {"0 rows"}},
    {"top_k", {F(2, 3)}, 1, SONDE_EINVAL, {{0}, {4}}, {"4 largest", "[2, 3]"}},
    {"top_k", {F(2, 3)}, 1, SONDE_EINVAL, {{0}, {0}}, {"0 largest"}},
    {"top_k", {I(2, 3)}, 1, SONDE_ESHAPE, {{0}, {1}}, {"i32 [2, 3]", "f32"}},
    {"take_along", {F(2, 3), I(3, 3)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[2, 3]", "[3, 3]"}},
    {"put_along", {I(2, 3), F(2, 2)}, 2, SONDE_ESHAPE, {{0}, {4}}, {"[2, 3]", "[2, 2]"}},
    {"put_along", {I(2, 3), F(2, 3)}, 2, SONDE_EINVAL, {{0}, {0}}, {"0 columns"}},
    {"expert_order", {F(2, 3)}, 1, SONDE_ESHAPE, {{0}, {4}}, {"f32 [2, 3]", "i32"}},
    {"expert_order", {I(2, 3)}, 1, SONDE_EINVAL, {{0}, {0}}, {"0 experts"}},
    {"expert_sum", {F(6, 4), F(3, 2), I(3, 3)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"[6, 4]", "[3, 2]", "[3, 3]"}},
    {"expert_sum", {F(6, 4), F(3, 2), I(3, 2), F(3, 2)}, 4, SONDE_ESHAPE, {{0}, {0}}, {"[3, 2]", "[3, 4]"}},
    {"grouped_matmul", {F(6, 4), F(3, 5, 2), I(4)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"[6, 4]", "[3, 5, 2]", "[E, K, N]"}},
    {"grouped_matmul", {F(6, 4), F(3, 2, 5), I(4)}, 3, SONDE_ESHAPE, {{0}, {1}}, {"[6, 4]", "[E, N, K]"}},
    {"grouped_matmul", {F(6, 4), F(3, 4, 5), I(3)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"i32 [3]", "[E + 1]"}},
    {"grouped_matmul", {F(6, 4), F(3, 4, 5), I(1)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"i32 [1]", "[E + 1]"}},
    {"grouped_outer", {F(6, 4), F(5, 4), I(3)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"[6, 4]", "[5, 4]", "[R, M]"}},
    {"matmul_f32", {F(6, 4), I(4, 5)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[6, 4]", "i32 [4, 5]", "f32"}},
    {"softmax", {I(2)}, 1, SONDE_ESHAPE, {{0}, {0}}, {"i32 [2]"}},
    {"softmax_grad", {F(2, 3), F(3)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[2, 3]", "[3]"}},
    {"log_softmax_grad", {F(2, 3), F(2, 2)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[2, 3]", "[2, 2]"}},
    {"cross_entropy", {F(2, 3), I(3)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"[2, 3]", "[3]"}},
    {"cross_entropy", {F(2, 3), F(2)}, 2, SONDE_ESHAPE, {{0}, {0}}, {"f32 [2]", "i32"}},
    {"cross_entropy_grad", {F(2, 3), I(2), F(3)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"dloss", "[3]", "[2]"}},
    {"cross_entropy_grad", {F(2, 3), I(2), F(2, 1)}, 3, SONDE_ESHAPE, {{0}, {0}}, {"dloss", "[2, 1]"}},
    {"dropout", {F(2)}, 1, SONDE_EINVAL, {{1.0}, {0}}, {"p is 1", "below 1"}},
    {"dropout", {F(2)}, 1, SONDE_EINVAL, {{-0.1}, {0}}, {"p is -0.1"}},
    {"dropout", {F(2)}, 1, SONDE_EINVAL, {{__builtin_nan("")}, {0}}, {"p is "}},
};

static void refused(sonde_ctx *ctx, const refusal *r) {
  sonde_error err = {0};
  sonde_node *in[4];
  sonde_graph *g = sonde_graph_new(ctx, &err);
  assert_non_null(g);
  for (int k = 0; k < r->n_in; k++) in[k] = sonde_input(g, (char[]){'x', (char)('0' + k), 0}, &r->in[k]);
  sonde_node *y = sonde_op(g, r->op, in, r->n_in, &r->attr);
  if (y) fail_msg("%s: not refused", r->op);
  assert_int_equal(sonde_graph_error(g, &err), r->code);
  if (strncmp(err.text, r->op, strlen(r->op)))
    fail_msg("the refusal does not begin with '%s': %s", r->op, err.text);
  for (int k = 0; k < 3 && r->says[k]; k++)
    if (!strstr(err.text, r->says[k])) fail_msg("%s: '%s' is not in: %s", r->op, r->says[k], err.text);
  sonde_graph_free(g);
}

static void test_shapes_and_attributes(void **state) {
  (void)state;
  sonde_ctx *ctx = op_ctx_new(1);
  for (size_t k = 0; k < sizeof refusals / sizeof *refusals; k++) refused(ctx, &refusals[k]);
  sonde_ctx_free(ctx);
}

/* Runs a case with one index spoilt; then with the index put right, to show that a refusal breaks nothing. */
static void spoil(sonde_ctx *ctx, const op_case *c, int input, int64_t at, int32_t index, const char *says) {
  sonde_error err = {0};
  op_run *r = op_run_new(ctx, c, 0, 0);
  int32_t *x = sonde_tensor_write(r->in[input], NULL), good = x[at];
  x[at] = index;
  assert_int_equal(op_run_set(r, &err), SONDE_EINVAL);
  if (!strstr(err.text, c->op) || !strstr(err.text, says))
    fail_msg("%s: '%s' is not in: %s", c->op, says, err.text);
  x[at] = good;
  op_run_run(r, 0);
  op_run_free(r);
}

static void test_indices(void **state) {
  (void)state;
  sonde_ctx *ctx = op_ctx_new(2);
  op_made table = {.shape = F(7, 3), .hi = 1}, index = {.shape = I(2, 4), .hi = 7, .steps = 7};
  op_made rows = {.shape = F(2, 4, 3), .hi = 1}, logits = {.shape = F(2, 4, 7), .hi = 1};
  op_case gather = {.name = "gather", .op = "gather", .n_in = 2, .n_out = 1, .in = {table, index}};
  op_case scatter = {.name = "scatter", .op = "scatter_add", .n_in = 2, .n_out = 1, .attr = {{0}, {7}},
                     .in = {index, rows}};
  op_case loss = {.name = "loss", .op = "cross_entropy", .n_in = 2, .n_out = 2, .in = {logits, index}};
  spoil(ctx, &gather, 1, 5, 7, "input 'x1': 7 at position 5");
  spoil(ctx, &gather, 1, 0, -1, "input 'x1': -1 at position 0");
  spoil(ctx, &gather, 1, 7, INT32_MIN, "input 'x1': -2147483648 at position 7");
  spoil(ctx, &scatter, 0, 3, 7, "input 'x0': 7 at position 3");
  spoil(ctx, &scatter, 0, 3, -1, "input 'x0': -1 at position 3");
  spoil(ctx, &loss, 1, 6, 7, "input 'x1': 7 at position 6");
  spoil(ctx, &loss, 1, 6, -2, "input 'x1': -2 at position 6");
  sonde_ctx_free(ctx);
}

/* What no one sets cannot be checked when it is set: the kernel refuses it. */
static void test_computed_indices(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_ctx *ctx = op_ctx_new(2);
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_attr integer = {{0}, {SONDE_I32}};
  sonde_shape table = F(7, 3), places = F(4);
  float rows[21] = {0}, at[4] = {0, 6, 7, -1};
  sonde_node *x = sonde_input(g, "places", &places);
  sonde_node *in[2] = {sonde_input(g, "table", &table), sonde_op(g, "cast", &x, 1, &integer)};
  sonde_node *y = sonde_op(g, "gather", in, 2, NULL);
  sonde_plan *p = sonde_plan_new(g, &y, NULL, 1, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  assert_int_equal(sonde_plan_set_input(p, "table", rows, &err), SONDE_OK);
  assert_int_equal(sonde_plan_set_input(p, "places", at, &err), SONDE_OK);
  assert_int_equal(sonde_plan_run(p, &err), SONDE_EINVAL);
  if (!strstr(err.text, "gather: index 7 at position 2")) fail_msg("%s", err.text);
  at[2] = at[3] = 1;
  assert_int_equal(sonde_plan_run(p, &err), SONDE_EINVAL);   /* the numbers were copied */
  assert_int_equal(sonde_plan_set_input(p, "places", at, &err), SONDE_OK);
  assert_int_equal(sonde_plan_run(p, &err), SONDE_OK);
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_ctx_free(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_shapes_and_attributes),
      cmocka_unit_test(test_indices),
      cmocka_unit_test(test_computed_indices),
  };
  return cmocka_run_group_tests_name("what ops refuse", tests, NULL, NULL);
}
