/* corpus_build.c - from documents to a tokenizer and token shards. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "text/corpus_internal.h"
#include "text/tokenize.h"

/* The documents of one side of a part, pointing into its text. */
typedef struct side {
  sonde_text *texts;
  int64_t n, bytes;
} side;

/* A part: its documents, and how they are parted. */
typedef struct portion {
  sonde_documents d;
  side side[2];
} portion;

void sonde_corpus_shard_name(char *buf, size_t size, const char *folder, sonde_split split, int64_t part) {
  const char *name = split == SONDE_TRAIN ? "train" : "validation";
  if (part)
    snprintf(buf, size, "%s/%s-%lld.tok", folder, name, (long long)part);
  else
    snprintf(buf, size, "%s/%s.tok", folder, name);
}

/* ---- the two sides ------------------------------------------------------------------------------------- */

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

static void put(side *s, const char *p, int64_t n) {
  if (!n) return;
  s->texts[s->n++] = (sonde_text){p, n};
  s->bytes += n;
}

static void part_by_hash(portion *o, double validation) {
  const sonde_documents *d = &o->d;
  for (int64_t i = 0; i < d->n; i++) {
    const char *p = d->text.data + d->start[i];
    int64_t n = d->start[i + 1] - d->start[i];
    put(&o->side[validation > 0 && place_of(p, n) < validation], p, n);
  }
}

/* A position to cut at: after a line end, else after a blank, shortly before `at`; else between characters. */
static int64_t cut_near(const char *p, int64_t n, int64_t at) {
  enum { FAR = 4096 };
  static const char ends[] = {'\n', ' '};
  for (size_t e = 0; e < sizeof ends; e++)
    for (int64_t i = at; i > 0 && i > at - FAR; i--)
      if (p[i - 1] == ends[e]) return i;
  while (at < n && (p[at] & 0xc0) == 0x80) at++;
  return at;
}

/* The text's tail for validation, in the middle of a document where it must be. */
static void part_by_tail(portion *o, double validation) {
  const sonde_documents *d = &o->d;
  int64_t n = d->text.n, cut = n - (int64_t)(validation * (double)n);
  cut = cut_near(d->text.data, n, cut < 1 ? 1 : cut > n - 1 ? n - 1 : cut);
  o->side[0].n = o->side[1].n = o->side[0].bytes = o->side[1].bytes = 0;
  for (int64_t i = 0; i < d->n; i++) {
    int64_t from = d->start[i], to = d->start[i + 1], middle = cut < from ? from : cut > to ? to : cut;
    put(&o->side[SONDE_TRAIN], d->text.data + from, middle - from);
    put(&o->side[SONDE_VALIDATION], d->text.data + middle, to - middle);
  }
}

static int part(const sonde_corpus_plan *p, portion *o, sonde_error *err) {
  for (int s = 0; s < 2; s++) {
    o->side[s].texts = sonde_alloc((size_t)(o->d.n + 1) * sizeof *o->side[s].texts);
    if (!o->side[s].texts) return sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
  }
  part_by_hash(o, p->validation);
  if (p->validation > 0 && o->d.n && (!o->side[0].n || !o->side[1].n)) {
    part_by_tail(o, p->validation);
    sonde_info(
        "making the corpus '%s': too few documents (%lld) to part them; the last %.3g of the text is for validation",
        p->spec, (long long)o->d.n, p->validation);
  }
  if (o->side[SONDE_TRAIN].n && (!(p->validation > 0) || o->side[SONDE_VALIDATION].n)) return 0;
  return sonde_fail(err, SONDE_EINVAL, "the corpus '%s' has no document for %s (%lld in all)", p->spec,
                    o->side[SONDE_TRAIN].n ? "validation" : "training", (long long)o->d.n);
}

/* ---- reading and writing ------------------------------------------------------------------------------- */

