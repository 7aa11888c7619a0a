/* trace_test.c - tracing and differentiating: refusals, names, shared expressions, second derivatives. */
#include "make.h"

static sonde_ctx *ctx;

static int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  ctx = sonde_ctx_new(1, &err);
  return ctx == NULL;
}

static int teardown(void **state) {
  (void)state;
  sonde_ctx_free(ctx);
  return 0;
}

static sonde_graph *graph(void) {
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  assert_non_null(g);
  return g;
}

static float value_of_node(sonde_node *n) {
  sonde_error err = {0};
  sonde_plan *p = sonde_plan_new(sonde_node_graph(n), &n, NULL, 1, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  if (sonde_plan_run(p, &err)) fail_msg("%s", err.text);
  float v = *(const float *)sonde_plan_output(p, 0);
  sonde_plan_free(p);
  return v;
}

static void an_unknown_op_is_named_with_its_neighbour(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_shape s = shape_of(1, 4, 1, 1);
  sonde_node *x = sonde_constant(g, &s, 1);
  sonde_graph_scope(g, "blocks.3.ffn", 3);
  assert_null(sonde_op1("sillu", x));
  assert_int_equal(sonde_graph_error(g, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "blocks.3.ffn"));
  assert_non_null(strstr(err.text, "'silu'"));
  assert_null(sonde_exp(x));               /* the graph stays failed, with the first reason */
  assert_int_equal(sonde_graph_error(g, &err), SONDE_EINVAL);
  sonde_graph_free(g);
}

static void shapes_that_do_not_fit_are_refused(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_shape a = shape_of(2, 4, 3, 1), b = shape_of(2, 4, 5, 1), none = shape_of(2, 4, 0, 1);
  assert_null(sonde_add(sonde_constant(g, &a, 1), sonde_constant(g, &b, 1)));
  assert_int_equal(sonde_graph_error(g, &err), SONDE_ESHAPE);
  assert_non_null(strstr(err.text, "[4, 3]"));
  assert_non_null(strstr(err.text, "[4, 5]"));
  sonde_graph_free(g);
  g = graph();
  assert_null(sonde_input(g, "x", &none));
  assert_int_equal(sonde_graph_error(g, &err), SONDE_ESHAPE);
  sonde_graph_free(g);
}

static void nodes_of_two_graphs_do_not_mix(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph(), *h = graph();
  sonde_shape s = shape_of(1, 4, 1, 1);
  assert_null(sonde_add(sonde_constant(g, &s, 1), sonde_constant(h, &s, 1)));
  assert_int_equal(sonde_graph_error(g, &err), SONDE_EINVAL);
  sonde_graph_free(g);
  sonde_graph_free(h);
}

static void one_expression_is_one_node(void **state) {
  (void)state;
  sonde_graph *g = graph();
  sonde_tensor *t = filled(1, 4, 1, 1, 1);
  sonde_node *x = sonde_leaf(g, "x", t);
  assert_ptr_equal(sonde_exp(x), sonde_exp(x));
  assert_ptr_not_equal(sonde_exp(x), sonde_log(x));
  assert_ptr_equal(sonde_leaf(g, "x", t), x);
  assert_ptr_equal(sonde_find(g, "x"), x);
  sonde_graph_free(g);
  sonde_tensor_free(t);
}

/* d/dx and d2/dx2 of tanh(x)^2 exp(x) at one point, against the formula. */
static void derivatives_of_derivatives(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_tensor *t = filled(1, 1, 1, 1, 1);
  ((float *)sonde_tensor_data(t))[0] = 0.7f;
  sonde_node *x = sonde_leaf(g, "x", t), *y = sonde_mul(sonde_square(sonde_tanh(x)), sonde_exp(x)), *d, *dd;
  assert_int_equal(sonde_grad(y, NULL, &x, 1, &d, &err), 0);
  assert_int_equal(sonde_grad(d, NULL, &x, 1, &dd, &err), 0);
  double v = 0.7f, h = tanh(v), s = 1 - h * h;
  double first = exp(v) * (h * h + 2 * h * s), second = exp(v) * (h * h + 4 * h * s + 2 * s * s - 4 * h * h * s);
  assert_true(fabs(value_of_node(d) - first) < 1e-5);
  assert_true(fabs(value_of_node(dd) - second) < 1e-5);
  sonde_graph_free(g);
  sonde_tensor_free(t);
}

static void a_value_that_is_not_used_has_gradient_zero(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_tensor *t = filled(1, 3, 1, 1, 1), *u = filled(1, 3, 1, 1, 2);
  sonde_node *wrt[2] = {sonde_leaf(g, "t", t), sonde_leaf(g, "u", u)}, *d[2];
  assert_int_equal(sonde_grad(sonde_sum_all(wrt[0]), NULL, wrt, 2, d, &err), 0);
  assert_true(value_of_node(d[0]) == 1);
  assert_true(value_of_node(d[1]) == 0);
  sonde_graph_free(g);
  sonde_tensor_free(t);
  sonde_tensor_free(u);
}

static void an_op_without_a_rule_is_named(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_tensor *t = filled(2, 3, 4, 1, 1);
  sonde_node *x = sonde_leaf(g, "x", t), *d;
  sonde_node *y = sonde_op1("argmax", x);
  assert_non_null(y);
  assert_int_equal(sonde_grad(y, NULL, &x, 1, &d, &err), SONDE_EUNSUP);
  assert_non_null(strstr(err.text, "argmax"));
  sonde_graph_free(g);
  sonde_tensor_free(t);
}

/* The loss of a language model is had along the way of its gradient: one pass over the logits, not two. */
static void the_loss_comes_out_of_its_gradient(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_tensor *w = filled(2, 11, 6, 1, 1), *xs = filled(2, 5, 6, 1, 2);
  int64_t five = 5;
  sonde_shape ids = sonde_shape_make(SONDE_I32, 1, &five);
  sonde_node *in[3] = {sonde_leaf(g, "x", xs), sonde_leaf(g, "w", w), sonde_input(g, "targets", &ids)}, *d[2];
  sonde_node *loss = sonde_op(g, "lm_loss", in, 3, NULL), *total = sonde_sum_all(loss);
  int32_t targets[5] = {0, 3, -1, 10, 7};
  sonde_plan *p = sonde_plan_new(g, &total, NULL, 1, NULL, &err);
  assert_int_equal(sonde_plan_set_input(p, "targets", targets, &err), 0);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  float alone = *(const float *)sonde_plan_output(p, 0);
  sonde_plan_free(p);
  assert_int_equal(sonde_grad(total, NULL, in, 2, d, &err), 0);
  assert_non_null(loss->replaced);
  sonde_node *out[2] = {total, d[1]};
  p = sonde_plan_new(g, out, NULL, 2, NULL, &err);
  assert_non_null(p);
  assert_int_equal(sonde_plan_set_input(p, "targets", targets, &err), 0);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  assert_true(fabsf(*(const float *)sonde_plan_output(p, 0) - alone) < 1e-5f * alone);
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_tensor_free(w);
  sonde_tensor_free(xs);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_unknown_op_is_named_with_its_neighbour),
      cmocka_unit_test(shapes_that_do_not_fit_are_refused),
      cmocka_unit_test(nodes_of_two_graphs_do_not_mix),
      cmocka_unit_test(one_expression_is_one_node),
      cmocka_unit_test(derivatives_of_derivatives),
      cmocka_unit_test(a_value_that_is_not_used_has_gradient_zero),
      cmocka_unit_test(an_op_without_a_rule_is_named),
      cmocka_unit_test(the_loss_comes_out_of_its_gradient),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
