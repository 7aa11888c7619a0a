/* files_test.c - tokenizers of other files than a tokenizer.json: SentencePiece's models and llama2.c's beside
 * SentencePiece (tests/reference/sentencepiece.json), GPT-2's vocab.json and merges.txt. */
#include "reference.h"

static json_t *ref, *base;

static json_t *load(const char *name) {
  sonde_error err = {0};
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/reference/%s", getenv("abs_srcdir") ? getenv("abs_srcdir") : ".", name);
  json_t *tree = sonde_json_load(path, 0, &err);
  if (!tree) fail_msg("%s", err.text);
  return tree;
}

static int setup(void **state) {
  (void)state;
  ref = load("sentencepiece.json");
  base = load("tokenizers.json");
  return 0;
}

static int teardown(void **state) {
  (void)state;
  json_decref(ref);
  json_decref(base);
  return 0;
}

/* The bytes of a hexadecimal text, to be freed. */
static char *bytes_of(const json_t *hex, int64_t *n) {
  const char *s = json_string_value(hex);
  *n = (int64_t)strlen(s) / 2;
  char *out = malloc((size_t)*n + 1);
  for (int64_t i = 0; i < *n; i++) {
    unsigned byte;
    sscanf(s + 2 * i, "%2x", &byte);
    out[i] = (char)byte;
  }
  return out;
}

static sonde_tokenizer *tokenizer_of(const sonde_tokenizer_files *f) {
  sonde_error err = {0};
  sonde_tokenizer *t = sonde_tokenizer_of(f, &err);
  if (!t) fail_msg("%s", err.text);
  return t;
}

/* ---- SentencePiece ------------------------------------------------------------------------------------- */

static int64_t differing(sonde_tokenizer *t, const char *name, const json_t *of) {
  json_t *text;
  size_t i;
  int64_t bad = 0;
  json_array_foreach(json_object_get(ref, "texts"), i, text) {
    sonde_error err = {0};
    const json_t *expected = json_array_get(json_object_get(of, "ids"), i);
    const char *decoded = json_string_value(json_array_get(json_object_get(of, "decoded"), i));
    sonde_ids got = reference_encode(t, json_string_value(text), (int64_t)json_string_length(text),
                                     SONDE_ENCODE_PLAIN | SONDE_ENCODE_BARE);
    int same = got.n == (int64_t)json_array_size(expected), unknown = 0;
    for (int64_t k = 0; same && k < got.n; k++) {
      same = got.id[k] == json_integer_value(json_array_get(expected, (size_t)k));
      unknown |= got.id[k] == 0;
    }
    char *back = NULL;
    int64_t n;
    assert_int_equal(sonde_decode(t, got.id, got.n, 0, &back, &n, &err), 0);
    /* An unknown token is decoded to its own spelling, where SentencePiece writes a sign; and where the text itself has
     * marks, it takes off several. */
    int compared = !unknown && !strstr(json_string_value(text), "\xe2\x96\x81");
    if (!same || (compared && strcmp(back, decoded))) {
      char *e = sonde_json_text(expected, 0);
      print_error("%s: '%s' is expected to be %s and '%s', not '%s'", name, json_string_value(text), e, decoded, back);
      for (int64_t k = 0; k < got.n; k++) print_error(" %d", got.id[k]);
      print_error("\n");
      sonde_release(e);
      bad++;
    }
    sonde_release(back);
    sonde_ids_free(&got);
  }
  return bad;
}

static void models_have_the_ids_of_sentencepiece(void **state) {
  const char *name;
  json_t *of;
  int64_t bad = 0;
  (void)state;
  json_object_foreach(json_object_get(ref, "models"), name, of) {
    sonde_tokenizer_files f = {.name = "x.model"};
    char *data = bytes_of(json_object_get(of, "model"), &f.data_n);
    f.data = data;
    sonde_tokenizer *t = tokenizer_of(&f);
    bad += differing(t, name, of);
    sonde_tokenizer_free(t);
    free(data);
  }
  assert_true(json_object_size(json_object_get(ref, "models")) >= 6);
  assert_int_equal(bad, 0);
}

static void a_checkpoint_of_llama2c_has_them_too(void **state) {
  sonde_tokenizer_files f = {.name = "x.bin"};
  (void)state;
  char *data = bytes_of(json_object_get(ref, "llama2c"), &f.data_n);
  f.data = data;
  sonde_tokenizer *t = tokenizer_of(&f);
  assert_int_equal(differing(t, "llama2c", json_object_get(json_object_get(ref, "models"), "bpe")), 0);
  sonde_tokenizer_free(t);
  free(data);
}

