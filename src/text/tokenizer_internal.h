/* tokenizer_internal.h - the structure of a tokenizer, for the files that load it and encode with it. */
#ifndef SONDE_TEXT_TOKENIZER_INTERNAL_H
#define SONDE_TEXT_TOKENIZER_INTERNAL_H

#include "base/mem.h"
#include "text/decoder.h"
#include "text/intern.h"
#include "text/normalize.h"
#include "text/pretoken.h"
#include "text/tokenizer.h"
#include "text/trie.h"

enum { SONDE_TOKENIZER_BYTES = 256 << 20 };   /* the limit of files that are read or written */

typedef enum sonde_model_kind { SONDE_MODEL_BPE, SONDE_MODEL_UNIGRAM, SONDE_MODEL_WORDPIECE } sonde_model_kind;

/* A merge of two ids. A free slot of the table has rank -1. */
typedef struct sonde_merge { int32_t a, b, rank, id; } sonde_merge;

typedef struct sonde_token {
  const char *bytes;           /* in the arena: what it is decoded to inside a text; NULL: no token has this id */
  int64_t n;
  int special;
} sonde_token;

/* A token that is matched in the text before the regex splits it. */
typedef struct sonde_added {
  const char *text;
  int64_t n;
  int32_t id;
  int special, single_word, strip_left, strip_right, normalized;
} sonde_added;

/* Added tokens in the order of their bytes; those that begin with c are list[first[c]] .. list[first[c + 1]]. */
typedef struct sonde_added_set {
  const sonde_added **list;
  int32_t first[257];
} sonde_added_set;

struct sonde_tokenizer {
  int refs, warned;            /* changed atomically; warned: of characters that are left out */
  sonde_arena *arena;
  char *json;
  int64_t json_bytes;
  char hash[65];
  sonde_model_kind model;
  int byte_level;              /* pieces are bytes, spelled in GPT-2's alphabet in the file; else characters */
  sonde_token *token;
  int64_t vocab;
  sonde_intern spelling;       /* of the model's tokens (byte level: their bytes), numbered by index in spelling_id */
  int32_t *spelling_id;
  int32_t byte_id[256];        /* byte level: each byte; else its token <0x..>; -1: there is none */
  sonde_merge *merge;
  int64_t merge_slots;         /* a power of two */
  int whole_first;             /* ignore_merges: a piece that is a token is that token */
  int32_t unknown;             /* the token of what has none; -1 */
  int fuse_unknown;            /* BPE: several in a row are one */
  int byte_fallback;           /* characters without a token are spelled in tokens of bytes */
  double *score;               /* UNIGRAM: of each id; lowest: the smallest */
  double lowest;
  sonde_trie trie;             /* UNIGRAM: the tokens */
  char *continuing;            /* WORDPIECE: the prefix of tokens inside a word, and the longest word in characters */
  int64_t longest_word;
  sonde_norms norms;
  sonde_stages stages;
  sonde_decoder decoder;
  sonde_added *added;
  int64_t added_n;
  sonde_map *by_name;          /* the added tokens by their text in the file */
  sonde_added_set raw, normalized;
  sonde_bytes idle;            /* settings of the file that are not used, by name; none: empty */
  int32_t end_plus_one;        /* the end-of-text token that was set, plus 1; 0: not set */
  int32_t *before, *after;     /* the post-processor's tokens */
  int64_t before_n, after_n;
};

/* The merge of (a, b), or NULL. */
static inline const sonde_merge *sonde_find_merge(const sonde_tokenizer *t, int32_t a, int32_t b) {
  uint64_t mask = (uint64_t)t->merge_slots - 1;
  uint64_t h = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9e3779b97f4a7c15u;
  for (uint64_t i = h >> 32;; i++) {
    const sonde_merge *m = &t->merge[i & mask];
    if (m->rank < 0) return NULL;
    if (m->a == a && m->b == b) return m;
  }
}

/* The model's token of this spelling, or -1. */
static inline int32_t sonde_find_spelling(const sonde_tokenizer *t, const char *p, int64_t n) {
  int64_t k = sonde_intern_find(&t->spelling, p, n, sonde_intern_hash(p, n));
  return k < 0 ? -1 : t->spelling_id[k];
}

/* The state of reading a tokenizer.json. */
typedef struct sonde_tokenizer_loader {
  sonde_tokenizer *t;
  const char *name;            /* for messages */
  const void *vocab;           /* the model's tokens, an object of ids (json_t) */
  sonde_error *err;
} sonde_tokenizer_loader;

static inline int sonde_tokenizer_no_memory(const sonde_tokenizer_loader *l) {
  return sonde_fail(l->err, SONDE_ENOMEM, "%s: out of memory", l->name);
}

/* Records a setting without effect on the ids of a whole text. 0 or SONDE_ENOMEM. */
int sonde_tokenizer_idle(sonde_tokenizer *t, const char *name);

/* ---- parts of a file, each a json_t; the loader's error says what is wrong ------------------------------- */

/* The `type` of a part. */
const char *sonde_part_type(const void *json);

/* Runs fn over the steps of a part that is null, one step, or a Sequence under `key` of steps and further Sequences. */
typedef int (*sonde_step_fn)(const sonde_tokenizer_loader *l, const void *step);
int sonde_each_step(const sonde_tokenizer_loader *l, const void *json, const char *key, sonde_step_fn fn);

/* Refuses a part by name: EUNSUP. */
int sonde_part_unsupported(const sonde_tokenizer_loader *l, const char *part, const char *what);

/* {"String": ...} or {"Regex": ...} under `pattern`: one of the two is set. EFORMAT if neither is there. */
int sonde_part_pattern(const sonde_tokenizer_loader *l, const void *json, const char **literal, const char **regex);

int sonde_read_normalizer(const sonde_tokenizer_loader *l, const void *json);      /* tokenizer_norms.c */
int sonde_read_pre_tokenizer(const sonde_tokenizer_loader *l, const void *json);   /* tokenizer_stages.c */
int sonde_read_decoder(const sonde_tokenizer_loader *l, const void *json);         /* tokenizer_decoder.c */
int sonde_read_added(const sonde_tokenizer_loader *l, const void *json);           /* tokenizer_added.c */
int sonde_read_post_processor(const sonde_tokenizer_loader *l, const void *json);  /* tokenizer_post.c */
int sonde_read_model(sonde_tokenizer_loader *l, const void *json);                 /* tokenizer_model.c */

/* UNIGRAM: the pieces that a path may be of, when the added tokens are known: special ones are found before, or are
 * text. */
int sonde_read_pieces(const sonde_tokenizer_loader *l);

/* Whether a pre-tokeniser spells bytes in GPT-2's alphabet. */
int sonde_is_byte_level(const void *pre_tokenizer);

/* A step that replaces, and one of Metaspace: normaliser and pre-tokeniser share them with the decoder. */
int sonde_read_replace(const sonde_tokenizer_loader *l, const void *json, sonde_norm *out);
int sonde_read_metaspace(const sonde_tokenizer_loader *l, const void *json, sonde_stage *out);

#endif
