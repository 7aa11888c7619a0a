/* corpus.c - opening a corpus: its plan, its shards, its accessors. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "text/corpus_internal.h"

enum { DEFAULT_VOCAB = 8192, MAX_PATH = 4096 };
#define DEFAULT_VALIDATION 0.05

typedef struct part {
  sonde_shard *shard;          /* NULL where both parts come from one file, and the other part holds it */
  sonde_stream stream;
  int64_t documents, text_bytes;
} part;

struct sonde_corpus {
  int refs;                    /* changed atomically */
  char *spec, *cached;
  part part[2];
  sonde_tokenizer *tokenizer;
  char hash[65];
};

sonde_corpus *sonde_corpus_ref(sonde_corpus *c) {
  if (c) __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
  return c;
}

void sonde_corpus_free(sonde_corpus *c) {
  if (!c || __atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL)) return;
  for (int s = 0; s < 2; s++) sonde_shard_free(c->part[s].shard);
  sonde_tokenizer_free(c->tokenizer);
  sonde_release(c->spec);
  sonde_release(c->cached);
  sonde_release(c);
}

/* ---- shards -------------------------------------------------------------------------------------------- */

static int check_tokenizer(const sonde_corpus *c, const sonde_shard *s, const char *path, sonde_error *err) {
  const char *made_with = sonde_shard_tokenizer(s);
  if (!c->tokenizer) return 0;
  if (*made_with && strcmp(made_with, sonde_tokenizer_hash(c->tokenizer)))
    return sonde_fail(err, SONDE_EFORMAT,
                      "%s: made with another tokenizer (%.8s...) than the one at hand (%.8s...)", path,
                      made_with, sonde_tokenizer_hash(c->tokenizer));
  return 0;
}

static int open_part(sonde_corpus *c, sonde_split split, const char *path, int64_t vocab, sonde_error *err) {
  part *p = &c->part[split];
  p->shard = sonde_shard_open(path, vocab, err);
  if (!p->shard) return err->code;
  p->stream = sonde_shard_stream(p->shard);
  p->documents = sonde_shard_documents(p->shard);
  p->text_bytes = sonde_shard_text_bytes(p->shard);
  return check_tokenizer(c, p->shard, path, err);
}

/* One file for both sides: its last documents (or tokens, if those are not known) are validation. */
static void share_one(sonde_corpus *c, double validation) {
  part *train = &c->part[SONDE_TRAIN], *valid = &c->part[SONDE_VALIDATION];
  const sonde_shard *s = train->shard;
  int64_t documents = train->documents, cut;
  if (documents) {
    int64_t held = (int64_t)ceil(validation * (double)documents);
    cut = sonde_shard_document(s, documents - held);
    train->documents = documents - held;
    valid->documents = held;
  } else {
    cut = train->stream.tokens - (int64_t)ceil(validation * (double)train->stream.tokens);
  }
  valid->stream = train->stream;
  valid->stream.data = (const char *)train->stream.data + cut * train->stream.width;
  valid->stream.tokens = train->stream.tokens - cut;
  train->stream.tokens = cut;
  if (valid->stream.tokens) train->text_bytes = valid->text_bytes = 0;      /* not known side by side */
}

/* The first of the names that is in the folder, or NULL. */
static const char *find_in(const char *folder, const char *const *names, int n, char *buf, size_t room) {
  for (int i = 0; i < n; i++) {
    snprintf(buf, room, "%s/%s", folder, names[i]);
    if (sonde_path_exists(buf)) return buf;
  }
  return NULL;
}

static int open_folder(sonde_corpus *c, const char *folder, int64_t vocab, sonde_error *err) {
  static const char *const train[] = {SONDE_CORPUS_TRAIN, "train.bin"};
  static const char *const valid[] = {SONDE_CORPUS_VALIDATION, "validation.bin", "val.tok", "val.bin"};
  static const char *const tokenizer[] = {SONDE_CORPUS_TOKENIZER};
  char path[MAX_PATH];
  int rc = 0;
  if (!c->tokenizer && find_in(folder, tokenizer, 1, path, sizeof path)) {
    c->tokenizer = sonde_tokenizer_load(path, err);
    if (!c->tokenizer) return err->code;
  }
  if (c->tokenizer && !vocab) vocab = sonde_tokenizer_vocab(c->tokenizer);
  if (!find_in(folder, train, 2, path, sizeof path))
    return sonde_fail(err, SONDE_ENOENT, "'%s' holds neither train.tok nor train.bin", folder);
  if ((rc = open_part(c, SONDE_TRAIN, path, vocab, err))) return rc;
  if (!find_in(folder, valid, 4, path, sizeof path))
    return sonde_fail(err, SONDE_ENOENT, "'%s' holds no validation.tok, validation.bin or val.bin", folder);
  if ((rc = open_part(c, SONDE_VALIDATION, path, vocab, err))) return rc;
  if (c->part[0].stream.vocab == c->part[1].stream.vocab) return 0;
  return sonde_fail(err, SONDE_EFORMAT, "'%s': the shards have vocabularies of %lld and %lld", folder,
                    (long long)c->part[0].stream.vocab, (long long)c->part[1].stream.vocab);
}

/* ---- what names the content ---------------------------------------------------------------------------- */

static void add_stream(sonde_sha256 *sha, const part *p) {
  if (p->shard && *sonde_shard_hash(p->shard) && p->stream.tokens == sonde_shard_stream(p->shard).tokens)
    sonde_sha256_add(sha, sonde_shard_hash(p->shard), 64);
  else
    sonde_sha256_add(sha, p->stream.data, (size_t)(p->stream.tokens * p->stream.width));
}

