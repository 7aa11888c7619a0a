/* grouped_test.c - products of rows in groups, with their gradients, against sums written out in f64: with groups
 * without rows, groups of more rows than are taken at a time, and bf16; the same bits at any number of threads; and
 * what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"
#include "cpu/simd.h"
#include "sonde_build.h"

enum { ROWS = 0, MATRICES, ADDED, UPSTREAM, ALL };      /* the f32 inputs, and the results that go with them */

typedef struct task {
  const char *name;
  int64_t tokens, experts, k, in, out;
  int turned, added, compute;
  int32_t few;                                          /* the choices are among so many of the experts */
} task;

static const task tasks[] = {
    {"small", 5, 4, 2, 3, 6, 1, 0, SONDE_F32, 4},        {"not turned", 5, 4, 2, 3, 6, 0, 1, SONDE_F32, 4},
    {"empty groups", 9, 12, 1, 8, 5, 1, 1, SONDE_F32, 3}, {"one group has all", 2100, 2, 1, 9, 7, 1, 0, SONDE_F32, 1},
    {"large", 170, 6, 3, 130, 263, 1, 1, SONDE_F32, 6},  {"large, not turned", 170, 6, 3, 263, 130, 0, 0, SONDE_F32, 6},
    {"bf16", 90, 5, 2, 67, 33, 1, 0, SONDE_BF16, 4},     {"bf16, not turned", 90, 5, 2, 34, 65, 0, 0, SONDE_BF16, 4},
    {"bf16, long", 2500, 2, 1, 5, 6, 1, 0, SONDE_BF16, 2},
    {"many groups", 120, 70, 2, 67, 130, 0, 1, SONDE_F32, 70},
    {"bf16, many groups", 120, 70, 2, 67, 130, 1, 0, SONDE_BF16, 70},
};

typedef struct data {
  int64_t rows, count[ALL];
  float *x[ALL];
  int32_t *index, *group;                               /* of each token and choice; of each row in their order */
} data;

static data data_of(const task *t) {
  data d = {.rows = t->tokens * t->k};
  const int64_t count[ALL] = {d.rows * t->in, t->experts * t->in * t->out, d.rows * t->out, d.rows * t->out};
  for (int k = 0; k < ALL; k++) {
    op_made made = {.seed = (uint32_t)k * 77 + 5, .lo = -1, .hi = 1};
    d.count[k] = count[k];
    d.x[k] = malloc((size_t)count[k] * sizeof(float));
    op_numbers(d.x[k], count[k], &made);
  }
  op_made made = {.seed = 99, .lo = 0, .hi = t->few, .steps = t->few};
  float *number = malloc((size_t)d.rows * sizeof *number);
  op_numbers(number, d.rows, &made);
  d.index = malloc((size_t)d.rows * sizeof *d.index);
  d.group = malloc((size_t)d.rows * sizeof *d.group);
  for (int64_t r = 0; r < d.rows; r++) d.index[r] = (int32_t)number[r];
  int64_t at = 0;
  for (int32_t e = 0; e < t->experts; e++)
    for (int64_t r = 0; r < d.rows; r++)
      if (d.index[r] == e) d.group[at++] = e;
  free(number);
  return d;
}

static void drop(data *d) {
  for (int k = 0; k < ALL; k++) free(d->x[k]);
  free(d->index);
  free(d->group);
}

