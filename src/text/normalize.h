/* normalize.h - what a tokenizer does to a text before it is split: the normalisers of tokenizer.json, in steps. */
#ifndef SONDE_TEXT_NORMALIZE_H
#define SONDE_TEXT_NORMALIZE_H

#include "text/charsmap.h"
#include "text/regex.h"

typedef enum sonde_norm_kind {
  SONDE_NORM_NFC, SONDE_NORM_NFD, SONDE_NORM_NFKC, SONDE_NORM_NFKD,
  SONDE_NORM_LOWERCASE,
  SONDE_NORM_STRIP,            /* white space at the start (left) and the end (right) */
  SONDE_NORM_STRIP_MARKS,      /* all marks; nonspacing: those of category Mn */
  SONDE_NORM_REPLACE,          /* matches of an expression, or of a string, by a string */
  SONDE_NORM_PREPEND,          /* a string before a text that is not empty */
  SONDE_NORM_NMT,              /* controls and format characters of translation data, as SentencePiece's nmt */
  SONDE_NORM_CHARSMAP,         /* SentencePiece's precompiled map, as the Hugging Face library applies it */
  SONDE_NORM_BERT_CLEAN,       /* controls go, white space is a space */
  SONDE_NORM_BERT_CHINESE      /* spaces around ideographs */
} sonde_norm_kind;

typedef struct sonde_norm {
  sonde_norm_kind kind;
  int left, right, nonspacing;
  char *what, *with;           /* REPLACE, PREPEND (with): strings of an arena */
  int64_t what_n, with_n;
  pcre2_code *re;              /* REPLACE by an expression: `what` is its pattern */
  sonde_charsmap map;
} sonde_norm;

enum { SONDE_MAX_NORMS = 24 };

typedef struct sonde_norms {
  sonde_norm step[SONDE_MAX_NORMS];
  int n;
} sonde_norms;

/* Appends a step, which then is the list's own. EUNSUP: there are too many. */
int sonde_norms_add(sonde_norms *s, const sonde_norm *step, const char *where, sonde_error *err);
void sonde_norms_free(sonde_norms *s);
int sonde_norms_same(const sonde_norms *a, const sonde_norms *b);         /* whether all steps are equal */

/* The normal form of valid UTF-8. *out points to the text itself where nothing changes it, else into one of the
 * buffers, which p must not point into. ENOMEM, EFORMAT (an expression that cannot be matched) or ELIMIT. */
int sonde_normalize(const sonde_norms *s, const char *p, int64_t n, sonde_bytes buf[2], const char **out,
                    int64_t *out_n, sonde_error *err);

/* One step on valid UTF-8, appended to *out. ENOMEM or EFORMAT. */
int sonde_normalize_step(const sonde_norm *step, const char *p, int64_t n, sonde_bytes *out, sonde_error *err);

#endif
