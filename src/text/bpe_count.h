/* bpe_count.h - how often each piece occurs in the training texts. */
#ifndef SONDE_TEXT_BPE_COUNT_H
#define SONDE_TEXT_BPE_COUNT_H

#include "text/bpe_train.h"
#include "text/intern.h"

/* Pieces by number, and their counts. Initialise with zeros. */
typedef struct sonde_counts {
  sonde_intern pieces;
  int64_t *count;
  int64_t room;
} sonde_counts;

void sonde_counts_free(sonde_counts *c);

/* Cuts the texts with GPT-2's pattern, in parallel. The order of the pieces depends on the threads, the
 * counts do not. */
int sonde_count_pieces(const sonde_text *texts, int64_t n, sonde_pool *pool, sonde_counts *out,
                       sonde_error *err);

#endif
