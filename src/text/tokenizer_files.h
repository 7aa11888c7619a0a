/* tokenizer_files.h - the files of a model folder that make its tokenizer, where there is no tokenizer.json: each kind
 * is read as the tree of one, which then is loaded and saved like any other. */
#ifndef SONDE_TEXT_TOKENIZER_FILES_H
#define SONDE_TEXT_TOKENIZER_FILES_H

#include "io/json.h"
#include "text/tokenizer.h"

/* The main file and what the others say. */
typedef struct sonde_sources {
  const char *name;            /* of the main file, for messages */
  const char *data;
  int64_t n;
  const char *merges;          /* merges.txt; NULL: not there */
  int64_t merges_n;
  json_t *config, *special, *added;      /* tokenizer_config.json, special_tokens_map.json, added_tokens.json; NULL */
} sonde_sources;

/* The tree of a tokenizer.json: its added tokens (those in `special`, a list of texts that are special tokens of the
 * model itself; those of added_tokens_decoder of tokenizer_config.json, else of added_tokens.json; those with a
 * role), and around a text the tokens `before` and `after` (NULL: none). Steals all trees; NULL members are null.
 * NULL: an error. */
json_t *sonde_sources_tree(const sonde_sources *s, json_t *model, json_t *special, json_t *normalizer,
                           json_t *pre_tokenizer, json_t *decoder, const char *before, const char *after,
                           sonde_error *err);

/* The readers: SentencePiece's protocol buffer, llama2.c's tokenizer.bin, GPT-2's vocab.json with merges.txt. NULL with
 * EUNSUP, EFORMAT or ENOMEM. */
json_t *sonde_sentencepiece_tree(const sonde_sources *s, sonde_error *err);
json_t *sonde_llama2c_tree(const sonde_sources *s, sonde_error *err);
json_t *sonde_vocab_merges_tree(const sonde_sources *s, sonde_error *err);

#endif
