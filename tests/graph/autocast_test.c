/* autocast_test.c - bf16 compute: which ops write bf16 themselves, and that this changes no bit of what is written. */
#include "make.h"

#include "graph/fused.h"
#include "plugin/registry.h"

static sonde_ctx *ctx;

static int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  ctx = sonde_ctx_new(2, &err);
  return !ctx || !sonde_registry_of(ctx, &err);   /* with the ops of Sonde's plugins */
}

static int teardown(void **state) {
  (void)state;
  sonde_ctx_free(ctx);
  return 0;
}

/* ---- one op whose result is the operand of a product ---------------------------------------------------- */

enum { BATCH = 2, TOKENS = 37, HEADS = 4, HEAD = 10, WIDTH = HEADS * HEAD, INPUTS = 5 };

typedef struct subject {
  const char *op;
  int n_in;
  sonde_shape in[INPUTS];
  sonde_attr attr;
  int operands;              /* its first inputs are rounded too */
} subject;

#define ROWS {SONDE_F32, 3, {BATCH, TOKENS, WIDTH, 1, 1}}
#define VECTOR(n) {SONDE_F32, 1, {n, 1, 1, 1, 1}}
#define BY_HEAD {SONDE_F32, 4, {BATCH, TOKENS, HEADS, HEAD, 1}}
#define ONE_A_ROW {SONDE_F32, 2, {BATCH, TOKENS, 1, 1, 1}}

static const subject subjects[] = {
    {"rmsnorm", 2, {ROWS, VECTOR(WIDTH)}, {{1e-6}, {0}}, 0},
    {"layernorm", 3, {ROWS, VECTOR(WIDTH), VECTOR(WIDTH)}, {{1e-5}, {0}}, 0},
    {"dyt.forward", 3, {ROWS, VECTOR(WIDTH), VECTOR(1)}, {{0}, {0}}, 0},
    {"bhyt.forward", 3, {ROWS, VECTOR(WIDTH), VECTOR(1)}, {{10, 1e-6}, {0}}, 0},
    {"bhyt.forward", 4, {ROWS, VECTOR(WIDTH), VECTOR(1), ONE_A_ROW}, {{10, 1e-6}, {0}}, 0},
    {"bhyt.forward", 5, {ROWS, VECTOR(WIDTH), VECTOR(1), ONE_A_ROW, VECTOR(1)}, {{10, 1e-6}, {0}}, 0},
    {"rope", 2, {BY_HEAD, VECTOR(HEAD / 2)}, {{10000, 1}, {0}}, 0},
    {"attention", 3, {BY_HEAD, BY_HEAD, BY_HEAD}, {{0}, {1}}, 3},
};
enum { SUBJECTS = sizeof subjects / sizeof subjects[0] };

typedef struct rig {
  sonde_graph *g;
  sonde_tensor *leaf[INPUTS + 1];
  sonde_node *in[INPUTS + 1], *y, *product, *grad[INPUTS + 1];
} rig;

/* product = y w^T with y the op's result; grad: of the sum of its squares, by the op's inputs and w. With `rounded` the
 * graph says itself what a bf16 plan rounds: the op's operands. */
static void make(rig *r, const subject *s, int rounded) {
  sonde_error err = {0};
  const sonde_attr bf16 = {{0}, {SONDE_BF16}};
  sonde_node *in[INPUTS];
  int64_t flat[2] = {BATCH * TOKENS, WIDTH};
  memset(r, 0, sizeof *r);
  r->g = sonde_graph_new(ctx, &err);
  for (int k = 0; k <= s->n_in; k++) {
    char name[8] = {(char)('a' + k), 0};
    sonde_shape shape = k < s->n_in ? s->in[k] : shape_of(2, 24, WIDTH, 1);
    r->leaf[k] = sonde_tensor_new(&shape, &err);
    float *x = sonde_tensor_write(r->leaf[k], NULL);
    fill(x, sonde_shape_count(&shape), 3u + (unsigned)k);
    /* mean squares */
    for (int64_t j = 0; k > 2 && k < s->n_in && j < sonde_shape_count(&shape); j++) x[j] = fabsf(x[j]);
    r->in[k] = sonde_leaf(r->g, name, r->leaf[k]);
    if (k < s->n_in) in[k] = k < s->operands && rounded ? sonde_op(r->g, "cast", &r->in[k], 1, &bf16) : r->in[k];
  }
  r->y = sonde_op(r->g, s->op, in, s->n_in, &s->attr);
  r->product = sonde_linear(sonde_reshape(r->y, flat, 2), r->in[s->n_in]);
  sonde_node *loss = sonde_sum_all(sonde_square(r->product));
  int n = strcmp(s->op, "rope") ? s->n_in : 1;               /* frequencies have no gradient */
  sonde_node *wrt[INPUTS + 1], *d[INPUTS + 1];
  memcpy(wrt, r->in, sizeof wrt);
  wrt[n] = r->in[s->n_in];
  if (sonde_grad(loss, NULL, wrt, n + 1, d, &err)) fail_msg("%s: %s", s->op, err.text);
  memcpy(r->grad, d, (size_t)(n + 1) * sizeof *d);
}

