/* corpus_internal.h - how a corpus entry is made and found; corpus.c opens what stands here. */
#ifndef SONDE_TEXT_CORPUS_INTERNAL_H
#define SONDE_TEXT_CORPUS_INTERNAL_H

#include "text/corpus.h"
#include "text/source.h"

#define SONDE_CORPUS_TRAIN "train.tok"
#define SONDE_CORPUS_VALIDATION "validation.tok"
#define SONDE_CORPUS_TOKENIZER "tokenizer.json"

/* The options with every default filled in. */
typedef struct sonde_corpus_plan {
  const char *spec, *field;
  const sonde_source *source;
  sonde_tokenizer *tokenizer;  /* given, or NULL: to be trained */
  int64_t vocab, max_bytes;
  double validation;
  sonde_pool *pool;
} sonde_corpus_plan;

/* Reads, trains, tokenises, and writes the three files into `folder`, which exists. */
int sonde_corpus_build(const sonde_corpus_plan *p, const char *folder, sonde_error *err);

/* The cache entry of the plan as a folder that holds the three files, whole: path into buf. It is built
 * when it is not there, and anew when `damaged` says that what is there cannot be used. Two processes
 * build one after the other. */
int sonde_corpus_entry(const sonde_corpus_plan *p, const char *cache, int damaged, char *buf, size_t n,
                       sonde_error *err);

#endif
