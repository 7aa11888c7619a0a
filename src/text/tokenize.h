/* tokenize.h - many documents to one stream of ids, in parallel. */
#ifndef SONDE_TEXT_TOKENIZE_H
#define SONDE_TEXT_TOKENIZE_H

#include "text/bpe_train.h"

/* Tiles of whole texts, each of at least 256 KiB but the last: tile k is texts first[k] .. first[k + 1].
 * Returns their number; `first` has n + 1 elements. */
int64_t sonde_text_tiles(const sonde_text *texts, int64_t n, int64_t *first);

/* Appends the ids of all texts to *out, each followed by the end-of-text token; offsets (n + 1
 * elements) are their starts. flags: SONDE_ENCODE_PLAIN, or 0. */
int sonde_tokenize(sonde_tokenizer *t, const sonde_text *texts, int64_t n, int flags, sonde_pool *pool, sonde_ids *out,
                   int64_t *offsets, sonde_error *err);

#endif
