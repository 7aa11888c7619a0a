/* tree_test.c - gradients of micro-batches are added as a binary tree: the same bits as the tree computed by hand. */
#include "tiny.h"

#include "train/trainer_state.h"

enum { MOST = 8, PARAMS_MOST = 32 };

/* The sum of x[first], x[first + 1], .. (n numbers): the largest power of two below n, and the rest. */
static double tree_of(const double *x, int first, int n) {
  int left = 1;
  if (n == 1) return x[first];
  while (2 * left < n) left *= 2;
  return tree_of(x, first, left) + tree_of(x, first + left, n - left);
}

static float tree_of_f32(float *const *x, int64_t at, int first, int n) {
  int left = 1;
  if (n == 1) return x[first][at];
  while (2 * left < n) left *= 2;
  return tree_of_f32(x, at, first, left) + tree_of_f32(x, at, first + left, n - left);
}

static void numbers_are_added_as_a_tree(void **state) {
  double x[70], level[SONDE_TREE_LEVELS];
  int differs = 0;
  (void)state;
  for (int n = 1; n <= 70; n++) {
    double got = 0, in_turn = 0;
    for (int k = 0; k < n; k++) {
      x[k] = hashed(5, (uint32_t)(100 * n + k)) * (k % 3 ? 1 : 1e9);
      in_turn += x[k];
      got = sonde_tree_number(level, k, n, x[k]);
    }
    assert_true(got == tree_of(x, 0, n));
    differs += got != in_turn;
  }
  assert_true(differs > 20);                             /* so the order shows */
}

/* The gradients of each of the first MOST rows by themselves, one behind the other, and how many numbers they are. */
static int64_t gradients_by_row(float *row[MOST]) {
  tiny m;
  sonde_error err = {0};
  sonde_node *leaf[PARAMS_MOST], *grad[PARAMS_MOST];
  int32_t tokens[CONTEXT], targets[CONTEXT];
  int64_t size = 0;
  tiny_make(&m, 2, 1);
  int n = (int)sonde_params_count(m.params);
  for (int i = 0; i < n; i++) leaf[i] = sonde_find(m.graph, sonde_params_at(m.params, i)->name);
  assert_int_equal(sonde_grad(sonde_sum_all(m.loss), NULL, leaf, n, grad, &err), SONDE_OK);
  sonde_plan *plan = sonde_plan_new(m.graph, grad, NULL, n, NULL, &err);
  if (!plan) fail_msg("%s", err.text);
  for (int r = 0; r < MOST; r++) {
    assert_int_equal(sonde_batches_fill(&m.batches, r, 1, tokens, targets, &err), SONDE_OK);
    sonde_plan_set_input(plan, "tokens", tokens, &err);
    sonde_plan_set_input(plan, "targets", targets, &err);
    if (sonde_plan_run(plan, &err)) fail_msg("%s", err.text);
    row[r] = sonde_alloc((size_t)sonde_params_elements(m.params) * sizeof(float));
    size = 0;
    for (int i = 0; i < n; i++) {
      const sonde_tensor *value = sonde_params_at(m.params, i)->value;
      memcpy(row[r] + size, sonde_plan_output(plan, i), (size_t)value->bytes);
      size += sonde_shape_count(&value->shape);
    }
  }
  sonde_plan_free(plan);
  tiny_free(&m);
  return size;
}

/* The gradients of the first update of a trainer with so many micro-batches of one row. */
static int64_t gradients_of_an_update(int accumulate, int threads, float *to) {
  tiny m;
  sonde_error err = {0};
  sonde_train_event e;
  int64_t size = 0;
  tiny_make(&m, threads, 1);
  m.opts.accumulate = accumulate;
  sonde_trainer *t = tiny_trainer(&m);
  if (sonde_trainer_run(t, &e, &err)) fail_msg("%s", err.text);
  assert_int_equal(e.step, 1);
  for (int64_t i = 0; i < sonde_params_count(m.params); i++) {
    sonde_tensor *grad = sonde_optim_grad(t->optim, i);
    memcpy(to + size, sonde_tensor_read(grad, NULL), (size_t)grad->bytes);
    size += sonde_shape_count(&grad->shape);
  }
  sonde_trainer_free(t);
  tiny_free(&m);
  return size;
}

static void gradients_of_micro_batches_are_added_as_a_tree(void **state) {
  float *row[MOST];
  (void)state;
  int64_t size = gradients_by_row(row), differs = 0;
  float *got = sonde_alloc((size_t)size * sizeof *got);
  for (int accumulate = 1; accumulate <= MOST; accumulate++)
    for (int threads = 1; threads <= 3; threads += 2) {
      assert_int_equal(gradients_of_an_update(accumulate, threads, got), size);
      for (int64_t k = 0; k < size; k++) {
        float in_turn = 0;
        for (int r = 0; r < accumulate; r++) in_turn += row[r][k];
        assert_true(got[k] == tree_of_f32(row, k, 0, accumulate));
        differs += got[k] != in_turn;
      }
    }
  assert_true(differs > size);
  for (int r = 0; r < MOST; r++) sonde_release(row[r]);
  sonde_release(got);
}

static int64_t state_with(int accumulate) {
  tiny m;
  tiny_make(&m, 1, 1);
  m.opts.accumulate = accumulate;
  sonde_trainer *t = tiny_trainer(&m);
  int64_t bytes = sonde_trainer_memory_of(t).state;
  sonde_trainer_free(t);
  tiny_free(&m);
  return bytes;
}

static void the_forecast_counts_the_partial_sums(void **state) {
  (void)state;
  const int64_t one = state_with(1), grads = state_with(2) - one;
  assert_true(grads > 0 && one == 4 * grads);            /* weights, gradients and AdamW's two states */
  assert_int_equal(state_with(3) - one, 2 * grads);
  assert_int_equal(state_with(4) - one, 2 * grads);
  assert_int_equal(state_with(6) - one, 3 * grads);
  assert_int_equal(state_with(8) - one, 3 * grads);
  assert_int_equal(state_with(9) - one, 4 * grads);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_are_added_as_a_tree),
      cmocka_unit_test(gradients_of_micro_batches_are_added_as_a_tree),
      cmocka_unit_test(the_forecast_counts_the_partial_sums),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
