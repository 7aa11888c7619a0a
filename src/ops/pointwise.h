/* pointwise.h - elementwise functions of a few numbers, made of nodes, for kernels that evaluate them a stretch at a
 * time: the divergences of a distillation (distill.c), whose terms modules write as nodes.
 *
 * Nothing here is freed while the process lives: a node's attributes name a function by its number, and equal
 * functions have one. */
#ifndef SONDE_OPS_POINTWISE_H
#define SONDE_OPS_POINTWISE_H

#include "graph/graph.h"

enum { SONDE_POINTWISE_INPUTS = 4, SONDE_POINTWISE_STRETCH = 1024 };

typedef struct sonde_pointwise sonde_pointwise;

/* The function of `n_in` graph inputs (f32, of one shape) whose values are y and, unless NULL, dy, both of that shape.
 * What lies between must be elementwise ops. Returns its number, from 1, or a negative code: EINVAL names the op that
 * is no elementwise one, or the input that is none of these. */
int64_t sonde_pointwise_of(sonde_node *const *in, int n_in, sonde_node *y, sonde_node *dy, sonde_error *err);

/* NULL: there is none of that number. */
const sonde_pointwise *sonde_pointwise_at(int64_t number);

/* y[k] and dy[k] of in[.][k], k in [0, n), n at most SONDE_POINTWISE_STRETCH; dy NULL: not wanted. Any thread. */
void sonde_pointwise_run(const sonde_pointwise *f, const float *const *in, int64_t n, float *y, float *dy);

/* Operations for each element, y and dy. */
double sonde_pointwise_flops(const sonde_pointwise *f);

#endif
