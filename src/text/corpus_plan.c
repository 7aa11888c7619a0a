/* corpus_plan.c - from the specification of a corpus to the list of files to read. */
#include "config.h"

#include <fnmatch.h>
#include <fts.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "text/corpus_internal.h"

enum { DEFAULT_VOCAB = 8192 };
#define DEFAULT_VALIDATION 0.05

static int no_memory(sonde_error *err) {
  return sonde_fail(err, SONDE_ENOMEM, "corpus: out of memory");
}

const char *sonde_corpus_find(const char *folder, const char *const *names, int n, char *buf, size_t size) {
  for (int i = 0; i < n; i++) {
    snprintf(buf, size, "%s/%s", folder, names[i]);
    if (sonde_path_exists(buf)) return buf;
  }
  return NULL;
}

/* ---- files --------------------------------------------------------------------------------------------- */

static int is_shard(const char *path) {
  size_t n = strlen(path);
  return n > 4 && (!strcmp(path + n - 4, ".tok") || !strcmp(path + n - 4, ".bin"));
}

static int is_shard_folder(const char *path) {
  static const char *const names[] = {SONDE_CORPUS_TRAIN, "train.bin"};
  char buf[SONDE_CORPUS_PATH];
  return sonde_is_folder(path) && sonde_corpus_find(path, names, 2, buf, sizeof buf);
}

static int add_file(sonde_corpus_plan *p, int64_t part, const char *path, const sonde_source *source,
                    sonde_error *err) {
  if (p->files == p->room) {
    int64_t room = 2 * p->room + 16;
    sonde_corpus_file *grown = sonde_grow(p->file, (size_t)p->room * sizeof *grown, (size_t)room * sizeof *grown);
    if (!grown) return no_memory(err);
    p->file = grown;
    p->room = room;
  }
  const char *name = sonde_arena_strdup(p->arena, path);
  if (!name) return no_memory(err);
  p->file[p->files++] = (sonde_corpus_file){name, source, part};
  return 0;
}

/* A single path. */
static int add_path(sonde_corpus_plan *p, int64_t part, const char *path, sonde_error *err) {
  const sonde_source *source = NULL;
  if (!is_shard(path) && !is_shard_folder(path) && !(source = sonde_source_find(path, err))) return err->code;
  return add_file(p, part, path, source, err);
}

static int by_name(const FTSENT **a, const FTSENT **b) {
  return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int is_text_name(const char *name) {
  static const char *const fits[] = {"*.txt", "*.jsonl", "*.txt.gz", "*.jsonl.gz", "*.txt.zst", "*.jsonl.zst"};
  for (size_t i = 0; i < sizeof fits / sizeof *fits; i++)
    if (!fnmatch(fits[i], name, FNM_PERIOD | FNM_CASEFOLD)) return 1;
  return 0;
}

/* The text files of a folder and of those in it. */
static int add_folder(sonde_corpus_plan *p, int64_t part, const char *folder, sonde_error *err) {
  char *const roots[] = {(char *)folder, NULL};
  int64_t before = p->files;
  int rc = 0;
  FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_name);
  if (!tree) return sonde_fail_errno(err, SONDE_EIO, "cannot read '%s'", folder);
  for (FTSENT *e; !rc && (e = fts_read(tree));)
    if (e->fts_info == FTS_F && is_text_name(e->fts_name)) rc = add_path(p, part, e->fts_path, err);
  fts_close(tree);
  if (rc || p->files > before) return rc;
  return sonde_fail(err, SONDE_ENOENT,
                    "'%s' contains neither token shards (train.tok, train.bin) nor a .txt or .jsonl file", folder);
}

static int add_pattern(sonde_corpus_plan *p, int64_t part, const char *pattern, sonde_error *err) {
  glob_t found;
  int code = glob(pattern, 0, NULL, &found), rc = 0;
  if (code == GLOB_NOSPACE) return no_memory(err);
  if (code) return sonde_fail(err, SONDE_ENOENT, "no file fits '%s'", pattern);
  for (size_t i = 0; i < found.gl_pathc && !rc; i++) rc = add_path(p, part, found.gl_pathv[i], err);
  globfree(&found);
  return rc;
}

static int add_source(sonde_corpus_plan *p, int64_t part, const char *source, sonde_error *err) {
  if (sonde_is_folder(source) && !is_shard_folder(source)) return add_folder(p, part, source, err);
  if (strpbrk(source, "*?[") && !sonde_path_exists(source)) return add_pattern(p, part, source, err);
  return add_path(p, part, source, err);
}

/* ---- options ------------------------------------------------------------------------------------------- */

static int read_opts(sonde_corpus_plan *p, const sonde_corpus_opts *o, sonde_error *err) {
  p->reading = (sonde_reading){.field = o->field ? o->field : "text", .skip = o->skip, .doing = "making the corpus",
                               .asked = sonde_reading_asked(o->field, o->skip)};
  p->validation = o->validation > 0 ? o->validation : o->validation < 0 ? 0 : DEFAULT_VALIDATION;
  p->vocab = o->vocab;
  p->max_bytes = o->max_bytes;
  p->special = o->special;
  if (!(p->validation < 1))
    return sonde_fail(err, SONDE_EINVAL, "a validation share of %g; it is below 1", o->validation);
  if (o->vocab < 0 || p->max_bytes < 0)
    return sonde_fail(err, SONDE_EINVAL, "a vocabulary of %lld, text of %lld bytes", (long long)o->vocab,
                      (long long)p->max_bytes);
  if (!o->tokenizer && o->end_of_text)
    return sonde_fail(err, SONDE_EINVAL, "the option end_of_text names a token of the option tokenizer: give both");
  if (!o->tokenizer) return 0;
  if (!(p->tokenizer = sonde_tokenizer_load(o->tokenizer, err))) return err->code;
  int32_t usual = sonde_tokenizer_eot(p->tokenizer);
  sonde_error why = {0};
  if (o->end_of_text && sonde_tokenizer_end_with(p->tokenizer, o->end_of_text, &why))
    return sonde_fail(err, why.code, "%s: %s; see the option end_of_text", o->tokenizer, why.text);
  if (sonde_tokenizer_eot(p->tokenizer) != usual && !(p->end = sonde_arena_strdup(p->arena, o->end_of_text)))
    return no_memory(err);
  if (!o->vocab || o->vocab == sonde_tokenizer_vocab(p->tokenizer)) return 0;
  return sonde_fail(err, SONDE_EINVAL,
                    "a vocabulary of %lld is given, and '%s' has %lld: leave one of them out",
                    (long long)o->vocab, o->tokenizer, (long long)sonde_tokenizer_vocab(p->tokenizer));
}

