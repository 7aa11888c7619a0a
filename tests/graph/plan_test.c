/* plan_test.c - plans: every way of planning gives the same numbers, and memory is what was promised. */
#include "make.h"

static sonde_ctx *ctx;

static int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  ctx = sonde_ctx_new(2, &err);
  return ctx == NULL;
}

static int teardown(void **state) {
  (void)state;
  sonde_ctx_free(ctx);
  return 0;
}

static void fusing_does_not_change_results(void **state) {
  (void)state;
  net n;
  net_make(&n, ctx, 37, 24);
  int64_t count;
  sonde_plan_opts plain = {.no_fuse = 1};
  sonde_plan_info a, b;
  float *fused = net_run(&n, NULL, &count, &a), *single = net_run(&n, &plain, &count, &b);
  assert_true(nmse(fused, single, count) < 1e-12);
  assert_true(a.steps < b.steps * 0.7);
  assert_true(isfinite(fused[0]) && fused[0] > 0);
  sonde_release(fused);
  sonde_release(single);
  net_free(&n);
}

static void recomputing_gives_the_same_bits_in_less_memory(void **state) {
  (void)state;
  net n;
  net_make(&n, ctx, 64, 32);
  int64_t count;
  sonde_plan_info a, b, c;
  sonde_plan_opts all = {.recompute = 2};
  float *kept = net_run(&n, NULL, &count, &a), *again = net_run(&n, &all, &count, &b);
  assert_memory_equal(kept, again, (size_t)count * sizeof *kept);
  assert_true(b.arena_bytes < a.arena_bytes);
  assert_int_equal(b.recomputed_blocks, NET_BLOCKS);
  assert_true(b.flops > a.flops);
  sonde_plan_opts some = {.recompute = 1, .memory_budget = (a.arena_bytes + b.arena_bytes) / 2};
  float *part = net_run(&n, &some, &count, &c);
  assert_memory_equal(kept, part, (size_t)count * sizeof *kept);
  assert_true(c.arena_bytes <= some.memory_budget + 4096 && c.recomputed_blocks > 0 &&
              c.recomputed_blocks <= NET_BLOCKS);
  sonde_release(kept);
  sonde_release(again);
  sonde_release(part);
  net_free(&n);
}

static void over_the_budget_is_refused_with_figures(void **state) {
  (void)state;
  net n;
  net_make(&n, ctx, 64, 32);
  sonde_error err = {0};
  sonde_plan_opts tiny = {.recompute = 1, .memory_budget = 1000};
  assert_null(sonde_plan_new(n.g, &n.loss, NULL, 1, &tiny, &err));
  assert_int_equal(err.code, SONDE_ELIMIT);
  assert_non_null(strstr(err.text, "MiB"));
  assert_non_null(strstr(err.text, "budget"));
  net_free(&n);
}

static void same_bits_at_any_thread_count(void **state) {
  (void)state;
  sonde_error err = {0};
  float *first = NULL;
  int64_t count = 0;
  for (int threads = 1; threads <= 7; threads += 2) {
    sonde_ctx *other = sonde_ctx_new(threads, &err);
    net n;
    net_make(&n, other, 301, 48);
    float *r = net_run(&n, NULL, &count, NULL);
    if (!first) first = r;
    else {
      assert_memory_equal(first, r, (size_t)count * sizeof *r);
      sonde_release(r);
    }
    net_free(&n);
    sonde_ctx_free(other);
  }
  sonde_release(first);
}

static void bf16_is_close_to_f32(void **state) {
  (void)state;
  net n;
  net_make(&n, ctx, 64, 64);
  int64_t count;
  sonde_plan_opts half = {.compute = SONDE_BF16};
  sonde_plan_info a, b;
  float *full = net_run(&n, NULL, &count, &a), *rounded = net_run(&n, &half, &count, &b);
  double e = nmse(rounded, full, count);
  assert_true(e < 1e-3);
  assert_true(e > 0);                      /* it did round something */
  sonde_release(full);
  sonde_release(rounded);
  net_free(&n);
}

