/* pretoken.h - splitting text into the pieces within which BPE merges (pre-tokenisation). */
#ifndef SONDE_TEXT_PRETOKEN_H
#define SONDE_TEXT_PRETOKEN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "io/bytes.h"

/* GPT-2's pattern, as the Hugging Face library's ByteLevel has it. */
#define SONDE_GPT2_PATTERN \
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* One stage: matches of `re` and the gaps between them become pieces, or are dropped. */
typedef struct sonde_stage {
  pcre2_code *re;              /* NULL: the piece is not split */
  int keep_matches, keep_gaps;
  uint32_t pattern;            /* hash of the expression */
  int prefix_space;            /* prepends a space to a piece without one */
} sonde_stage;

enum { SONDE_MAX_STAGES = 8 };

typedef struct sonde_stages {
  sonde_stage stage[SONDE_MAX_STAGES];
  int n;
} sonde_stages;

/* Compiles the pattern (n bytes) in Unicode mode, \s meaning White_Space. `where` is for messages. */
int sonde_stages_add_regex(sonde_stages *s, const char *pattern, int64_t n, int keep_matches, int keep_gaps,
                           const char *where, sonde_error *err);
int sonde_stages_add_prefix_space(sonde_stages *s, const char *where, sonde_error *err);
void sonde_stages_free(sonde_stages *s);
int sonde_stages_same(const sonde_stages *a, const sonde_stages *b);      /* whether all stages are equal */

/* One thread's scratch for them. */
typedef struct sonde_splitter {
  const sonde_stages *stages;
  pcre2_match_data *match[SONDE_MAX_STAGES];
  pcre2_match_context *context;
  pcre2_jit_stack *stack;
  sonde_bytes spaced[SONDE_MAX_STAGES];
} sonde_splitter;

int sonde_splitter_init(sonde_splitter *s, const sonde_stages *stages, sonde_error *err);
void sonde_splitter_free(sonde_splitter *s);

/* Receives one piece; a code other than 0 stops the splitting. */
typedef int (*sonde_piece_fn)(void *arg, const char *p, int64_t n);

/* Calls fn for the pieces of valid UTF-8, in order. Returns 0, fn's code, or that of a failed match. */
int sonde_split_text(sonde_splitter *s, const char *text, int64_t n, sonde_piece_fn fn, void *arg,
                     sonde_error *err);

#endif
