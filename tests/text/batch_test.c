/* batch_test.c - rows of tokens: every token once, the same rows whatever the batch. */
#include "../base/testing.h"
#include "text/batch.h"

enum { TOKENS = 1000, T = 7 };

/* Token k is k, so that a row says where it was cut. */
static uint16_t data[TOKENS];

static sonde_stream stream(int64_t tokens) {
  for (int i = 0; i < TOKENS; i++) data[i] = (uint16_t)i;
  return (sonde_stream){.data = data, .width = 2, .tokens = tokens, .vocab = TOKENS};
}

static void rows_of_an_epoch_do_not_overlap(void **state) {
  sonde_error err = {0};
  sonde_batches b;
  int32_t x[T], y[T];
  (void)state;
  assert_int_equal(sonde_batches_init(&b, stream(TOKENS), T, 5, &err), 0);
  assert_true(b.epoch_rows * T > TOKENS - 2 * T - 1);
  for (int64_t epoch = 0; epoch < 3; epoch++) {
    int seen[TOKENS] = {0};
    for (int64_t i = 0; i < b.epoch_rows; i++) {
      assert_int_equal(sonde_batches_fill(&b, epoch * b.epoch_rows + i, 1, x, y, &err), 0);
      for (int k = 0; k < T; k++) {
        assert_int_equal(y[k], x[k] + 1);
        assert_int_equal(x[k], x[0] + k);
        assert_int_equal(seen[x[k]]++, 0);
      }
    }
  }
}

static void order_differs_between_epochs_and_seeds(void **state) {
  sonde_error err = {0};
  sonde_batches b, c;
  int32_t x[3][40 * T], y[40 * T];
  (void)state;
  assert_int_equal(sonde_batches_init(&b, stream(TOKENS), T, 5, &err), 0);
  assert_int_equal(sonde_batches_init(&c, stream(TOKENS), T, 6, &err), 0);
  assert_int_equal(sonde_batches_fill(&b, 0, 40, x[0], y, &err), 0);
  assert_int_equal(sonde_batches_fill(&b, b.epoch_rows, 40, x[1], y, &err), 0);
  assert_int_equal(sonde_batches_fill(&c, 0, 40, x[2], y, &err), 0);
  assert_memory_not_equal(x[0], x[1], sizeof x[0]);
  assert_memory_not_equal(x[0], x[2], sizeof x[0]);
  int in_order = 0, phases = 0;
  for (int k = 1; k < 40; k++) in_order += x[0][k * T] == x[0][(k - 1) * T] + T;
  assert_true(in_order < 10);
  for (int64_t epoch = 0; epoch < 20; epoch++) {
    assert_int_equal(sonde_batches_fill(&b, epoch * b.epoch_rows, 1, x[1], y, &err), 0);
    phases |= 1 << x[1][0] % T;
  }
  assert_int_equal(phases, (1 << T) - 1);
}

static void the_batch_size_does_not_matter(void **state) {
  enum { ROWS = 300 };          /* over the end of an epoch */
  sonde_error err = {0};
  sonde_batches b;
  static int32_t x[ROWS * T], y[ROWS * T], u[ROWS * T], v[ROWS * T];
  (void)state;
  assert_int_equal(sonde_batches_init(&b, stream(TOKENS), T, 5, &err), 0);
  assert_int_equal(sonde_batches_fill(&b, 0, ROWS, x, y, &err), 0);
  for (int64_t at = 0; at < ROWS; at += 12)
    assert_int_equal(sonde_batches_fill(&b, at, 12, u + at * T, v + at * T, &err), 0);
  assert_memory_equal(x, u, sizeof x);
  assert_memory_equal(y, v, sizeof y);
}

static void too_few_tokens_are_refused(void **state) {
  sonde_error err = {0};
  sonde_batches b;
  int32_t x[T], y[T];
  (void)state;
  for (int64_t n = 0; n <= T; n++)
    assert_int_equal(sonde_batches_init(&b, stream(n), T, 5, &err), SONDE_EINVAL);
  assert_int_equal(sonde_batches_init(&b, stream(T + 1), T, 5, &err), 0);
  assert_int_equal(b.epoch_rows, 1);
  assert_int_equal(sonde_batches_fill(&b, 3, 1, x, y, &err), 0);
  assert_int_equal(x[0], 0);
  assert_int_equal(sonde_batches_fill(&b, -1, 1, x, y, &err), SONDE_EINVAL);
  assert_int_equal(sonde_batches_fill(&b, INT64_MAX, 1, x, y, &err), SONDE_EINVAL);
  assert_int_equal(sonde_batches_init(&b, stream(TOKENS), 0, 5, &err), SONDE_EINVAL);
}

/* Every token but the first is predicted once, in order, whatever the length and the batch. */
static void windows_predict_each_token_once(void **state) {
  sonde_error err = {0};
  int32_t x[4 * T], y[4 * T];
  (void)state;
  for (int64_t n = 0; n < 60; n++)
    for (int64_t batch = 1; batch <= 4; batch++) {
      sonde_stream s = stream(n);
      int64_t rows = sonde_windows_count(n, T), next = 1, counted = 0;
      for (int64_t row = 0; row < rows; row += batch) {
        int64_t got = sonde_windows_fill(&s, T, row, batch, x, y, &err);
        assert_true(got > 0);
        counted += got;
        for (int64_t k = 0; k < batch * T; k++) {
          if (y[k] == SONDE_IGNORE) {
            assert_int_equal(x[k], 0);
            continue;
          }
          assert_int_equal(y[k], next++);
          assert_int_equal(x[k], y[k] - 1);
        }
      }
      assert_int_equal(counted, n > 0 ? n - 1 : 0);
      assert_int_equal(sonde_windows_fill(&s, T, rows, 1, x, y, &err), 0);
    }
  sonde_stream s = stream(20);
  assert_int_equal(sonde_windows_fill(&s, T, INT64_MAX - 3, 2, x, y, &err), 0);
  assert_int_equal(sonde_windows_fill(&s, T, -1, 2, x, y, &err), SONDE_EINVAL);
  assert_int_equal(sonde_windows_fill(&s, T, INT64_MAX, 2, x, y, &err), SONDE_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_of_an_epoch_do_not_overlap),
    cmocka_unit_test(order_differs_between_epochs_and_seeds),
    cmocka_unit_test(the_batch_size_does_not_matter),
    cmocka_unit_test(too_few_tokens_are_refused),
    cmocka_unit_test(windows_predict_each_token_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
