/* buffers_test.c - buffers in training: computed from the weights of the moment in the rhythm that was asked for,
 * saved and gone on with, and never trained. */
#include "graph/refresh.h"
#include "tiny.h"

#include <unistd.h>

static char root[] = "/tmp/sonde-buffers-XXXXXX";
static const char *const weight = "blocks.1.o", *const buffer = "blocks.1.power";

static int setup(void **state) {
  (void)state;
  return mkdtemp(root) == NULL;
}

static int teardown(void **state) {
  sonde_error err;
  (void)state;
  return sonde_remove_tree(root, &err);
}

/* The sum of squares of one weight as a buffer of the model, which scales the loss: 1 + its 1e-3rd. */
static void add_buffer(tiny *m, int64_t every) {
  sonde_error err = {0};
  const int64_t one = 1;
  sonde_shape shape = sonde_shape_make(SONDE_F32, 1, &one);
  sonde_init zero = {SONDE_INIT_FILL, 0, 0};
  const sonde_param *p = sonde_params_need(m->params, buffer, &shape, SONDE_ROLE_BUFFER, zero, 1, &err);
  sonde_node *leaf = sonde_leaf(m->graph, buffer, p->value);
  sonde_node *power = sonde_reshape(sonde_sum_all(sonde_square(sonde_find(m->graph, weight))), &one, 1);
  assert_int_equal(sonde_refresh_declare(leaf, power, every, &err), SONDE_OK);
  m->opts.loss = sonde_mul(m->loss, sonde_affine(leaf, 1e-3, 1));
}

static float value_of(const tiny *m) {
  return *(const float *)sonde_tensor_data(sonde_params_find(m->params, buffer)->value);
}

static float power_of(const tiny *m) {
  sonde_tensor *t = sonde_params_find(m->params, weight)->value;
  sonde_shape shape = sonde_tensor_shape(t);
  const float *w = sonde_tensor_data(t);
  double sum = 0;
  for (int64_t i = 0; i < sonde_shape_count(&shape); i++) sum += (double)w[i] * w[i];
  return (float)sum;
}

/* Trains to update `until` of 20 and leaves the model in m. */
static sonde_trainer *train_until(tiny *m, int64_t every, int64_t until, sonde_run *run) {
  sonde_error err = {0};
  sonde_train_event e = {0};
  tiny_make(m, 2, 4);
  add_buffer(m, every);
  m->opts.run = run;
  m->opts.checkpoint_every = 1;
  sonde_trainer *t = tiny_trainer(m);
  while (e.step < until)
    if (sonde_trainer_run(t, &e, &err)) fail_msg("%s", err.text);
  return t;
}

static void the_first_value_is_of_the_first_weights(void **state) {
  (void)state;
  tiny m;
  sonde_trainer *t = train_until(&m, 7, 0, NULL);
  assert_float_equal(value_of(&m), power_of(&m), 1e-5);
  assert_true(power_of(&m) > 0.1f);
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void it_follows_the_weights_in_its_rhythm(void **state) {
  (void)state;
  float at[21];
  tiny m;
  for (int64_t step = 0; step <= 20; step++) {
    sonde_trainer *t = train_until(&m, 7, step, NULL);
    at[step] = value_of(&m);
    if (step % 7 == 0) assert_float_equal(at[step], power_of(&m), 1e-5);
    else assert_true(at[step] == at[step - 1]);
    sonde_trainer_free(t);
    tiny_free(&m);
  }
  assert_true(at[7] != at[0] && at[14] != at[7]);
}

static void without_one_the_rhythm_is_that_of_the_training(void **state) {
  (void)state;
  assert_int_equal(sonde_refresh_every(10), 1);
  assert_int_equal(sonde_refresh_every(149), 2);
  assert_int_equal(sonde_refresh_every(20000), 400);
  assert_int_equal(sonde_refresh_every(1000000), 1000);
  tiny m;
  sonde_trainer *t = train_until(&m, 0, 20, NULL);   /* of 20 updates: after each */
  assert_float_equal(value_of(&m), power_of(&m), 1e-5);
  sonde_trainer_free(t);
  tiny_free(&m);
}

static void a_resumed_training_goes_on_with_the_same_bits(void **state) {
  (void)state;
  char whole[65], resumed[65];
  sonde_error err = {0};
  tiny m;
  sonde_trainer *t = train_until(&m, 7, 20, NULL);
  assert_int_equal(sonde_params_sha256(m.params, whole), 0);
  sonde_trainer_free(t);
  tiny_free(&m);
  for (int part = 0; part < 2; part++) {   /* stopped between two refreshes */
    sonde_run *run = sonde_run_open(root, "resumed", &err);
    t = train_until(&m, 7, part ? 20 : 10, run);
    assert_int_equal(sonde_params_sha256(m.params, resumed), 0);
    sonde_trainer_free(t);
    sonde_run_close(run);
    tiny_free(&m);
  }
  assert_string_equal(whole, resumed);
}

static void it_has_no_gradient_and_no_state(void **state) {
  (void)state;
  sonde_error err = {0};
  tiny with, without;
  tiny_make(&without, 1, 4);
  tiny_make(&with, 1, 4);
  add_buffer(&with, 7);
  sonde_optim_opts o = {.functions = with.opts.optimizer, .values = with.values, .weight_decay = 0.1, .decay_all = 1, .blocks = DEPTH};
  sonde_optim *a = sonde_optim_new(with.params, NULL, &o, &err), *b = sonde_optim_new(without.params, NULL, &o, &err);
  int64_t last = sonde_params_count(with.params) - 1;
  assert_null(sonde_optim_grad(a, last));
  assert_null(sonde_optim_state(a, last, 0));
  assert_int_equal(sonde_optim_bytes(a), sonde_optim_bytes(b));
  assert_int_equal(sonde_params_elements(with.params), sonde_params_elements(without.params));
  sonde_optim_free(a);
  sonde_optim_free(b);
  tiny_free(&with);
  tiny_free(&without);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_first_value_is_of_the_first_weights),
      cmocka_unit_test(it_follows_the_weights_in_its_rhythm),
      cmocka_unit_test(without_one_the_rhythm_is_that_of_the_training),
      cmocka_unit_test(a_resumed_training_goes_on_with_the_same_bits),
      cmocka_unit_test(it_has_no_gradient_and_no_state),
  };
  return cmocka_run_group_tests_name("buffers", tests, setup, teardown);
}
