/* tokenizer.h - byte-level BPE: tokenizer.json files read and written, text to ids and back.
 *
 * The kind is GPT-2's (Radford et al., 2019): text is cut by a regex, each piece is spelled in bytes, and
 * pairs merge in the order of their rank. Files of that kind made elsewhere give the ids their own library
 * gives; whatever such a file asks for beyond it (another model, another normaliser than NFC, ...) is
 * refused by name, never ignored; what has no effect on the ids of a whole text (truncation, padding) is told. */
#ifndef SONDE_TEXT_TOKENIZER_H
#define SONDE_TEXT_TOKENIZER_H

#include "base/error.h"

#define SONDE_EOT "<|endoftext|>"

typedef struct sonde_tokenizer sonde_tokenizer;   /* immutable once it is set up: threads share it */
typedef struct sonde_encoder sonde_encoder;       /* scratch and cache of one thread */

sonde_tokenizer *sonde_tokenizer_load(const char *path, sonde_error *err);
sonde_tokenizer *sonde_tokenizer_parse(const char *json, int64_t size, const char *name, sonde_error *err);
sonde_tokenizer *sonde_tokenizer_ref(sonde_tokenizer *t);
void sonde_tokenizer_free(sonde_tokenizer *t);

/* Writes the file it was read from, byte for byte (a trained one: what the Hugging Face library loads). */
int sonde_tokenizer_save(const sonde_tokenizer *t, const char *path, sonde_error *err);

int64_t sonde_tokenizer_vocab(const sonde_tokenizer *t);                 /* largest id + 1 */
const char *sonde_tokenizer_hash(const sonde_tokenizer *t);              /* SHA-256 of the file, hex */
/* Settings of the file that have no effect on the ids of a whole text and are not used ("truncation, padding"); "". */
const char *sonde_tokenizer_unused(const sonde_tokenizer *t);
/* Whether both give every text the same ids, but for what stands before and after it: the same file in another spelling. */
int sonde_tokenizer_same(const sonde_tokenizer *a, const sonde_tokenizer *b);
int32_t sonde_tokenizer_special(const sonde_tokenizer *t, const char *text);  /* an added token; -1 if none */
/* The end of text: what it was told, else <|endoftext|> or a token of another usual spelling; -1 if none. */
int32_t sonde_tokenizer_eot(const sonde_tokenizer *t);
/* Tells it which of its added tokens ends a text, which its file cannot say. EINVAL if it has no such token. */
int sonde_tokenizer_end_with(sonde_tokenizer *t, const char *text, sonde_error *err);

/* The n bytes a token stands for (an added token: its text), without a NUL; NULL for an id that is none. */
const char *sonde_tokenizer_bytes(const sonde_tokenizer *t, int32_t id, int64_t *n);

/* Ids, growing; zero it before the first use. */
typedef struct sonde_ids { int32_t *id; int64_t n, cap; } sonde_ids;
void sonde_ids_free(sonde_ids *ids);
int sonde_ids_push(sonde_ids *ids, int32_t id);                          /* 0 or SONDE_ENOMEM */

enum {
  SONDE_ENCODE_PLAIN = 1,   /* special tokens written in the text are text (documents of a corpus) */
  SONDE_ENCODE_BARE = 2     /* leave out what the file's post-processor puts before and after (BOS, EOS) */
};

sonde_encoder *sonde_encoder_new(sonde_tokenizer *t, sonde_error *err);
void sonde_encoder_free(sonde_encoder *e);

/* Appends the ids of text[0..n) to *out. Bytes that are no UTF-8 are encoded as bytes. */
int sonde_encode(sonde_encoder *e, const char *text, int64_t n, int flags, sonde_ids *out, sonde_error *err);

/* The bytes of the ids in memory of sonde_alloc, with a NUL after the end. An id that no token has stands for nothing: models
 * have more rows than tokens (padding, holes), and may choose one. EINVAL for a negative id. skip_special leaves special
 * tokens out. */
int sonde_decode(const sonde_tokenizer *t, const int32_t *ids, int64_t n, int skip_special, char **text,
                 int64_t *bytes, sonde_error *err);

#endif
