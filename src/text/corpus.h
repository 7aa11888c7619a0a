/* corpus.h - text prepared for training: a tokenizer, and token streams for training and validation.
 *
 * A source is one of:
 *   "default"     the King James Bible of Debian's bible-kjv; a document is a chapter
 *   "technical"   the manuals of Perl and Python (perl-doc, python3.11-doc); a document is a page
 *   x.txt         split at lines that are only <|endoftext|>; without any, into sections of at least 4 KiB
 *                 that end at a blank line, or at a line end from 64 KiB on
 *   x.jsonl       a document is the text field of a line
 *   -             standard input: a .jsonl if its first line is an object with text in the field, else a .txt
 *   x.tok, x.bin  a token shard (text/shard.h); its last documents (bare shards: tokens) are for validation
 *   a folder      train and val/validation shards of either kind; or, where there are none, every text file in it
 *   a pattern     with * ? [: the files that fit, in order of their names
 * Texts may be compressed with gzip or zstd (names end in .gz, .zst).
 *
 * The hash of its text decides whether a document is for training or validation, so equal texts are never in both. If
 * that leaves one of them empty (few documents), the tail of the text is the validation set, split within a document if
 * necessary. Every document is followed by the end-of-text token. The result is cached in a folder whose name is a hash
 * of everything that determines it; a damaged entry is rebuilt. */
#ifndef SONDE_TEXT_CORPUS_H
#define SONDE_TEXT_CORPUS_H

#include "base/pool.h"
#include "text/shard.h"
#include "text/tokenizer.h"

typedef struct sonde_corpus_opts {
  const char *tokenizer;     /* a tokenizer.json; NULL: train one on the training documents */
  int64_t vocab;             /* of the tokenizer to train (0: 8192); for shards the bound of the ids (0: the shards') */
  double validation;         /* share of validation documents in (0, 1); 0: 0.05; negative: none */
  const char *field;         /* text field of .jsonl; NULL: "text" */
  int skip;                  /* damaged lines of .jsonl are skipped */
  int special;               /* special tokens in the text are tokens, not letters */
  const char *end_of_text;   /* the added token of the option tokenizer that ends a document; NULL: its usual one */
  int64_t max_bytes;         /* take documents from the start up to this much text; 0: all */
  const char *cache;         /* NULL: $SONDE_CACHE, else $XDG_CACHE_HOME/sonde, else ~/.cache/sonde */
} sonde_corpus_opts;

/* A part of a mixture: concatenated sources, either all texts or all token shards. */
typedef struct sonde_corpus_part {
  const char *const *source;
  int64_t sources;
  double weight;             /* share of the training rows, as a part of all weights; > 0 */
} sonde_corpus_part;

enum { SONDE_CORPUS_PARTS = 64 };

typedef struct sonde_corpus sonde_corpus;

/* A mixture of parts; one part is its sources, concatenated. Texts share one tokenizer; the validation tokens of the
 * parts are in proportion to the weights too, as far as there are enough. opts may be NULL. ENOENT: a file, or a
 * package that is not installed, which the message names. Free with sonde_corpus_free. */
sonde_corpus *sonde_corpus_open(const sonde_corpus_part *part, int64_t parts, const sonde_corpus_opts *opts,
                                sonde_pool *pool, sonde_error *err);
void sonde_corpus_free(sonde_corpus *c);

typedef enum sonde_split { SONDE_TRAIN = 0, SONDE_VALIDATION = 1 } sonde_split;

sonde_stream sonde_corpus_stream(const sonde_corpus *c, sonde_split split);   /* borrowed; may be empty */
int64_t sonde_corpus_text_bytes(const sonde_corpus *c, sonde_split split);    /* 0: not known */
int64_t sonde_corpus_documents(const sonde_corpus *c, sonde_split split);
int64_t sonde_corpus_vocab(const sonde_corpus *c);
sonde_tokenizer *sonde_corpus_tokenizer(const sonde_corpus *c);               /* NULL for bare shards */
const char *sonde_corpus_tokenizer_hash(const sonde_corpus *c);               /* "" if not known */
const char *sonde_corpus_hash(const sonde_corpus *c);                         /* SHA-256 of all tokens, hex */
const char *sonde_corpus_spec(const sonde_corpus *c);
const char *sonde_corpus_cached(const sonde_corpus *c);                       /* its folder; NULL if none */

#endif
