/* kinds_test.c - tokenizers of every kind beside the foreign library (tests/reference/tokenizer_kinds.json): ids, the
 * texts that they are decoded to. `kinds_test FILE` takes another file of that form. */
#include "reference.h"

static const char *file;
static json_t *ref;

static int setup(void **state) {
  sonde_error err = {0};
  char path[4096];
  (void)state;
  snprintf(path, sizeof path, "%s/tests/reference/tokenizer_kinds.json",
           getenv("abs_srcdir") ? getenv("abs_srcdir") : ".");
  ref = sonde_json_load(file ? file : path, 0, &err);
  if (!ref) fail_msg("%s", err.text);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  json_decref(ref);
  return 0;
}

static int same_ids(const sonde_ids *got, const json_t *expected) {
  int same = got->n == (int64_t)json_array_size(expected);
  for (int64_t k = 0; same && k < got->n; k++)
    same = got->id[k] == json_integer_value(json_array_get(expected, (size_t)k));
  return same;
}

static void show(const char *name, const char *what, const json_t *text, const json_t *expected) {
  char *t = sonde_json_text(text, 0), *e = sonde_json_text(expected, 0);
  print_error("%s: %s of %s is expected to be %s, not\n ", name, what, t, e);
  sonde_release(t);
  sonde_release(e);
}

/* Texts whose ids, or whose decoded ids, are not those of the library. */
static int64_t differing(const char *name, const json_t *tree, const json_t *of) {
  sonde_error err = {0};
  json_t *text;
  size_t i;
  int64_t bad = 0;
  sonde_tokenizer *t = reference_parse(tree, &err);
  if (!t) fail_msg("%s: %s", name, err.text);
  json_array_foreach(json_object_get(ref, "texts"), i, text) {
    const json_t *expected = json_array_get(json_object_get(of, "ids"), i),
                 *decoded = json_array_get(json_object_get(of, "decoded"), i);
    char *back = NULL;
    int64_t bytes;
    sonde_ids got = reference_encode(t, json_string_value(text), (int64_t)json_string_length(text), 0);
    if (!same_ids(&got, expected)) {
      show(name, "the ids", text, expected);
      for (int64_t k = 0; k < got.n; k++) print_error(" %d", got.id[k]);
      print_error("\n");
      bad++;
    } else if (sonde_decode(t, got.id, got.n, 0, &back, &bytes, &err)) {
      fail_msg("%s: %s", name, err.text);
    } else if (strcmp(back, json_string_value(decoded)) && !strstr(json_string_value(decoded), "\xef\xbf\xbd")) {
      show(name, "the text", text, decoded);
      print_error(" %s\n", back);
      bad++;
    }
    sonde_release(back);
    sonde_ids_free(&got);
  }
  sonde_tokenizer_free(t);
  return bad;
}

static void every_kind_has_the_ids_of_the_foreign_library(void **state) {
  const char *name;
  json_t *kind;
  int64_t bad = 0;
  (void)state;
  json_object_foreach(json_object_get(ref, "kinds"), name, kind) bad +=
      differing(name, json_object_get(kind, "json"), kind);
  assert_true(json_object_size(json_object_get(ref, "kinds")) >= 12);
  assert_int_equal(bad, 0);
}

static void every_step_has_the_ids_of_the_foreign_library(void **state) {
  const char *name;
  json_t *part;
  int64_t bad = 0;
  (void)state;
  json_object_foreach(json_object_get(ref, "parts"), name, part) {
    json_t *tree = json_copy(json_object_get(ref, "base"));
    json_object_update(tree, json_object_get(part, "replace"));
    bad += differing(name, tree, part);
    json_decref(tree);
  }
  assert_true(json_object_size(json_object_get(ref, "parts")) >= 40);
  assert_int_equal(bad, 0);
}

static json_t *kind(const char *name) {
  return json_object_get(json_object_get(json_object_get(ref, "kinds"), name), "json");
}

/* Bytes that are no UTF-8 have tokens of bytes, and come back. */
static void any_bytes_come_back_by_byte_fallback(void **state) {
  sonde_error err = {0};
  const char text[] = "the \xff\xe6\xb7 sea\xc3";
  char *back;
  int64_t n;
  (void)state;
  sonde_tokenizer *t = reference_parse(kind("llama"), &err);
  sonde_ids ids = reference_encode(t, text, (int64_t)strlen(text), SONDE_ENCODE_BARE);
  assert_int_equal(sonde_decode(t, ids.id, ids.n, 0, &back, &n, &err), 0);
  /* The file prepends a space to each stretch of text; the first is taken off. */
  assert_string_equal(back, "the \xff\xe6\xb7  sea\xc3");
  sonde_release(back);
  sonde_ids_free(&ids);
  sonde_tokenizer_free(t);
}

/* Token by token inside a text, the pieces make the text again: nothing is taken off their ends. */
static void tokens_of_a_stream_keep_their_spaces(void **state) {
  static const char *const names[] = {"llama", "llama_split", "llama_never", "unigram", "wordpiece"};
  const char text[] = "the sea the depth";
  sonde_error err = {0};
  (void)state;
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    sonde_tokenizer *t = reference_parse(kind(names[k]), &err);
    sonde_ids ids = reference_encode(t, text, (int64_t)strlen(text), SONDE_ENCODE_BARE);
    char all[200] = "", *piece, *inside;
    int64_t n;
    for (int64_t i = 0; i < ids.n; i++) {
      assert_int_equal(sonde_decode(t, &ids.id[i], 1, SONDE_DECODE_INSIDE, &piece, &n, &err), 0);
      strcat(all, piece);
      sonde_release(piece);
    }
    assert_string_equal(all[0] == ' ' ? all + 1 : all, text);
    assert_int_equal(sonde_decode(t, ids.id, ids.n, SONDE_DECODE_INSIDE, &inside, &n, &err), 0);
    assert_string_equal(inside, all);
    sonde_release(inside);
    sonde_ids_free(&ids);
    sonde_tokenizer_free(t);
  }
}