/* Texts or tokens, not both; and tokens are what they are, so options that are for reading text mean a mistake. */
static int check_kinds(sonde_corpus_plan *p, const sonde_corpus_opts *o, sonde_error *err) {
  int texts = p->file[0].source != NULL;
  for (int64_t i = 1; i < p->files; i++)
    if ((p->file[i].source != NULL) != texts)
      return sonde_fail(err, SONDE_EINVAL, "'%s' and '%s': a corpus is of texts or of token shards, not of both",
                        p->file[0].path, p->file[i].path);
  const char *idle = o->field         ? "field"
                     : o->max_bytes   ? "max_bytes"
                     : o->skip        ? "skip"
                     : o->special     ? "special"
                     : o->end_of_text ? "end_of_text"
                                      : NULL;
  if (!texts && idle)
    return sonde_fail(err, SONDE_EINVAL, "'%s' contains tokens: the option %s is for texts; leave it out", p->spec,
                      idle);
  int jsonl = !texts || !p->reading.asked;
  for (int64_t i = 0; i < p->files && !jsonl; i++) jsonl = sonde_source_may_be_jsonl(p->file[i].source);
  if (!jsonl)
    return sonde_fail(err, SONDE_EINVAL, "'%s' contains no .jsonl: the option %s is for those; leave it out", p->spec,
                      p->reading.asked);
  if (texts && !p->tokenizer && !p->vocab) p->vocab = DEFAULT_VOCAB;
  return 0;
}

/* "a.txt, b.txt"; of a mixture "0.75 a.txt + 0.25 b.txt". */
static int name_plan(sonde_corpus_plan *p, const sonde_corpus_part *part, sonde_error *err) {
  sonde_bytes name = {0};
  char number[40];
  int failed = 0;
  for (int64_t k = 0; k < p->parts; k++) {
    int n = snprintf(number, sizeof number, "%s%.6g ", k ? " + " : "", p->weight[k]);
    if (p->parts > 1) failed |= sonde_bytes_add(&name, number, n);
    for (int64_t i = 0; i < part[k].sources; i++) {
      if (i) failed |= sonde_bytes_add(&name, ", ", 2);
      failed |= sonde_bytes_add(&name, part[k].source[i], (int64_t)strlen(part[k].source[i]));
    }
  }
  p->spec = name.data;
  return failed ? no_memory(err) : 0;
}

/* What comes through standard input comes once, and its name says nothing of it: it is read before the cache is
 * asked. */
static int read_input(sonde_corpus_plan *p, sonde_error *err) {
  p->input.max_bytes = p->max_bytes;
  for (int64_t i = 0; i < p->files; i++)
    if (p->file[i].source && !p->file[i].source->identify)
      return p->file[i].source->read(p->file[i].path, &p->reading, &p->input, err);
  return 0;
}

int sonde_corpus_plan_make(sonde_corpus_plan *p, const sonde_corpus_part *part, int64_t parts,
                           const sonde_corpus_opts *opts, sonde_pool *pool, sonde_error *err) {
  static const sonde_corpus_opts none;
  const sonde_corpus_opts *o = opts ? opts : &none;
  double sum = 0;
  *p = (sonde_corpus_plan){.pool = pool, .parts = parts};
  if (!(p->arena = sonde_arena_new())) return no_memory(err);
  if (parts < 1 || parts > SONDE_CORPUS_PARTS)
    return sonde_fail(err, SONDE_EINVAL, "a corpus of %lld parts; there may be 1 to %d", (long long)parts,
                      SONDE_CORPUS_PARTS);
  for (int64_t k = 0; k < parts; k++) {
    if (!(part[k].weight > 0) || !isfinite(part[k].weight))
      return sonde_fail(err, SONDE_EINVAL, "part %lld of the corpus has a weight of %g; it is above 0",
                        (long long)k + 1, part[k].weight);
    sum += part[k].weight;
  }
  for (int64_t k = 0; k < parts; k++) p->weight[k] = part[k].weight / sum;
  int rc = name_plan(p, part, err);
  if (!rc) rc = read_opts(p, o, err);
  for (int64_t k = 0; k < parts && !rc; k++) {
    if (part[k].sources < 1)
      rc = sonde_fail(err, SONDE_EINVAL, "part %lld of the corpus names no source", (long long)k + 1);
    for (int64_t i = 0; i < part[k].sources && !rc; i++) rc = add_source(p, k, part[k].source[i], err);
  }
  return rc || (rc = check_kinds(p, o, err)) ? rc : read_input(p, err);
}

void sonde_corpus_plan_free(sonde_corpus_plan *p) {
  sonde_documents_free(&p->input);
  sonde_tokenizer_free(p->tokenizer);
  sonde_release(p->spec);
  sonde_release(p->file);
  if (p->arena) sonde_arena_free(p->arena);
}
