/* optimizer_test.c - the driver: norms, clipping, decay groups, the same bits at any thread count. The optimizer here
 * is plain SGD with one state that counts its updates, so that what the driver hands over can be seen. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "tensor/tensor.h"
#include "train/optimizer.h"

static void sgd(const sonde_update *u, const sonde_value *opt) {
  (void)opt;
  for (int64_t i = 0; i < u->n; i++) {
    u->w[i] -= (float)(u->lr * (u->grad_scale * u->g[i] + u->weight_decay * u->w[i]));
    u->state[0][i] += (float)u->step;
  }
}

static const char *const sgd_states[] = {"count"};
static const sonde_optimizer sgd_functions = {
    .size = sizeof sgd_functions, .states = 1, .state_names = sgd_states, .update = sgd};

typedef struct fixture { sonde_params *params; sonde_pool *pool; sonde_optim *optim; } fixture;

static void add(fixture *f, const char *name, int64_t n, int role, int block) {
  sonde_error err = {0};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 1, &n);
  sonde_init one = {SONDE_INIT_FILL, 1, 0};
  assert_non_null(sonde_params_need(f->params, name, &shape, role, one, block, &err));
}

/* Five parameters of several sizes, the weights all 1, over two blocks. */
static fixture make_with(int threads, const sonde_optim_opts *opts) {
  sonde_error err = {0};
  fixture f = {sonde_params_new(1, &err), sonde_pool_new(threads, &err), NULL};
  add(&f, "embed", 40000, SONDE_ROLE_EMBED, -1);
  add(&f, "a.weight", 70001, SONDE_ROLE_FFN_IN, 0);
  add(&f, "a.gain", 3, SONDE_ROLE_GAIN, 0);
  add(&f, "b.weight", 16384, SONDE_ROLE_QK, 1);
  add(&f, "b.bias", 17, SONDE_ROLE_BIAS, 1);
  for (int64_t i = 0; i < 5; i++) {
    sonde_tensor *w = sonde_params_at(f.params, i)->value;
    for (int64_t k = 0; k < w->bytes / 4; k++) ((float *)w->host)[k] = 1;
  }
  sonde_optim_opts o = *opts;
  o.functions = &sgd_functions;
  o.blocks = 2;
  f.optim = sonde_optim_new(f.params, f.pool, &o, &err);
  assert_non_null(f.optim);
  return f;
}

static fixture make(int threads, double weight_decay, double clip) {
  return make_with(threads, &(sonde_optim_opts){.weight_decay = weight_decay, .clip = clip});
}

static void drop(fixture *f) {
  sonde_optim_free(f->optim);
  sonde_params_free(f->params);
  sonde_pool_free(f->pool);
}

static float *grad(fixture *f, int64_t i) { return sonde_tensor_write(sonde_optim_grad(f->optim, i), NULL); }
static float *weight(fixture *f, int64_t i) { return sonde_tensor_write(sonde_params_at(f->params, i)->value, NULL); }

/* An update that finds an infinite loss is none, and gives the norms. */
static sonde_grad_norm norm_of(sonde_optim *o, double scale) {
  sonde_error err = {0};
  const sonde_update_block block = {.loss = INFINITY, .scale = scale, .lr = 1, .step = 1};
  sonde_update_result r;
  assert_int_equal(sonde_optim_update(o, &block, &r, &err), SONDE_OK);
  assert_int_equal(r.skipped, SONDE_SKIPPED_LOSS);
  return r.norm;
}

static sonde_skipped update_with(sonde_optim *o, double scale, double lr, int64_t step, double loss, double bound) {
  sonde_error err = {0};
  const sonde_update_block block = {loss, bound, scale, lr, step, 0};
  sonde_update_result r;
  assert_int_equal(sonde_optim_update(o, &block, &r, &err), SONDE_OK);
  return r.skipped;
}

