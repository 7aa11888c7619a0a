/* corpus.c - opening a corpus: its shards, their consistency, its accessors. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "base/log.h"
#include "text/corpus_internal.h"

typedef struct side {
  sonde_stream stream;
  int64_t documents, text_bytes;     /* 0: not known */
} side;

struct sonde_corpus {
  sonde_arena *arena;                /* of lists of streams */
  char *spec, *cached;
  sonde_shard **shard;               /* all that the streams lie in */
  int64_t shards, room;
  side side[2];
  int32_t *mixed;                    /* validation tokens of a mixture */
  sonde_tokenizer *tokenizer;
  char tokenizer_hash[65], hash[65];
};

static int no_memory(sonde_error *err) {
  return sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
}

static void drop_shards(sonde_corpus *c) {
  for (int64_t i = 0; i < c->shards; i++) sonde_shard_free(c->shard[i]);
  sonde_tokenizer_free(c->tokenizer);
  memset(c->side, 0, sizeof c->side);
  c->shards = 0;
  c->tokenizer = NULL;
  c->tokenizer_hash[0] = '\0';
}

void sonde_corpus_free(sonde_corpus *c) {
  if (!c) return;
  drop_shards(c);
  sonde_release(c->shard);
  sonde_release(c->mixed);
  sonde_release(c->spec);
  sonde_release(c->cached);
  if (c->arena) sonde_arena_free(c->arena);
  sonde_release(c);
}

/* ---- shards -------------------------------------------------------------------------------------------- */

/* All shards of a corpus are of one tokenizer, as far as they say. */
static int check_tokenizer(sonde_corpus *c, const sonde_shard *s, const char *path, sonde_error *err) {
  const char *made_with = sonde_shard_tokenizer(s);
  if (!*made_with) return 0;
  if (!*c->tokenizer_hash) snprintf(c->tokenizer_hash, sizeof c->tokenizer_hash, "%s", made_with);
  if (!strcmp(made_with, c->tokenizer_hash)) return 0;
  return sonde_fail(err, SONDE_EFORMAT, "%s: made with another tokenizer (%.8s...) than the one at hand (%.8s...)",
                    path, made_with, c->tokenizer_hash);
}

static const sonde_shard *open_shard(sonde_corpus *c, const char *path, int64_t vocab, side *out, sonde_error *err) {
  if (c->shards == c->room) {
    int64_t room = 2 * c->room + 8;
    sonde_shard **grown = sonde_grow(c->shard, (size_t)c->room * sizeof *grown, (size_t)room * sizeof *grown);
    if (!grown) return no_memory(err), NULL;
    c->shard = grown;
    c->room = room;
  }
  sonde_shard *s = sonde_shard_open(path, vocab, err);
  if (!s) return NULL;
  c->shard[c->shards++] = s;
  *out = (side){sonde_shard_stream(s), sonde_shard_documents(s), sonde_shard_text_bytes(s)};
  return check_tokenizer(c, s, path, err) ? NULL : s;
}

/* One file for both sides: its last documents (or tokens, if those are not known or too few) are validation. */
static void share_one(const sonde_shard *s, double validation, side pair[2]) {
  side *train = &pair[SONDE_TRAIN], *valid = &pair[SONDE_VALIDATION];
  int64_t documents = train->documents, held = (int64_t)ceil(validation * (double)documents),
          tokens = train->stream.tokens;
  if (!(validation > 0)) return;
  int64_t tail = (int64_t)ceil(validation * (double)tokens), cut = tokens - (tail > 2 ? tail : 2);   /* 2 predict one */
  if (cut < 0) cut = 0;
  train->text_bytes = valid->text_bytes = 0;      /* not known side by side */
  train->documents = valid->documents = 0;
  if (held < documents) {
    cut = sonde_shard_document(s, documents - held);
    train->documents = documents - held;
    valid->documents = held;
  }
  valid->stream = train->stream;
  valid->stream.data = (const char *)train->stream.data + cut * train->stream.width;
  valid->stream.tokens = tokens - cut;
  train->stream.tokens = cut;
}

