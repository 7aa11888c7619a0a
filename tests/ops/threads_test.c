/* threads_test.c - every case gives the same bits, values and gradients, at 1, 2, 3 and 7 threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"

typedef struct bits { float *x[OP_MAX_NODES]; } bits;

static void keep(op_run *r, bits *b) {
  for (int j = 0; j < r->n_out + r->n_din; j++) {
    int64_t n;
    const float *x = op_run_value(r, j, &n);
    b->x[j] = malloc((size_t)n * sizeof *x);
    assert_non_null(b->x[j]);
    memcpy(b->x[j], x, (size_t)n * sizeof *x);
  }
}

static void compare(op_run *r, const bits *b, const op_case *c, int threads) {
  for (int j = 0; j < r->n_out + r->n_din; j++) {
    int64_t n;
    const float *x = op_run_value(r, j, &n);
    for (int64_t k = 0; k < n; k++)
      if (memcmp(&x[k], &b->x[j][k], sizeof *x))
        fail_msg("%s: result %d, element %lld: %.9g at %d threads, %.9g at 1", c->name, j, (long long)k, x[k],
                 threads, b->x[j][k]);
  }
}

static void test_same_bits(void **state) {
  (void)state;
  static const int threads[] = {1, 2, 3, 7};
  op_cases *all = op_cases_load();
  bits *first = calloc((size_t)all->n, sizeof *first);
  assert_non_null(first);
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    sonde_ctx *ctx = op_ctx_new(threads[t]);
    assert_int_equal(sonde_ctx_threads(ctx), threads[t]);
    for (int k = 0; k < all->n; k++) {
      op_run *r = op_run_new(ctx, &all->at[k], 1, 0);
      op_run_run(r, 0);
      if (t == 0) keep(r, &first[k]);
      else compare(r, &first[k], &all->at[k], threads[t]);
      op_run_free(r);
    }
    sonde_ctx_free(ctx);
  }
  for (int k = 0; k < all->n; k++)
    for (int j = 0; j < OP_MAX_NODES; j++) free(first[k].x[j]);
  free(first);
  op_cases_free(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
  return cmocka_run_group_tests_name("ops at different thread counts", tests, NULL, NULL);
}
