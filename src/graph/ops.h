/* ops.h - the table of ops a runtime knows. Filled from above: by src/ops as a runtime is made, by plugins as they
 * load. */
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

/* The op of a form that planner and gradient append themselves: the first that was added. NULL with *err set: there is
 * none. */
const sonde_op_def *sonde_ops_of_form(const sonde_ctx *ctx, sonde_form form, sonde_error *err);

#endif
