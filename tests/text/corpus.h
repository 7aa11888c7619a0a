/* corpus.h - files, and corpora made of them, in a folder of the test's own. */
#ifndef TESTS_TEXT_CORPUS_H
#define TESTS_TEXT_CORPUS_H

#include "../base/testing.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/bytes.h"
#include "text/corpus.h"

static char folder[256], cache[300], path[300];
static sonde_pool *pool;

static inline int setup(void **state) {
  sonde_error err = {0};
  (void)state;
  sonde_log_level(SONDE_LOG_QUIET);
  test_folder(folder, sizeof folder);
  snprintf(cache, sizeof cache, "%s/cache", folder);
  snprintf(path, sizeof path, "%s/none", folder);
  pool = sonde_pool_new(2, &err);
  return pool == NULL;
}

static inline int teardown(void **state) {
  (void)state;
  sonde_pool_free(pool);
  test_folder_drop(folder);
  return 0;
}

static inline const char *make_file(const char *name, const void *data, int64_t n) {
  sonde_error err = {0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(sonde_file_write(path, data, n, &err), 0);
  return path;
}

/* One source, with these options and threads. */
static inline sonde_corpus *open_one(const char *spec, const sonde_corpus_opts *o, sonde_pool *threads,
                                     sonde_error *err) {
  return sonde_corpus_open(&(sonde_corpus_part){&spec, 1, 1}, 1, o, threads, err);
}

static inline sonde_corpus *open_with(const char *spec, sonde_corpus_opts o, sonde_error *err) {
  o.cache = cache;
  if (!o.vocab && !o.tokenizer) o.vocab = 300;
  return open_one(spec, &o, pool, err);
}

static inline sonde_corpus *must_open(const char *spec, sonde_corpus_opts o) {
  sonde_error err = {0};
  sonde_corpus *c = open_with(spec, o, &err);
  if (!c) fail_msg("%s", err.text);
  return c;
}

/* One side's text, its documents parted by '|'. Freed by the caller. */
static inline char *text_of(const sonde_corpus *c, sonde_split split) {
  sonde_error err = {0};
  sonde_stream s = sonde_corpus_stream(c, split);
  sonde_tokenizer *t = sonde_corpus_tokenizer(c);
  int32_t *ids = malloc((size_t)(s.tokens + 1) * sizeof *ids);
  sonde_bytes out = {0};
  assert_int_equal(sonde_stream_read(&s, 0, s.tokens, ids, &err), 0);
  sonde_bytes_add(&out, "", 0);
  for (int64_t i = 0; i < s.tokens; i++) {
    int64_t n;
    const char *p = sonde_tokenizer_bytes(t, ids[i], &n);
    int end = ids[i] == sonde_tokenizer_eot(t);
    sonde_bytes_add(&out, end ? "|" : p, end ? 1 : n);
  }
  free(ids);
  return out.data;
}

static inline void text_is(const char *spec, sonde_corpus_opts o, const char *want) {
  o.validation = -1;
  sonde_corpus *c = must_open(spec, o);
  char *got = text_of(c, SONDE_TRAIN);
  assert_string_equal(got, want);
  assert_int_equal(sonde_corpus_stream(c, SONDE_VALIDATION).tokens, 0);
  sonde_release(got);
  sonde_corpus_free(c);
}

static inline void refused(const char *spec, sonde_corpus_opts o, int code, const char *what) {
  sonde_error err = {0};
  sonde_corpus *c = open_with(spec, o, &err);
  if (c) fail_msg("not refused: %s", spec);
  if (err.code != code || !strstr(err.text, what)) fail_msg("'%s' (%d) lacks '%s'", err.text, err.code, what);
}

#define NONE ((sonde_corpus_opts){0})
#define TEXT(name, s) make_file(name, s, (int64_t)strlen(s))

#endif
