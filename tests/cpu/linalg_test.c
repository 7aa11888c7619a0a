/* linalg_test.c - what the tests in Lua cannot do with least squares and singular values: memory that runs out. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "cpu/linalg.h"

enum { ROWS = 40, IN = 3, OUT = 2 };

static void rows(float *x, float *y) {
  for (int i = 0; i < ROWS; i++) {
    for (int j = 0; j < IN; j++) x[i * IN + j] = (float)((i * 7 + j * 13 + i * j) % 11) - 5;
    for (int j = 0; j < OUT; j++) y[i * OUT + j] = 2 * x[i * IN + j] - x[i * IN + 2] + 3;
  }
}

static int fit(float *w, float *b, sonde_error *err) {
  float x[ROWS * IN], y[ROWS * OUT];
  double residual = 1;
  rows(x, y);
  sonde_lstsq *s = sonde_lstsq_new(IN, OUT, err);
  if (!s) return err->code;
  int rc = sonde_lstsq_add(s, x, y, ROWS, err);
  if (rc == SONDE_OK) rc = sonde_lstsq_solve(s, w, b, &residual, err);
  if (rc == SONDE_OK) assert_true(residual < 1e-6);
  sonde_lstsq_free(s);
  return rc;
}

static int values(float *s, sonde_error *err) {
  float x[ROWS * IN], y[ROWS * OUT];
  rows(x, y);
  return sonde_singular_values(x, ROWS, IN, s, err);
}

/* Fails each allocation in turn: an error that says so, nothing left behind, until the call succeeds. */
static void test_memory(void **state) {
  (void)state;
  int64_t live = sonde_alloc_live();
  float w[IN * OUT], b[OUT], s[IN];
  for (int which = 0; which < 2; which++) {
    int rc = SONDE_ENOMEM;
    int64_t nth = 1;
    for (; rc == SONDE_ENOMEM; nth++) {
      sonde_error err = {0};
      sonde_alloc_fail_at(nth);
      rc = which ? values(s, &err) : fit(w, b, &err);
      sonde_alloc_fail_at(0);
      assert_int_equal(sonde_alloc_live(), live);
      if (rc == SONDE_ENOMEM) assert_true(err.text[0]);
    }
    assert_int_equal(rc, SONDE_OK);
    assert_true(nth > 2);
  }
  for (int j = 0; j < OUT; j++) {
    assert_float_equal(b[j], 3, 1e-5);
    for (int i = 0; i < IN; i++) assert_float_equal(w[i * OUT + j], (i == j ? 2 : 0) - (i == 2 ? 1 : 0), 1e-5);
  }
  assert_true(s[0] >= s[1] && s[1] >= s[2] && s[2] > 0);
}

static void test_refusals(void **state) {
  (void)state;
  sonde_error err = {0};
  float x[1] = {1}, s[1];
  assert_null(sonde_lstsq_new(0, 1, &err));
  assert_int_equal(err.code, SONDE_EINVAL);
  assert_null(sonde_lstsq_new(INT64_MAX, INT64_MAX, &err));
  assert_int_equal(sonde_singular_values(x, 0, 1, s, &err), SONDE_EINVAL);
  assert_int_equal(sonde_singular_values(x, 1, INT64_MAX, s, &err), SONDE_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