static void ends_are_those_of_the_model_unless_the_folder_says_otherwise(void **state) {
  static const struct { const char *model, *config; int before, after; } cases[] = {
      {"bpe", NULL, 1, 0}, {"unigram", NULL, 0, 1}, {"bpe", "{\"add_bos_token\": false}", 0, 0},
      {"bpe", "{\"add_eos_token\": true, \"eos_token\": {\"content\": \"</s>\"}}", 1, 1},
      {"unigram", "{\"add_bos_token\": true, \"bos_token\": \"<s>\"}", 1, 1}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sonde_tokenizer_files f = {.name = "x.model", .config = cases[i].config};
    f.config_n = f.config ? (int64_t)strlen(f.config) : 0;
    char *data = bytes_of(json_object_get(json_object_get(json_object_get(ref, "models"), cases[i].model), "model"),
                          &f.data_n);
    f.data = data;
    sonde_tokenizer *t = tokenizer_of(&f);
    sonde_ids ids = reference_encode(t, "the", 3, 0), bare = reference_encode(t, "the", 3, SONDE_ENCODE_BARE);
    assert_int_equal(ids.n, bare.n + cases[i].before + cases[i].after);
    if (cases[i].before) assert_int_equal(ids.id[0], 1);
    if (cases[i].after) assert_int_equal(ids.id[ids.n - 1], 2);
    assert_int_equal(sonde_tokenizer_eot(t), 2);
    sonde_ids_free(&ids);
    sonde_ids_free(&bare);
    sonde_tokenizer_free(t);
    free(data);
  }
}

/* What is saved is a tokenizer.json that gives the same ids. */
static void a_model_is_saved_as_a_tokenizer_json(void **state) {
  static const char added[] = "{\"<|turn|>\": 421, \"<|new|>\": 420}",
                    special[] = "{\"additional\": 1, \"pad_token\": \"<|new|>\"}";
  char folder[256], path[300];
  sonde_error err = {0};
  sonde_tokenizer_files f = {.name = "x.model", .added = added, .special = special};
  (void)state;
  f.added_n = (int64_t)strlen(added);
  f.special_n = (int64_t)strlen(special);
  char *data = bytes_of(json_object_get(json_object_get(json_object_get(ref, "models"), "bpe"), "model"), &f.data_n);
  f.data = data;
  sonde_tokenizer *t = tokenizer_of(&f);
  assert_int_equal(sonde_tokenizer_special(t, "<|turn|>"), 421);
  snprintf(path, sizeof path, "%s/tokenizer.json", test_folder(folder, sizeof folder));
  assert_int_equal(sonde_tokenizer_save(t, path, &err), 0);
  sonde_tokenizer *again = sonde_tokenizer_load(folder, &err);
  if (!again) fail_msg("%s", err.text);
  assert_true(sonde_tokenizer_same(t, again));
  assert_string_equal(sonde_tokenizer_hash(t), sonde_tokenizer_hash(again));
  sonde_ids a = reference_encode(t, "a<|turn|>b", 10, 0), b = reference_encode(again, "a<|turn|>b", 10, 0);
  assert_int_equal(a.n, b.n);
  assert_memory_equal(a.id, b.id, (size_t)a.n * sizeof *a.id);
  sonde_ids_free(&a);
  sonde_ids_free(&b);
  sonde_tokenizer_free(again);
  sonde_tokenizer_free(t);
  free(data);
  test_folder_drop(folder);
}

static void damaged_models_are_refused(void **state) {
  sonde_tokenizer_files f = {.name = "x.model"};
  int64_t n, refused = 0;
  (void)state;
  char *data = bytes_of(json_object_get(json_object_get(json_object_get(ref, "models"), "bpe_unknown"), "model"), &n);
  for (int64_t cut = 0; cut < n; cut += 7) {
    sonde_error err = {0};
    char *part = malloc((size_t)cut + 1);
    memcpy(part, data, (size_t)cut);
    f.data = part;
    f.data_n = cut;
    sonde_tokenizer *t = sonde_tokenizer_of(&f, &err);
    if (!t) assert_true(err.code == SONDE_EFORMAT && strstr(err.text, "x.model"));
    refused += !t;
    sonde_tokenizer_free(t);
    free(part);
  }
  assert_true(refused > n / 7 / 2);
  free(data);
}

static void refused(sonde_tokenizer_files f, int code, const char *what) {
  sonde_error err = {0};
  f.data_n = (int64_t)strlen(f.data);
  f.merges_n = f.merges ? (int64_t)strlen(f.merges) : 0;
  f.config_n = f.config ? (int64_t)strlen(f.config) : 0;
  f.added_n = f.added ? (int64_t)strlen(f.added) : 0;
  sonde_tokenizer *t = sonde_tokenizer_of(&f, &err);
  if (t) fail_msg("not refused: %s", what);
  if (err.code != code || !strstr(err.text, what)) fail_msg("'%s' (%d) lacks '%s'", err.text, err.code, what);
}

