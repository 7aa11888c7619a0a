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

/* What the plan of one output needs. */
static sonde_plan_info info_of(sonde_node *n) {
  sonde_error err = {0};
  sonde_plan_info info;
  sonde_plan *p = sonde_plan_new(sonde_node_graph(n), &n, NULL, 1, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  sonde_plan_get_info(p, &info);
  sonde_plan_free(p);
  return info;
}

static void one_expression_is_computed_once(void **state) {
  (void)state;
  sonde_graph *g = graph();
  sonde_tensor *t = filled(1, 4, 1, 1, 1);
  sonde_node *x = sonde_leaf(g, "x", t);
  assert_ptr_equal(sonde_leaf(g, "x", t), x);
  assert_ptr_equal(sonde_find(g, "x"), x);
  assert_int_equal(info_of(sonde_add(sonde_exp(x), sonde_exp(x))).nodes, 3);
  assert_int_equal(info_of(sonde_add(sonde_exp(x), sonde_log(x))).nodes, 4);
  sonde_graph_scope(g, "blocks.0", 0);          /* but not for two blocks: they may be recomputed apart */
  sonde_node *inside = sonde_exp(x);
  sonde_graph_scope(g, NULL, -1);
  assert_int_equal(info_of(sonde_add(inside, sonde_exp(x))).nodes, 4);
  sonde_graph_free(g);
  sonde_tensor_free(t);
}

/* Whatever does not change a value, or is known while planning, is no step. */
static void what_changes_nothing_is_not_computed(void **state) {
  (void)state;
  sonde_graph *g = graph();
  sonde_shape s = shape_of(2, 3, 4, 1);
  sonde_tensor *t = filled(2, 3, 4, 1, 1);
  sonde_node *x = sonde_leaf(g, "x", t), *two = sonde_scale(sonde_constant(g, &s, 0.5), 4),
             *one = sonde_scale(two, 0.5);
  sonde_node *same[] = {sonde_affine(x, 1, 0), sonde_reshape(x, s.dim, 2), sonde_expand(x, s.dim, 2),
                        sonde_sum_to(x, s.dim, 2),
                        sonde_mul(x, one), sonde_mul(one, x)};
  for (size_t k = 0; k < sizeof same / sizeof same[0]; k++) {
    assert_ptr_not_equal(same[k], x);
    assert_int_equal(info_of(same[k]).steps, 0);
    assert_int_equal(info_of(sonde_exp(same[k])).nodes, 2);
  }
  assert_int_equal(info_of(two).steps, 0);
  assert_true(value_of_node(two) == 2);
  sonde_graph_free(g);
  sonde_tensor_free(t);
}

/* d(sum(f * weight))/d(by), as one number each of which is equal. */
static void assert_gradient(sonde_node *f, sonde_node *by, double want) {
  sonde_error err = {0};
  sonde_node *d;
  assert_int_equal(sonde_grad(f, NULL, &by, 1, &d, &err), 0);
  sonde_plan *p = sonde_plan_new(sonde_node_graph(d), &d, NULL, 1, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  if (sonde_plan_run(p, &err)) fail_msg("%s", err.text);
  sonde_shape s = sonde_node_shape(d);
  for (int64_t k = 0; k < sonde_shape_count(&s); k++)
    assert_true(fabs(((const float *)sonde_plan_output(p, 0))[k] - want) < 1e-5 * (1 + fabs(want)));
  sonde_plan_free(p);
}

/* Every call is a value of its own to differentiate by, also where the plan computes nothing for it or computes it with
 * another: each line here lost or gained a path where tracing simplified. */
static void gradients_by_values_inside(void **state) {
  (void)state;
  sonde_graph *g = graph();
  sonde_shape s = shape_of(2, 3, 4, 1), row = shape_of(2, 1, 4, 1);
  sonde_tensor *t = filled(2, 3, 4, 1, 1), *gain = filled(1, 4, 1, 1, 2), *narrow = filled(2, 1, 4, 1, 3);
  sonde_node *x = sonde_leaf(g, "x", t), *y, *z;
  y = sonde_rmsnorm(x, sonde_leaf(g, "gain", gain), 1e-6);                    /* a factor goes into the gain */
  assert_gradient(sonde_add(sonde_scale(y, 2), y), y, 3);
  z = sonde_scale(y, 2);
  assert_gradient(sonde_add(sonde_scale(z, 5), y), z, 5);
  y = sonde_constant(g, &s, 3);                                               /* values of constants are known */
  assert_gradient(sonde_scale(y, 2), y, 2);
  assert_gradient(sonde_mul(y, sonde_constant(g, &s, 7)), y, 7);
  y = sonde_constant(g, &row, 3);
  assert_gradient(sonde_expand(y, s.dim, 2), y, 3);
  y = sonde_constant(g, &s, 1);                                               /* 1 x is x */
  assert_gradient(sonde_mul(y, sonde_constant(g, &s, 6)), y, 6);
  y = sonde_affine(x, 1, 0);
  assert_gradient(sonde_add(sonde_scale(y, 2), sonde_scale(x, 7)), y, 2);
  y = sonde_reshape(x, s.dim, 2);
  assert_gradient(sonde_add(sonde_scale(y, 2), sonde_scale(x, 7)), y, 2);
  y = sonde_exp(x);                                                           /* equal expressions */
  assert_gradient(sonde_add(sonde_scale(y, 2), sonde_scale(sonde_exp(x), 7)), y, 2);
  /* broadcasting makes an expand superfluous */
  y = sonde_expand(sonde_leaf(g, "row", narrow), s.dim, 2);
  assert_gradient(sonde_mul(y, sonde_constant(g, &s, 4)), y, 4);
  sonde_graph_free(g);
  sonde_tensor_free(t);
  sonde_tensor_free(gain);
  sonde_tensor_free(narrow);
}

/* By the upstream gradient, a constant: J' r is linear in r, so its gradient along v is J v. */
static void gradients_of_a_gradient_by_what_came_in(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_shape s = shape_of(1, 4, 1, 1);
  sonde_tensor *t = filled(1, 4, 1, 1, 1);
  sonde_node *x = sonde_leaf(g, "x", t), *r = sonde_constant(g, &s, 1), *a = sonde_constant(g, &s, 3), *d;
  assert_int_equal(sonde_grad(sonde_scale(x, 5), r, &x, 1, &d, &err), 0);
  assert_gradient(d, r, 5);
  assert_int_equal(sonde_grad(sonde_mul(x, a), r, &x, 1, &d, &err), 0);
  assert_gradient(d, r, 3);
  assert_gradient(d, a, 1);
  sonde_graph_free(g);
  sonde_tensor_free(t);
}

/* d/dx and d2/dx2 of tanh(x)^2 exp(x) at one point, against the formula. */
static void derivatives_of_derivatives(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = graph();
  sonde_tensor *t = filled(1, 1, 1, 1, 1);
  ((float *)sonde_tensor_write(t, NULL))[0] = 0.7f;
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

/* A small language model's loss [5] and its inputs. */
typedef struct head { sonde_graph *g; sonde_tensor *w, *x; sonde_node *in[3], *loss; } head;

static head head_make(void) {
  head h = {graph(), filled(2, 11, 6, 1, 1), filled(2, 5, 6, 1, 2), {0}, NULL};
  int64_t five = 5;
  sonde_shape ids = sonde_shape_make(SONDE_I32, 1, &five);
  h.in[0] = sonde_leaf(h.g, "x", h.x);
  h.in[1] = sonde_leaf(h.g, "w", h.w);
  h.in[2] = sonde_input(h.g, "targets", &ids);
  h.loss = sonde_op(h.g, "lm_loss", h.in, 3, NULL);
  return h;
}

static void head_free(head *h) {
  sonde_graph_free(h->g);
  sonde_tensor_free(h->w);
  sonde_tensor_free(h->x);
}

static float head_value(sonde_node *const *out, int n_out) {
  static const int32_t targets[5] = {0, 3, -1, 10, 7};
  sonde_error err = {0};
  sonde_plan *p = sonde_plan_new(sonde_node_graph(out[0]), out, NULL, n_out, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  if (sonde_plan_set_input(p, "targets", targets, &err) || sonde_plan_run(p, &err)) fail_msg("%s", err.text);
  float v = *(const float *)sonde_plan_output(p, 0);
  sonde_plan_free(p);
  return v;
}

/* The loss is had along the way of its gradient: one pass over the logits, not two; but only where that is needed. */
static void the_loss_comes_out_of_its_gradient(void **state) {
  (void)state;
  sonde_error err = {0};
  head h = head_make();
  sonde_node *total = sonde_sum_all(h.loss), *d[2];
  float alone = head_value(&total, 1);
  double flops = info_of(total).flops;
  assert_int_equal(sonde_grad(total, NULL, h.in, 2, d, &err), 0);
  assert_true(info_of(total).flops == flops);
  sonde_node *out[2] = {total, d[1]};
  assert_true(fabsf(head_value(out, 2) - alone) < 1e-5f * alone);
  sonde_plan_info both;
  sonde_plan *p = sonde_plan_new(h.g, out, NULL, 2, NULL, &err);
  sonde_plan_get_info(p, &both);
  sonde_plan_free(p);
  assert_int_equal(both.steps, info_of(d[1]).steps + 1);      /* the sum over the tokens; no second pass */
  head_free(&h);
}

/* Each of these losses is the upstream gradient of the other: neither can be had along the way of both gradients. */
static void a_product_of_losses(void **state) {
  (void)state;
  sonde_error err = {0};
  head h = head_make();
  sonde_node *other[3] = {sonde_scale(h.in[0], 2), h.in[1], h.in[2]}, *d;
  sonde_node *a = sonde_sum_all(h.loss), *b = sonde_sum_all(sonde_op(h.g, "lm_loss", other, 3, NULL)),
             *y = sonde_mul(a, b), *da, *db;
  assert_int_equal(sonde_grad(y, NULL, h.in, 1, &d, &err), 0);
  assert_int_equal(sonde_grad(a, NULL, h.in, 1, &da, &err), 0);
  assert_int_equal(sonde_grad(b, NULL, h.in, 1, &db, &err), 0);
  sonde_node *apart = sonde_sum_all(sonde_square(sonde_add(sonde_mul(a, db), sonde_mul(b, da)))),
             *whole = sonde_sum_all(sonde_square(d));
  sonde_node *both[2] = {whole, y};
  float want = head_value(&apart, 1);
  assert_true(want > 1 && fabsf(head_value(both, 2) - want) < 1e-4f * want);
  head_free(&h);
}

/* The factor of a norm costs no pass over what it normalises, forward or backward, where nothing else reads the
 * norm. */
static void a_factor_of_a_norm_is_no_pass(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_tensor *t = filled(2, 64, 64, 1, 1), *gain = filled(1, 64, 1, 1, 2);
  double bytes[2];
  float sums[2];
  for (int scaled = 0; scaled < 2; scaled++) {
    sonde_graph *g = graph();
    sonde_node *wrt[2] = {sonde_leaf(g, "x", t), sonde_leaf(g, "gain", gain)}, *d[2];
    sonde_node *y = sonde_rmsnorm(wrt[0], wrt[1], 1e-6);
    if (scaled) y = sonde_scale(y, 0.5);
    assert_int_equal(sonde_grad(sonde_matmul(y, y, 0, 1), NULL, wrt, 2, d, &err), 0);
    sonde_node *sum = sonde_add(sonde_sum_all(sonde_mul(d[0], d[0])), sonde_sum_all(sonde_mul(d[1], d[1])));
    bytes[scaled] = info_of(sum).bytes;
    sums[scaled] = value_of_node(sum);
    sonde_graph_free(g);
  }
  assert_true(bytes[1] - bytes[0] < 64 * 64 * sizeof(float));
  assert_true(fabsf(sums[1] - sums[0] / 16) < 1e-4f * sums[1]);
  sonde_tensor_free(t);
  sonde_tensor_free(gain);
}

static void constants_are_of_their_dtype(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_shape s = shape_of(1, 3, 1, 1);
  sonde_graph *g = graph();
  sonde_attr f32 = {{0}, {SONDE_F32}};
  s.dtype = SONDE_BF16;
  sonde_node *c = sonde_constant(g, &s, 1.1);
  float near = value_of_node(sonde_op(g, "cast", &c, 1, &f32));
  assert_true(near == 1.1015625f);
  s.dtype = SONDE_I32;
  c = sonde_constant(g, &s, -5);
  assert_true(value_of_node(sonde_op(g, "cast", &c, 1, &f32)) == -5);
  assert_true(value_of_node(sonde_affine(c, 1, 0)) == -5);             /* f32: not the same as the i32 */
  assert_null(sonde_constant(g, &s, 0.5));
  assert_int_equal(sonde_graph_error(g, &err), SONDE_EINVAL);
  sonde_graph_free(g);
  for (int k = 0; k < 3; k++) {
    g = graph();
    assert_null(sonde_constant(g, &s, (double[]){2147483648.0, -2147483649.0, NAN}[k]));
    sonde_graph_free(g);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_unknown_op_is_named_with_its_neighbour),
      cmocka_unit_test(shapes_that_do_not_fit_are_refused),
      cmocka_unit_test(nodes_of_two_graphs_do_not_mix),
      cmocka_unit_test(one_expression_is_computed_once),
      cmocka_unit_test(what_changes_nothing_is_not_computed),
      cmocka_unit_test(gradients_by_values_inside),
      cmocka_unit_test(gradients_of_a_gradient_by_what_came_in),
      cmocka_unit_test(derivatives_of_derivatives),
      cmocka_unit_test(a_value_that_is_not_used_has_gradient_zero),
      cmocka_unit_test(an_op_without_a_rule_is_named),
      cmocka_unit_test(the_loss_comes_out_of_its_gradient),
      cmocka_unit_test(a_product_of_losses),
      cmocka_unit_test(a_factor_of_a_norm_is_no_pass),
      cmocka_unit_test(constants_are_of_their_dtype),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
