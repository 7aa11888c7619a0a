/* views.h - what modules read of a parameter: its value through its views (params.h), as a node of a graph or as
 * numbers. */
#ifndef SONDE_GRAPH_VIEWS_H
#define SONDE_GRAPH_VIEWS_H

#include "graph/params.h"

/* The parameter as modules read it: a leaf under its name, and what its views make of that. NULL with the reason in the
 * graph. */
sonde_node *sonde_param_node(sonde_graph *g, const sonde_param *p);

/* The numbers that modules read: the parameter's own tensor where its views change nothing, else a new one that is
 * computed with `ctx`. A reference that the caller frees; NULL on failure. */
sonde_tensor *sonde_param_read(sonde_ctx *ctx, const sonde_param *p, sonde_error *err);

#endif