static int open_folder(sonde_corpus *c, const char *folder, int64_t vocab, side pair[2], sonde_error *err) {
  static const char *const train[] = {SONDE_CORPUS_TRAIN, "train.bin"};
  static const char *const valid[] = {SONDE_CORPUS_VALIDATION, "validation.bin", "val.tok", "val.bin"};
  static const char *const tokenizer[] = {SONDE_CORPUS_TOKENIZER};
  char path[SONDE_CORPUS_PATH];
  if (!c->tokenizer && sonde_corpus_find(folder, tokenizer, 1, path, sizeof path)) {
    c->tokenizer = sonde_tokenizer_load(path, err);
    if (!c->tokenizer) return err->code;
    if (!*c->tokenizer_hash)
      snprintf(c->tokenizer_hash, sizeof c->tokenizer_hash, "%s", sonde_tokenizer_hash(c->tokenizer));
  }
  if (c->tokenizer && !vocab) vocab = sonde_tokenizer_vocab(c->tokenizer);
  if (!sonde_corpus_find(folder, train, 2, path, sizeof path))
    return sonde_fail(err, SONDE_ENOENT, "'%s' contains neither train.tok nor train.bin", folder);
  if (!open_shard(c, path, vocab, &pair[SONDE_TRAIN], err)) return err->code;
  if (!sonde_corpus_find(folder, valid, 4, path, sizeof path))
    return sonde_fail(err, SONDE_ENOENT, "'%s' contains no validation.tok, validation.bin, val.tok or val.bin", folder);
  return open_shard(c, path, vocab, &pair[SONDE_VALIDATION], err) ? 0 : err->code;
}

/* ---- several together ---------------------------------------------------------------------------------- */

/* n sides, in memory of the corpus, as one behind the other. */
static side join(const sonde_corpus *c, const side *list, int64_t n, sonde_error *err) {
  side all = {{.parts = (int32_t)n}, 0, 0};
  int documents_known = 1, bytes_known = 1;
  if (n == 1) return list[0];
  sonde_stream *stream = sonde_arena_alloc(c->arena, (size_t)(n + 1) * sizeof *stream);
  if (!stream) {
    no_memory(err);
    return all;
  }
  for (int64_t i = 0; i < n; i++) {
    stream[i] = list[i].stream;
    all.stream.tokens += stream[i].tokens;
    if (stream[i].vocab > all.stream.vocab) all.stream.vocab = stream[i].vocab;
    documents_known &= list[i].documents > 0 || !stream[i].tokens;
    bytes_known &= list[i].text_bytes > 0 || !stream[i].tokens;
    all.documents += list[i].documents;
    all.text_bytes += list[i].text_bytes;
  }
  all.stream.part = stream;
  if (!documents_known) all.documents = 0;
  if (!bytes_known) all.text_bytes = 0;
  return all;
}

/* Validation tokens of each part in proportion to its weight, as many as there are in that proportion, in turns of some
 * tokens: whoever takes the first so many takes them in the same proportion. */
static int mix_validation(sonde_corpus *c, const double *weight, sonde_error *err) {
  enum { TURN = 512 };
  const sonde_stream *all = &c->side[SONDE_VALIDATION].stream;
  int64_t taken[SONDE_CORPUS_PARTS] = {0}, total = all->tokens, n = 0;
  if (!total) return 0;
  for (int32_t k = 0; k < all->parts; k++) {
    double most = (double)all->part[k].tokens / weight[k];
    if (most < (double)total) total = (int64_t)most;
  }
  c->mixed = sonde_alloc((size_t)(total + 1) * sizeof *c->mixed);
  if (!c->mixed) return no_memory(err);
  for (;;) {
    int32_t next = -1;
    int64_t left = 0;
    for (int32_t k = 0; k < all->parts; k++) {
      int64_t open = (int64_t)(weight[k] * (double)total) - taken[k];
      if (open < 1 || (next >= 0 && (double)taken[k] / weight[k] >= (double)taken[next] / weight[next])) continue;
      next = k;
      left = open;
    }
    if (next < 0) break;
    int64_t take = left < TURN ? left : TURN;
    int rc = sonde_stream_read(&all->part[next], taken[next], take, c->mixed + n, err);
    if (rc) return rc;
    taken[next] += take;
    n += take;
  }
  c->side[SONDE_VALIDATION] = (side){{.data = c->mixed, .width = 4, .tokens = n, .vocab = all->vocab}, 0, 0};
  return 0;
}