static void gradients_add_up_in_their_tensor(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_tensor *w = filled(2, 8, 6, 1, 1), *sum = filled(2, 8, 6, 1, 2);
  sonde_shape s = shape_of(2, 10, 6, 1);
  sonde_node *x = sonde_input(g, "x", &s), *leaf = sonde_leaf(g, "w", w), *d;
  sonde_node *y = sonde_sum_all(sonde_square(sonde_linear(x, leaf)));
  assert_int_equal(sonde_grad(y, NULL, &leaf, 1, &d, &err), 0);
  sonde_node *total = sonde_add(sonde_leaf(g, "sum", sum), d), *out[2] = {total, d};
  sonde_tensor *to[2] = {sum, NULL};
  float start[48], xs[60];
  memcpy(start, sonde_tensor_write(sum, NULL), sizeof start);
  fill(xs, 60, 3);
  sonde_plan *p = sonde_plan_new(g, out, to, 1, NULL, &err), *q = sonde_plan_new(g, out + 1, NULL, 1, NULL, &err);
  assert_non_null(p);
  assert_non_null(q);
  sonde_plan_set_input(p, "x", xs, &err);
  sonde_plan_set_input(q, "x", xs, &err);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  assert_int_equal(sonde_plan_run(q, &err), 0);
  const float *grad = sonde_plan_output(q, 0), *got = sonde_tensor_write(sum, NULL);
  for (int k = 0; k < 48; k++) assert_true(fabsf(got[k] - (start[k] + 2 * grad[k])) < 1e-4f * (1 + fabsf(got[k])));
  sonde_plan_free(p);
  sonde_plan_free(q);
  sonde_graph_free(g);
  sonde_tensor_free(w);
  sonde_tensor_free(sum);
}

/* An output that is written to a tensor which the plan still reads must not be written too early. */
static void swapping_two_tensors_works(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_tensor *a = filled(1, 50, 1, 1, 1), *b = filled(1, 50, 1, 1, 2), *to[2] = {a, b};
  float was_a[50], was_b[50];
  memcpy(was_a, sonde_tensor_write(a, NULL), sizeof was_a);
  memcpy(was_b, sonde_tensor_write(b, NULL), sizeof was_b);
  sonde_node *x = sonde_leaf(g, "a", a), *y = sonde_leaf(g, "b", b);
  sonde_node *out[2] = {sonde_scale(y, 2), sonde_scale(x, 3)};
  sonde_plan *p = sonde_plan_new(g, out, to, 2, NULL, &err);
  assert_non_null(p);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  for (int k = 0; k < 50; k++) {
    assert_true(((float *)sonde_tensor_write(a, NULL))[k] == 2 * was_b[k]);
    assert_true(((float *)sonde_tensor_write(b, NULL))[k] == 3 * was_a[k]);
  }
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_tensor_free(a);
  sonde_tensor_free(b);
}

/* An output that is a leaf as it stands has the leaf's value before the run, whatever is written over it. */
static void swapping_two_tensors_without_arithmetic_works(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_tensor *a = filled(1, 50, 1, 1, 1), *b = filled(1, 50, 1, 1, 2), *to[4] = {a, b, NULL, b};
  float was_a[50], was_b[50];
  memcpy(was_a, sonde_tensor_write(a, NULL), sizeof was_a);
  memcpy(was_b, sonde_tensor_write(b, NULL), sizeof was_b);
  sonde_node *x = sonde_leaf(g, "a", a), *y = sonde_leaf(g, "b", b), *out[3] = {y, sonde_scale(x, 1), x};
  sonde_plan *p = sonde_plan_new(g, out, to, 3, NULL, &err);
  assert_non_null(p);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  assert_memory_equal(sonde_tensor_write(a, NULL), was_b, sizeof was_b);
  assert_memory_equal(sonde_tensor_write(b, NULL), was_a, sizeof was_a);
  assert_memory_equal(sonde_plan_output(p, 2), was_a, sizeof was_a);
  sonde_plan_free(p);
  p = sonde_plan_new(g, out + 2, to, 1, NULL, &err);            /* and onto itself */
  assert_non_null(p);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  assert_memory_equal(sonde_tensor_write(a, NULL), was_b, sizeof was_b);
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_tensor_free(a);
  sonde_tensor_free(b);
}

