/* reference_test.c - 20 steps of training against PyTorch (tests/reference/train.json): losses, rates, gradient norms
 * and variances of every step; and that it does not matter how the micro-batches are cut. */
#include "tiny.h"

#include "io/json.h"

enum { BATCH = 4, STEPS = 20, ROWS = BATCH * STEPS };

static json_t *reference;

static int setup(void **state) {
  char path[4096];
  sonde_error err = {0};
  const char *srcdir = getenv("abs_srcdir");
  (void)state;
  snprintf(path, sizeof path, "%s/tests/reference/train.json", srcdir ? srcdir : ".");
  if (!(reference = sonde_json_load(path, 0, &err))) fprintf(stderr, "%s\n", err.text);
  return reference == NULL;
}

static int teardown(void **state) {
  (void)state;
  json_decref(reference);
  return 0;
}

/* Lays the reference's rows into the model's text where its batches will read them: a text of its own positions shows
 * where that is. */
static void lay_out_rows(tiny *m) {
  static uint16_t position[TEXT];
  uint16_t original[TEXT];
  int32_t tokens[CONTEXT], targets[CONTEXT];
  sonde_error err = {0};
  sonde_batches at = m->batches;
  int64_t stride = json_integer_value(json_object_get(reference, "stride"));
  memcpy(original, m->text, sizeof original);
  for (int i = 0; i < TEXT; i++) position[i] = (uint16_t)i;
  at.stream = (sonde_stream){.data = position, .width = 2, .tokens = TEXT, .vocab = TEXT};
  assert_true(at.epoch_rows >= ROWS);
  memset(m->text, 0, sizeof m->text);
  for (int64_t n = 0; n < ROWS; n++) {
    int64_t from = n * stride % (TEXT - CONTEXT - 1);
    assert_int_equal(sonde_batches_fill(&at, n, 1, tokens, targets, &err), SONDE_OK);
    for (int k = 1; k < CONTEXT; k++) m->text[tokens[k]] = original[from + k];
  }
}

static void near(double got, double want, double tolerance, const char *what, int step) {
  if (!(fabs(got - want) <= tolerance * fabs(want)))
    fail_msg("%s of step %d: %.9g, PyTorch %.9g", what, step, got, want);
}

static double number(const json_t *step, const char *key, int at) {
  const json_t *v = json_object_get(step, key);
  return json_number_value(at < 0 ? v : json_array_get(v, (size_t)at));
}

/* Trains over micro-batches of BATCH / accumulate rows. */
static void compare(int accumulate, int threads, double tolerance) {
  tiny m;
  sonde_train_event e;
  sonde_error err = {0};
  tiny_make(&m, threads, BATCH / accumulate);
  lay_out_rows(&m);
  m.opts.accumulate = accumulate;
  m.opts.probe_every = 1;
  m.opts.eval_tokens = -1;
  sonde_trainer *t = tiny_trainer(&m);
  for (int step = 1; step <= STEPS; step++) {
    const json_t *want = json_array_get(json_object_get(reference, "steps"), (size_t)step - 1);
    assert_int_equal(sonde_trainer_run(t, &e, &err), SONDE_OK);
    assert_int_equal(e.step, step);
    near(e.loss, number(want, "loss", -1), tolerance, "loss", step);
    near(e.lr, number(want, "lr", -1), 1e-9, "lr", step);
    near(e.grad_norm, number(want, "grad_norm", -1), 10 * tolerance, "gradient norm", step);
    for (int b = 0; b < DEPTH; b++) {
      near(e.block_norm[b], number(want, "block_grad_norm", b), 10 * tolerance, "gradient norm of a block",
           step);
      near(e.variance[b], number(want, "block_variance", b), 10 * tolerance, "variance of a block", step);
      near(e.update_ratio[b], number(want, "block_update_ratio", b), 100 * tolerance, "update ratio of a block", step);
    }
  }
  assert_true(e.what & SONDE_TRAIN_DONE);
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void whole_batches_give_the_curve_of_pytorch(void **state) {
  (void)state;
  compare(1, 2, 1e-5);
}

static void so_do_batches_in_two_or_four_parts(void **state) {
  (void)state;
  compare(2, 2, 1e-5);
  compare(4, 1, 1e-5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_batches_give_the_curve_of_pytorch),
      cmocka_unit_test(so_do_batches_in_two_or_four_parts),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