/* What the parts give together, part by part in parts[k]. */
static int combine(sonde_corpus *c, const sonde_corpus_plan *p, side (*parts)[2], sonde_error *err) {
  side list[SONDE_CORPUS_PARTS];
  for (int s = 0; s < 2; s++) {
    for (int64_t k = 0; k < p->parts; k++) list[k] = parts[k][s];
    c->side[s] = join(c, list, p->parts, err);
    if (err->code) return err->code;
  }
  if (p->parts == 1) return 0;
  double *weight = sonde_arena_alloc(c->arena, (size_t)p->parts * sizeof *weight);
  if (!weight) return no_memory(err);
  memcpy(weight, p->weight, (size_t)p->parts * sizeof *weight);
  for (int64_t k = 0; k < p->parts; k++)
    if (parts[k][SONDE_VALIDATION].stream.tokens < 2 && c->side[SONDE_VALIDATION].stream.tokens)
      return sonde_fail(err, SONDE_EINVAL, "part %lld of the corpus has no validation tokens, and others have",
                        (long long)k + 1);
  c->side[SONDE_TRAIN].stream.weight = weight;
  return mix_validation(c, weight, err);
}

/* ---- what names the content ---------------------------------------------------------------------------- */

static void add_stream(const sonde_corpus *c, sonde_sha256 *sha, const sonde_stream *s) {
  for (int32_t k = 0; k < s->parts; k++) {
    if (s->weight) sonde_sha256_add(sha, &s->weight[k], sizeof *s->weight);
    add_stream(c, sha, &s->part[k]);
  }
  if (s->parts) return;
  for (int64_t i = 0; i < c->shards; i++) {      /* a whole shard has its own name */
    sonde_stream whole = sonde_shard_stream(c->shard[i]);
    if (whole.data != s->data || whole.tokens != s->tokens || !*sonde_shard_hash(c->shard[i])) continue;
    sonde_sha256_add(sha, sonde_shard_hash(c->shard[i]), 64);
    return;
  }
  sonde_sha256_add(sha, s->data, (size_t)(s->tokens * s->width));
}

