/* bpe_train.h - training a byte-level BPE tokenizer (Sennrich et al., 2016, on bytes).
 *
 * The most frequent pair merges next; among equally frequent pairs the one with the smaller ids. So
 * the result does not depend on threads or on the order of the texts, and equals that of the Hugging Face
 * trainer with the byte-level alphabet. */
#ifndef SONDE_TEXT_BPE_TRAIN_H
#define SONDE_TEXT_BPE_TRAIN_H

#include "base/pool.h"
#include "text/tokenizer.h"

typedef struct sonde_text { const char *data; int64_t n; } sonde_text;

typedef struct sonde_bpe_opts {
  int64_t vocab;                  /* entries in all: 256 bytes, the special tokens, merges */
  const char *const *special;     /* special tokens, ids from 0 on; NULL: SONDE_EOT alone */
  int n_special;
  int64_t min_count;              /* pairs seen less often do not merge; 0: 2 */
} sonde_bpe_opts;

/* Trains on the texts with GPT-2's regex. The vocabulary is smaller than asked if no pair is left. */
sonde_tokenizer *sonde_bpe_train(const sonde_text *texts, int64_t n, const sonde_bpe_opts *opts,
                                 sonde_pool *pool, sonde_error *err);

#endif