static void name_content(sonde_corpus *c) {
  sonde_sha256 sha;
  sonde_sha256_init(&sha);
  add_stream(&sha, &c->part[SONDE_TRAIN]);
  sonde_sha256_add(&sha, "|", 1);
  add_stream(&sha, &c->part[SONDE_VALIDATION]);
  sonde_sha256_hex(&sha, c->hash);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static int is_shard(const char *spec) {
  size_t n = strlen(spec);
  return n > 4 && (!strcmp(spec + n - 4, ".tok") || !strcmp(spec + n - 4, ".bin"));
}

static int read_plan(const char *spec, const sonde_corpus_opts *o, sonde_pool *pool, sonde_corpus_plan *p,
                     sonde_error *err) {
  *p = (sonde_corpus_plan){.spec = spec, .pool = pool, .max_bytes = o->max_bytes};
  p->field = o->field ? o->field : "text";
  p->validation = o->validation > 0 ? o->validation : o->validation < 0 ? 0 : DEFAULT_VALIDATION;
  p->vocab = o->vocab ? o->vocab : DEFAULT_VOCAB;
  if (!(p->validation < 1))
    return sonde_fail(err, SONDE_EINVAL, "a validation share of %g; it is below 1", o->validation);
  if (p->vocab < 0 || p->max_bytes < 0)
    return sonde_fail(err, SONDE_EINVAL, "a vocabulary of %lld, text of %lld bytes", (long long)p->vocab,
                      (long long)p->max_bytes);
  if (!o->tokenizer) return 0;
  if (!(p->tokenizer = sonde_tokenizer_load(o->tokenizer, err))) return err->code;
  if (!o->vocab || o->vocab == sonde_tokenizer_vocab(p->tokenizer)) return 0;
  return sonde_fail(err, SONDE_EINVAL,
                    "a vocabulary of %lld is asked for, and '%s' has %lld: leave one of them out",
                    (long long)o->vocab, o->tokenizer, (long long)sonde_tokenizer_vocab(p->tokenizer));
}

static void drop_parts(sonde_corpus *c) {
  for (int s = 0; s < 2; s++) sonde_shard_free(c->part[s].shard);
  sonde_tokenizer_free(c->tokenizer);
  memset(c->part, 0, sizeof c->part);
  c->tokenizer = NULL;
}

/* An entry that turns out to be damaged is made anew, once. */
static int open_text(sonde_corpus *c, sonde_corpus_plan *p, const char *cache, sonde_error *err) {
  char entry[MAX_PATH];
  p->source = sonde_source_find(p->spec, err);
  if (!p->source) return err->code;
  for (int attempt = 0;; attempt++) {
    int rc = sonde_corpus_entry(p, cache, attempt, entry, sizeof entry, err);
    if (rc) return rc;
    rc = open_folder(c, entry, 0, err);
    if (!rc) break;
    if (attempt || (rc != SONDE_EFORMAT && rc != SONDE_EINVAL && rc != SONDE_ENOENT)) return rc;
    sonde_warn("the cached corpus is damaged and is made anew: %s", err->text);
    drop_parts(c);
  }
  c->cached = sonde_strdup(entry);
  return c->cached ? 0 : sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
}

static int open_spec(sonde_corpus *c, sonde_corpus_plan *p, const sonde_corpus_opts *o, sonde_error *err) {
  int folder = sonde_is_folder(p->spec);
  if (!folder && !is_shard(p->spec)) return open_text(c, p, o->cache, err);
  c->tokenizer = sonde_tokenizer_ref(p->tokenizer);
  int64_t vocab = p->tokenizer ? sonde_tokenizer_vocab(p->tokenizer) : o->vocab;
  if (folder) return open_folder(c, p->spec, vocab, err);
  int rc = open_part(c, SONDE_TRAIN, p->spec, vocab, err);
  if (!rc) share_one(c, p->validation);
  return rc;
}

sonde_corpus *sonde_corpus_open(const char *spec, const sonde_corpus_opts *opts, sonde_pool *pool,
                                sonde_error *err) {
  static const sonde_corpus_opts none;
  sonde_corpus_plan p;
  sonde_corpus *c = sonde_alloc(sizeof *c);
  if (c) c->refs = 1;
  if (!c || !(c->spec = sonde_strdup(spec))) {
    sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
    sonde_corpus_free(c);
    return NULL;
  }
  int rc = read_plan(spec, opts ? opts : &none, pool, &p, err);
  if (!rc) rc = open_spec(c, &p, opts ? opts : &none, err);
  sonde_tokenizer_free(p.tokenizer);
  if (!rc) {
    name_content(c);
    return c;
  }
  sonde_corpus_free(c);
  return NULL;
}

/* ---- accessors ----------------------------------------------------------------------------------------- */

sonde_stream sonde_corpus_stream(const sonde_corpus *c, sonde_split split) {
  return c->part[split].stream;
}

int64_t sonde_corpus_text_bytes(const sonde_corpus *c, sonde_split split) {
  return c->part[split].text_bytes;
}

int64_t sonde_corpus_documents(const sonde_corpus *c, sonde_split split) {
  return c->part[split].documents;
}

int64_t sonde_corpus_vocab(const sonde_corpus *c) {
  return c->part[SONDE_TRAIN].stream.vocab;
}

sonde_tokenizer *sonde_corpus_tokenizer(const sonde_corpus *c) {
  return c->tokenizer;
}

const char *sonde_corpus_hash(const sonde_corpus *c) {
  return c->hash;
}

const char *sonde_corpus_spec(const sonde_corpus *c) {
  return c->spec;
}

const char *sonde_corpus_cached(const sonde_corpus *c) {
  return c->cached;
}