/* Held results that are outputs reach their tensors in every run, however many outputs there are. */
static void held_outputs_are_written_in_every_run(void **state) {
  (void)state;
  sonde_error err = {0};
  enum { N = 4 };
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_tensor *a = filled(1, 50, 1, 1, 1), *to[N];
  sonde_node *x = sonde_leaf(g, "a", a), *out[N] = {sonde_exp(x), sonde_scale(x, 3), sonde_square(x), sonde_neg(x)};
  for (int k = 0; k < N; k++) to[k] = filled(1, 50, 1, 1, 2);
  sonde_plan_opts holds = {.hold = 1};
  sonde_plan *p = sonde_plan_new(g, out, to, N, &holds, &err);
  assert_non_null(p);
  for (int run = 0; run < 2; run++) {
    for (int k = 0; k < N; k++) memset(sonde_tensor_write(to[k], NULL), 0, 50 * sizeof(float));
    assert_int_equal(sonde_plan_run(p, &err), 0);
    assert_true(((float *)sonde_tensor_write(to[1], NULL))[0] == 3 * ((float *)sonde_tensor_write(a, NULL))[0]);
    assert_true(((float *)sonde_tensor_write(to[3], NULL))[0] == -((float *)sonde_tensor_write(a, NULL))[0]);
  }
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_tensor_free(a);
  for (int k = 0; k < N; k++) sonde_tensor_free(to[k]);
}

/* What the user casts stays cast, whatever the plan rounds by itself. */
static void a_cast_from_bf16_stays_in_a_bf16_plan(void **state) {
  (void)state;
  static const char *const ops[] = {"neg", "abs", "softmax", "tanh", "argmax"};
  sonde_error err = {0};
  int64_t dims[2] = {4, 16};
  sonde_shape s = sonde_shape_make(SONDE_BF16, 2, dims);
  sonde_tensor *t = sonde_tensor_new(&s, &err);
  for (int k = 0; k < 64; k++) ((uint16_t *)sonde_tensor_write(t, NULL))[k] = (uint16_t)(0x3f80 + 16 * (k * 7 % 13));
  for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
    sonde_graph *g = sonde_graph_new(ctx, &err);
    sonde_node *x = sonde_leaf(g, "x", t), *wide = sonde_op(g, "cast", &x, 1, NULL), *y = sonde_op1(ops[k], wide);
    sonde_plan_opts half = {.compute = SONDE_BF16};
    sonde_plan *p = sonde_plan_new(g, &y, NULL, 1, NULL, &err), *q = sonde_plan_new(g, &y, NULL, 1, &half, &err);
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal(sonde_plan_run(p, &err), 0);
    assert_int_equal(sonde_plan_run(q, &err), 0);
    assert_memory_equal(sonde_plan_output(p, 0), sonde_plan_output(q, 0), (size_t)sonde_shape_bytes(&y->shape));
    sonde_plan_free(p);
    sonde_plan_free(q);
    sonde_graph_free(g);
  }
  sonde_tensor_free(t);
}

/* A product may be rounded for a reader that takes bf16, but not where that reader takes f32 alone. */
static void products_are_rounded_where_their_readers_take_it(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  int64_t six = 6;
  sonde_shape ids = sonde_shape_make(SONDE_I32, 1, &six);
  sonde_tensor *a = filled(2, 1, 5, 1, 1), *b = filled(2, 6, 5, 1, 2), *x = filled(2, 6, 4, 1, 3),
               *w = filled(2, 7, 4, 1, 4), *y = sonde_tensor_new(&ids, &err);
  for (int k = 0; k < 6; k++) ((int32_t *)sonde_tensor_write(y, NULL))[k] = k;
  sonde_node *weights = sonde_reshape(sonde_linear(sonde_leaf(g, "a", a), sonde_leaf(g, "b", b)), &six, 1);
  sonde_node *in[4] = {sonde_leaf(g, "x", x), sonde_leaf(g, "w", w), sonde_leaf(g, "y", y), weights};
  sonde_node *dx = sonde_op(g, "lm_loss_grad", in, 4, NULL);
  sonde_node *sum[3] = {in[0], in[1], NULL};                    /* c + a b with c a product of its own */
  sum[2] = sonde_linear(sonde_scale(in[0], 2), in[1]);
  sonde_attr turned = {{0}, {0, 1}};
  sonde_node *added = sonde_op(g, "matmul", sum, 3, &turned), *out[2] = {dx, added};
  sonde_plan_opts half = {.compute = SONDE_BF16};
  sonde_plan *p = sonde_plan_new(g, out, NULL, 2, NULL, &err), *q = sonde_plan_new(g, out, NULL, 2, &half, &err);
  assert_non_null(p);
  assert_non_null(q);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  assert_int_equal(sonde_plan_run(q, &err), 0);
  for (int i = 0; i < 2; i++)
    assert_true(nmse(sonde_plan_output(q, i), sonde_plan_output(p, i), sonde_shape_count(&out[i]->shape)) < 1e-3);
  sonde_plan_free(p);
  sonde_plan_free(q);
  sonde_graph_free(g);
  sonde_tensor_free(a);
  sonde_tensor_free(b);
  sonde_tensor_free(x);
  sonde_tensor_free(w);
  sonde_tensor_free(y);
}

