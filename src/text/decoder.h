/* decoder.h - from the spellings of tokens to text: the decoders of tokenizer.json, in steps. */
#ifndef SONDE_TEXT_DECODER_H
#define SONDE_TEXT_DECODER_H

#include "text/normalize.h"

typedef enum sonde_decode_kind {
  SONDE_DECODE_REPLACE,        /* in each token */
  SONDE_DECODE_BYTES,          /* <0x..> to that byte */
  SONDE_DECODE_STRIP,          /* up to `start` and `stop` times a character off the ends */
  SONDE_DECODE_METASPACE,      /* marks to spaces; those of the first token go where one was prepended */
  SONDE_DECODE_WORDPIECE,      /* the prefix of tokens inside a word goes, others get a space */
  SONDE_DECODE_SPACES,         /* no decoder: tokens are separated by spaces */
  SONDE_DECODE_FUSE            /* all tokens become one */
} sonde_decode_kind;

typedef struct sonde_decode_step {
  sonde_decode_kind kind;
  sonde_norm replace;
  char *text;                  /* the mark, prefix or character, in an arena */
  int64_t start, stop;
  int flag;                    /* METASPACE: one was prepended; WORDPIECE: clean up */
} sonde_decode_step;

enum { SONDE_MAX_DECODE_STEPS = 16 };

typedef struct sonde_decoder {
  sonde_decode_step step[SONDE_MAX_DECODE_STEPS];
  int n;
} sonde_decoder;

int sonde_decoder_add(sonde_decoder *d, const sonde_decode_step *step, const char *where, sonde_error *err);
void sonde_decoder_free(sonde_decoder *d);

/* The first step whose effect depends on where in a text the token is; n if none does. */
int sonde_decoder_fixed(const sonde_decoder *d);
/* The FUSE, or n: the steps behind it work on the whole text. */
int sonde_decoder_fuse(const sonde_decoder *d);

/* Runs the steps from .. to - 1 on a token, the index-th of the text, or behind FUSE on the text: there an index other
 * than 0 leaves its ends as they are. *p and *n are replaced by what it becomes, in one
 * of the buffers, where p must not be. ENOMEM or EFORMAT. */
int sonde_decoder_run(const sonde_decoder *d, int from, int to, int64_t index, const char **p, int64_t *n,
                      sonde_bytes buf[2], sonde_error *err);

#endif