static void update(sonde_optim *o, double scale, double lr, int64_t step) {
  assert_int_equal(update_with(o, scale, lr, step, 1, 0), SONDE_UPDATED);
}

static void random_grads(fixture *f) {
  for (int64_t i = 0; i < 5; i++)
    sonde_rng_fill_normal(sonde_rng_stream(7, "grad"), (uint64_t)i << 32, grad(f, i),
                          sonde_optim_grad(f->optim, i)->bytes / 4, 0, 1, 0);
}

static void norms_are_those_of_the_formula(void **state) {
  (void)state;
  fixture f = make(2, 0, 0);
  for (int64_t k = 0; k < 40000; k++) grad(&f, 0)[k] = 0.5f;      /* 40000 / 4 = 10000 */
  grad(&f, 1)[70000] = 30;                                       /* the last of a ragged tile */
  grad(&f, 2)[0] = 40;
  grad(&f, 4)[16] = 120;
  sonde_grad_norm n = norm_of(f.optim, 0.1);
  assert_true(fabs(n.global - 0.1 * sqrt(10000 + 900 + 1600 + 14400)) < 1e-12);
  assert_true(fabs(n.block[0] - 5) < 1e-12);
  assert_true(fabs(n.block[1] - 12) < 1e-12);
  drop(&f);
}

static void tiny_and_huge_gradients_keep_their_norm(void **state) {
  (void)state;
  fixture f = make(1, 0, 0);
  grad(&f, 2)[0] = 3e-30f;
  assert_true(fabs(norm_of(f.optim, 1).block[0] / 3e-30 - 1) < 1e-6);
  grad(&f, 2)[0] = 3e30f;
  assert_true(fabs(norm_of(f.optim, 1).block[0] / 3e30 - 1) < 1e-6);
  grad(&f, 2)[0] = NAN;
  assert_true(isnan(norm_of(f.optim, 1).global));
  drop(&f);
}

static void clipping_scales_to_the_bound_and_no_further(void **state) {
  (void)state;
  fixture f = make(2, 0, 2.0);
  grad(&f, 1)[5] = 30;
  grad(&f, 3)[6] = 40;                                           /* norm 50, times 0.1 is 5: clipped to 2 */
  norm_of(f.optim, 0.1);
  update(f.optim, 0.1, 1.0, 1);
  assert_true(fabs(weight(&f, 1)[5] - (1 - 3 * 2 / 5.0)) < 1e-6);
  assert_true(fabs(weight(&f, 3)[6] - (1 - 4 * 2 / 5.0)) < 1e-6);
  norm_of(f.optim, 0.01);                               /* 0.5 is under the bound */
  update(f.optim, 0.01, 1.0, 2);
  assert_true(fabs(weight(&f, 1)[5] - (1 - 3 * 2 / 5.0 - 0.3)) < 1e-6);
  assert_true(*(float *)sonde_tensor_write(sonde_optim_state(f.optim, 1, 0), NULL) ==
              3); /* steps 1 and 2 were counted */
  drop(&f);
}

static void an_update_that_cannot_be_made_changes_nothing(void **state) {
  (void)state;
  fixture f = make(2, 0.5, 1.0);
  random_grads(&f);
  assert_int_equal(update_with(f.optim, 1, 0.1, 1, NAN, 0), SONDE_SKIPPED_LOSS);
  assert_int_equal(update_with(f.optim, 1, 0.1, 1, 5, 4), SONDE_SKIPPED_BOUND);
  assert_int_equal(update_with(f.optim, 1, 0.1, 1, NAN, 4), SONDE_SKIPPED_LOSS);
  grad(&f, 3)[7] = INFINITY;
  assert_int_equal(update_with(f.optim, 1, 0.1, 1, 3, 4), SONDE_SKIPPED_GRADIENT);
  for (int64_t i = 0; i < 5; i++) {
    const float *count = sonde_tensor_read(sonde_optim_state(f.optim, i, 0), NULL);
    for (int64_t k = 0; k < sonde_optim_grad(f.optim, i)->bytes / 4; k++)
      assert_true(weight(&f, i)[k] == 1 && count[k] == 0);
  }
  grad(&f, 3)[7] = 1;
  assert_int_equal(update_with(f.optim, 1, 0.1, 1, 4, 4), SONDE_UPDATED);
  assert_true(weight(&f, 1)[0] != 1);
  drop(&f);
}