static void drop(rig *r) {
  for (int k = 0; k <= INPUTS; k++) sonde_tensor_free(r->leaf[k]);
  sonde_graph_free(r->g);
}

static sonde_plan *planned(rig *r, sonde_node *const *out, int n, int bf16) {
  sonde_error err = {0};
  sonde_plan_opts o = {.compute = bf16 ? SONDE_BF16 : SONDE_F32};
  sonde_plan *p = sonde_plan_new(r->g, out, NULL, n, &o, &err);
  if (!p || sonde_plan_run(p, &err)) fail_msg("%s", err.text);
  return p;
}

/* The dtype in which the op's only step of the forward pass writes its result. */
static int written_as(const sonde_plan *p, const char *op) {
  int dtype = -1;
  for (int32_t k = 0; k < p->n_step; k++) {
    const pnode *n = &p->node[p->step[k].node];
    if (p->step[k].kind != STEP_OP || n->backward || strcmp(n->def->name, op)) continue;
    assert_int_equal(dtype, -1);
    dtype = n->shape[0].dtype;
  }
  return dtype;
}

/* How many steps round the result of a step that could have written bf16. */
static int passes_to_round(const sonde_plan *p, const char *op) {
  int n = 0;
  for (int32_t k = 0; k < p->n_step; k++)
    for (int j = 0; p->step[k].kind == STEP_FUSED && j < p->step[k].f->program.n_in; j++) {
      const fused *f = p->step[k].f;
      const pnode *x = &p->node[value_node(f->in[j])];
      n += x->def && !strcmp(x->def->name, op) && f->program.n_op == 1 && f->program.op[0].round;
    }
  return n;
}

static void what_products_read_is_written_in_bf16(void **state) {
  (void)state;
  for (size_t k = 0; k < SUBJECTS; k++) {
    const subject *s = &subjects[k];
    rig r;
    make(&r, s, 0);
    sonde_node *out[2 + INPUTS] = {r.product};
    int n = 1;
    while (n <= INPUTS + 1 && r.grad[n - 1]) out[n] = r.grad[n - 1], n++;
    sonde_plan *p = planned(&r, out, n, 1), *q = planned(&r, out, n, 0);
    if (written_as(p, s->op) != SONDE_BF16) fail_msg("%s of %d inputs is not written in bf16", s->op, s->n_in);
    assert_int_equal(passes_to_round(p, s->op), 0);
    assert_int_equal(written_as(q, s->op), SONDE_F32);
    for (int i = 0; i < n; i++) {
      double e = nmse(sonde_plan_output(p, i), sonde_plan_output(q, i), sonde_shape_count(&out[i]->shape));
      if (!(e > 0 && e < 1e-3)) fail_msg("%s: output %d is off by %g", s->op, i, e);
    }
    sonde_plan_free(p);
    sonde_plan_free(q);
    drop(&r);
  }
}

/* A kernel that writes bf16 writes what a cast makes of its f32 result. */
static void writing_bf16_is_rounding_the_result(void **state) {
  (void)state;
  const sonde_attr bf16 = {{0}, {SONDE_BF16}};
  for (size_t k = 0; k < SUBJECTS; k++) {
    rig r, e;
    make(&r, &subjects[k], 0);
    make(&e, &subjects[k], 1);
    sonde_node *out[2] = {sonde_op(r.g, "cast", &r.y, 1, &bf16), r.product}, *expected = sonde_op(e.g, "cast", &e.y, 1,
                          &bf16);
    sonde_plan *p = planned(&r, out, 2, 1), *q = planned(&e, &expected, 1, 0);
    assert_int_equal(written_as(p, subjects[k].op), SONDE_BF16);
    assert_int_equal(written_as(q, subjects[k].op), SONDE_F32);
    assert_memory_equal(sonde_plan_output(p, 0), sonde_plan_output(q, 0), (size_t)sonde_shape_bytes(&expected->shape));
    sonde_plan_free(p);
    sonde_plan_free(q);
    drop(&r);
    drop(&e);
  }
}

