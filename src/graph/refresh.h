/* refresh.h - buffers: what a model keeps beside its parameters and computes from them now and then (role BUFFER),
 * such as BHyT's estimate of how much variance an attention layer adds.
 *
 * A trace declares how each buffer is computed; a sonde_refresh holds one small plan a buffer and runs those that
 * are due. Because the value is a node, it follows from the parameters as they are then: the initialised ones for the
 * first value, loaded ones where a file had no value for the buffer. */
#ifndef SONDE_GRAPH_REFRESH_H
#define SONDE_GRAPH_REFRESH_H

#include "graph/params.h"

typedef struct sonde_refresh sonde_refresh;

/* In the graph of both: buffer (a leaf) is to get `value`, of the same shape, made of leaves and constants alone,
 * after every `every` updates (0: sonde_refresh_every). A second declaration for one buffer changes nothing.
 * SONDE_OK, or a code with the reason. */
int sonde_refresh_declare(sonde_node *buffer, sonde_node *value, int64_t every, sonde_error *err);

/* How often where nothing is said, in a training of so many updates: max(1, min(1000, steps / 50)), BHyT's rule. */
int64_t sonde_refresh_every(int64_t steps);

/* The plans for what `g` declares, for a training of `steps` updates (0: none). They use the arena of `share`, if
 * given. The graph must stay while the result lives; NULL on failure. */
sonde_refresh *sonde_refresh_new(sonde_graph *g, sonde_params *params, int64_t steps, sonde_plan *share,
                                 sonde_error *err);
void sonde_refresh_free(sonde_refresh *r);

/* Computes the buffers that have no values yet. */
int sonde_refresh_first(sonde_refresh *r, sonde_error *err);
/* Computes those that are due after update number `step`, from 1. */
int sonde_refresh_after(sonde_refresh *r, int64_t step, sonde_error *err);
/* Computes all of them. */
int sonde_refresh_all(sonde_refresh *r, sonde_error *err);

int64_t sonde_refresh_arena(const sonde_refresh *r);   /* bytes that the largest of the plans needs */

#endif
