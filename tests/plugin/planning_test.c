/* planning_test.c - a plugin's products are planned and decoded by what they declare (modules/masked.c): rounded to
 * bf16, added to in place, computed token by token from caches. */
#include "../graph/make.h"

#include "graph/plan.h"
#include "plugin/registry.h"
#include "train/decode.h"

static sonde_ctx *ctx;

static int setup(void **state) {
  sonde_error err = {0};
  char path[4200];
  (void)state;
  snprintf(path, sizeof path, "%s/tests/plugin/modules/masked.so", getenv("abs_builddir"));
  ctx = sonde_ctx_new(2, &err);
  sonde_registry *r = ctx ? sonde_registry_of(ctx, &err) : NULL;
  if (r && !sonde_registry_load(r, path, NULL, &err)) return 0;
  fprintf(stderr, "%s\n", err.text);
  return 1;
}

static int teardown(void **state) {
  (void)state;
  sonde_ctx_free(ctx);
  return 0;
}

/* ---- training ------------------------------------------------------------------------------------------- */

enum { ROWS = 12, WIDTH = 20, LEAVES = 3, OUTPUTS = 1 + LEAVES };

typedef struct rig { sonde_graph *g; sonde_tensor *leaf[LEAVES]; sonde_node *out[OUTPUTS]; } rig;

/* loss and gradients of sum((h + p(h / 2))^2) with h = p(x) and p(x) = x (w * mask)^T: by the plugin's op, or written
 * out. */
static void make(rig *r, int by_op) {
  static const char *const names[LEAVES] = {"x", "w", "mask"};
  sonde_error err = {0};
  sonde_node *leaf[LEAVES], *in[3];
  r->g = sonde_graph_new(ctx, &err);
  for (int k = 0; k < LEAVES; k++) {
    r->leaf[k] = filled(2, k ? WIDTH : ROWS, WIDTH, 1, 40u + (unsigned)k);
    leaf[k] = sonde_leaf(r->g, names[k], r->leaf[k]);
  }
  float *mask = sonde_tensor_write(r->leaf[2], NULL);
  for (int k = 0; k < WIDTH * WIDTH; k++) mask[k] = mask[k] > 0;
  sonde_node *h = leaf[0], *masked = sonde_mul(leaf[1], leaf[2]);
  for (int layer = 0; layer < 2; layer++) {
    in[0] = layer ? sonde_scale(h, 0.5) : h, in[1] = leaf[1], in[2] = leaf[2];
    sonde_node *p = by_op ? sonde_op(r->g, "masked.product", in, 3, NULL) : sonde_linear(in[0], masked);
    h = layer ? sonde_add(h, p) : p;
  }
  r->out[0] = sonde_sum_all(sonde_square(h));
  if (sonde_grad(r->out[0], NULL, leaf, 2, r->out + 1, &err)) fail_msg("%s", err.text);
}

static void drop(rig *r) {
  for (int k = 0; k < LEAVES; k++) sonde_tensor_free(r->leaf[k]);
  sonde_graph_free(r->g);
}

static sonde_plan *planned(rig *r, int bf16) {
  sonde_error err = {0};
  sonde_plan_opts o = {.compute = bf16 ? SONDE_BF16 : SONDE_F32};
  sonde_plan *p = sonde_plan_new(r->g, r->out, NULL, 3, &o, &err);
  if (!p || sonde_plan_run(p, &err)) fail_msg("%s", err.text);
  return p;
}

/* Every product of the plan, as a plan of Sonde's own products would have it. */
static void check_products(const sonde_plan *p, int bf16) {
  int products = 0, sums = 0;
  for (int32_t k = 0; k < p->n_step; k++) {
    const pnode *n = p->step[k].kind == STEP_OP ? &p->node[p->step[k].node] : NULL;
    if (!n || strcmp(n->def->name, "masked.product")) continue;
    products++;
    for (int j = 0; j < 2; j++) assert_int_equal(plan_shape(p, n->in[j])->dtype, bf16 ? SONDE_BF16 : SONDE_F32);
    assert_int_equal(plan_shape(p, n->in[2])->dtype, SONDE_F32);
    if (n->n_in < 4) continue;
    sums++;
    assert_int_equal(n->shape[0].dtype, SONDE_F32);
    assert_int_equal(p->root[value_of(p->step[k].node, 0)],
                     p->root[n->in[3]]); /* in the place of what it is added to */
  }
  assert_int_equal(products, 2);
  assert_int_equal(sums, 1);
}

static void products_are_rounded_and_added_to_in_place(void **state) {
  (void)state;
  rig a, b;
  make(&a, 1);
  make(&b, 0);
  for (int bf16 = 0; bf16 < 2; bf16++) {
    sonde_plan *p = planned(&a, bf16), *q = planned(&b, 0);
    check_products(p, bf16);
    for (int i = 0; i < 3; i++) {
      double e = nmse(sonde_plan_output(p, i), sonde_plan_output(q, i), sonde_shape_count(&a.out[i]->shape));
      if (!(bf16 ? e > 1e-12 && e < 1e-3 : e < 1e-12)) fail_msg("output %d is off by %g", i, e);
    }
    sonde_plan_free(p);
    sonde_plan_free(q);
  }
  drop(&a);
  drop(&b);
}

