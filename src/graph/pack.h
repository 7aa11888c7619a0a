/* pack.h - places for pieces of memory that are in use for a time. */
#ifndef SONDE_GRAPH_PACK_H
#define SONDE_GRAPH_PACK_H

#include "graph/plan.h"

/* In use from step `first` to step `last` (HELD: to the end). Owned by a value, or the scratch memory of a step. */
typedef struct piece { int64_t bytes, at; int32_t first, last; value owner; int32_t scratch_of; } piece;

/* Sorts the n pieces, the largest first, and gives each the lowest offset `at` that is free from its first to its last
 * step; *top: where the highest one ends. Bytes are at least 1. ELIMIT: more than any machine has; ENOMEM, EINTR. */
int plan_pack(sonde_plan *p, piece *b, int32_t n, int64_t *top, sonde_error *err);

#endif