/* A reader of f32 sees the f32 result: here the sum of the squares of y itself. */
static void what_others_read_stays_f32(void **state) {
  (void)state;
  for (size_t k = 0; k < SUBJECTS; k++) {
    rig r;
    make(&r, &subjects[k], 0);
    sonde_node *out[2] = {r.product, sonde_sum_all(sonde_square(r.y))};
    sonde_plan *p = planned(&r, out, 2, 1);
    assert_int_equal(written_as(p, subjects[k].op), SONDE_F32);
    sonde_plan_free(p);
    drop(&r);
  }
}

/* c + a b is written in f32, as sums are, though a product reads nothing but its rounding. */
static void sums_stay_f32(void **state) {
  (void)state;
  rig r;
  make(&r, &subjects[0], 0);
  sonde_node *sum[3] = {r.product, r.product, NULL};
  sonde_attr turned = {{0}, {0, 1}};
  sum[2] = sonde_linear(r.product, r.product);
  sonde_node *added = sonde_op(r.g, "matmul", sum, 3, &turned), *out = sonde_linear(added, added);
  sonde_plan *p = planned(&r, &out, 1, 1);
  int sums = 0;
  for (int32_t k = 0; k < p->count; k++) {
    if (!p->node[k].def || strcmp(p->node[k].def->name, "matmul") || p->node[k].n_in < 3) continue;
    assert_int_equal(p->node[k].shape[0].dtype, SONDE_F32);
    sums++;
  }
  assert_int_equal(sums, 1);
  sonde_plan_free(p);
  drop(&r);
}

/* Steps that round the parameter `leaf`. */
static int passes_over(const sonde_plan *p, const sonde_node *leaf) {
  int n = 0;
  for (int32_t k = 0; k < p->n_step; k++)
    for (int j = 0; p->step[k].kind == STEP_FUSED && j < p->step[k].f->program.n_in; j++)
      n += p->node[value_node(p->step[k].f->in[j])].src == leaf;
  return n;
}

/* A weight that products alone read is rounded by them, to the bits of a pass of its own; one that a product reads as
 * its first operand, which is not rounded so, has its pass, for all its readers. */
static void products_round_weights_themselves(void **state) {
  (void)state;
  const sonde_attr bf16 = {{0}, {SONDE_BF16}}, turned = {{0}, {0, 1}};
  rig r;
  make(&r, &subjects[0], 0);
  sonde_node *w = r.in[subjects[0].n_in];
  int64_t flat[2] = {BATCH * TOKENS, WIDTH};
  sonde_node *by_hand[2] = {sonde_op(r.g, "cast", (sonde_node *[]){sonde_reshape(r.y, flat, 2)}, 1, &bf16),
                            sonde_op(r.g, "cast", &w, 1, &bf16)};
  sonde_node *expected = sonde_op(r.g, "matmul", by_hand, 2, &turned), *first = sonde_linear(w, w);
  sonde_node *out[2] = {r.product, first};
  sonde_plan *p = planned(&r, out, 1, 1), *q = planned(&r, &expected, 1, 0), *both = planned(&r, out, 2, 1);
  assert_int_equal(passes_over(p, w), 0);
  assert_int_equal(passes_over(both, w), 1);
  assert_memory_equal(sonde_plan_output(p, 0), sonde_plan_output(q, 0), (size_t)sonde_shape_bytes(&expected->shape));
  assert_memory_equal(sonde_plan_output(both, 0), sonde_plan_output(q, 0), (size_t)sonde_shape_bytes(&expected->shape));
  sonde_plan_free(p);
  sonde_plan_free(q);
  sonde_plan_free(both);
  drop(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_products_read_is_written_in_bf16),
      cmocka_unit_test(writing_bf16_is_rounding_the_result),
      cmocka_unit_test(what_others_read_stays_f32),
      cmocka_unit_test(sums_stay_f32),
      cmocka_unit_test(products_round_weights_themselves),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
