/* decode.h - generation: what earlier tokens leave for later ones (attention's keys and values) as a state of the
 * graph.
 *
 * A cache is attached to a graph before the model is traced into it; from then on the graph's own edits send every op
 * that declares how it is computed token by token (sonde_op_def.step and .cached) through the cache, whatever the
 * module that uses the op: the modules know nothing of it. Two traces share one cache: one of the whole prompt
 * (prefill), one of a single token, whose plan is then run once a token. */
#ifndef SONDE_TRAIN_DECODE_H
#define SONDE_TRAIN_DECODE_H

#include "graph/graph.h"

typedef struct sonde_cache sonde_cache;

/* For `batch` sequences of up to `capacity` tokens. Its tensors, one for each cached input of an op, are made as these
 * ops turn up in a trace. */
sonde_cache *sonde_cache_new(int64_t batch, int64_t capacity, sonde_error *err);
void sonde_cache_free(sonde_cache *c);

/* Prepares a new, empty graph; adds the input "position" i32 [1], the place of the trace's first token. prefill 1: the
 * trace starts at position 0 and attends within itself; 0: it attends to everything in the cache. The cache must stay
 * while the graph is being traced. A cached input is found again by its number in the trace, so both traces must be of
 * the same model. */
int sonde_cache_attach(sonde_cache *c, sonde_graph *g, int prefill, sonde_error *err);

/* The nodes that write the cache in the graph attached last, which g must be (else EINVAL), and the tensors they are
 * written to: every plan of that graph must have them as outputs. Returns how many; out and tensor hold at least
 * SONDE_CACHE_TENSORS. */
enum { SONDE_CACHE_TENSORS = 1024 };
int sonde_cache_outputs(const sonde_cache *c, const sonde_graph *g, sonde_node **out, sonde_tensor **tensor);

#endif
