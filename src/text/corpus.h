/* corpus.h - a text made ready for training: tokenizer, and token streams for training and validation.
 *
 * What a spec may be:
 *   "default"     the King James Bible of Debian's bible-kjv; a document is a chapter
 *   "technical"   the manuals of Perl and Python (perl-doc, python3.11-doc); a document is a page
 *   x.txt[.gz]    cut at lines that hold only <|endoftext|>; without any, into sections of at least 4 KiB
 *                 that end at a blank line, or at a line end once they pass 64 KiB
 *   x.jsonl[.gz]  a document is the text field of a line
 *   x.tok, x.bin  a token shard (text/shard.h); its last documents (bare shards: tokens) are for validation
 *   a folder      train and val/validation shards of either kind
 * Each text document goes to validation by the hash of its text, so equal texts never stand on both sides.
 * Every document is followed by the end-of-text token. What is made is kept in a cache folder under a name
 * that hashes all that determines it; a damaged entry is made anew. */
#ifndef SONDE_TEXT_CORPUS_H
#define SONDE_TEXT_CORPUS_H

#include "base/pool.h"
#include "text/shard.h"
#include "text/tokenizer.h"

typedef struct sonde_corpus_opts {
  const char *tokenizer;     /* a tokenizer.json; NULL: train one on the training documents */
  int64_t vocab;             /* size of the tokenizer to train; 0: 8192 */
  double validation;         /* share of validation documents in (0, 1); 0: 0.05; negative: none */
  const char *field;         /* text field of .jsonl; NULL: "text" */
  int64_t max_bytes;         /* take documents from the start up to this much text; 0: all */
  const char *cache;         /* NULL: $SONDE_CACHE, else $XDG_CACHE_HOME/sonde, else ~/.cache/sonde */
} sonde_corpus_opts;

typedef struct sonde_corpus sonde_corpus;

/* opts may be NULL. A package that is not installed gives ENOENT and names it. */
sonde_corpus *sonde_corpus_open(const char *spec, const sonde_corpus_opts *opts, sonde_pool *pool,
                                sonde_error *err);
sonde_corpus *sonde_corpus_ref(sonde_corpus *c);
void sonde_corpus_free(sonde_corpus *c);

typedef enum sonde_split { SONDE_TRAIN = 0, SONDE_VALIDATION = 1 } sonde_split;

sonde_stream sonde_corpus_stream(const sonde_corpus *c, sonde_split split);   /* borrowed; may be empty */
int64_t sonde_corpus_text_bytes(const sonde_corpus *c, sonde_split split);    /* 0: not known */
int64_t sonde_corpus_documents(const sonde_corpus *c, sonde_split split);
int64_t sonde_corpus_vocab(const sonde_corpus *c);
sonde_tokenizer *sonde_corpus_tokenizer(const sonde_corpus *c);               /* NULL for bare shards */
const char *sonde_corpus_hash(const sonde_corpus *c);                         /* SHA-256 of all tokens, hex */
const char *sonde_corpus_spec(const sonde_corpus *c);
const char *sonde_corpus_cached(const sonde_corpus *c);                       /* its folder; NULL if none */

#endif