static void broadcasts_and_sums_of_every_kind(void **state) {
  (void)state;
  sonde_error err = {0};
  enum { A = 5, B = 7, C = 1500 };
  sonde_graph *g = sonde_graph_new(ctx, &err);
  sonde_tensor *x = filled(3, A, B, C, 1), *row = filled(1, C, 1, 1, 2), *col = filled(3, A, B, 1, 3),
               *mid = filled(3, A, 1, C, 4);
  sonde_node *y = sonde_mul(sonde_add(sonde_leaf(g, "x", x), sonde_leaf(g, "row", row)), sonde_leaf(g, "col", col));
  y = sonde_add(y, sonde_leaf(g, "mid", mid));
  int64_t to_row[1] = {C}, to_mid[3] = {A, 1, C};
  sonde_node *out[5] = {y, sonde_sum_last(y), sonde_sum_to(y, to_row, 1), sonde_sum_all(y), sonde_sum_to(y, to_mid, 3)};
  sonde_plan *p = sonde_plan_new(g, out, NULL, 5, NULL, &err);
  assert_non_null(p);
  assert_int_equal(sonde_plan_run(p, &err), 0);
  const float *xs = sonde_tensor_read(x, NULL), *rs = sonde_tensor_read(row, NULL);
  const float *cs = sonde_tensor_read(col, NULL), *ms = sonde_tensor_write(mid, NULL);
  static double rows[A * B], cols[C], mids[A * C], all;
  for (int i = 0; i < A; i++)
    for (int j = 0; j < B; j++)
      for (int k = 0; k < C; k++) {
        double v = ((double)xs[(i * B + j) * C + k] + rs[k]) * cs[i * B + j] + ms[i * C + k];
        assert_true(fabs(((const float *)sonde_plan_output(p, 0))[(i * B + j) * C + k] - v) < 1e-5);
        rows[i * B + j] += v;
        cols[k] += v;
        mids[i * C + k] += v;
        all += v;
      }
  for (int k = 0; k < A * B; k++) assert_true(fabs(((const float *)sonde_plan_output(p, 1))[k] - rows[k]) < 1e-2);
  for (int k = 0; k < C; k++) assert_true(fabs(((const float *)sonde_plan_output(p, 2))[k] - cols[k]) < 1e-3);
  for (int k = 0; k < A * C; k++) assert_true(fabs(((const float *)sonde_plan_output(p, 4))[k] - mids[k]) < 1e-3);
  assert_true(fabs(*(const float *)sonde_plan_output(p, 3) - all) < 0.1);
  sonde_plan_free(p);
  sonde_graph_free(g);
  sonde_tensor_free(x);
  sonde_tensor_free(row);
  sonde_tensor_free(col);
  sonde_tensor_free(mid);
}

static void plans_share_an_arena(void **state) {
  (void)state;
  sonde_error err = {0};
  net n;
  net_make(&n, ctx, 40, 16);
  sonde_plan *a = sonde_plan_new(n.g, &n.loss, NULL, 1, NULL, &err);
  sonde_plan_opts with = {.share = a};
  sonde_node *out[2] = {n.loss, n.d[1]};
  sonde_plan *b = sonde_plan_new(n.g, out, NULL, 2, &with, &err);
  float x[640];
  fill(x, 640, 5);
  sonde_plan_set_input(a, "x", x, &err);
  sonde_plan_set_input(b, "x", x, &err);
  assert_int_equal(sonde_plan_run(a, &err), 0);
  float first = *(const float *)sonde_plan_output(a, 0);
  assert_int_equal(sonde_plan_run(b, &err), 0);
  assert_true(fabsf(*(const float *)sonde_plan_output(b, 0) - first) < 1e-4f * first);
  sonde_plan_free(a);                       /* the arena stays for b */
  assert_int_equal(sonde_plan_run(b, &err), 0);
  sonde_plan_free(b);
  sonde_plan_opts keeps = {.hold = 1};      /* what it keeps would be overwritten */
  sonde_plan *holder = sonde_plan_new(n.g, &n.loss, NULL, 1, &keeps, &err);
  assert_non_null(holder);
  keeps.share = holder;
  assert_null(sonde_plan_new(n.g, &n.loss, NULL, 1, &keeps, &err));
  keeps.hold = 0;
  assert_null(sonde_plan_new(n.g, &n.loss, NULL, 1, &keeps, &err));
  assert_int_equal(err.code, SONDE_EINVAL);
  sonde_plan_free(holder);
  net_free(&n);
}

