/* kernel.h - an op's kernel run by hand: made inputs, guarded results and scratch, any number of threads. */
#ifndef SONDE_TESTS_CPU_KERNEL_H
#define SONDE_TESTS_CPU_KERNEL_H

#include <stdio.h>

#include "naive.h"

#include "base/pool.h"
#include "ops/families.h"
#include "tensor/tensor.h"

enum { KERNEL_GUARD = 64 };

typedef struct kernel {
  const sonde_op_def *def;
  sonde_attr attr;
  int n_in;
  sonde_shape in[SONDE_MAX_IN], out[SONDE_MAX_OUT];
  void *x[SONDE_MAX_IN], *y[SONDE_MAX_OUT];
  int unread;                /* bit k: nothing reads result k */
  int out_type;              /* of result 0, where the op writes both */
  sonde_error err;
} kernel;

static inline const sonde_op_def *op_named(const sonde_op_def *table, const char *name) {
  for (; table->name; table++)
    if (!strcmp(table->name, name)) return table;
  fail_msg("no op '%s'", name);
  return NULL;
}

static inline sonde_shape shape_of(int dtype, int rank, int64_t a, int64_t b, int64_t c, int64_t d) {
  int64_t dim[4] = {a, b, c, d};
  return sonde_shape_make(dtype, rank, dim);
}

/* Adds an input of numbers in [-1, 1), rounded to the shape's dtype. */
static inline void kernel_input(kernel *k, sonde_shape shape, uint32_t seed) {
  int64_t n = sonde_shape_count(&shape);
  float *x = zeros(n * 4);
  numbers(x, n, seed);
  k->in[k->n_in] = shape;
  k->x[k->n_in++] = x;
  if (shape.dtype != SONDE_BF16) return;
  uint16_t *h = zeros(n * 2);
  for (int64_t i = 0; i < n; i++) h[i] = to_half(x[i]);
  k->x[k->n_in - 1] = h;
  free(x);
}

/* Element i of an input or a result as a number. */
static inline double kernel_at(const void *x, const sonde_shape *s, int64_t i) {
  if (s->dtype == SONDE_I32) return ((const int32_t *)x)[i];
  return s->dtype == SONDE_F32 ? ((const float *)x)[i] : from_half(((const uint16_t *)x)[i]);
}
static inline double kernel_in(const kernel *k, int input, int64_t i) {
  return kernel_at(k->x[input], &k->in[input], i);
}
static inline double kernel_out(const kernel *k, int result, int64_t i) {
  return kernel_at(k->y[result], &k->out[result], i);
}

/* Shapes, then the run; returns the kernel's code. Results and scratch must keep their guards. */
static inline int kernel_run(kernel *k, int threads) {
  sonde_pool *pool = sonde_pool_new(threads, NULL);
  sonde_error err = {0};
  if (k->def->shape(k->in, k->n_in, &k->attr, k->out, &err)) fail_msg("%s: %s", k->def->name, err.text);
  if (k->out_type) k->out[0].dtype = k->out_type;
  void *out[SONDE_MAX_OUT];
  int64_t bytes[SONDE_MAX_OUT],
      scratch = k->def->scratch ? k->def->scratch(k->in, k->n_in, k->out, &k->attr) : 0;
  for (int r = 0; r < k->def->n_out; r++) {
    bytes[r] = sonde_shape_bytes(&k->out[r]);
    free(k->y[r]);
    k->y[r] = zeros(bytes[r] + KERNEL_GUARD);
    memset(k->y[r], 0x5a, (size_t)bytes[r] + KERNEL_GUARD);
    out[r] = k->unread >> r & 1 ? NULL : k->y[r];
  }
  char *room = zeros(scratch + KERNEL_GUARD);
  memset(room, 0x5a, (size_t)scratch + KERNEL_GUARD);
  sonde_call c = {.size = sizeof c,
                  .n_in = k->n_in,
                  .n_out = k->def->n_out,
                  .in_shape = k->in,
                  .out_shape = k->out,
                  .in = (const void *const *)k->x,
                  .out = out,
                  .attr = &k->attr,
                  .scratch = room,
                  .pool = pool,
                  .err = &k->err};
  int rc = k->def->run(&c);
  for (int g = 0; g < KERNEL_GUARD; g++) {
    if (room[scratch + g] != 0x5a) fail_msg("%s wrote behind its scratch", k->def->name);
    for (int r = 0; r < k->def->n_out; r++)
      if (((char *)k->y[r])[bytes[r] + g] != 0x5a) fail_msg("%s wrote behind result %d", k->def->name, r);
  }
  for (int r = 0; r < k->def->n_out; r++)
    if (k->unread >> r & 1)
      for (int64_t i = 0; i < bytes[r]; i++) assert_int_equal(((char *)k->y[r])[i], 0x5a);
  free(room);
  sonde_pool_free(pool);
  return rc;
}

static inline void kernel_free(kernel *k) {
  for (int i = 0; i < k->n_in; i++) free(k->x[i]);
  for (int r = 0; r < SONDE_MAX_OUT; r++) free(k->y[r]);
  memset(k, 0, sizeof *k);
}

/* The same bits at 1, 2, 3 and 7 threads. */
static inline void kernel_same_bits(kernel *k) {
  static const int threads[] = {2, 3, 7};
  void *first[SONDE_MAX_OUT];
  assert_int_equal(kernel_run(k, 1), 0);
  for (int r = 0; r < k->def->n_out; r++) first[r] = k->y[r], k->y[r] = NULL;
  for (int t = 0; t < 3; t++) {
    assert_int_equal(kernel_run(k, threads[t]), 0);
    for (int r = 0; r < k->def->n_out; r++)
      if (memcmp(first[r], k->y[r], (size_t)sonde_shape_bytes(&k->out[r])))
        fail_msg("%s: result %d differs at %d threads", k->def->name, r, threads[t]);
  }
  for (int r = 0; r < k->def->n_out; r++) free(first[r]);
}

typedef void (*kernel_test)(const char *isa);
static inline void on_every_isa(kernel_test test) {
  const sonde_simd_table *t[SONDE_LEVELS];
  int n = tables(t);
  for (int k = 0; k < n; k++) {
    sonde_simd_use(t[k]);
    test(t[k]->isa);
  }
}

#endif
