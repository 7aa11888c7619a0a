/* bpe_file.c - a trained model spelled as tokenizer.json, and read back through the one loader there is. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "io/json.h"
#include "text/alphabet.h"
#include "text/bpe_file.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

/* The bytes in GPT-2's alphabet: none of its letters is a space, which separates the sides of a merge. */
static int spell(const sonde_bpe_model *m, int64_t k, sonde_bytes *out) {
  for (int64_t i = m->start[k]; i < m->start[k + 1]; i++) {
    char letter[3];
    sonde_byte_char((unsigned char)m->text.data[i], letter);
    if (sonde_bytes_add(out, letter, (int64_t)strlen(letter))) return SONDE_ENOMEM;
  }
  return 0;
}

/* Special tokens are in the same vocabulary as the tokens of the text, so no two may be spelled alike. */
static int check_special(const sonde_bpe_model *m, const char *const *special, int n_special, sonde_error *err) {
  sonde_map *names = sonde_map_new();
  sonde_bytes text = {0};
  int rc = names ? 0 : SONDE_ENOMEM;
  for (int i = 0; i < n_special && !rc; i++) {
    int64_t n = (int64_t)strlen(special[i]);
    if (!n || sonde_utf8_prefix(special[i], n) < n || sonde_map_get(names, special[i]))
      rc = sonde_fail(err, SONDE_EINVAL, "special token %d, '%.40s', is %s", i + 1, special[i],
                      !n ? "empty" : sonde_map_get(names, special[i]) ? "there twice" : "no UTF-8");
    else
      rc = sonde_map_set(names, special[i], names);
  }
  for (int64_t k = 0; k < m->tokens && !rc && n_special; k++) {
    text.n = 0;
    if ((rc = spell(m, k, &text)) || !sonde_map_get(names, text.data)) continue;
    rc = sonde_fail(err, SONDE_EINVAL,
                    "the special token '%.40s' is spelled like a token of the text; write it with marks, as "
                    "<|%.40s|>",
                    text.data, text.data);
  }
  sonde_map_free(names);
  sonde_bytes_free(&text);
  return rc == SONDE_ENOMEM ? sonde_fail(err, rc, "training a tokenizer: out of memory") : rc;
}

static json_t *make_vocab(const sonde_bpe_model *m, const char *const *special, int n_special) {
  json_t *vocab = json_object();
  sonde_bytes text = {0};
  int failed = !vocab;
  for (int i = 0; i < n_special && !failed; i++)
    failed = json_object_set_new(vocab, special[i], json_integer(i)) != 0;
  for (int64_t k = 0; k < m->tokens && !failed; k++) {
    text.n = 0;
    failed = spell(m, k, &text) || json_object_set_new(vocab, text.data, json_integer(n_special + k));
  }
  sonde_bytes_free(&text);
  if (!failed) return vocab;
  json_decref(vocab);
  return NULL;
}

static json_t *make_merges(const sonde_bpe_model *m) {
  json_t *list = json_array();
  sonde_bytes text = {0};
  int failed = !list;
  for (int64_t i = 0; i < m->merges && !failed; i++) {
    text.n = 0;
    failed = spell(m, m->merge[i][0], &text) || sonde_bytes_add(&text, " ", 1) ||
             spell(m, m->merge[i][1], &text) || json_array_append_new(list, json_string(text.data));
  }
  sonde_bytes_free(&text);
  if (!failed) return list;
  json_decref(list);
  return NULL;
}

static json_t *make_added(const char *const *special, int n_special) {
  json_t *list = json_array();
  for (int i = 0; i < n_special && list; i++)
    json_array_append_new(list, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", i, "content",
                                          special[i], "single_word", 0, "lstrip", 0, "rstrip", 0,
                                          "normalized", 0, "special", 1));
  return list;
}

static json_t *byte_level(void) {
  return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1,
                   "use_regex", 1);
}

sonde_tokenizer *sonde_bpe_tokenizer(const sonde_bpe_model *m, const char *const *special, int n_special,
                                     sonde_error *err) {
  if (check_special(m, special, n_special, err)) return NULL;
  json_t *model =
    json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
              "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
              "ignore_merges", 0, "vocab", make_vocab(m, special, n_special), "merges", make_merges(m));
  json_t *tree =
    json_pack("{s:s, s:n, s:n, s:o, s:n, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
              "added_tokens", make_added(special, n_special), "normalizer", "pre_tokenizer", byte_level(),
              "post_processor", byte_level(), "decoder", byte_level(), "model", model);
  char *text = tree ? sonde_json_text(tree, 2) : NULL;
  json_decref(tree);
  if (!text) {
    sonde_fail(err, SONDE_ENOMEM, "training a tokenizer: out of memory");
    return NULL;
  }
  int64_t size = (int64_t)strlen(text);
  sonde_tokenizer *t = NULL;
  if (size > SONDE_TOKENIZER_BYTES)      /* long runs of one character make tokens as long */
    sonde_fail(err, SONDE_ELIMIT,
               "a tokenizer of this text would be a file of %lld bytes, more than the %d that are read",
               (long long)size, SONDE_TOKENIZER_BYTES);
  else
    t = sonde_tokenizer_parse(text, size, "trained tokenizer", err);
  sonde_release(text);
  return t;
}