/* Results: the product, and its gradients by rows, matrices and what is added. */
static sonde_plan *plan_of(sonde_graph *g, const task *t, const data *d) {
  static const char *const names[ALL] = {"rows", "matrices", "added", "upstream"};
  sonde_error err = {0};
  const sonde_shape shape[ALL] = {
      {SONDE_F32, 2, {d->rows, t->in, 1, 1, 1}},
      {SONDE_F32, 3, {t->experts, t->turned ? t->out : t->in, t->turned ? t->in : t->out, 1, 1}},
      {SONDE_F32, 2, {d->rows, t->out, 1, 1, 1}},
      {SONDE_F32, 2, {d->rows, t->out, 1, 1, 1}}};
  const sonde_shape choices = {SONDE_I32, 2, {t->tokens, t->k, 1, 1, 1}};
  const sonde_attr experts = {{0}, {t->experts}}, turned = {{0}, {t->turned}};
  sonde_node *index = sonde_input(g, "index", &choices), *x[ALL], *out[ALL];
  for (int k = 0; k < ALL; k++) x[k] = sonde_input(g, names[k], &shape[k]);
  sonde_node *offsets = sonde_result(sonde_op(g, "expert_order", &index, 1, &experts), 2);
  sonde_node *in[4] = {x[ROWS], x[MATRICES], offsets, x[ADDED]};
  out[0] = sonde_op(g, "grouped_matmul", in, t->added ? 4 : 3, &turned);
  if (!out[0] || sonde_grad(out[0], x[UPSTREAM], x, t->added ? 3 : 2, out + 1, &err)) {
    sonde_graph_error(g, &err);
    fail_msg("%s: %s", t->name, err.text);
  }
  sonde_plan_opts opts = {.compute = t->compute};
  sonde_plan *p = sonde_plan_new(g, out, NULL, t->added ? 4 : 3, &opts, &err);
  if (!p || sonde_plan_set_input(p, "index", d->index, &err)) fail_msg("%s: %s", t->name, err.text);
  for (int k = 0; k < ALL; k++)
    if ((k != ADDED || t->added) && sonde_plan_set_input(p, names[k], d->x[k], &err)) fail_msg("%s", err.text);
  if (sonde_plan_run(p, &err)) fail_msg("%s: %s", t->name, err.text);
  return p;
}

/* Element of a matrix as it is multiplied. */
static double operand(const task *t, const float *x, int64_t at) {
  uint16_t narrow;
  float y = x[at];
  if (t->compute == SONDE_BF16) {
    sonde_simd_get()->common.to_bf16(&narrow, &y, 1);
    sonde_simd_get()->common.from_bf16(&y, &narrow, 1);
  }
  return y;
}

static int64_t place(const task *t, int64_t e, int64_t i, int64_t o) {
  return e * t->in * t->out + (t->turned ? o * t->in + i : i * t->out + o);
}

static void same(const task *t, const char *what, const float *got, const double *want, int64_t n) {
  double size = 0;
  for (int64_t k = 0; k < n; k++) size = fmax(size, fabs(want[k]));
  for (int64_t k = 0; k < n; k++)
    if (!(fabs((double)got[k] - want[k]) <= 2e-6 * size))
      fail_msg("%s: %s, element %lld: %.9g, not %.9g", t->name, what, (long long)k, (double)got[k], want[k]);
}

static void compare(const task *t, const data *d, sonde_plan *p) {
  double *y = calloc((size_t)d->count[ADDED], sizeof *y), *da = calloc((size_t)d->count[ROWS], sizeof *da),
         *db = calloc((size_t)d->count[MATRICES], sizeof *db);
  assert_true(y && da && db);
  for (int64_t r = 0; r < d->rows; r++)
    for (int64_t o = 0; o < t->out; o++) {
      double up = operand(t, d->x[UPSTREAM], r * t->out + o), *sum = &y[r * t->out + o];
      if (t->added) *sum = d->x[ADDED][r * t->out + o];
      for (int64_t i = 0; i < t->in; i++) {
        double a = operand(t, d->x[ROWS], r * t->in + i);
        int64_t at = place(t, d->group[r], i, o);
        double b = operand(t, d->x[MATRICES], at);
        *sum += a * b;
        da[r * t->in + i] += up * b;
        db[at] += up * a;
      }
    }
  same(t, "the product", sonde_plan_output(p, 0), y, d->count[ADDED]);
  same(t, "the gradient of the rows", sonde_plan_output(p, 1), da, d->count[ROWS]);
  same(t, "the gradient of the matrices", sonde_plan_output(p, 2), db, d->count[MATRICES]);
  if (t->added) assert_memory_equal(sonde_plan_output(p, 3), d->x[UPSTREAM], (size_t)d->count[ADDED] * sizeof(float));
  free(y);
  free(da);
  free(db);
}

