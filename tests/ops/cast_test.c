/* cast_test.c - casts: exact values, also where rounding ties and where a number does not fit; in a plan
 * (where casts to f32 and bf16 are fused) and by the op's own kernel. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "graph/graph.h"

/* A value, its bits as bf16 (nearest, ties to even), and as i32 (fraction cut off, nearest that fits). */
static const struct {
  float value;
  uint16_t bf16;
  int32_t i32;
} table[] = {
    {0.0f, 0x0000, 0}, {1.0f, 0x3f80, 1}, {-2.75f, 0xc030, -2}, {0.999f, 0x3f80, 0},
    {1.00390625f, 0x3f80, 1},              /* 1 + 2^-8: a tie, to even */
    {1.01171875f, 0x3f82, 1},              /* 1 + 3 2^-8: a tie, to even */
    {1.00390637f, 0x3f81, 1},              /* just over the tie */
    {INFINITY, 0x7f80, INT32_MAX}, {-INFINITY, 0xff80, INT32_MIN}, {3e38f, 0x7f62, INT32_MAX},
    {3.4e38f, 0x7f80, INT32_MAX}, {-3e9f, 0xcf33, INT32_MIN}, {2147483520.0f, 0x4f00, 2147483520},
    {-2147483648.0f, 0xcf00, INT32_MIN}, {1e-40f, 0x0001, 0},
};
enum { ROWS = sizeof table / sizeof *table, LENGTH = 20000 };

static float x[LENGTH];
static uint16_t b[LENGTH];
static int32_t n[LENGTH];
static float y[LENGTH];

static void fill(void) {
  for (int k = 0; k < LENGTH; k++) x[k] = table[k % ROWS].value;
}

static void check_bf16(const uint16_t *got) {
  for (int k = 0; k < LENGTH; k++)
    if (got[k] != table[k % ROWS].bf16)
      fail_msg("%.9g became bf16 0x%04x, not 0x%04x", x[k], got[k], table[k % ROWS].bf16);
}

static void check_i32(const int32_t *got) {
  for (int k = 0; k < LENGTH; k++)
    if (got[k] != table[k % ROWS].i32) fail_msg("%.9g became %d, not %d", x[k], got[k], table[k % ROWS].i32);
}

/* bf16 is the upper half of an f32. */
static void check_back(const float *got) {
  for (int k = 0; k < LENGTH; k++) {
    uint32_t bits;
    memcpy(&bits, &got[k], sizeof bits);
    assert_int_equal(bits, (uint32_t)table[k % ROWS].bf16 << 16);
  }
}

static sonde_node *cast(sonde_graph *g, sonde_node *from, int dtype) {
  sonde_attr a = {{0}, {dtype}};
  return sonde_op(g, "cast", &from, 1, &a);
}

static void test_planned(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_ctx *ctx = op_ctx_new(2);
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_shape s = {SONDE_F32, 1, {LENGTH, 1, 1, 1, 1}};
  sonde_node *in = sonde_input(g, "x", &s), *out[4];
  out[0] = cast(g, in, SONDE_BF16);
  out[1] = cast(g, out[0], SONDE_F32);
  out[2] = cast(g, in, SONDE_I32);
  out[3] = cast(g, out[2], SONDE_F32);
  sonde_plan *p = sonde_plan_new(g, out, NULL, 4, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  fill();
  assert_int_equal(sonde_plan_set_input(p, "x", x, &err), 0);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  check_bf16(sonde_plan_output(p, 0));
  check_back(sonde_plan_output(p, 1));
  check_i32(sonde_plan_output(p, 2));
  const float *back = sonde_plan_output(p, 3);
  for (int k = 0; k < LENGTH; k++) assert_true(back[k] == (float)table[k % ROWS].i32);
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_ctx_free(ctx);
}

static void run(sonde_ctx *ctx, int from, const void *in, int to, void *out) {
  sonde_shape a = {from, 1, {LENGTH, 1, 1, 1, 1}}, c = {to, 1, {LENGTH, 1, 1, 1, 1}};
  sonde_attr attr = {{0}, {to}};
  sonde_call call = {.size = sizeof call, .n_in = 1, .n_out = 1, .in_shape = &a, .out_shape = &c, .in = &in,
                     .out = &out, .attr = &attr, .pool = ctx->pool};
  assert_int_equal(sonde_ops_find(ctx, "cast")->run(&call), 0);
}

static void test_kernel(void **state) {
  (void)state;
  sonde_ctx *ctx = op_ctx_new(2);
  fill();
  run(ctx, SONDE_F32, x, SONDE_BF16, b);
  check_bf16(b);
  run(ctx, SONDE_BF16, b, SONDE_F32, y);
  check_back(y);
  run(ctx, SONDE_F32, x, SONDE_I32, n);
  check_i32(n);
  run(ctx, SONDE_I32, n, SONDE_F32, y);
  for (int k = 0; k < LENGTH; k++) assert_true(y[k] == (float)n[k]);
  run(ctx, SONDE_F32, x, SONDE_F32, y);
  assert_memory_equal(x, y, sizeof x);
  static int32_t same[LENGTH];
  run(ctx, SONDE_I32, n, SONDE_I32, same);
  assert_memory_equal(n, same, sizeof n);
  x[0] = NAN;
  run(ctx, SONDE_F32, x, SONDE_I32, n);
  assert_int_equal(n[0], 0);
  run(ctx, SONDE_F32, x, SONDE_BF16, b);
  run(ctx, SONDE_BF16, b, SONDE_F32, y);
  assert_true(isnan(y[0]));
  sonde_ctx_free(ctx);
}

/* Through bf16 the gradient passes, rounded; through i32 none does. */
static void test_gradient(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_ctx *ctx = op_ctx_new(1);
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_shape s = {SONDE_F32, 1, {3, 1, 1, 1, 1}};
  sonde_node *in = sonde_input(g, "x", &s), *dy = sonde_input(g, "dy", &s), *out[2];
  assert_int_equal(sonde_grad(cast(g, cast(g, in, SONDE_BF16), SONDE_F32), dy, &in, 1, &out[0], &err), 0);
  assert_int_equal(sonde_grad(cast(g, cast(g, in, SONDE_I32), SONDE_F32), dy, &in, 1, &out[1], &err), 0);
  sonde_plan *p = sonde_plan_new(g, out, NULL, 2, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  const float up[3] = {1.0f, -0.5f, 1.00390637f}, none[3] = {0, 0, 0};     /* gradients are f32 and stay it */
  sonde_plan_set_input(p, "x", up, &err);
  assert_int_equal(sonde_plan_set_input(p, "dy", up, &err), 0);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  assert_memory_equal(sonde_plan_output(p, 0), up, sizeof up);
  assert_memory_equal(sonde_plan_output(p, 1), none, sizeof none);
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_ctx_free(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_planned),
      cmocka_unit_test(test_kernel),
      cmocka_unit_test(test_gradient),
  };
  return cmocka_run_group_tests_name("casts", tests, NULL, NULL);
}
