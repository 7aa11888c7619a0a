/* corpus_internal.h - how a corpus is planned, built and cached; corpus.c opens the result. */
#ifndef SONDE_TEXT_CORPUS_INTERNAL_H
#define SONDE_TEXT_CORPUS_INTERNAL_H

#include "base/mem.h"
#include "text/corpus.h"
#include "text/source.h"

#define SONDE_CORPUS_TRAIN "train.tok"
#define SONDE_CORPUS_VALIDATION "validation.tok"
#define SONDE_CORPUS_TOKENIZER "tokenizer.json"
enum { SONDE_CORPUS_PATH = 4096 };

/* A file (or the name of a package's text) of a part. */
typedef struct sonde_corpus_file {
  const char *path;
  const sonde_source *source;  /* of texts; NULL: a token shard, or a folder of them */
  int64_t part;
} sonde_corpus_file;

/* The options with every default filled in, and every file. */
typedef struct sonde_corpus_plan {
  sonde_arena *arena;          /* of names */
  char *spec;                  /* for messages and records */
  sonde_corpus_file *file;
  int64_t files, room, parts;
  double weight[SONDE_CORPUS_PARTS];
  sonde_reading reading;
  sonde_documents input;       /* of standard input, where it is one of the files */
  sonde_tokenizer *tokenizer;  /* given, or NULL: to be trained */
  const char *end;             /* the end-of-text token, if it is not the tokenizer's own; else NULL */
  int64_t vocab, max_bytes;    /* vocab: 0 if not given */
  double validation;
  int special;
  sonde_pool *pool;
} sonde_corpus_plan;

/* Checks the options, and finds the files of all parts. */
int sonde_corpus_plan_make(sonde_corpus_plan *p, const sonde_corpus_part *part, int64_t parts,
                           const sonde_corpus_opts *opts, sonde_pool *pool, sonde_error *err);
void sonde_corpus_plan_free(sonde_corpus_plan *p);

/* The path of the first of the names that exists in the folder, in buf; or NULL. */
const char *sonde_corpus_find(const char *folder, const char *const *names, int n, char *buf, size_t size);

/* The name of a side's shard: of the first part "train.tok", of the others "train-1.tok" and so on. */
void sonde_corpus_shard_name(char *buf, size_t size, const char *folder, sonde_split split, int64_t part);

/* Reads, trains, tokenises, and writes tokenizer and shards into `folder`, which exists. */
int sonde_corpus_build(const sonde_corpus_plan *p, const char *folder, sonde_error *err);

/* The folder of the plan's cache entry, complete: path into buf. It is built if it does not exist, and rebuilt if
 * `damaged`. Processes that build the same entry wait for each other. */
int sonde_corpus_entry(const sonde_corpus_plan *p, const char *cache, int damaged, char *buf, size_t n,
                       sonde_error *err);

#endif
