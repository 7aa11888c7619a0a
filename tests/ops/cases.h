/* cases.h - the cases of tests/reference/ops.json as graphs that can be run: what the tests of ops share. */
#ifndef SONDE_TESTS_OPS_CASES_H
#define SONDE_TESTS_OPS_CASES_H

#include <jansson.h>

#include "graph/ops.h"

/* A tensor that both sides make from a seed (the hash stands in make_ops.py). */
typedef struct op_made {
  sonde_shape shape;
  uint32_t seed;
  double lo, hi;
  int64_t steps;
} op_made;

/* What the reference says of a tensor. */
typedef struct op_expected {
  sonde_shape shape;
  int n;                   /* sampled values */
  const double *values;
  double projection, norm;
} op_expected;

typedef struct op_case {
  const char *name, *op;
  sonde_attr attr;
  int n_in, n_out, n_wrt;
  op_made in[SONDE_MAX_IN];
  op_expected out[SONDE_MAX_OUT];
  int wrt[SONDE_MAX_IN];            /* inputs that are differentiated by */
  op_expected din[SONDE_MAX_IN];    /* in the order of wrt */
  int result;                       /* which output is differentiated */
  uint32_t seed;                    /* of its upstream gradient */
  int differences;                  /* finite differences make sense here */
} op_case;

typedef struct op_cases {
  json_t *file;
  int n;
  op_case *at;
  double *values;                   /* all sampled values */
  int64_t stride;
  uint32_t projection_seed;
} op_cases;

/* Ends the test with a message if the file is not there or not as expected. */
op_cases *op_cases_load(void);
void op_cases_free(op_cases *all);

void op_numbers(float *x, int64_t n, const op_made *made);      /* f32 values */
/* The inner product with numbers in [-1, 1) made from a seed. */
double op_projection(const float *x, int64_t n, uint32_t seed);

/* A case traced, differentiated, planned, its inputs made. Order 1: with the gradients of the result by the
 * wrt inputs; 2: with those of the first such gradient too. The upstream gradient of order k is made from the
 * seed of the case plus k - 1. What fails is a test failure. */
enum { OP_MAX_NODES = SONDE_MAX_OUT + 2 * SONDE_MAX_IN };
typedef struct op_run {
  sonde_graph *g;
  sonde_plan *plan;
  sonde_tensor *in[SONDE_MAX_IN], *up[2];
  sonde_node *node[OP_MAX_NODES];      /* outputs, gradients in the order of wrt, those of order 2 */
  sonde_tensor *value[OP_MAX_NODES];   /* where they are written; full of 3e38 before a run */
  float *as_f32[OP_MAX_NODES];         /* i32 outputs, converted */
  int n_out, n_din;
} op_run;

op_run *op_run_new(sonde_ctx *ctx, const op_case *c, int order, int no_fuse);
void op_run_free(op_run *r);
int op_run_set(op_run *r, sonde_error *err);   /* copies the inputs into the plan, as each run does */
void op_run_run(op_run *r, uint64_t step);
const float *op_run_value(op_run *r, int k, int64_t *n);  /* k-th of node[]; valid until the next run */
sonde_ctx *op_ctx_new(int threads);

#endif
