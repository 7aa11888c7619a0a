/* bpe_file.h - a trained BPE model as a tokenizer.json. */
#ifndef SONDE_TEXT_BPE_FILE_H
#define SONDE_TEXT_BPE_FILE_H

#include "io/bytes.h"
#include "text/tokenizer.h"

/* Tokens by number: the 256 bytes in the order of their spelling, then the merged tokens. */
typedef struct sonde_bpe_model {
  sonde_bytes text;            /* token k is text[start[k]] .. text[start[k + 1]] */
  int64_t *start;
  int64_t tokens, tokens_room;
  int32_t (*merge)[2];         /* numbers of the two sides, in the order of merging */
  int64_t merges, merges_room;
} sonde_bpe_model;

/* A tokenizer with the special tokens at ids 0 .. n_special - 1 and token k at n_special + k. */
sonde_tokenizer *sonde_bpe_tokenizer(const sonde_bpe_model *m, const char *const *special, int n_special,
                                     sonde_error *err);

#endif
