/* corpus_build.c - from documents to a tokenizer and two token shards. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "text/corpus_internal.h"
#include "text/tokenize.h"

/* The documents of one side, pointing into the text. */
typedef struct side {
  sonde_text *texts;
  int64_t n, bytes;
} side;

/* The first 60 bits of the text's SHA-256 as a fraction: equal texts fall on the same side, whatever
 * stands around. */
static double place_of(const char *p, int64_t n) {
  sonde_sha256 sha;
  char hex[65];
  sonde_sha256_init(&sha);
  sonde_sha256_add(&sha, p, (size_t)n);
  sonde_sha256_hex(&sha, hex);
  hex[15] = '\0';
  return (double)strtoull(hex, NULL, 16) * 0x1p-60;
}

static int part(const sonde_corpus_plan *p, const sonde_documents *d, side sides[2], sonde_error *err) {
  for (int s = 0; s < 2; s++) {
    sides[s].texts = sonde_alloc((size_t)(d->n + 1) * sizeof *sides[s].texts);
    if (!sides[s].texts) return sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
  }
  for (int64_t i = 0; i < d->n; i++) {
    sonde_text t = {d->text.data + d->start[i], d->start[i + 1] - d->start[i]};
    side *s = &sides[p->validation > 0 && place_of(t.data, t.n) < p->validation];
    s->texts[s->n++] = t;
    s->bytes += t.n;
  }
  if (sides[SONDE_TRAIN].n) return 0;
  return sonde_fail(err, SONDE_EINVAL, "the corpus '%s' has no document for training (%lld in all)", p->spec,
                    (long long)d->n);
}

static int write_side(const sonde_corpus_plan *p, sonde_tokenizer *t, const side *s, const char *folder,
                      const char *name, sonde_error *err) {
  char path[4096];
  sonde_ids ids = {0};
  int64_t *offsets = sonde_alloc((size_t)(s->n + 1) * sizeof *offsets);
  if (!offsets) return sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int rc = sonde_tokenize(t, s->texts, s->n, p->pool, &ids, offsets, err);
  sonde_shard_info info = {sonde_tokenizer_vocab(t), s->bytes, sonde_tokenizer_hash(t)};
  if (!rc) rc = sonde_shard_write(path, ids.id, ids.n, offsets, s->n, &info, err);
  sonde_ids_free(&ids);
  sonde_release(offsets);
  return rc;
}

static int write_sides(const sonde_corpus_plan *p, const side sides[2], const char *folder,
                       sonde_error *err) {
  char path[4096];
  sonde_bpe_opts opts = {.vocab = p->vocab};
  sonde_tokenizer *t = p->tokenizer ? sonde_tokenizer_ref(p->tokenizer)
                                    : sonde_bpe_train(sides[0].texts, sides[0].n, &opts, p->pool, err);
  if (!t) return err->code;
  if (!p->tokenizer && sonde_tokenizer_vocab(t) < p->vocab)
    sonde_warn("corpus '%s': the text gives a vocabulary of %lld, not %lld", p->spec,
               (long long)sonde_tokenizer_vocab(t), (long long)p->vocab);
  snprintf(path, sizeof path, "%s/" SONDE_CORPUS_TOKENIZER, folder);
  int rc = sonde_tokenizer_save(t, path, err);
  if (!rc) rc = write_side(p, t, &sides[SONDE_TRAIN], folder, SONDE_CORPUS_TRAIN, err);
  if (!rc) rc = write_side(p, t, &sides[SONDE_VALIDATION], folder, SONDE_CORPUS_VALIDATION, err);
  sonde_tokenizer_free(t);
  return rc;
}

int sonde_corpus_build(const sonde_corpus_plan *p, const char *folder, sonde_error *err) {
  sonde_documents d = {.max_bytes = p->max_bytes};
  side sides[2] = {0};
  int rc = p->source->read(p->spec, p->field, &d, err);
  if (!rc) rc = part(p, &d, sides, err);
  if (!rc) rc = write_sides(p, sides, folder, err);
  sonde_release(sides[0].texts);
  sonde_release(sides[1].texts);
  sonde_documents_free(&d);
  return rc;
}
