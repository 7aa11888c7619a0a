/* shard.h - token shards: u16 or u32 ids in a memory-mapped file with a checked header.
 *
 * Layout, little-endian, 256 bytes of header: magic "SONDETOK", u32 version (2), u32 bytes a token (2 or
 * 4), i64 tokens, i64 documents, i64 vocabulary, i64 text bytes, 32 bytes SHA-256 of the tokenizer, 32
 * bytes SHA-256 of the tokens, u32 CRC-32 of the whole file with the CRC field zero, zeros; then the
 * tokens, zeros up to a multiple of 8, and documents + 1 i64 token offsets. The CRC is verified at each
 * opening; the SHA-256 names the content.
 *
 * Also read: llm.c's files (magic 20240520: u16 of GPT-2's 50257 tokens, 20240801: u32 of Llama 3's 128256) and,
 * when the vocabulary is given, nanoGPT's bare u16. Their ids are checked when they are opened. */
#ifndef SONDE_TEXT_SHARD_H
#define SONDE_TEXT_SHARD_H

#include "base/error.h"

/* A view of token ids in borrowed memory. With parts > 0 it is the concatenation of several streams; if they have
 * weights, training draws its rows from them in that proportion (text/batch.h). */
typedef struct sonde_stream {
  const void *data;
  int32_t width;              /* bytes a token: 2 or 4 */
  int64_t tokens, vocab;
  const struct sonde_stream *part;
  const double *weight;       /* of each part, their sum is 1; NULL: not a mixture */
  int32_t parts;
} sonde_stream;

/* Copies ids [from, from + n) as int32. EFORMAT: an id is not below the vocabulary; EINVAL: out of range. */
int sonde_stream_read(const sonde_stream *s, int64_t from, int64_t n, int32_t *out, sonde_error *err);

typedef struct sonde_shard sonde_shard;

/* vocab: 0, or a bound of the ids; needed for bare u16 files, which do not record it. */
sonde_shard *sonde_shard_open(const char *path, int64_t vocab, sonde_error *err);
void sonde_shard_free(sonde_shard *s);

sonde_stream sonde_shard_stream(const sonde_shard *s);
int64_t sonde_shard_documents(const sonde_shard *s);           /* 0: not known */
/* The first token of document i; for i = documents the end. */
int64_t sonde_shard_document(const sonde_shard *s, int64_t i);
int64_t sonde_shard_text_bytes(const sonde_shard *s);          /* before encoding; 0: not known */
const char *sonde_shard_tokenizer(const sonde_shard *s);       /* hash, hex; "" if not known */
const char *sonde_shard_hash(const sonde_shard *s);            /* of the tokens, hex; "" if not known */

typedef struct sonde_shard_info {
  int64_t vocab, text_bytes;
  const char *tokenizer;      /* hash, hex */
} sonde_shard_info;

/* Writes ids[0..n), as u16 if the vocabulary fits, with documents + 1 offsets, atomically. */
int sonde_shard_write(const char *path, const int32_t *ids, int64_t n, const int64_t *offsets,
                      int64_t documents, const sonde_shard_info *info, sonde_error *err);

#endif
