/* reference.h - tests/reference/tokenizers.json, and tokenizers made of it. */
#ifndef TESTS_TEXT_REFERENCE_H
#define TESTS_TEXT_REFERENCE_H

#include "../base/testing.h"
#include "base/mem.h"
#include "base/pool.h"
#include "io/json.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

static inline json_t *reference_load(void) {
  sonde_error err = {0};
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/reference/tokenizers.json", getenv("abs_srcdir"));
  json_t *tree = sonde_json_load(path, 0, &err);
  if (!tree) fail_msg("%s", err.text);
  return tree;
}

/* A tokenizer of a tree, or NULL with the reason. */
static inline sonde_tokenizer *reference_parse(const json_t *tree, sonde_error *err) {
  char *text = sonde_json_text(tree, 0);
  sonde_tokenizer *t = sonde_tokenizer_parse(text, (int64_t)strlen(text), "x.json", err);
  sonde_release(text);
  return t;
}

/* Encodes with a fresh encoder; fails the test when that fails. */
static inline sonde_ids reference_encode(sonde_tokenizer *t, const char *text, int64_t n, int flags) {
  sonde_error err = {0};
  sonde_ids ids = {0};
  sonde_encoder *e = sonde_encoder_new(t, &err);
  assert_non_null(e);
  if (sonde_encode(e, text, n, flags, &ids, &err)) fail_msg("%s", err.text);
  sonde_encoder_free(e);
  return ids;
}

#endif
