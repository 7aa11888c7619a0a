/* tokenizer_internal.h - the structure of a tokenizer, for the files that load it and encode with it. */
#ifndef SONDE_TEXT_TOKENIZER_INTERNAL_H
#define SONDE_TEXT_TOKENIZER_INTERNAL_H

#include "base/mem.h"
#include "text/intern.h"
#include "text/pretoken.h"
#include "text/tokenizer.h"

enum { SONDE_TOKENIZER_BYTES = 256 << 20 };   /* the limit of files that are read or written */

/* A merge of two ids. A free slot of the table has rank -1. */
typedef struct sonde_merge { int32_t a, b, rank, id; } sonde_merge;

typedef struct sonde_token {
  const char *bytes;           /* in the arena; NULL: no token has this id */
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
  int refs;                    /* changed atomically */
  sonde_arena *arena;
  char *json;
  int64_t json_bytes;
  char hash[65];
  sonde_token *token;
  int64_t vocab;
  int32_t byte_id[256];        /* -1: this byte has no token */
  sonde_merge *merge;
  int64_t merge_slots;         /* a power of two */
  int whole_first;             /* ignore_merges: a piece that is a token is that token */
  sonde_intern whole;          /* then: the tokens' bytes, numbered by index in whole_id */
  int32_t *whole_id;
  int nfc;
  sonde_stages stages;
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

/* GPT-2's alphabet, each byte as a printable character below U+0144: the character of a byte (1 or 2 bytes and a NUL),
 * and the bytes of a token's spelling, or the spelling itself if it has other characters. */
void sonde_byte_char(unsigned char byte, char out[3]);
int64_t sonde_alphabet_bytes(const char *spelling, int64_t n, char *out);

/* The state of reading a tokenizer.json. */
typedef struct sonde_tokenizer_loader {
  sonde_tokenizer *t;
  const char *name;            /* for messages */
  sonde_error *err;
} sonde_tokenizer_loader;

static inline int sonde_tokenizer_no_memory(const sonde_tokenizer_loader *l) {
  return sonde_fail(l->err, SONDE_ENOMEM, "%s: out of memory", l->name);
}

/* Records a setting without effect on the ids of a whole text. 0 or SONDE_ENOMEM. */
int sonde_tokenizer_idle(sonde_tokenizer *t, const char *name);

/* Reads added_tokens, normalizer, pre_tokenizer, post_processor and decoder; `name` is for messages. */
int sonde_tokenizer_read_pipeline(sonde_tokenizer *t, const void *json, const char *name, sonde_error *err);

#endif