static void embeddings_and_gains_are_decayed_where_it_says_so(void **state) {
  (void)state;
  const int decayed[4][5] = {{0, 1, 0, 1, 0}, {1, 1, 0, 1, 0}, {0, 1, 1, 1, 1}, {1, 1, 1, 1, 1}};
  for (int k = 0; k < 4; k++) {
    const sonde_optim_opts o = {.weight_decay = 0.5, .decay_embeddings = k & 1, .decay_gains = k >> 1};
    fixture f = make_with(2, &o);
    norm_of(f.optim, 1);
    update(f.optim, 1, 0.1, 1);
    for (int64_t i = 0; i < 5; i++) {
      assert_int_equal(sonde_optim_decayed(f.optim, i), decayed[k][i]);
      assert_true(weight(&f, i)[0] == (decayed[k][i] ? 0.95f : 1.0f));
    }
    drop(&f);
  }
}

static void buffers_are_left_alone(void **state) {
  (void)state;
  fixture f = make(2, 0.5, 0);
  sonde_error err = {0};
  sonde_optim_free(f.optim);
  add(&f, "buffer", 20000, SONDE_ROLE_BUFFER, 0);
  float *buffer = sonde_tensor_write(sonde_params_find(f.params, "buffer")->value, NULL);
  for (int k = 0; k < 20000; k++) buffer[k] = 3;
  sonde_optim_opts o = {.functions = &sgd_functions, .weight_decay = 0.5, .decay_embeddings = 1, .blocks = 2};
  f.optim = sonde_optim_new(f.params, f.pool, &o, &err);
  assert_null(sonde_optim_grad(f.optim, 5));
  assert_null(sonde_optim_state(f.optim, 5, 0));
  norm_of(f.optim, 1);
  update(f.optim, 1, 0.1, 1);
  for (int k = 0; k < 20000; k++) assert_true(buffer[k] == 3);
  assert_true(weight(&f, 0)[39999] == 0.95f);
  drop(&f);
}

static void frozen_parameters_are_left_alone_and_do_not_count(void **state) {
  (void)state;
  fixture f = make(2, 0.5, 0);
  sonde_error err = {0};
  const uint8_t frozen[5] = {1, 0, 0, 1, 0};
  int64_t all = sonde_optim_bytes(f.optim);
  sonde_optim_free(f.optim);
  sonde_optim_opts o = {.functions = &sgd_functions, .weight_decay = 0.5, .decay_gains = 1, .blocks = 2};
  for (int64_t i = 0; i < 5; i++)
    if (frozen[i])
      assert_int_equal(sonde_params_freeze(f.params, sonde_params_at(f.params, i)->name, 1, &err), SONDE_OK);
  f.optim = sonde_optim_new(f.params, f.pool, &o, &err);
  assert_int_equal(all - sonde_optim_bytes(f.optim), 2 * 4 * (40000 + 16384));
  assert_null(sonde_optim_grad(f.optim, 0));
  assert_null(sonde_optim_state(f.optim, 3, 0));
  for (int k = 0; k < 3; k++) grad(&f, 2)[k] = 2;
  sonde_grad_norm n = norm_of(f.optim, 1);
  assert_true(fabs(n.global - sqrt(12)) < 1e-12 && n.block[1] == 0);
  update(f.optim, 1, 0.1, 1);
  for (int64_t i = 0; i < 5; i++) assert_true(weight(&f, i)[0] == (frozen[i] ? 1.0f : i == 2 ? 0.75f : 0.95f));
  drop(&f);
}