static void name_content(sonde_corpus *c) {
  sonde_sha256 sha;
  sonde_sha256_init(&sha);
  add_stream(c, &sha, &c->side[SONDE_TRAIN].stream);
  sonde_sha256_add(&sha, "|", 1);
  add_stream(c, &sha, &c->side[SONDE_VALIDATION].stream);
  sonde_sha256_hex(&sha, c->hash);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static int open_entry(sonde_corpus *c, const sonde_corpus_plan *p, const char *entry, sonde_error *err) {
  side parts[SONDE_CORPUS_PARTS][2] = {0};
  char path[SONDE_CORPUS_PATH + 64];
  snprintf(path, sizeof path, "%s/" SONDE_CORPUS_TOKENIZER, entry);
  if (!(c->tokenizer = sonde_tokenizer_load(path, err))) return err->code;
  if (p->end && sonde_tokenizer_end_with(c->tokenizer, p->end, err)) return err->code;
  snprintf(c->tokenizer_hash, sizeof c->tokenizer_hash, "%s", sonde_tokenizer_hash(c->tokenizer));
  for (int64_t k = 0; k < p->parts; k++)
    for (int s = 0; s < 2; s++) {
      sonde_corpus_shard_name(path, sizeof path, entry, (sonde_split)s, k);
      if (!open_shard(c, path, sonde_tokenizer_vocab(c->tokenizer), &parts[k][s], err)) return err->code;
    }
  return combine(c, p, parts, err);
}

/* An entry that turns out to be damaged is rebuilt, once. */
static int open_texts(sonde_corpus *c, const sonde_corpus_plan *p, const char *cache, sonde_error *err) {
  char entry[SONDE_CORPUS_PATH];
  for (int attempt = 0;; attempt++) {
    int rc = sonde_corpus_entry(p, cache, attempt, entry, sizeof entry, err);
    if (rc) return rc;
    rc = open_entry(c, p, entry, err);
    if (!rc) break;
    if (attempt || (rc != SONDE_EFORMAT && rc != SONDE_EINVAL && rc != SONDE_ENOENT)) return rc;
    sonde_warn("the cached corpus is damaged and is rebuilt: %s", err->text);
    *err = (sonde_error){0};
    drop_shards(c);
  }
  c->cached = sonde_strdup(entry);
  return c->cached ? 0 : no_memory(err);
}

/* Both sides of the shards of part k. */
static int open_part(sonde_corpus *c, const sonde_corpus_plan *p, int64_t k, int held_back, side pair[2],
                     sonde_error *err) {
  int64_t n = 0, vocab = p->tokenizer ? sonde_tokenizer_vocab(p->tokenizer) : p->vocab;
  side *list[2];
  for (int s = 0; s < 2; s++)
    if (!(list[s] = sonde_arena_alloc(c->arena, (size_t)(p->files + 1) * sizeof **list))) return no_memory(err);
  for (int64_t i = 0; i < p->files; i++) {
    side both[2] = {0};
    const char *path = p->file[i].path;
    if (p->file[i].part != k) continue;
    if (sonde_is_folder(path)) {
      int rc = open_folder(c, path, vocab, both, err);
      if (rc) return rc;
      if (held_back) sonde_warn("'%s' has its own validation tokens: the option validation is not used", path);
    } else {
      const sonde_shard *shard = open_shard(c, path, vocab, &both[SONDE_TRAIN], err);
      if (!shard) return err->code;
      share_one(shard, p->validation, both);
    }
    for (int s = 0; s < 2; s++) list[s][n] = both[s];
    n++;
  }
  for (int s = 0; s < 2; s++) pair[s] = join(c, list[s], n, err);
  return err->code;
}

/* The vocabulary of every shard, and of every side that has tokens. */
static int check_vocab(const sonde_corpus *c, const sonde_corpus_plan *p, sonde_error *err) {
  int64_t vocab = sonde_shard_stream(c->shard[0]).vocab;
  for (int64_t i = 1; i < c->shards; i++)
    if (sonde_shard_stream(c->shard[i]).vocab != vocab)
      return sonde_fail(err, SONDE_EFORMAT, "'%s': the shards have vocabularies of %lld and %lld", p->spec,
                        (long long)vocab, (long long)sonde_shard_stream(c->shard[i]).vocab);
  return 0;
}

static int open_shards(sonde_corpus *c, const sonde_corpus_plan *p, int held_back, sonde_error *err) {
  side parts[SONDE_CORPUS_PARTS][2] = {0};
  int rc = 0;
  if ((c->tokenizer = sonde_tokenizer_ref(p->tokenizer)))
    snprintf(c->tokenizer_hash, sizeof c->tokenizer_hash, "%s", sonde_tokenizer_hash(c->tokenizer));
  for (int64_t k = 0; k < p->parts && !rc; k++) rc = open_part(c, p, k, held_back, parts[k], err);
  if (!rc) rc = check_vocab(c, p, err);
  return rc ? rc : combine(c, p, parts, err);
}

sonde_corpus *sonde_corpus_open(const sonde_corpus_part *part, int64_t parts, const sonde_corpus_opts *opts,
                                      sonde_pool *pool, sonde_error *err) {
  sonde_corpus_plan p = {0};
  sonde_error own;
  if (!err) err = &own;
  *err = (sonde_error){0};
  sonde_corpus *c = sonde_alloc(sizeof *c);
  if (!c || !(c->arena = sonde_arena_new())) {
    no_memory(err);
    sonde_release(c);
    return NULL;
  }
  int rc = sonde_corpus_plan_make(&p, part, parts, opts, pool, err);
  if (!rc && !(c->spec = sonde_strdup(p.spec))) rc = no_memory(err);
  if (!rc)
    rc = p.file[0].source ? open_texts(c, &p, opts ? opts->cache : NULL, err)
                          : open_shards(c, &p, opts && opts->validation > 0, err);
  sonde_corpus_plan_free(&p);
  if (!rc) {
    name_content(c);
    return c;
  }
  sonde_corpus_free(c);
  return NULL;
}

/* ---- accessors ----------------------------------------------------------------------------------------- */

sonde_stream sonde_corpus_stream(const sonde_corpus *c, sonde_split split) {
  return c->side[split].stream;
}

int64_t sonde_corpus_text_bytes(const sonde_corpus *c, sonde_split split) {
  return c->side[split].text_bytes;
}

int64_t sonde_corpus_documents(const sonde_corpus *c, sonde_split split) {
  return c->side[split].documents;
}

int64_t sonde_corpus_vocab(const sonde_corpus *c) {
  return c->side[SONDE_TRAIN].stream.vocab;
}

sonde_tokenizer *sonde_corpus_tokenizer(const sonde_corpus *c) {
  return c->tokenizer;
}

const char *sonde_corpus_tokenizer_hash(const sonde_corpus *c) {
  return c->tokenizer_hash;
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
