/* plan_graph.h - random graphs of all ops, and their values node by node: what the fuzzer of plans compares. */
#ifndef TESTS_FUZZ_PLAN_GRAPH_H
#define TESTS_FUZZ_PLAN_GRAPH_H

#include "graph/plan.h"

enum { MAX_POOL = 64, MAX_DATA = 96, MAX_OUTPUTS = 12 };

/* A value from outside: an input's or a leaf's. */
typedef struct outside { sonde_node *node; sonde_tensor *tensor; void *saved; } outside;

typedef struct maker {
  sonde_ctx *ctx;
  sonde_graph *g;
  const uint8_t *data;             /* the choices; when they are at an end they go on by `state` */
  size_t size, at;
  uint64_t state;
  sonde_node *pool[MAX_POOL];      /* values to build on */
  int n_pool;
  outside out[MAX_DATA];
  int n_out;
  sonde_node *want[MAX_OUTPUTS];   /* outputs of the plans */
  int n_want;
} maker;

int64_t plan_choice(maker *m, int64_t n);     /* one of 0 .. n - 1 */
/* A graph with gradients, gradients of gradients among them; 1, or 0 where the shapes grew too large. */
int plan_graph_make(maker *m);
void plan_graph_free(maker *m);
/* The ops that the maker has no way to make; NULL: none. */
const char *plan_graph_lacks(sonde_ctx *ctx);
/* The number of a divergence, which lasts as long as the process. */
int64_t plan_graph_divergence(sonde_ctx *ctx);

/* Every value of the graph, by its op's kernel alone, into buffers of just that size. With `noise` each value that is
 * not whole is off by up to that share. */
typedef struct alone { int64_t n; void *(*value)[SONDE_MAX_OUT]; } alone;
alone plan_alone(const maker *m, double noise, uint64_t seed, uint64_t step);
const void *plan_alone_value(const alone *a, const sonde_node *n);
void plan_alone_free(alone *a);

#endif
