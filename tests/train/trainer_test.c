/* trainer_test.c - the trainer: what must not change a result (threads, events, recomputation), buffers, evaluation,
 * divergence and budgets. checkpoint_test.c has its runs. */
#include "tiny.h"

/* Trains a new model as `change` asks (NULL: plainly); hex is the SHA-256 of its weights. */
static sonde_train_event train_with(int threads, void (*change)(sonde_trainer_opts *), char hex[65]) {
  tiny m;
  tiny_make(&m, threads, 4);
  if (change) change(&m.opts);
  sonde_trainer *t = tiny_trainer(&m);
  sonde_train_event e = tiny_train(t, NULL);
  e.block_norm = e.variance = NULL;
  tiny_sha256(&m, hex);
  sonde_trainer_free(t);
  tiny_free(&m);
  return e;
}

static void recompute_all(sonde_trainer_opts *o) { o->recompute = 2; }
static void quiet(sonde_trainer_opts *o) { o->log_every = 0, o->eval_every = 3, o->tick_seconds = 1e-9; }
static void in_bf16(sonde_trainer_opts *o) { o->compute = SONDE_BF16; }

static void bits_do_not_depend_on_threads_events_or_recomputation(void **state) {
  char plain[65], other[65];
  (void)state;
  sonde_train_event a = train_with(1, NULL, plain), b = train_with(3, NULL, other);
  assert_string_equal(plain, other);
  assert_true(a.val_loss == b.val_loss && a.loss == b.loss);
  train_with(2, quiet, other);
  assert_string_equal(plain, other);
  train_with(2, recompute_all, other);
  assert_string_equal(plain, other);
}

static void bf16_trains_too_with_its_own_bits(void **state) {
  char plain[65], a[65], b[65];
  (void)state;
  sonde_train_event f = train_with(2, NULL, plain), e = train_with(1, in_bf16, a);
  train_with(2, in_bf16, b);
  assert_string_equal(a, b);
  assert_string_not_equal(a, plain);
  assert_true(fabs(e.val_loss - f.val_loss) < 0.05);
  assert_true(e.val_loss < 3.5);                         /* the start is ln 61 = 4.1 */
}

