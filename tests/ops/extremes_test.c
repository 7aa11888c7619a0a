/* extremes_test.c - every op with sizes, axes and numbers at the ends of their ranges: refused with a reason, or a node
 * whose size is one that memory can be asked for; and planned: refused, or planned. Nothing is run. The sanitizers
 * watch. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph.h"

static uint64_t state = 1;

static int64_t choice(int64_t n) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (int64_t)((state >> 33) % (uint64_t)n);
}

static int64_t extreme(void) {
  static const int64_t ends[] = {0, 1, 2, 3, 4, 8, -1, -2, 1 << 15, INT32_MAX, (int64_t)INT32_MAX + 1, (int64_t)1 << 32,
                                 (int64_t)1 << 61,
                                 (int64_t)1 << 62, INT64_MAX, INT64_MAX - 1, INT64_MAX / 2, INT64_MAX / 4, INT64_MIN,
                                 INT64_MIN + 1};
  return ends[choice((int64_t)(sizeof ends / sizeof *ends))];
}

/* Large dims that an input can have: the product in bytes is one. */
static sonde_shape shape(void) {
  static const int64_t dims[] = {1, 2, 3, 4, 8, 16, 1 << 14, 1 << 20, INT32_MAX, (int64_t)1 << 40, (int64_t)1 << 59,
                                 ((int64_t)1 << 60) + 1};
  static const int dtypes[] = {SONDE_F32, SONDE_F32, SONDE_F32, SONDE_BF16, SONDE_I32};
  int64_t d[SONDE_MAX_RANK];
  int rank = (int)choice(SONDE_MAX_RANK + 1);
  for (int k = 0; k < rank; k++) d[k] = dims[choice(choice(2) ? 5 : (int64_t)(sizeof dims / sizeof *dims))];
  return sonde_shape_make(dtypes[choice(5)], rank, d);
}

/* A shape that goes with one that is there. */
static sonde_shape related(const sonde_shape *s) {
  sonde_shape r = *s;
  if (!choice(3)) r.dtype = (int32_t)choice(3);
  if (r.rank && !choice(3)) r.dim[choice(r.rank)] = choice(2) ? 1 : 8;
  if (r.rank && !choice(4)) r.dim[--r.rank] = 1;
  if (r.rank > 1 && !choice(4)) r = sonde_shape_make(r.dtype, 1, &s->dim[s->rank - 1]);
  return choice(6) ? r : shape();
}

static sonde_attr attributes(const sonde_shape *s) {
  static const double f[] = {0, 1, 0.5, -1, 1e300, -1e300, 1e-300, INFINITY, NAN};
  sonde_attr a = {{0}, {0}};
  for (int k = 0; k < 4; k++) a.f[k] = f[choice(9)];
  for (int k = 0; k < 8; k++) a.i[k] = choice(3) ? choice(6) : extreme();
  if (choice(2)) {                        /* dims, as reshape and expand take them */
    a.i[0] = s->rank;
    memcpy(a.i + 1, s->dim, sizeof s->dim);
    if (choice(2)) a.i[1 + choice(5)] = extreme();
    if (!choice(4)) a.i[1 + choice(5)] = -1;
  }
  return a;
}

static void refused_with_a_reason(const sonde_error *err) {
  assert_true(err->code < 0);
  assert_true(err->text[0] != 0);
  assert_null(strchr(err->text, '\n'));
}

static void plan(sonde_node **out, int n) {
  sonde_error err = {0};
  sonde_plan_opts opts = {.memory_budget = choice(2) ? 1 << 20 : 0, .recompute = (int32_t)choice(3),
                          .compute = choice(2) ? SONDE_BF16 : SONDE_F32, .no_fuse = (int32_t)choice(2)};
  sonde_plan *p = sonde_plan_new(sonde_node_graph(out[0]), out, NULL, n, &opts, &err);
  if (!p) refused_with_a_reason(&err);
  else {
    sonde_plan_info info;
    sonde_plan_get_info(p, &info);
    assert_true(info.arena_bytes >= 0 && info.leaf_bytes >= 0 && isfinite(info.flops) && isfinite(info.bytes));
  }
  sonde_plan_free(p);
}

static int one(sonde_ctx *ctx, const sonde_op_def *d) {
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_node *in[SONDE_MAX_IN], *out[1 + SONDE_MAX_IN];
  int n = d->min_in + (int)choice(d->max_in - d->min_in + 1), made = 0, taken = 1;
  sonde_shape first = shape();
  for (int k = 0; k < n && taken; k++) {
    sonde_shape s = k ? related(&in[choice(k)]->shape) : first;
    in[k] = sonde_input(g, (char[]){'x', (char)('0' + k), 0}, &s);
    taken = in[k] != NULL;
  }
  sonde_attr at = attributes(&first);
  sonde_node *y = taken ? sonde_op(g, d->name, in, n, &at) : NULL;
  if (y) {
    sonde_shape s = sonde_node_shape(y);
    assert_true(sonde_shape_bytes(&s) > 0);
    out[made++] = y;
    if (s.dtype != SONDE_I32 && !sonde_grad(y, NULL, in, n, out + 1, &err)) made += n;
    if (sonde_graph_error(g, &err)) refused_with_a_reason(&err);
    else plan(out, made);
  } else {
    assert_true(sonde_graph_error(g, &err) != 0);
    refused_with_a_reason(&err);
  }
  sonde_graph_free(g);
  return y != NULL;
}

static void every_op_at_the_ends(void **test) {
  (void)test;
  enum { TRIES = 1500 };
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(1, &err);
  assert_non_null(ctx);
  int64_t live = sonde_alloc_live();
  for (int k = 0; k < sonde_ops_count(ctx); k++) {
    int made = 0;
    for (int t = 0; t < TRIES; t++) made += one(ctx, sonde_ops_at(ctx, k));
    if (getenv("VERBOSE")) printf("# %s: %d made\n", sonde_ops_at(ctx, k)->name, made);
  }
  assert_int_equal(sonde_alloc_live(), live);
  sonde_ctx_free(ctx);
}

/* Inputs that memory could hold, and room to work in that it could not. */
static void scratch_at_the_ends(void **test) {
  (void)test;
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(1, &err);
  sonde_graph *g = sonde_graph_new(ctx, &err);
  const int64_t many = (int64_t)1 << 40, q[4] = {1, 1, many, 2}, cache[4] = {1, many, 1, 2}, one[1] = {1};
  sonde_shape shapes[3] = {sonde_shape_make(SONDE_F32, 4, q), sonde_shape_make(SONDE_F32, 4, cache),
                           sonde_shape_make(SONDE_I32, 1, one)};
  sonde_node *in[4] = {sonde_input(g, "q", &shapes[0]), sonde_input(g, "k", &shapes[1]),
                       sonde_input(g, "v", &shapes[1]),
                       sonde_input(g, "at", &shapes[2])};
  const sonde_attr causal = {{0}, {1}};
  sonde_node *y = sonde_op(g, "attention_cached", in, 4, &causal);
  assert_non_null(y);
  assert_null(sonde_plan_new(g, &y, NULL, 1, NULL, &err));
  assert_int_equal(err.code, SONDE_ELIMIT);
  sonde_graph_free(g);
  sonde_ctx_free(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_op_at_the_ends), cmocka_unit_test(scratch_at_the_ends)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