static void bits_do_not_depend_on_the_threads(void **state) {
  (void)state;
  fixture one = make(1, 0.1, 1.0), four = make(4, 0.1, 1.0);
  random_grads(&one);
  random_grads(&four);
  for (int step = 1; step <= 3; step++) {
    double a = norm_of(one.optim, 0.3).global, b = norm_of(four.optim, 0.3).global;
    assert_memory_equal(&a, &b, sizeof a);
    update(one.optim, 0.3, 0.01, step);
    update(four.optim, 0.3, 0.01, step);
  }
  for (int64_t i = 0; i < 5; i++)
    assert_memory_equal(weight(&one, i), weight(&four, i), (size_t)sonde_optim_grad(one.optim, i)->bytes);
  drop(&one);
  drop(&four);
}

/* Factors of the learning rate and of the decay that a parameter has. */
static void group_factors_multiply(void **state) {
  (void)state;
  fixture f = make(2, 0.5, 0);
  sonde_error err = {0};
  const sonde_factors factors[5] = {{1, 7}, {0.5, 1}, {2, 1}, {1, 0}, {0, 1}};
  const float after[5] = {1, 0.975f, 1, 1, 1};                    /* without a gradient: decay alone */
  sonde_optim_free(f.optim);
  sonde_optim_opts o = {.functions = &sgd_functions, .weight_decay = 0.5, .blocks = 2, .factors = factors};
  f.optim = sonde_optim_new(f.params, f.pool, &o, &err);
  norm_of(f.optim, 1);
  update(f.optim, 1, 0.1, 1);
  for (int64_t i = 0; i < 5; i++) assert_true(weight(&f, i)[0] == after[i]);
  grad(&f, 2)[1] = 1, grad(&f, 4)[1] = 1;
  update(f.optim, 1, 0.1, 2);
  assert_true(weight(&f, 2)[1] == 0.8f && weight(&f, 4)[1] == 1);
  drop(&f);
}

/* An optimizer that takes matrices of the FFN whole, has a state of its own shape for them (the sums of the rows of the
 * gradient) and none for other parameters, and writes what it was told into the weights. */
enum { ROWS = 300, COLUMNS = 210 };

static int rows_whole(const sonde_parameter *p, const sonde_value *opt) {
  (void)opt;
  return p->role == SONDE_ROLE_FFN_IN && p->shape.rank == 2;
}
static int rows_state(const sonde_parameter *p, int k, const sonde_value *opt, sonde_shape *shape) {
  if (!rows_whole(p, opt)) return 0;
  if (k == 0) shape->rank = 1, shape->dim[1] = 1;
  return 1;
}
static int64_t rows_scratch(const sonde_parameter *p, const sonde_value *opt) {
  (void)opt;
  return p->shape.dim[0] * 4 - 3;                                 /* no multiple of a line */
}
static void rows_update(const sonde_update *u, const sonde_value *opt) {
  assert_string_equal(u->parameter->name, rows_whole(u->parameter, opt) ? "m.weight" : "m.gain");
  if (!rows_whole(u->parameter, opt)) {
    assert_null(u->state[0]), assert_null(u->state[1]);
    for (int64_t k = 0; k < u->n; k++) u->w[k] = (float)(u->offset + k);
    return;
  }
  assert_true(u->n == ROWS * COLUMNS && u->offset == 0 && (uintptr_t)u->scratch % 64 == 0);
  memset(u->scratch, 0xff, (size_t)rows_scratch(u->parameter, opt));
  for (int64_t i = 0; i < ROWS; i++)
    for (int64_t j = 0; j < COLUMNS; j++) u->state[0][i] += u->g[i * COLUMNS + j], u->state[1][i * COLUMNS + j] += 1;
  for (int64_t k = 0; k < u->n; k++) u->w[k] = u->state[0][k / COLUMNS];
}