static int read_part(const sonde_corpus_plan *p, int64_t k, portion *o, sonde_error *err) {
  int rc = 0;
  o->d.max_bytes = p->max_bytes;
  for (int64_t i = 0; i < p->files && !rc && !sonde_documents_full(&o->d); i++) {
    const sonde_corpus_file *f = &p->file[i];
    const sonde_documents *in = &p->input;
    if (f->part != k) continue;
    if (f->source->identify) {
      rc = f->source->read(f->path, &p->reading, &o->d, err);
      continue;
    }
    for (int64_t j = 0; j < in->n && !rc; j++)
      if (sonde_documents_add(&o->d, in->text.data + in->start[j], in->start[j + 1] - in->start[j]))
        rc = sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
  }
  return rc ? rc : part(p, o, err);
}

/* A tokenizer of the training documents of all parts. */
static sonde_tokenizer *train_tokenizer(const sonde_corpus_plan *p, const portion *o, sonde_error *err) {
  int64_t n = 0;
  sonde_bpe_opts opts = {.vocab = p->vocab};
  for (int64_t k = 0; k < p->parts; k++) n += o[k].side[SONDE_TRAIN].n;
  sonde_text *all = sonde_alloc((size_t)(n + 1) * sizeof *all);
  if (!all) {
    sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
    return NULL;
  }
  n = 0;
  for (int64_t k = 0; k < p->parts; k++) {
    const side *s = &o[k].side[SONDE_TRAIN];
    memcpy(all + n, s->texts, (size_t)s->n * sizeof *all);
    n += s->n;
  }
  sonde_tokenizer *t = sonde_bpe_train(all, n, &opts, p->pool, err);
  sonde_release(all);
  if (t && sonde_tokenizer_vocab(t) < p->vocab)
    sonde_info("making the corpus '%s': the text gives a vocabulary of %lld, not %lld", p->spec,
               (long long)sonde_tokenizer_vocab(t), (long long)p->vocab);
  return t;
}

static int write_side(const sonde_corpus_plan *p, sonde_tokenizer *t, const side *s, const char *path,
                      sonde_error *err) {
  sonde_ids ids = {0};
  int64_t *offsets = sonde_alloc((size_t)(s->n + 1) * sizeof *offsets);
  if (!offsets) return sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
  int rc = sonde_tokenize(t, s->texts, s->n, p->special ? 0 : SONDE_ENCODE_PLAIN, p->pool, &ids, offsets, err);
  sonde_shard_info info = {sonde_tokenizer_vocab(t), s->bytes, sonde_tokenizer_hash(t)};
  if (!rc) rc = sonde_shard_write(path, ids.id, ids.n, offsets, s->n, &info, err);
  sonde_ids_free(&ids);
  sonde_release(offsets);
  return rc;
}

static int write_all(const sonde_corpus_plan *p, const portion *o, const char *folder, sonde_error *err) {
  char path[SONDE_CORPUS_PATH + 64];
  sonde_tokenizer *t = p->tokenizer ? sonde_tokenizer_ref(p->tokenizer) : train_tokenizer(p, o, err);
  if (!t) return err->code;
  if (*sonde_tokenizer_unused(t))
    sonde_info("making the corpus '%s': settings of the tokenizer that are not used: %s", p->spec,
               sonde_tokenizer_unused(t));
  snprintf(path, sizeof path, "%s/" SONDE_CORPUS_TOKENIZER, folder);
  int rc = sonde_tokenizer_save(t, path, err);
  for (int64_t k = 0; k < 2 * p->parts && !rc; k++) {
    sonde_corpus_shard_name(path, sizeof path, folder, (sonde_split)(k % 2), k / 2);
    rc = write_side(p, t, &o[k / 2].side[k % 2], path, err);
  }
  sonde_tokenizer_free(t);
  return rc;
}

int sonde_corpus_build(const sonde_corpus_plan *p, const char *folder, sonde_error *err) {
  portion *o = sonde_alloc((size_t)p->parts * sizeof *o);
  if (!o) return sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
  int rc = 0;
  for (int64_t k = 0; k < p->parts && !rc; k++) rc = read_part(p, k, &o[k], err);
  if (!rc) rc = write_all(p, o, folder, err);
  for (int64_t k = 0; k < p->parts; k++) {
    for (int s = 0; s < 2; s++) sonde_release(o[k].side[s].texts);
    sonde_documents_free(&o[k].d);
  }
  sonde_release(o);
  return rc;
}