static void no_memory_anywhere_is_an_error_and_leaks_nothing(void **state) {
  (void)state;
  sonde_error err = {0};
  net n;
  net_make(&n, ctx, 8, 8);
  float x[64];
  fill(x, 64, 5);
  int64_t before = sonde_alloc_live();
  for (int64_t nth = 1;; nth++) {
    sonde_alloc_fail_at(nth);
    sonde_plan *p = sonde_plan_new(n.g, &n.loss, NULL, 1, NULL, &err);
    int rc = p ? 0 : err.code;
    if (p && !(rc = sonde_plan_set_input(p, "x", x, &err))) rc = sonde_plan_run(p, &err);
    sonde_alloc_fail_at(0);
    sonde_plan_free(p);
    assert_int_equal(sonde_alloc_live(), before);
    if (!rc) break;
    assert_int_equal(rc, SONDE_ENOMEM);
    assert_true(nth < 2000);
  }
  net_free(&n);
}

static void a_request_to_stop_ends_the_planning(void **state) {
  (void)state;
  sonde_error err = {0};
  volatile int stop = 1;
  net n;
  net_make(&n, ctx, 8, 8);
  int64_t before = sonde_alloc_live();
  ctx->stop = &stop;
  sonde_plan_opts opts = {.recompute = 1, .memory_budget = 1000};      /* heard before it is found not to fit */
  assert_null(sonde_plan_new(n.g, &n.loss, NULL, 1, &opts, &err));
  assert_int_equal(err.code, SONDE_EINTR);
  assert_int_equal(sonde_alloc_live(), before);
  stop = 0;
  sonde_plan *p = sonde_plan_new(n.g, &n.loss, NULL, 1, NULL, &err);
  assert_non_null(p);
  ctx->stop = NULL;
  sonde_plan_free(p);
  net_free(&n);
}

static void an_input_must_be_set_and_known(void **state) {
  (void)state;
  sonde_error err = {0};
  net n;
  net_make(&n, ctx, 8, 8);
  sonde_plan *p = sonde_plan_new(n.g, &n.loss, NULL, 1, NULL, &err);
  assert_int_equal(sonde_plan_run(p, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "'x'"));
  assert_int_equal(sonde_plan_set_input(p, "y", "", &err), SONDE_EINVAL);
  sonde_plan_free(p);
  net_free(&n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fusing_does_not_change_results),
      cmocka_unit_test(recomputing_gives_the_same_bits_in_less_memory),
      cmocka_unit_test(over_the_budget_is_refused_with_figures),
      cmocka_unit_test(same_bits_at_any_thread_count),
      cmocka_unit_test(bf16_is_close_to_f32),
      cmocka_unit_test(gradients_add_up_in_their_tensor),
      cmocka_unit_test(swapping_two_tensors_works),
      cmocka_unit_test(swapping_two_tensors_without_arithmetic_works),
      cmocka_unit_test(held_outputs_are_written_in_every_run),
      cmocka_unit_test(a_cast_from_bf16_stays_in_a_bf16_plan),
      cmocka_unit_test(products_are_rounded_where_their_readers_take_it),
      cmocka_unit_test(broadcasts_and_sums_of_every_kind),
      cmocka_unit_test(plans_share_an_arena),
      cmocka_unit_test(no_memory_anywhere_is_an_error_and_leaks_nothing),
      cmocka_unit_test(a_request_to_stop_ends_the_planning),
      cmocka_unit_test(an_input_must_be_set_and_known),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
