/* tokenizer.h - tokenizers: files read and written, text to ids and back.
 *
 * A tokenizer.json describes normalisation, splitting into pieces, and a model that turns a piece into ids: BPE
 * (Sennrich et al., 2016) over bytes (Radford et al., 2019) or characters, Unigram (Kudo, 2018), or WordPiece. Files
 * of other programs give the same ids as there; what is not known in such a file is refused by name. Settings without
 * effect on the ids of a whole text (truncation, padding) are reported (sonde_tokenizer_unused). */
#ifndef SONDE_TEXT_TOKENIZER_H
#define SONDE_TEXT_TOKENIZER_H

#include "base/error.h"

#define SONDE_EOT "<|endoftext|>"

typedef struct sonde_tokenizer sonde_tokenizer;   /* immutable after set-up; shared by threads */
typedef struct sonde_encoder sonde_encoder;       /* scratch and cache of one thread */

/* The contents of the files that make a tokenizer, each with its size; NULL: there is none. What the main one is, its
 * name says: *.model, SentencePiece's; *.bin, llama2.c's tokenizer; vocab.json, GPT-2's, with merges; any other, a
 * tokenizer.json, which needs none of the others. */
typedef struct sonde_tokenizer_files {
  const char *name;            /* of the main file, for messages too */
  const char *data;
  const char *merges;          /* merges.txt */
  const char *config;          /* tokenizer_config.json */
  const char *special;         /* special_tokens_map.json */
  const char *added;           /* added_tokens.json */
  int64_t data_n, merges_n, config_n, special_n, added_n;
} sonde_tokenizer_files;

sonde_tokenizer *sonde_tokenizer_of(const sonde_tokenizer_files *files, sonde_error *err);

/* The same from a main file with those beside it, or from the folder: of its tokenizer.json, tokenizer.model and
 * vocab.json the first that there is. */
sonde_tokenizer *sonde_tokenizer_load(const char *path, sonde_error *err);

/* The text of a tokenizer.json. */
sonde_tokenizer *sonde_tokenizer_parse(const char *json, int64_t size, const char *name, sonde_error *err);
sonde_tokenizer *sonde_tokenizer_ref(sonde_tokenizer *t);
void sonde_tokenizer_free(sonde_tokenizer *t);

/* Writes the tokenizer.json that it was read from, unchanged; of one that was trained, or read from other files, one
 * that the Hugging Face library loads. */
int sonde_tokenizer_save(const sonde_tokenizer *t, const char *path, sonde_error *err);

int64_t sonde_tokenizer_vocab(const sonde_tokenizer *t);                 /* largest id + 1 */
const char *sonde_tokenizer_hash(const sonde_tokenizer *t);              /* SHA-256 of the file, hex */
/* Settings of the file that have no effect on the ids of a whole text and are not used ("truncation, padding"); "". */
const char *sonde_tokenizer_unused(const sonde_tokenizer *t);
/* Whether both give every text the same ids, apart from BOS and EOS: for files that differ in formatting only. */
int sonde_tokenizer_same(const sonde_tokenizer *a, const sonde_tokenizer *b);
int32_t sonde_tokenizer_special(const sonde_tokenizer *t, const char *text);  /* an added token; -1 if none */
/* The end-of-text token: that of sonde_tokenizer_end_with, else <|endoftext|> or another usual spelling; -1 if none. */
int32_t sonde_tokenizer_eot(const sonde_tokenizer *t);
/* Sets which added token ends a text, which tokenizer.json cannot express. EINVAL: it has no such token. */
int sonde_tokenizer_end_with(sonde_tokenizer *t, const char *text, sonde_error *err);

/* The n bytes that a token is decoded to inside a text, without a NUL; NULL: no token has this id. */
const char *sonde_tokenizer_bytes(const sonde_tokenizer *t, int32_t id, int64_t *n);

/* A growing list of ids; initialise with zeros. */
typedef struct sonde_ids { int32_t *id; int64_t n, cap; } sonde_ids;
void sonde_ids_free(sonde_ids *ids);
int sonde_ids_push(sonde_ids *ids, int32_t id);                          /* 0 or SONDE_ENOMEM */

enum {
  SONDE_ENCODE_PLAIN = 1,   /* special tokens in the text are encoded as text (documents of a corpus) */
  SONDE_ENCODE_BARE = 2     /* without the tokens that the file's post-processor adds (BOS, EOS) */
};

sonde_encoder *sonde_encoder_new(sonde_tokenizer *t, sonde_error *err);
void sonde_encoder_free(sonde_encoder *e);

/* Appends the ids of text[0..n) to *out. Invalid UTF-8 is encoded byte by byte. */
int sonde_encode(sonde_encoder *e, const char *text, int64_t n, int flags, sonde_ids *out, sonde_error *err);

enum {
  SONDE_DECODE_SKIP_SPECIAL = 1,   /* special tokens are left out */
  SONDE_DECODE_INSIDE = 2          /* the ids continue a text: nothing is taken off its start or its end */
};

/* The text of the ids in memory of sonde_alloc, with a NUL after the end. An id without a token gives no
 * bytes: models have more rows than tokens (padding, gaps), and may generate one. Bytes that are no UTF-8 stay as they
 * are, where the library of such files puts U+FFFD. EINVAL: a negative id. */
int sonde_decode(const sonde_tokenizer *t, const int32_t *ids, int64_t n, int flags, char **text, int64_t *bytes,
                 sonde_error *err);

#endif
