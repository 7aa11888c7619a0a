/* batch.h - token streams cut into rows of T tokens: shuffled for training, in order for evaluation.
 *
 * A row is tokens [s, s+T) with targets [s+1, s+T+1). Training rows of an epoch do not overlap; the start of the
 * first row, and the order of the rows, are functions of (seed, epoch). The position in training is one integer, the
 * sequence number, independent of batch size, thread count and resuming.
 *
 * In a mixture (a stream of weighted parts) every 1024 sequences contain rows of each part in proportion to its weight,
 * in an order that is a function of the seed. Each part has its own epochs, so a small part is repeated more often. */
#ifndef SONDE_TEXT_BATCH_H
#define SONDE_TEXT_BATCH_H

#include "text/shard.h"

enum { SONDE_IGNORE = -1, SONDE_MIX_ROWS = 1024, SONDE_MIX_PARTS = 64 };   /* a target that is not predicted, ... */

typedef struct sonde_batches {
  sonde_stream stream;           /* borrowed */
  int64_t context;               /* T */
  uint64_t seed;
  int64_t epoch_rows;            /* rows in an epoch; of a mixture, in one epoch of each part */
  int32_t share[SONDE_MIX_PARTS + 1];   /* of a mixture: part k has share[k] .. share[k + 1] of SONDE_MIX_ROWS rows */
} sonde_batches;

/* EINVAL if the stream is shorter than one row of context + 1 tokens. Nothing to free. */
int sonde_batches_init(sonde_batches *b, sonde_stream stream, int64_t context, uint64_t seed,
                       sonde_error *err);

/* Rows [sequence, sequence + batch) into tokens and targets [batch, T]. */
int sonde_batches_fill(const sonde_batches *b, int64_t sequence, int64_t batch, int32_t *tokens,
                       int32_t *targets, sonde_error *err);

/* Evaluation: row i is tokens [iT, iT+T), so every token but the first is predicted exactly once. The last
 * row may be incomplete, and a batch may extend past the end: the rest is token 0 with target SONDE_IGNORE. */
int64_t sonde_windows_count(int64_t tokens, int64_t context);                  /* rows */
/* Returns the number of predicted targets (>= 0), or a negative code. */
int64_t sonde_windows_fill(const sonde_stream *s, int64_t context, int64_t row, int64_t batch,
                           int32_t *tokens, int32_t *targets, sonde_error *err);

#endif