static void a_parameter_comes_whole_where_it_is_asked_for(void **state) {
  (void)state;
  static const char *const names[] = {"rows", "seen"};
  static const sonde_optimizer rows = {.size = sizeof rows, .states = 2, .state_names = names, .update = rows_update,
                                       .whole = rows_whole, .state_shape = rows_state, .scratch = rows_scratch};
  sonde_error err = {0};
  for (int threads = 1; threads <= 3; threads += 2) {
    fixture f = {sonde_params_new(1, &err), sonde_pool_new(threads, &err), NULL};
    const int64_t dim[2] = {ROWS, COLUMNS};
    sonde_shape shape = sonde_shape_make(SONDE_F32, 2, dim);
    assert_non_null(sonde_params_need(f.params, "m.weight", &shape, SONDE_ROLE_FFN_IN,
                                      (sonde_init){SONDE_INIT_FILL, 1, 0}, 0, &err));
    add(&f, "m.gain", 40000, SONDE_ROLE_GAIN, 0);
    sonde_optim_opts o = {.functions = &rows, .blocks = 1};
    assert_non_null(f.optim = sonde_optim_new(f.params, f.pool, &o, &err));
    assert_true(sonde_optim_bytes(f.optim) ==
                4 * (ROWS * COLUMNS + 40000) + 4 * (ROWS + ROWS * COLUMNS) + threads * 1216);
    for (int64_t k = 0; k < ROWS * COLUMNS; k++) grad(&f, 0)[k] = (float)(k / COLUMNS);
    for (int step = 1; step <= 2; step++) update(f.optim, 1, 1, step);
    for (int64_t k = 0; k < ROWS * COLUMNS; k++) assert_true(weight(&f, 0)[k] == (float)(2 * COLUMNS * (k / COLUMNS)));
    for (int64_t k = 0; k < 40000; k++) assert_true(weight(&f, 1)[k] == (float)k);
    assert_null(sonde_optim_state(f.optim, 1, 0));
    drop(&f);
  }
}

static void a_tiled_parameter_has_states_of_its_shape(void **state) {
  (void)state;
  static const char *const names[] = {"rows", "seen"};
  static const sonde_optimizer rows = {.size = sizeof rows, .states = 1, .state_names = names, .update = rows_update,
                                       .state_shape = rows_state};
  sonde_error err = {0};
  fixture f = {sonde_params_new(1, &err), sonde_pool_new(1, &err), NULL};
  const int64_t dim[2] = {ROWS, COLUMNS};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 2, dim);
  assert_non_null(
      sonde_params_need(f.params, "m.weight", &shape, SONDE_ROLE_FFN_IN, (sonde_init){SONDE_INIT_FILL, 1, 0}, 0, &err));
  sonde_optim_opts o = {.functions = &rows, .blocks = 1};
  assert_null(sonde_optim_new(f.params, f.pool, &o, &err));
  assert_non_null(strstr(err.text, "gives state 'rows' of m.weight another shape"));
  drop(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(norms_are_those_of_the_formula),
      cmocka_unit_test(tiny_and_huge_gradients_keep_their_norm),
      cmocka_unit_test(an_update_that_cannot_be_made_changes_nothing),
      cmocka_unit_test(clipping_scales_to_the_bound_and_no_further),
      cmocka_unit_test(embeddings_and_gains_are_decayed_where_it_says_so),
      cmocka_unit_test(buffers_are_left_alone),
      cmocka_unit_test(frozen_parameters_are_left_alone_and_do_not_count),
      cmocka_unit_test(bits_do_not_depend_on_the_threads),
      cmocka_unit_test(group_factors_multiply),
      cmocka_unit_test(a_parameter_comes_whole_where_it_is_asked_for),
      cmocka_unit_test(a_tiled_parameter_has_states_of_its_shape),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
