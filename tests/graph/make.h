/* make.h - what the tests of the graph share: a small two-block network, written with public calls. */
#ifndef TESTS_GRAPH_MAKE_H
#define TESTS_GRAPH_MAKE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "sonde_build.h"

static inline sonde_shape shape_of(int rank, int64_t a, int64_t b, int64_t c) {
  int64_t dim[3] = {a, b, c};
  return sonde_shape_make(SONDE_F32, rank, dim);
}

static inline void fill(float *x, int64_t n, unsigned seed) {
  for (int64_t k = 0; k < n; k++) {
    seed = seed * 1664525u + 1013904223u;
    x[k] = (float)(seed >> 8) / (1 << 24) * 2 - 1;
  }
}

static inline sonde_tensor *filled(int rank, int64_t a, int64_t b, int64_t c, unsigned seed) {
  sonde_error err = {0};
  sonde_shape s = shape_of(rank, a, b, c);
  sonde_tensor *t = sonde_tensor_new(&s, &err);
  assert_non_null(t);
  fill(sonde_tensor_write(t, NULL), sonde_shape_count(&s), seed);
  return t;
}

enum { NET_BLOCKS = 4, NET_LEAVES = 2 * NET_BLOCKS + 1 };
typedef struct net {
  sonde_graph *g;
  sonde_tensor *weight[NET_LEAVES];
  sonde_node *leaf[NET_LEAVES], *x, *loss, *d[NET_LEAVES];
} net;

/* loss = sum of squares of a residual net x <- x + silu(rms(x) W1^T) W2^T; d: the gradients of all weights. */
static inline void net_make(net *n, sonde_ctx *ctx, int64_t rows, int64_t width) {
  sonde_error err = {0};
  char name[32];
  memset(n, 0, sizeof *n);
  n->g = sonde_graph_new(ctx, &err);
  assert_non_null(n->g);
  sonde_shape s = shape_of(2, rows, width, 1);
  sonde_node *x = n->x = sonde_input(n->g, "x", &s);
  n->weight[0] = filled(1, width, 1, 1, 7);
  n->leaf[0] = sonde_leaf(n->g, "gain", n->weight[0]);
  for (int b = 0; b < NET_BLOCKS; b++) {
    for (int j = 1; j <= 2; j++) {
      snprintf(name, sizeof name, "blocks.%d.w%d", b, j);
      n->weight[2 * b + j] =
          j == 1 ? filled(2, 2 * width, width, 1, (unsigned)b) : filled(2, width, 2 * width, 1, 90u + (unsigned)b);
      n->leaf[2 * b + j] = sonde_leaf(n->g, name, n->weight[2 * b + j]);
    }
    snprintf(name, sizeof name, "blocks.%d", b);
    sonde_graph_scope(n->g, name, b);
    sonde_node *r = sonde_rsqrt(sonde_affine(sonde_mean_last(sonde_square(x)), 1, 1e-6));
    sonde_node *h = sonde_mul(sonde_mul(x, r), n->leaf[0]);
    h = sonde_silu(sonde_scale(sonde_linear(h, n->leaf[2 * b + 1]), 0.3));
    x = sonde_add(x, sonde_linear(h, n->leaf[2 * b + 2]));
    sonde_graph_scope(n->g, NULL, -1);
  }
  n->loss = sonde_sum_all(sonde_square(x));
  assert_non_null(n->loss);
  assert_int_equal(sonde_grad(n->loss, NULL, n->leaf, NET_LEAVES, n->d, &err), 0);
}

static inline void net_free(net *n) {
  for (int k = 0; k < NET_LEAVES; k++) sonde_tensor_free(n->weight[k]);
  sonde_graph_free(n->g);
}

/* Runs loss and all gradients under `opts`; returns them in one array of sonde_alloc (*count numbers). */
static inline float *net_run(net *n, const sonde_plan_opts *opts, int64_t *count, sonde_plan_info *info) {
  sonde_error err = {0};
  sonde_node *out[NET_LEAVES + 1];
  out[0] = n->loss;
  memcpy(out + 1, n->d, sizeof n->d);
  sonde_plan *p = sonde_plan_new(n->g, out, NULL, NET_LEAVES + 1, opts, &err);
  if (!p) fail_msg("%s", err.text);
  int64_t elements = sonde_shape_count(&n->x->shape), total = 0, at = 0;
  float *x = sonde_alloc((size_t)elements * sizeof *x);
  fill(x, elements, 5);
  assert_int_equal(sonde_plan_set_input(p, "x", x, &err), 0);
  if (sonde_plan_run(p, &err)) fail_msg("%s", err.text);
  for (int k = 0; k <= NET_LEAVES; k++) total += sonde_shape_count(&out[k]->shape);
  float *all = sonde_alloc((size_t)total * sizeof *all);
  for (int k = 0; k <= NET_LEAVES; k++) {
    int64_t m = sonde_shape_count(&out[k]->shape);
    memcpy(all + at, sonde_plan_output(p, k), (size_t)m * sizeof *all);
    at += m;
  }
  if (info) sonde_plan_get_info(p, info);
  sonde_plan_free(p);
  sonde_release(x);
  *count = total;
  return all;
}

/* |a - b|^2 / |b|^2 */
static inline double nmse(const float *a, const float *b, int64_t n) {
  double d = 0, s = 0;
  for (int64_t k = 0; k < n; k++) {
    d += ((double)a[k] - b[k]) * ((double)a[k] - b[k]);
    s += (double)b[k] * b[k];
  }
  return d / (s > 0 ? s : 1);
}

#endif
