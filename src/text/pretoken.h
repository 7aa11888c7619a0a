/* pretoken.h - splitting text into the pieces that a model tokenises each by itself (pre-tokenisation). */
#ifndef SONDE_TEXT_PRETOKEN_H
#define SONDE_TEXT_PRETOKEN_H

#include "text/regex.h"

/* GPT-2's pattern, as the Hugging Face library's ByteLevel has it. */
#define SONDE_GPT2_PATTERN \
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef enum sonde_stage_kind {
  SONDE_STAGE_REGEX,           /* splits at matches */
  SONDE_STAGE_PREFIX_SPACE,    /* prepends a space to a piece without one */
  SONDE_STAGE_SPELL,           /* bytes to GPT-2's alphabet: the stages after ByteLevel see its characters */
  SONDE_STAGE_UNSPELL,         /* and back */
  SONDE_STAGE_METASPACE,       /* spaces to the mark, one prepended by `scheme`, split before each mark */
  SONDE_STAGE_RUNS             /* splits before each run of marks that does not follow a byte of `kept` */
} sonde_stage_kind;

/* What becomes of the matches: pieces of their own, dropped, joined to the piece before or after, or runs of matches
 * and runs of gaps. */
typedef enum sonde_behavior {
  SONDE_ISOLATED, SONDE_REMOVED, SONDE_MERGED_WITH_PREVIOUS, SONDE_MERGED_WITH_NEXT, SONDE_CONTIGUOUS
} sonde_behavior;

typedef enum sonde_scheme { SONDE_PREPEND_ALWAYS, SONDE_PREPEND_NEVER, SONDE_PREPEND_FIRST } sonde_scheme;

typedef struct sonde_stage {
  sonde_stage_kind kind;
  pcre2_code *re;
  uint32_t pattern;            /* hash of the expression */
  sonde_behavior behavior;
  int invert;                  /* the gaps are the matches */
  char mark[8];                /* METASPACE, RUNS: one character and a NUL */
  sonde_scheme scheme;
  int split;
  uint64_t kept[4];            /* RUNS: a set of bytes */
} sonde_stage;

enum { SONDE_MAX_STAGES = 12 };

typedef struct sonde_stages {
  sonde_stage stage[SONDE_MAX_STAGES];
  int n;
} sonde_stages;

/* Appends a stage; of a REGEX, `pattern` (n bytes) is compiled. `where` is for messages. EFORMAT, EUNSUP or ENOMEM. */
int sonde_stages_add(sonde_stages *s, const sonde_stage *stage, const char *where, sonde_error *err);
int sonde_stages_add_regex(sonde_stages *s, const char *pattern, int64_t n, sonde_behavior behavior, int invert,
                           const char *where, sonde_error *err);
void sonde_stages_free(sonde_stages *s);
int sonde_stages_same(const sonde_stages *a, const sonde_stages *b);      /* whether all stages are equal */

/* One thread's scratch for them. */
typedef struct sonde_splitter {
  const sonde_stages *stages;
  pcre2_match_data *match[SONDE_MAX_STAGES];
  pcre2_match_context *context;
  pcre2_jit_stack *stack;
  sonde_bytes changed[SONDE_MAX_STAGES];      /* what a stage makes of a piece, where it changes it */
} sonde_splitter;

int sonde_splitter_init(sonde_splitter *s, const sonde_stages *stages, sonde_error *err);
void sonde_splitter_free(sonde_splitter *s);

/* Receives one piece; a code other than 0 stops the splitting. */
typedef int (*sonde_piece_fn)(void *arg, const char *p, int64_t n);

/* Calls fn for the pieces of valid UTF-8, in order. first: the text is the beginning of a whole one. Returns 0, fn's
 * code, or that of a failed match. */
int sonde_split_text(sonde_splitter *s, const char *text, int64_t n, int first, sonde_piece_fn fn, void *arg,
                     sonde_error *err);

#endif