/* ---- vocab.json and merges.txt ------------------------------------------------------------------------- */

/* The base of tokenizers.json as the two files. */
static sonde_tokenizer_files two_files(char **merges_text) {
  const json_t *model = json_object_get(json_object_get(base, "base"), "model"), *merge;
  sonde_tokenizer_files f = {.name = "dir/vocab.json", .data = sonde_json_text(json_object_get(model, "vocab"), 0)};
  size_t i, n = 0;
  *merges_text = malloc(1 << 16);
  n += (size_t)sprintf(*merges_text, "#version: 0.2\n");
  json_array_foreach(json_object_get(model, "merges"), i, merge)
    n += (size_t)sprintf(*merges_text + n, "%s%s", json_string_value(merge), i % 2 ? "\n" : "\r\n");
  f.data_n = (int64_t)strlen(f.data);
  f.merges = *merges_text;
  f.merges_n = (int64_t)n;
  return f;
}

static void vocab_and_merges_are_the_tokenizer_that_they_stand_for(void **state) {
  sonde_error err = {0};
  char *merges;
  json_t *text;
  size_t i;
  (void)state;
  sonde_tokenizer_files f = two_files(&merges);
  sonde_tokenizer *t = tokenizer_of(&f), *whole = reference_parse(json_object_get(base, "base"), &err);
  assert_true(sonde_tokenizer_same(t, whole));
  json_array_foreach(json_object_get(base, "texts"), i, text) {
    sonde_ids a = reference_encode(t, json_string_value(text), (int64_t)json_string_length(text), 0),
              b = reference_encode(whole, json_string_value(text), (int64_t)json_string_length(text), 0);
    assert_int_equal(a.n, b.n);
    if (a.n) assert_memory_equal(a.id, b.id, (size_t)a.n * sizeof *a.id);
    sonde_ids_free(&a);
    sonde_ids_free(&b);
  }
  sonde_tokenizer_free(t);
  f.config = "{\"tokenizer_class\": \"GPT2TokenizerFast\", \"add_prefix_space\": true, \"add_bos_token\": true, "
             "\"bos_token\": \"<|endoftext|>\"}";
  f.config_n = (int64_t)strlen(f.config);
  t = tokenizer_of(&f);
  sonde_ids ids = reference_encode(t, "x", 1, 0), spaced = reference_encode(whole, " x", 2, 0);
  assert_int_equal(ids.n, spaced.n + 1);
  assert_int_equal(ids.id[0], 0);
  assert_memory_equal(ids.id + 1, spaced.id, (size_t)spaced.n * sizeof *ids.id);
  sonde_ids_free(&ids);
  sonde_ids_free(&spaced);
  sonde_tokenizer_free(t);
  sonde_tokenizer_free(whole);
  sonde_release((char *)f.data);
  free(merges);
}

static void what_the_files_do_not_say_is_refused(void **state) {
  char *merges;
  (void)state;
  sonde_tokenizer_files f = two_files(&merges), g = f;
  g.merges = NULL;
  refused(g, SONDE_ENOENT, "merges.txt");
  g = f;
  g.config = "{\"tokenizer_class\": \"CLIPTokenizer\"}";
  refused(g, SONDE_EUNSUP, "'CLIPTokenizer'");
  g.config = "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}";
  refused(g, SONDE_EFORMAT, "added token 'x'");
  g.config = "{";
  refused(g, SONDE_EFORMAT, "the tokenizer_config.json beside dir/vocab.json");
  g = f;
  g.added = "{\"<|x|>\": -1}";
  refused(g, SONDE_EFORMAT, "'<|x|>'");
  g = f;
  g.data = "[]";
  refused(g, SONDE_EFORMAT, "no object");
  g = f;
  g.merges = "a b c\n";
  refused(g, SONDE_EFORMAT, "merge 0");
  refused((sonde_tokenizer_files){.name = "t.bin", .data = "ab"}, SONDE_EFORMAT, "llama2.c");
  refused((sonde_tokenizer_files){.name = "t.bin", .data = "abcdefghijklmnop"}, SONDE_EFORMAT, "piece 0 is cut off");
  sonde_release((char *)f.data);
  free(merges);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(models_have_the_ids_of_sentencepiece),
    cmocka_unit_test(a_checkpoint_of_llama2c_has_them_too),
    cmocka_unit_test(ends_are_those_of_the_model_unless_the_folder_says_otherwise),
    cmocka_unit_test(a_model_is_saved_as_a_tokenizer_json),
    cmocka_unit_test(damaged_models_are_refused),
    cmocka_unit_test(vocab_and_merges_are_the_tokenizer_that_they_stand_for),
    cmocka_unit_test(what_the_files_do_not_say_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
