/* fused.h - a fused group: elementwise ops over one index space, with sums over rows or columns at the end, as one
 * program for the device (sonde_backend.h). */
#ifndef SONDE_GRAPH_FUSED_H
#define SONDE_GRAPH_FUSED_H

#include "graph/plan.h"

struct fused {
  sonde_program program;
  value in[SONDE_PROGRAM_INPUTS];       /* what the program's inputs and outputs are */
  value out[SONDE_PROGRAM_OPS];
  int32_t made_by[SONDE_PROGRAM_OPS];   /* the op of the program that makes each output */
  int32_t member[SONDE_PROGRAM_OPS];    /* the node of each op */
  int32_t told;                         /* the node that names the group when it crashes: a plugin's op if it has one */
};

/* Makes the program of a group from its member nodes (in order). NULL with *err: out of memory. */
fused *fused_new(const sonde_plan *p, const int32_t *member, int n_member, const uint8_t *stored, sonde_error *err);

/* An elementwise op, or a cast between f32 and bf16. */
int fused_elementwise(const pnode *n);

/* What a node would be as the end of a group over the index space `s`. */
sonde_reduction fused_reduction(const pnode *n, const sonde_shape *s);

#endif
