/* ops.h - the table of ops a runtime knows. Filled from src/ops at start and by plugins as they load. */
#ifndef SONDE_GRAPH_OPS_H
#define SONDE_GRAPH_OPS_H

#define SONDE_INSIDE 1
#include "sonde_plugin.h"

/* The def is borrowed and must stay (constants of the program or of a plugin that is never unloaded). EINVAL: a
 * name that is taken, or a def that lacks what its flags promise; the text names the field. */
int sonde_ops_add(sonde_ctx *ctx, const sonde_op_def *def, sonde_error *err);
const sonde_op_def *sonde_ops_find(const sonde_ctx *ctx, const char *name);
int sonde_ops_count(const sonde_ctx *ctx);
const sonde_op_def *sonde_ops_at(const sonde_ctx *ctx, int i);

/* Each family's table: an array of defs ending in one with a NULL name. */
extern const sonde_op_def sonde_ops_elementwise[], sonde_ops_reduce[], sonde_ops_view[], sonde_ops_gather[],
    sonde_ops_softmax[], sonde_ops_dropout[], sonde_ops_matmul[], sonde_ops_norm[], sonde_ops_rope[],
    sonde_ops_attention[], sonde_ops_cache[], sonde_ops_loss[];

#endif
