/* encoder.h - the scratch of one thread that encodes, and the models that turn a piece into ids. */
#ifndef SONDE_TEXT_ENCODER_H
#define SONDE_TEXT_ENCODER_H

#include "text/heap.h"
#include "text/tokenizer_internal.h"

enum { CACHED_PIECE = 48, CACHED_PIECES = 1 << 16 };

/* A symbol of the piece being merged, in a list by index; id < 0: merged into its left neighbour. */
typedef struct sonde_symbol { int32_t id, before, after; } sonde_symbol;

/* The best path of tokens that ends at a byte of the piece: its score, its last token and where that begins, and on the
 * way back where the token that begins here ends. */
typedef struct sonde_path { double score; int64_t from, to; int32_t id, id_here; } sonde_path;

struct sonde_encoder {
  sonde_tokenizer *t;
  sonde_splitter splitter;
  sonde_intern known;          /* pieces in the cache */
  int64_t *known_at;           /* piece k: ids known_ids[known_at[k]] .. [known_at[k + 1]] */
  sonde_ids known_ids;
  sonde_symbol *sym;
  sonde_key *heap;             /* pairs that may merge: hi rank, then left symbol; lo what they become */
  int64_t room, heap_n;        /* symbols that fit; twice as many keys: a merge adds two and takes one */
  sonde_path *path;
  int64_t path_room;
  sonde_bytes normal[2], word;      /* scratch */
  sonde_ids *out;
  sonde_error *err;
};

int sonde_encode_no_memory(const sonde_encoder *e);

/* Whether characters without a token are spelled in bytes, and these all have tokens. */
int sonde_has_bytes(const sonde_tokenizer *t, const char *p, int64_t n);

/* EINVAL: a character without a token, in a vocabulary that has none for unknown ones. */
int sonde_no_token(const sonde_encoder *e, const char *p, int64_t n);

/* Appends the ids of a piece. 0, or the error of the encoder. */
int sonde_merge_piece(sonde_encoder *e, const char *p, int64_t n);
int sonde_unigram_piece(sonde_encoder *e, const char *p, int64_t n);
int sonde_wordpiece_piece(sonde_encoder *e, const char *p, int64_t n);

#endif