/* ---- generation --------------------------------------------------------------------------------------------- */

enum { TOKENS = 7, PROMPT = 3, DEPTH = 16 };

/* The trace of `n` tokens, run at `position`: y [n, DEPTH]. With a cache, through it. */
static void run_tokens(sonde_cache *c, int prefill, const float *x, int32_t position, int64_t n, float *y) {
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_node *out[1 + SONDE_CACHE_TENSORS], *in[3];
  sonde_tensor *to[1 + SONDE_CACHE_TENSORS] = {NULL}, *w[2];
  sonde_shape s = shape_of(3, 1, n, DEPTH);
  if (c && sonde_cache_attach(c, g, prefill, &err)) fail_msg("%s", err.text);
  in[0] = sonde_input(g, "x", &s);
  for (int k = 0; k < 2; k++) {
    w[k] = filled(2, DEPTH, DEPTH, 1, 60u + (unsigned)k);
    in[1 + k] = sonde_linear(in[0], sonde_leaf(g, k ? "v" : "k", w[k]));
  }
  for (int layer = 0; layer < 2; layer++) in[0] = sonde_op(g, "masked.mix", in, 3, NULL);
  out[0] = in[0];
  int more = c ? sonde_cache_outputs(c, g, out + 1, to + 1) : 0;
  assert_int_equal(more, c ? 4 : 0);
  sonde_plan *p = sonde_plan_new(g, out, to, 1 + more, NULL, &err);
  if (!p) fail_msg("%s", err.text);
  sonde_plan_set_input(p, "x", x, &err);
  if (c && sonde_plan_set_input(p, "position", &position, &err)) fail_msg("%s", err.text);
  if (sonde_plan_run(p, &err)) fail_msg("%s", err.text);
  memcpy(y, sonde_plan_output(p, 0), (size_t)(n * DEPTH) * sizeof *y);
  sonde_plan_free(p);
  sonde_graph_free(g);
  for (int k = 0; k < 2; k++) sonde_tensor_free(w[k]);
}

static void tokens_one_by_one_are_as_all_at_once(void **state) {
  (void)state;
  sonde_error err = {0};
  float x[TOKENS * DEPTH], all[TOKENS * DEPTH], one[TOKENS * DEPTH];
  fill(x, TOKENS * DEPTH, 9);
  run_tokens(NULL, 0, x, 0, TOKENS, all);
  sonde_cache *c = sonde_cache_new(1, TOKENS + 2, &err);
  run_tokens(c, 1, x, 0, PROMPT, one);
  for (int t = PROMPT; t < TOKENS; t++) run_tokens(c, 0, x + t * DEPTH, t, 1, one + t * DEPTH);
  assert_true(nmse(one, all, TOKENS * DEPTH) < 1e-12);
  sonde_cache_free(c);
}

/* ---- what a definition may not declare ------------------------------------------------------------------------ */

static int no_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = in[0];
  return 0;
}
static int no_run(const sonde_call *c) {
  (void)c;
  return 0;
}

static void declarations_that_contradict_are_refused(void **state) {
  (void)state;
  const struct { sonde_op_def def; const char *names; } bad[] = {
      {{.adds = 1}, "adds"},
      {{.bf16_operands = 1}, "bf16-in"},
      {{.bf16_operands = 8, .flags = SONDE_OP_BF16_IN}, "bf16_operands"},
      {{.flags = SONDE_OP_PRODUCT}, "bf16-out"},
      {{.bf16_operands = 1, .flags = SONDE_OP_BF16_IN | SONDE_OP_ROUNDS}, "second operand"},
      {{.cached = 1}, "step"},
      {{.form = SONDE_FORM_ADD}, "a + b"},
      {{.form = SONDE_FORM_RESHAPE}, "view"},
      {{.form = SONDE_FORM_COUNT}, "sonde_form"},
  };
  for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
    sonde_error err = {0};
    sonde_op_def d = bad[k].def;
    d.size = sizeof d, d.name = "bad.op", d.min_in = d.max_in = 2, d.n_out = 1, d.shape = no_shape, d.run = no_run;
    assert_int_equal(sonde_ops_add(ctx, &d, &err), SONDE_EINVAL);
    if (!strstr(err.text, bad[k].names)) fail_msg("'%s' does not name %s", err.text, bad[k].names);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_rounded_and_added_to_in_place),
      cmocka_unit_test(tokens_one_by_one_are_as_all_at_once),
      cmocka_unit_test(declarations_that_contradict_are_refused),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
