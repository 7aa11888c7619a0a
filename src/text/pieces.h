/* pieces.h - the pieces of a SentencePiece model with their scores, and the tokenizer.json that they make. */
#ifndef SONDE_TEXT_PIECES_H
#define SONDE_TEXT_PIECES_H

#include "base/mem.h"
#include "io/bytes.h"
#include "text/tokenizer_files.h"

typedef enum sonde_piece_kind {      /* as SentencePiece numbers them */
  SONDE_PIECE_NORMAL = 1, SONDE_PIECE_UNKNOWN, SONDE_PIECE_CONTROL, SONDE_PIECE_USER_DEFINED, SONDE_PIECE_UNUSED,
  SONDE_PIECE_BYTE
} sonde_piece_kind;

typedef struct sonde_piece {
  char *text;                  /* in the arena */
  double score;
  sonde_piece_kind kind;
  int64_t id;
} sonde_piece;

/* A model and its settings. */
typedef struct sonde_pieces {
  sonde_arena *arena;
  sonde_piece *piece;
  int64_t n, room;
  int unigram, byte_fallback;
  int dummy_prefix, one_space;      /* a space is put before a text; runs of spaces are one, and none is at the ends */
  const char *charsmap;             /* the precompiled character map, pointing into the file; NULL */
  int64_t charsmap_n;
  int64_t bos, eos;                 /* ids; -1: none */
} sonde_pieces;

/* Initialises and frees. ENOMEM. */
int sonde_pieces_init(sonde_pieces *s);
void sonde_pieces_free(sonde_pieces *s);

/* Appends a piece of n bytes of text. EFORMAT (no UTF-8), ENOMEM. `where` is for messages. */
int sonde_pieces_add(sonde_pieces *s, const char *text, int64_t n, double score, int64_t kind, const char *where,
                     sonde_error *err);

/* The tree of a tokenizer.json, as the Hugging Face library converts such models: merges are all pairs of pieces that
 * make a third, in the order of its score. NULL with EUNSUP, EFORMAT or ENOMEM. */
json_t *sonde_pieces_tree(const sonde_pieces *s, const sonde_sources *from, sonde_error *err);

#endif
