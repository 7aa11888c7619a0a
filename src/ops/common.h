/* common.h - what the op families share: shapes in messages, ends of gradient rules, copies of regions.
 *
 * Kernels cut their work into tiles of about SONDE_TILE elements, by the shapes alone, so that the result is
 * the same at any thread count. */
#ifndef SONDE_OPS_COMMON_H
#define SONDE_OPS_COMMON_H

#define SONDE_INSIDE 1
#include "sonde_build.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

enum { SONDE_TILE = 16384 };

/* "f32 [2, 3]", to be used inside one expression: sonde_shown(&s).text */
typedef struct sonde_shown_shape {
  char text[160];
} sonde_shown_shape;
sonde_shown_shape sonde_shown(const sonde_shape *s);

int64_t sonde_row_tile(int64_t width);   /* rows of this width that make one tile */
double sonde_no_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a);   /* 0 */

/* 0 if x has the dtype, else ESHAPE: "<op>: <what> is f32 [..], but must be i32". */
int sonde_need_dtype(const char *op, const char *what, const sonde_shape *x, int dtype, sonde_error *err);
/* Attributes i[0] = rank, i[1..] = dims as a shape of x's dtype. EINVAL for a rank or dim out of range. */
int sonde_target_shape(const char *op, const sonde_shape *x, const sonde_attr *a, sonde_shape *out,
                       sonde_error *err);
/* 0 if `from` broadcasts to `to` by numpy's rule, else ESHAPE naming both. */
int sonde_need_broadcast(const char *op, const sonde_shape *from, const sonde_shape *to, sonde_error *err);

/* The inputs and the end of a gradient rule. sonde_rule_end gives the graph's error, where a node failed. */
typedef struct sonde_inputs {
  sonde_node *in[SONDE_MAX_IN];
  int n;
} sonde_inputs;
sonde_inputs sonde_inputs_of(const sonde_node *n);
int sonde_rule_end(sonde_graph *g);
/* dy summed down to the shape of x, from which it was broadcast; dy itself where nothing was. */
sonde_node *sonde_sum_like(sonde_node *dy, sonde_node *x);
sonde_node *sonde_expand_like(sonde_node *dy, sonde_node *x);
sonde_node *sonde_scalar(sonde_graph *g, double value);
sonde_node *sonde_op_attr(const char *op, sonde_node *x, const sonde_attr *a);

/* Copies `rows` rows of `width` bytes between two row pitches, in tiles; src NULL writes zeros. */
typedef struct sonde_region {
  char *dst;
  const char *src;
  int64_t rows, width, dst_pitch, src_pitch;
} sonde_region;
void sonde_copy_region(const sonde_call *c, const sonde_region *r);

#endif
