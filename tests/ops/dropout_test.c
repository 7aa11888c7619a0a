/* dropout_test.c - the mask of dropout: its share of zeros, that neighbours, steps and seeds are unrelated,
 * that the backward pass has the same one, and that it depends on nothing else. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"

enum { ROWS = 128, COLUMNS = 1001, N = ROWS * COLUMNS };

static op_case dropout(double p, int64_t seed) {
  op_made x = {.shape = {SONDE_F32, 2, {ROWS, COLUMNS, 1, 1, 1}}, .seed = 3, .lo = 1, .hi = 2};
  return (op_case){.name = "dropout", .op = "dropout", .attr = {{p}, {seed}}, .n_in = 1, .n_out = 1,
                   .n_wrt = 1, .seed = 4, .in = {x}};
}

static void run_mask(int threads, double p, int64_t seed, uint64_t step, float *y, float *dx, float *x) {
  int64_t n;
  sonde_ctx *ctx = op_ctx_new(threads);
  op_case c = dropout(p, seed);
  op_run *r = op_run_new(ctx, &c, 1, 0);
  op_run_run(r, step);
  memcpy(y, op_run_value(r, 0, &n), N * sizeof *y);
  if (dx) memcpy(dx, op_run_value(r, 1, &n), N * sizeof *dx);
  if (x) memcpy(x, sonde_tensor_write(r->in[0], NULL), N * sizeof *x);
  op_run_free(r);
  sonde_ctx_free(ctx);
}

static float x[N], y[N], z[N], dx[N];

static void test_share(void **state) {
  (void)state;
  static const double shares[] = {0.1, 0.5, 0.9};
  for (int s = 0; s < 3; s++) {
    double p = shares[s], zeros = 0, sigma = sqrt(p * (1 - p) * N);
    float scale = 1.0f / (1.0f - (float)p);
    run_mask(2, p, 7, 1, y, NULL, x);
    for (int k = 0; k < N; k++) {
      zeros += y[k] == 0;
      if (y[k] != 0 && fabsf(y[k] - x[k] * scale) > 1e-6f * y[k])
        fail_msg("element %d of %g became %g; kept ones are scaled by %g", k, x[k], y[k], scale);
    }
    if (fabs(zeros - p * N) > 4 * sigma) fail_msg("%g zeros of %d at p %g", zeros, N, p);
  }
}

/* Correlation of two masks of share 1/2, in standard deviations of that of unrelated ones. */
static double correlation(const float *a, const float *b, int n) {
  double sum = 0;
  for (int k = 0; k < n; k++) sum += (a[k] == 0) == (b[k] == 0) ? 1 : -1;
  return fabs(sum) / sqrt(n);
}

static void test_unrelated(void **state) {
  (void)state;
  run_mask(2, 0.5, 7, 1, y, NULL, NULL);
  for (int lag = 1; lag <= 8; lag++) assert_true(correlation(y, y + lag, N - lag) < 4);
  assert_true(correlation(y, y + COLUMNS, N - COLUMNS) < 4);
  run_mask(2, 0.5, 7, 2, z, NULL, NULL);
  assert_true(correlation(y, z, N) < 4);
  assert_true(correlation(y, z + 1, N - 1) < 4);
  run_mask(2, 0.5, 8, 1, z, NULL, NULL);
  assert_true(correlation(y, z, N) < 4);
  assert_true(correlation(y + 1, z, N - 1) < 4);
  run_mask(2, 0.5, 7 + (1ll << 32), 1, z, NULL, NULL);
  assert_true(correlation(y, z, N) < 4);
  run_mask(2, 0.5, 7, 1 + (1ull << 32), z, NULL, NULL);
  assert_true(correlation(y, z, N) < 4);
}

static void test_reproducible(void **state) {
  (void)state;
  run_mask(1, 0.3, 7, 5, y, NULL, NULL);
  for (int threads = 1; threads <= 7; threads += 2) {
    run_mask(threads, 0.3, 7, 5, z, NULL, NULL);
    assert_memory_equal(y, z, sizeof y);
  }
}

static void test_gradient_has_the_same_mask(void **state) {
  (void)state;
  static float dy[N];
  op_made upstream = {.seed = 4, .lo = -1, .hi = 1};
  run_mask(2, 0.3, 7, 5, y, dx, NULL);
  op_numbers(dy, N, &upstream);
  for (int k = 0; k < N; k++) {
    float want = y[k] == 0 ? 0 : dy[k] / (1.0f - 0.3f);
    if (fabsf(dx[k] - want) > 1e-6f) fail_msg("element %d: dy %g gave %g", k, dy[k], dx[k]);
  }
}

static void test_none_is_the_identity(void **state) {
  (void)state;
  run_mask(2, 0, 7, 5, y, NULL, x);
  assert_memory_equal(x, y, sizeof x);
}

/* The stretch function at an offset gives that part of the whole, also where the index passes 2^32. */
static void test_stretches(void **state) {
  (void)state;
  enum { LENGTH = 500 };
  sonde_attr attr = {{0.5}, {7}};
  sonde_ctx *ctx = op_ctx_new(1);
  const sonde_op_def *def = sonde_ops_find(ctx, "dropout");
  op_made made = {.seed = 3, .lo = 1, .hi = 2};
  op_numbers(x, LENGTH, &made);
  static const uint64_t starts[] = {0, 123, (1ull << 32) - 200};
  for (int s = 0; s < 3; s++) {
    const sonde_step_block block = {sizeof block, 9};
    sonde_vec whole = {.n = LENGTH, .out = y, .in = {x}, .attr = &attr, .index = starts[s], .block = &block};
    def->vec(&whole);
    for (int64_t at = 0; at < LENGTH; at += 7) {
      sonde_vec part = whole;
      part.n = LENGTH - at < 7 ? LENGTH - at : 7;
      part.index += (uint64_t)at;
      part.in[0] = x + at;
      part.out = z + at;
      def->vec(&part);
    }
    assert_memory_equal(y, z, LENGTH * sizeof *y);
  }
  sonde_ctx_free(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_share),
      cmocka_unit_test(test_unrelated),
      cmocka_unit_test(test_reproducible),
      cmocka_unit_test(test_gradient_has_the_same_mask),
      cmocka_unit_test(test_none_is_the_identity),
      cmocka_unit_test(test_stretches),
  };
  return cmocka_run_group_tests_name("dropout", tests, NULL, NULL);
}