static void steps_allocate_nothing(void **state) {
  (void)state;
  tiny m;
  sonde_error err = {0};
  sonde_train_event e = {0};
  tiny_make(&m, 2, 2);
  m.opts.accumulate = 2;
  m.opts.eval_every = 4;
  sonde_trainer *t = tiny_trainer(&m);
  while (e.step < 5) assert_int_equal(sonde_trainer_run(t, &e, &err), SONDE_OK);   /* each plan has run once */
  sonde_alloc_fail_at(1);
  while (e.step < 20) assert_int_equal(sonde_trainer_run(t, &e, &err), SONDE_OK);
  sonde_alloc_fail_at(0);
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void each_allocation_may_fail(void **state) {
  (void)state;
  sonde_trainer *t = NULL;
  int64_t nth = 0;
  while (!t) {
    tiny m;
    sonde_error err = {0};
    tiny_make(&m, 1, 2);
    m.opts.accumulate = 2;
    sonde_alloc_fail_at(++nth);
    t = sonde_trainer_new(m.ctx, &m.opts, &err);
    sonde_alloc_fail_at(0);
    if (!t) assert_int_equal(err.code, SONDE_ENOMEM);
    sonde_trainer_free(t);
    tiny_free(&m);
  }
  assert_true(nth > 100);
  assert_int_equal(sonde_alloc_live(), 0);
}

/* ---- buffers --------------------------------------------------------------------------------------------- */

static double squares(const tiny *m) {
  const float *w = sonde_tensor_write(sonde_params_find(m->params, "blocks.0.o")->value, NULL);
  double sum = 0;
  for (int k = 0; k < WIDTH * WIDTH; k++) sum += (double)w[k] * w[k];
  return sum;
}

static void buffers_follow_the_weights_now_and_then(void **state) {
  (void)state;
  tiny m;
  sonde_error err = {0};
  sonde_train_event e = {0};
  double due = 0;
  tiny_make(&m, 2, 4);
  const float *buffer = tiny_buffer(&m);
  sonde_trainer *t = tiny_trainer(&m);
  assert_true(fabs(*buffer - squares(&m)) < 1e-6 * *buffer);
  while (e.step < 8) {
    due = e.step % 3 == 0 ? squares(&m) : due;
    assert_true(fabs(*buffer - due) < 1e-6 * due);
    assert_int_equal(sonde_trainer_run(t, &e, &err), SONDE_OK);
  }
  assert_true(fabs(due / squares(&m) - 1) > 1e-4);
  sonde_trainer_free(t);
  tiny_free(&m);
}

/* ---- evaluation ------------------------------------------------------------------------------------------ */

/* The mean over all predicted tokens, one window after the other, by the model traced for single rows. */
static double naive_validation(int64_t windows, int64_t *tokens) {
  tiny m;
  sonde_error err = {0};
  double sum = 0;
  tiny_make(&m, 1, 1);
  sonde_plan *plan = sonde_plan_new(m.graph, &m.loss, NULL, 1, NULL, &err);
  *tokens = 0;
  for (int64_t w = 0; w < windows; w++) {
    int32_t in[CONTEXT] = {0}, target[CONTEXT];
    int64_t n = 0;
    for (int k = 0; k < CONTEXT; k++) {
      int64_t at = w * CONTEXT + k;
      target[k] = at + 1 < VALID ? m.valid_text[at + 1] : SONDE_IGNORE;
      in[k] = at + 1 < VALID ? m.valid_text[at] : 0;
      n += at + 1 < VALID;
    }
    sonde_plan_set_input(plan, "tokens", in, &err);
    sonde_plan_set_input(plan, "targets", target, &err);
    assert_int_equal(sonde_plan_run(plan, &err), SONDE_OK);
    for (int64_t k = 0; k < n; k++) sum += ((const float *)sonde_plan_output(plan, 0))[k];
    *tokens += n;
  }
  sonde_plan_free(plan);
  tiny_free(&m);
  return sum / (double)*tokens;
}

static void evaluation_is_the_mean_over_predicted_tokens(void **state) {
  (void)state;
  const struct { int64_t eval_tokens, windows, tokens; } cases[] = {
      {0, 25, VALID - 1}, {1, 1, CONTEXT}, {80, 5, 80}, {81, 6, 96}, {100000, 25, VALID - 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tiny m;
    double loss;
    int64_t tokens, expected;
    sonde_error err = {0};
    tiny_make(&m, 2, 4);
    m.opts.eval_tokens = cases[i].eval_tokens;
    sonde_trainer *t = tiny_trainer(&m);
    assert_int_equal(sonde_trainer_evaluate(t, &loss, NULL, &tokens, &err), SONDE_OK);
    double want = naive_validation(cases[i].windows, &expected);
    assert_int_equal(expected, cases[i].tokens);
    assert_int_equal(tokens, expected);
    assert_true(fabs(loss - want) < 1e-6 * want);
    sonde_trainer_free(t);
    tiny_free(&m);
  }
}

/* ---- ends ---------------------------------------------------------------------------------------------- */

static void divergence_is_an_event_and_changes_nothing(void **state) {
  (void)state;
  tiny m;
  char before[65], after[65];
  tiny_make(&m, 2, 4);
  float *w = sonde_tensor_write(sonde_params_find(m.params, "blocks.1.o")->value, NULL);
  w[3] = INFINITY;
  tiny_sha256(&m, before);
  sonde_trainer *t = tiny_trainer(&m);
  sonde_train_event e = tiny_train(t, NULL);
  assert_true(e.what & SONDE_TRAIN_DIVERGED);
  assert_int_equal(e.step, 0);
  assert_non_null(strstr(e.reason, "step 1"));
  tiny_sha256(&m, after);
  assert_string_equal(before, after);
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void a_loss_over_its_bound_has_diverged(void **state) {
  (void)state;
  tiny m;
  tiny_make(&m, 2, 4);
  m.opts.schedule.lr = 10;                                /* climbs within a few steps */
  m.opts.loss_bound = 6;
  sonde_trainer *t = tiny_trainer(&m);
  sonde_train_event e = tiny_train(t, NULL);
  assert_true(e.what & SONDE_TRAIN_DIVERGED);
  assert_true(e.step > 0 && e.step < 20);
  assert_non_null(strstr(e.reason, "bound of 6"));
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void what_does_not_fit_the_budget_is_refused_with_figures(void **state) {
  (void)state;
  const int64_t budgets[] = {1000, 250000};               /* too little for the weights; for the activations */
  for (int k = 0; k < 2; k++) {
    tiny m;
    sonde_error err = {0};
    tiny_make(&m, 1, 4);
    m.opts.memory_budget = budgets[k];
    assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
    assert_int_equal(err.code, SONDE_ELIMIT);
    assert_non_null(strstr(err.text, "memory of 0."));
    tiny_free(&m);
  }
}

static void a_parameter_that_is_not_traced_is_named(void **state) {
  (void)state;
  tiny m;
  int64_t n = 4;
  sonde_error err = {0};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 1, &n);
  tiny_make(&m, 1, 4);
  sonde_params_need(m.params, "stray", &shape, SONDE_ROLE_OTHER, (sonde_init){SONDE_INIT_FILL, 0, 0}, -1, &err);
  assert_null(sonde_trainer_new(m.ctx, &m.opts, &err));
  assert_non_null(strstr(err.text, "'stray'"));
  tiny_free(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bits_do_not_depend_on_threads_events_or_recomputation),
      cmocka_unit_test(bf16_trains_too_with_its_own_bits),
      cmocka_unit_test(steps_allocate_nothing),
      cmocka_unit_test(each_allocation_may_fail),
      cmocka_unit_test(buffers_follow_the_weights_now_and_then),
      cmocka_unit_test(evaluation_is_the_mean_over_predicted_tokens),
      cmocka_unit_test(divergence_is_an_event_and_changes_nothing),
      cmocka_unit_test(a_loss_over_its_bound_has_diverged),
      cmocka_unit_test(what_does_not_fit_the_budget_is_refused_with_figures),
      cmocka_unit_test(a_parameter_that_is_not_traced_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