static void test_values(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_ctx *ctx = op_ctx_new(2);
  for (size_t k = 0; k < sizeof tasks / sizeof *tasks; k++) {
    data d = data_of(&tasks[k]);
    sonde_graph *g = sonde_graph_new(ctx, &err);
    sonde_plan *p = plan_of(g, &tasks[k], &d);
    compare(&tasks[k], &d, p);
    sonde_plan_free(p);
    sonde_graph_free(g);
    drop(&d);
  }
  sonde_ctx_free(ctx);
}

static void test_same_bits(void **state) {
  (void)state;
  static const int threads[] = {2, 3, 7};
  sonde_error err = {0};
  sonde_ctx *one = op_ctx_new(1);
  for (size_t k = 0; k < sizeof tasks / sizeof *tasks; k++) {
    data d = data_of(&tasks[k]);
    sonde_graph *g = sonde_graph_new(one, &err);
    sonde_plan *first = plan_of(g, &tasks[k], &d);
    for (size_t n = 0; n < sizeof threads / sizeof *threads; n++) {
      sonde_ctx *ctx = op_ctx_new(threads[n]);
      sonde_graph *h = sonde_graph_new(ctx, &err);
      sonde_plan *p = plan_of(h, &tasks[k], &d);
      const int64_t count[3] = {d.count[ADDED], d.count[ROWS], d.count[MATRICES]};
      for (int j = 0; j < 3; j++)
        assert_memory_equal(sonde_plan_output(p, j), sonde_plan_output(first, j), (size_t)count[j] * sizeof(float));
      sonde_plan_free(p);
      sonde_graph_free(h);
      sonde_ctx_free(ctx);
    }
    sonde_plan_free(first);
    sonde_graph_free(g);
    drop(&d);
  }
  sonde_ctx_free(one);
}

static void refused(sonde_ctx *ctx, const int32_t offsets[4], const char *says) {
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  const sonde_shape rows = {SONDE_F32, 2, {5, 2, 1, 1, 1}}, matrices = {SONDE_F32, 3, {3, 2, 4, 1, 1}},
                    ends = {SONDE_I32, 1, {4, 1, 1, 1, 1}};
  const float x[5 * 2] = {0}, w[3 * 2 * 4] = {0};
  sonde_node *in[3] = {sonde_input(g, "x", &rows), sonde_input(g, "w", &matrices), sonde_input(g, "offsets", &ends)};
  sonde_node *pair[3] = {in[0], in[0], in[2]};
  sonde_node *y[2] = {sonde_op(g, "grouped_matmul", in, 3, NULL), sonde_op(g, "grouped_outer", pair, 3, NULL)};
  for (int k = 0; k < 2; k++) {
    sonde_plan *p = sonde_plan_new(g, &y[k], NULL, 1, NULL, &err);
    assert_non_null(p);
    assert_int_equal(sonde_plan_set_input(p, "x", x, &err) || (!k && sonde_plan_set_input(p, "w", w, &err)) ||
                         sonde_plan_set_input(p, "offsets", offsets, &err),
                     0);
    assert_int_equal(sonde_plan_run(p, &err), SONDE_EINVAL);
    if (!strstr(err.text, says)) fail_msg("'%s' is not in: %s", says, err.text);
    sonde_plan_free(p);
  }
  sonde_graph_free(g);
}

static void test_offsets(void **state) {
  (void)state;
  sonde_ctx *ctx = op_ctx_new(1);
  refused(ctx, (int32_t[]){0, 3, 2, 5}, "group 1 begins at row 3 and ends at 2");
  refused(ctx, (int32_t[]){0, 2, 2, 4}, "the rows 0 to 4; they must hold all 5");
  refused(ctx, (int32_t[]){1, 2, 2, 5}, "the rows 1 to 5");
  refused(ctx, (int32_t[]){0, 2, 2, 2147483647}, "the rows 0 to 2147483647");
  refused(ctx, (int32_t[]){-2147483647 - 1, 2, 2, 5}, "the rows -2147483648 to 5");
  sonde_ctx_free(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_offsets),
  };
  return cmocka_run_group_tests_name("products of rows in groups", tests, NULL, NULL);
}