/* Texts of one class of characters, which no pre-tokeniser cuts: what took time in the square of the length would be
 * noticed. */
static void a_long_text_of_anything_is_encoded(void **state) {
  enum { N = 1 << 18 };
  static const char *const of[] = {"a", " ", "\n", "1", ".", "\xe6\xb7\xb1", "\xe2\x96\x81", "\xcc\x81", "the ", "z"};
  const char *name;
  json_t *one;
  (void)state;
  char *text = malloc(N + 8);
  json_object_foreach(json_object_get(ref, "kinds"), name, one) {
    sonde_error err = {0};
    sonde_tokenizer *t = reference_parse(json_object_get(one, "json"), &err);
    for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
      size_t size = strlen(of[k]), n = N / size * size;
      for (size_t i = 0; i < n; i += size) memcpy(text + i, of[k], size);
      sonde_ids ids = reference_encode(t, text, (int64_t)n, 0);
      for (int64_t i = 0; i < ids.n; i++) assert_true(ids.id[i] >= 0 && ids.id[i] < sonde_tokenizer_vocab(t));
      sonde_ids_free(&ids);
    }
    sonde_tokenizer_free(t);
  }
  free(text);
}

/* A tokenizer with another setting gives other ids, and is not the same. */
static void another_setting_is_another_tokenizer(void **state) {
  static const struct { const char *kind, *change; } cases[] = {
      {"llama", "{\"normalizer\": null}"},
      {"llama", "{\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"x\"}}"},
      {"llama", "{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}}"},
      {"llama", "{\"model\": {\"fuse_unk\": false}}"},
      {"llama", "{\"model\": {\"byte_fallback\": false}}"},
      {"unigram", "{\"model\": {\"unk_id\": 1}}"},
      {"wordpiece", "{\"model\": {\"max_input_chars_per_word\": 3}}"},
      {"wordpiece", "{\"model\": {\"continuing_subword_prefix\": \"@@\"}}"},
      {"wordpiece", "{\"pre_tokenizer\": {\"type\": \"Punctuation\", \"behavior\": \"Removed\"}}"}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sonde_error err = {0};
    json_t *tree = json_deep_copy(kind(cases[i].kind)), *change = json_loads(cases[i].change, 0, NULL);
    sonde_tokenizer *a = reference_parse(tree, &err);
    json_object_set_new(tree, "version", json_string("2"));
    sonde_tokenizer *same = reference_parse(tree, &err);
    json_object_update_recursive(tree, change);
    sonde_tokenizer *b = reference_parse(tree, &err);
    if (!a || !b) fail_msg("%s: %s", cases[i].change, err.text);
    assert_true(sonde_tokenizer_same(a, same));
    if (sonde_tokenizer_same(a, b) || sonde_tokenizer_same(b, a)) fail_msg("%s: the same", cases[i].change);
    sonde_tokenizer_free(a);
    sonde_tokenizer_free(b);
    sonde_tokenizer_free(same);
    json_decref(tree);
    json_decref(change);
  }
}

static void any_allocation_may_fail(void **state) {
  static const char *const names[] = {"llama", "unigram", "wordpiece"};
  const char text[] = "The depth\n of \xe6\xb7\xb1 \xff zz";
  (void)state;
  for (size_t k = 0; k < 3; k++) {
    char *json = sonde_json_text(kind(names[k]), 0);
    int64_t live = sonde_alloc_live(), failures = 0;
    for (int nth = 1, done = 0; !done; nth++) {
      sonde_error err = {0};
      sonde_ids ids = {0};
      char *back = NULL;
      int64_t n;
      sonde_alloc_fail_at(nth);
      sonde_tokenizer *t = sonde_tokenizer_parse(json, (int64_t)strlen(json), "x", &err);
      sonde_encoder *e = t ? sonde_encoder_new(t, &err) : NULL;
      done = e && !sonde_encode(e, text, (int64_t)strlen(text), 0, &ids, &err) &&
             !sonde_decode(t, ids.id, ids.n, 0, &back, &n, &err);
      sonde_alloc_fail_at(0);
      if (!done) assert_int_equal(err.code, SONDE_ENOMEM);
      sonde_release(back);
      sonde_ids_free(&ids);
      sonde_encoder_free(e);
      sonde_tokenizer_free(t);
      assert_int_equal(sonde_alloc_live(), live);
      failures += !done;
    }
    assert_true(failures > 10);
    sonde_release(json);
  }
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_kind_has_the_ids_of_the_foreign_library),
    cmocka_unit_test(every_step_has_the_ids_of_the_foreign_library),
    cmocka_unit_test(any_bytes_come_back_by_byte_fallback),
    cmocka_unit_test(tokens_of_a_stream_keep_their_spaces),
    cmocka_unit_test(a_long_text_of_anything_is_encoded),
    cmocka_unit_test(another_setting_is_another_tokenizer),
    cmocka_unit_test(any_allocation_may_fail),
  };
  if (argc > 1) file = argv[1];
  return cmocka_run_group_tests(tests, setup, teardown);
}
