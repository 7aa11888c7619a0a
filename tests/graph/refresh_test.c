/* refresh_test.c - buffers of a model without a trainer: first values, values that a file brought, and what cannot be
 * declared. Their place in training is in tests/train/buffers_test.c. */
#include "graph/refresh.h"
#include "make.h"

typedef struct model {
  sonde_ctx *ctx;
  sonde_graph *g;
  sonde_params *params;
  sonde_node *w, *sum, *buffer;   /* w [4, 3] N(0, 1), sum its sum, [1] */
} model;

static const sonde_param *need(model *m, const char *name, int rank, int64_t a, int64_t b, int role) {
  sonde_error err = {0};
  sonde_shape s = shape_of(rank, a, b, 1);
  sonde_init init = {role == SONDE_ROLE_BUFFER ? SONDE_INIT_FILL : SONDE_INIT_NORMAL,
                     role == SONDE_ROLE_BUFFER ? -5 : 1, 0};
  const sonde_param *p = sonde_params_need(m->params, name, &s, role, init, -1, &err);
  assert_non_null(p);
  return p;
}

static void make(model *m, uint64_t seed) {
  sonde_error err = {0};
  const int64_t one = 1;
  m->ctx = sonde_ctx_new(1, &err);
  m->g = sonde_graph_new(m->ctx, &err);
  m->params = sonde_params_new(seed, &err);
  m->w = sonde_leaf(m->g, "w", need(m, "w", 2, 4, 3, SONDE_ROLE_OTHER)->value);
  m->buffer = sonde_leaf(m->g, "b", need(m, "b", 1, 1, 1, SONDE_ROLE_BUFFER)->value);
  m->sum = sonde_reshape(sonde_sum_all(m->w), &one, 1);
}

static void drop(model *m) {
  sonde_graph_free(m->g);
  sonde_params_free(m->params);
  sonde_ctx_free(m->ctx);
}

static float *values(const model *m, const char *name) {
  return sonde_tensor_write(sonde_params_find(m->params, name)->value, NULL);
}

static float first_of(const model *m, const char *name) {
  return *(const float *)sonde_tensor_read(sonde_params_find(m->params, name)->value, NULL);
}

static float sum_of_w(const model *m) {
  float sum = 0;
  for (int k = 0; k < 12; k++) sum += values(m, "w")[k];
  return sum;
}

static void run_first(model *m) {
  sonde_error err = {0};
  sonde_refresh *r = sonde_refresh_new(m->g, m->params, 0, NULL, &err);
  assert_non_null(r);
  assert_int_equal(sonde_refresh_first(r, &err), SONDE_OK);
  sonde_refresh_free(r);
}

static void first_values_follow_the_initialised_weights(void **state) {
  (void)state;
  sonde_error err = {0};
  float sums[2];
  for (int seed = 0; seed < 2; seed++) {
    model m;
    make(&m, (uint64_t)seed);
    assert_int_equal(sonde_refresh_declare(m.buffer, m.sum, 3, &err), SONDE_OK);
    sonde_params_init(m.params, m.ctx);
    assert_float_equal(first_of(&m, "b"), -5, 0);        /* the fill, until it is computed */
    assert_int_equal(sonde_params_is_set(m.params, "b"), 0);
    run_first(&m);
    assert_int_equal(sonde_params_is_set(m.params, "b"), 1);
    sums[seed] = *values(&m, "b");
    assert_float_equal(sums[seed], sum_of_w(&m), 1e-5);
    drop(&m);
  }
  assert_true(sums[0] != sums[1]);
}

static void a_loaded_value_stays_until_it_is_due(void **state) {
  (void)state;
  sonde_error err = {0};
  model m;
  make(&m, 3);
  sonde_refresh_declare(m.buffer, m.sum, 3, &err);
  *values(&m, "b") = 77;
  sonde_params_init(m.params, m.ctx);
  run_first(&m);
  assert_float_equal(*values(&m, "b"), 77, 0);
  sonde_refresh *r = sonde_refresh_new(m.g, m.params, 0, NULL, &err);
  for (int64_t step = 1; step <= 2; step++) assert_int_equal(sonde_refresh_after(r, step, &err), SONDE_OK);
  assert_float_equal(*values(&m, "b"), 77, 0);
  assert_int_equal(sonde_refresh_after(r, 3, &err), SONDE_OK);
  assert_float_equal(*values(&m, "b"), sum_of_w(&m), 1e-5);
  values(&m, "w")[0] += 1;
  assert_int_equal(sonde_refresh_all(r, &err), SONDE_OK);
  assert_float_equal(*values(&m, "b"), sum_of_w(&m), 1e-5);
  sonde_refresh_free(r);
  drop(&m);
}

static void the_first_declaration_counts(void **state) {
  (void)state;
  sonde_error err = {0};
  model m;
  make(&m, 3);
  assert_int_equal(sonde_refresh_declare(m.buffer, m.sum, 3, &err), SONDE_OK);
  assert_int_equal(sonde_refresh_declare(m.buffer, sonde_scale(m.sum, 2), 3, &err), SONDE_OK);
  sonde_params_init(m.params, m.ctx);
  run_first(&m);
  assert_float_equal(*values(&m, "b"), sum_of_w(&m), 1e-5);
  drop(&m);
}

static void where_nothing_is_said_the_rhythm_is_the_trainings(void **state) {
  (void)state;
  assert_int_equal(sonde_refresh_every(10), 1);
  assert_int_equal(sonde_refresh_every(149), 2);
  assert_int_equal(sonde_refresh_every(20000), 400);
  assert_int_equal(sonde_refresh_every(1000000), 1000);
}

static void what_cannot_be_is_refused_by_name(void **state) {
  (void)state;
  sonde_error err = {0};
  const int64_t one = 1;
  model m;
  make(&m, 3);
  sonde_shape s = shape_of(1, 1, 1, 1);
  sonde_node *x = sonde_input(m.g, "tokens", &s);
  assert_int_equal(sonde_refresh_declare(m.buffer, sonde_add(m.sum, x), 0, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "'b'"));
  assert_non_null(strstr(err.text, "'tokens'"));
  assert_int_equal(sonde_refresh_declare(m.buffer, m.w, 0, &err), SONDE_ESHAPE);
  assert_non_null(strstr(err.text, "[4, 3]"));
  assert_int_equal(sonde_refresh_declare(m.buffer, m.sum, -1, &err), SONDE_EINVAL);
  assert_int_equal(sonde_refresh_declare(sonde_reshape(m.sum, &one, 1), m.sum, 0, &err), SONDE_EINVAL);
  drop(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_values_follow_the_initialised_weights),
      cmocka_unit_test(a_loaded_value_stays_until_it_is_due),
      cmocka_unit_test(the_first_declaration_counts),
      cmocka_unit_test(where_nothing_is_said_the_rhythm_is_the_trainings),
      cmocka_unit_test(what_cannot_be_is_refused_by_name),
  };
  return cmocka_run_group_tests_name("refresh", tests, NULL, NULL);
}
