/* families.h - the tables of the ops that come with Sonde, one a family. */
#ifndef SONDE_OPS_FAMILIES_H
#define SONDE_OPS_FAMILIES_H

#include "graph/ops.h"

/* Arrays of defs that end in one with a NULL name. */
extern const sonde_op_def sonde_ops_elementwise[], sonde_ops_reduce[], sonde_ops_view[], sonde_ops_gather[],
    sonde_ops_softmax[], sonde_ops_dropout[], sonde_ops_matmul[], sonde_ops_norm[], sonde_ops_rope[],
    sonde_ops_attention[], sonde_ops_attention_blocks[], sonde_ops_attention_measures[], sonde_ops_cache[],
    sonde_ops_loss[], sonde_ops_positions[], sonde_ops_distill[], sonde_ops_teacher[],
    sonde_ops_experts[], sonde_ops_grouped[], sonde_ops_topk[];

#endif
