/* tokenizer_test.c - ids as the Hugging Face library has them, texts back, files refused. */
#include <time.h>
#include "reference.h"

static json_t *ref;

static int setup(void **state) {
  (void)state;
  ref = reference_load();
  return 0;
}

static int teardown(void **state) {
  (void)state;
  json_decref(ref);
  return 0;
}

static sonde_tokenizer *base(void) {
  sonde_error err = {0};
  sonde_tokenizer *t = reference_parse(json_object_get(ref, "base"), &err);
  if (!t) fail_msg("%s", err.text);
  return t;
}

/* ---- ids ----------------------------------------------------------------------------------------------- */

/* base with the variant's members put in. {"merges": "pairs"} stands for base's merges as lists of two. */
static json_t *variant_tree(const json_t *replace) {
  json_t *tree = json_deep_copy(json_object_get(ref, "base")), *merge, *pairs;
  const json_t *model = json_object_get(replace, "model");
  size_t i;
  json_object_update(tree, (json_t *)replace);
  if (!model) return tree;
  json_t *full = json_deep_copy(json_object_get(json_object_get(ref, "base"), "model"));
  json_object_set(full, "ignore_merges", json_object_get(model, "ignore_merges"));
  pairs = json_array();
  json_array_foreach(json_object_get(full, "merges"), i, merge) {
    const char *s = json_string_value(merge), *space = strchr(s, ' ');
    json_array_append_new(pairs, json_pack("[s%, s]", s, (size_t)(space - s), space + 1));
  }
  json_object_set_new(full, "merges", pairs);
  json_object_set_new(tree, "model", full);
  return tree;
}

static void check_ids(const char *name, const char *text, const sonde_ids *got, const json_t *want) {
  int same = got->n == (int64_t)json_array_size(want);
  for (int64_t i = 0; same && i < got->n; i++)
    same = got->id[i] == json_integer_value(json_array_get(want, (size_t)i));
  if (same) return;
  char *w = sonde_json_text(want, 0);
  print_error("%s: '%s' wants %s, got:", name, text, w);
  for (int64_t i = 0; i < got->n; i++) print_error(" %d", got->id[i]);
  sonde_release(w);
  fail_msg(" ");
}

static void ids_are_those_of_the_foreign_library(void **state) {
  const char *name;
  json_t *variant, *text;
  int64_t tokens = 0;
  size_t i;
  (void)state;
  json_object_foreach(json_object_get(ref, "variants"), name, variant) {
    sonde_error err = {0};
    json_t *tree = variant_tree(json_object_get(variant, "replace"));
    sonde_tokenizer *t = reference_parse(tree, &err);
    if (!t) fail_msg("%s: %s", name, err.text);
    sonde_encoder *e = sonde_encoder_new(t, &err);
    for (int round = 0; round < 2; round++) {        /* the second one from the cache */
      json_array_foreach(json_object_get(ref, "texts"), i, text) {
        sonde_ids ids = {0};
        if (sonde_encode(e, json_string_value(text), (int64_t)json_string_length(text), 0, &ids, &err))
          fail_msg("%s: %s", name, err.text);
        check_ids(name, json_string_value(text), &ids, json_array_get(json_object_get(variant, "ids"), i));
        tokens += ids.n;
        sonde_ids_free(&ids);
      }
    }
    sonde_encoder_free(e);
    sonde_tokenizer_free(t);
    json_decref(tree);
  }
  assert_true(tokens > 5000);
}

static void texts_come_back_whatever_their_bytes(void **state) {
  char text[3000], *back;
  int64_t n;
  sonde_error err = {0};
  (void)state;
  sonde_tokenizer *t = base();
  for (int trial = 0; trial < 200; trial++) {
    size_t length = (size_t)(trial * 7 % (int)sizeof text);
    uint64_t x = (uint64_t)trial * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < length; i++) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      text[i] = trial % 2 ? (char)(x >> 56) : "the \xe6\xb7\xb1\xf0\x9f\x98\x80\r\n\xff"[(x >> 60) % 14];
    }
    sonde_ids ids = reference_encode(t, text, (int64_t)length, SONDE_ENCODE_PLAIN);
    assert_int_equal(sonde_decode(t, ids.id, ids.n, 0, &back, &n, &err), 0);
    assert_int_equal(n, length);
    assert_memory_equal(back, text, length);
    sonde_release(back);
    sonde_ids_free(&ids);
  }
  sonde_tokenizer_free(t);
}

static void a_cache_that_overflows_changes_nothing(void **state) {
  enum { WORDS = 70000 };          /* more than the cache holds */
  char word[32];
  sonde_error err = {0};
  (void)state;
  sonde_tokenizer *t = base();
  sonde_encoder *e = sonde_encoder_new(t, &err);
  sonde_ids first = {0}, again = {0};
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < WORDS; i++) {
      sonde_ids *ids = round ? &again : &first;
      int n = snprintf(word, sizeof word, " the%cdepth%x", 'a' + i % 26, i);
      assert_int_equal(sonde_encode(e, word, n, 0, ids, &err), 0);
    }
  assert_int_equal(first.n, again.n);
  assert_memory_equal(first.id, again.id, (size_t)first.n * sizeof *first.id);
  sonde_ids one = reference_encode(t, word, (int64_t)strlen(word), 0);
  assert_memory_equal(one.id, again.id + again.n - one.n, (size_t)one.n * sizeof *one.id);
  sonde_ids_free(&one);
  sonde_ids_free(&first);
  sonde_ids_free(&again);
  sonde_encoder_free(e);
  sonde_tokenizer_free(t);
}

static void a_megabyte_without_a_break_merges(void **state) {
  enum { N = 1 << 20 };
  (void)state;
  sonde_tokenizer *t = base();
  char *text = malloc(N);
  memset(text, 'a', N);
  sonde_ids ids = reference_encode(t, text, N, 0);
  assert_true(ids.n <= N / 4);
  sonde_ids_free(&ids);
  free(text);
  sonde_tokenizer_free(t);
}

static void special_tokens_can_be_text(void **state) {
  const char *text = "a<|endoftext|>b";
  char *back;
  int64_t n;
  sonde_error err = {0};
  (void)state;
  sonde_tokenizer *t = base();
  sonde_ids as_token = reference_encode(t, text, 15, 0),
            as_text = reference_encode(t, text, 15, SONDE_ENCODE_PLAIN);
  assert_int_equal(as_token.n, 3);
  assert_int_equal(as_token.id[1], sonde_tokenizer_eot(t));
  for (int64_t i = 0; i < as_text.n; i++) assert_int_not_equal(as_text.id[i], sonde_tokenizer_eot(t));
  assert_int_equal(sonde_decode(t, as_token.id, as_token.n, 1, &back, &n, &err), 0);
  assert_string_equal(back, "ab");
  sonde_release(back);
  assert_int_equal(sonde_tokenizer_special(t, "<|endoftext|>"), 0);
  assert_int_equal(sonde_tokenizer_special(t, "the"), -1);
  int32_t beyond = (int32_t)sonde_tokenizer_vocab(t);
  /* rows of a model that no token has */
  int32_t padded[] = {beyond, as_token.id[0], beyond + 1000, as_token.id[2]};
  assert_int_equal(sonde_decode(t, padded, 4, 0, &back, &n, &err), 0);
  assert_string_equal(back, "ab");
  sonde_release(back);
  beyond = -1;
  assert_int_equal(sonde_decode(t, &beyond, 1, 0, &back, &n, &err), SONDE_EINVAL);
  sonde_ids_free(&as_token);
  sonde_ids_free(&as_text);
  sonde_tokenizer_free(t);
}

static void what_surrounds_a_text_can_be_left_out(void **state) {
  sonde_error err = {0};
  (void)state;
  json_t *tree =
    variant_tree(json_object_get(json_object_get(json_object_get(ref, "variants"), "roberta"), "replace"));
  sonde_tokenizer *t = reference_parse(tree, &err);
  assert_non_null(t);
  sonde_ids whole = reference_encode(t, "the", 3, 0), bare = reference_encode(t, "the", 3, SONDE_ENCODE_BARE);
  assert_int_equal(whole.n, bare.n + 2);
  assert_memory_equal(whole.id + 1, bare.id, (size_t)bare.n * sizeof *bare.id);
  sonde_ids_free(&whole);
  sonde_ids_free(&bare);
  sonde_tokenizer_free(t);
  json_decref(tree);
}

static void saving_keeps_every_byte(void **state) {
  char folder[256], path[300], *data, *text = sonde_json_text(json_object_get(ref, "base"), 3);
  int64_t n;
  sonde_error err = {0};
  (void)state;
  snprintf(path, sizeof path, "%s/tokenizer.json", test_folder(folder, sizeof folder));
  sonde_tokenizer *t = sonde_tokenizer_parse(text, (int64_t)strlen(text), "x", &err);
  assert_int_equal(sonde_tokenizer_save(t, path, &err), 0);
  assert_int_equal(sonde_file_read(path, 0, &data, &n, &err), 0);
  assert_string_equal(data, text);
  sonde_tokenizer *again = sonde_tokenizer_load(path, &err);
  assert_non_null(again);
  assert_string_equal(sonde_tokenizer_hash(again), sonde_tokenizer_hash(t));
  sonde_tokenizer_free(again);
  sonde_tokenizer_free(t);
  sonde_release(data);
  sonde_release(text);
  test_folder_drop(folder);
}

/* ---- refusals ------------------------------------------------------------------------------------------ */

/* base with one member (of the model, when the path begins with "model.") set to a JSON value. */
static void refused(const char *path, const char *value, int code, const char *what) {
  sonde_error err = {0};
  json_t *tree = json_deep_copy(json_object_get(ref, "base"));
  json_t *v = json_loads(value, JSON_DECODE_ANY, NULL);
  assert_non_null(v);
  if (!strncmp(path, "model.", 6))
    json_object_set_new(json_object_get(tree, "model"), path + 6, v);
  else
    json_object_set_new(tree, path, v);
  sonde_tokenizer *t = reference_parse(tree, &err);
  if (t) fail_msg("not refused: %s = %s", path, value);
  if (err.code != code || !strstr(err.text, what) || strncmp(err.text, "x.json", 6))
    fail_msg("%s = %s: '%s' (%d) lacks '%s'", path, value, err.text, err.code, what);
  json_decref(tree);
}

static void what_is_not_known_is_refused_by_name(void **state) {
  static const char *const differing[] = {"\\\\pL+", "\\\\PN", "a{2}+", "a{2,3}+", "a{11,}+", "a{2}?", "a{1,2}+?",
                                          "[[:alpha:]]", "\\\\b"};
  (void)state;
  refused("normalizer", "{\"type\":\"ByteLevel\"}", SONDE_EUNSUP, "'ByteLevel'");
  refused("normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Other\"}]}",
          SONDE_EUNSUP, "'Other'");
  refused("normalizer", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}", SONDE_EFORMAT,
          "empty");
  refused("normalizer", "{\"type\":\"Replace\",\"content\":\"x\"}", SONDE_EFORMAT, "Replace without a pattern");
  refused("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"////\"}", SONDE_EFORMAT, "damaged");
  refused("normalizer", "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"*\"}", SONDE_EFORMAT, "damaged");
  refused("pre_tokenizer", "{\"type\":\"UnicodeScripts\"}", SONDE_EUNSUP, "'UnicodeScripts'");
  refused("pre_tokenizer",
          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"ByteLevel\"}]}", SONDE_EUNSUP,
          "one ByteLevel");
  refused("pre_tokenizer",
          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Metaspace\",\"replacement\":"
          "\"_\"}]}", SONDE_EUNSUP, "expressions alone");
  refused("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", SONDE_EFORMAT, "one character");
  refused("pre_tokenizer", "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"last\"}", SONDE_EUNSUP,
          "'last'");
  refused("pre_tokenizer",
          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},"
          "\"behavior\":\"MergedWithBoth\"},{\"type\":\"ByteLevel\"}]}",
          SONDE_EUNSUP, "'MergedWithBoth'");
  refused("pre_tokenizer",
          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a(\"},"
          "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}",
          SONDE_EFORMAT, "'a('");
  refused("pre_tokenizer",
          "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\hx\"},"
          "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}",
          SONDE_EUNSUP, "'\\hx'");
  for (size_t i = 0; i < sizeof differing / sizeof *differing; i++) {
    char split[200];
    snprintf(split, sizeof split,
             "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},"
             "\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}",
             differing[i]);
    refused("pre_tokenizer", split, SONDE_EUNSUP, "regex engines differ");
  }
  refused("post_processor", "{\"type\":\"Other\"}", SONDE_EUNSUP, "'Other'");
  refused("post_processor", "{\"type\":\"BertProcessing\",\"cls\":[\"a\",99999],\"sep\":[\"b\",1]}",
          SONDE_EFORMAT, "id");
  refused("decoder", "{\"type\":\"WordPiece\"}", SONDE_EUNSUP, "'WordPiece'");
  refused("model.type", "\"WordLevel\"", SONDE_EUNSUP, "'WordLevel'");
  refused("model.type", "\"WordPiece\"", SONDE_EUNSUP, "ByteLevel before another model than BPE");
  refused("model.dropout", "0.1", SONDE_EUNSUP, "'dropout'");
  refused("model.continuing_subword_prefix", "\"##\"", SONDE_EUNSUP, "'continuing_subword_prefix'");
}

/* Settings that change no ids of a whole text are told and passed over; where they would change some, they are
 * refused. */
static void settings_without_effect_are_passed_over(void **state) {
  static const char *const settings[] = {
      "{\"truncation\":{\"direction\":\"Right\",\"max_length\":4,\"strategy\":\"LongestFirst\",\"stride\":0}}",
      "{\"padding\":{\"strategy\":{\"Fixed\":64},\"direction\":\"Right\",\"pad_id\":0,\"pad_type_id\":0,\"pad_token\":"
      "\"x\"}}",
      "{\"model\":{\"byte_fallback\":true}}",
      "{\"model\":{\"unk_token\":\"a\"}}",
      "{\"model\":{\"fuse_unk\":true}}",
      "{\"model\":{\"dropout\":0}}",
      "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteLevel\"},{\"type\":\"Fuse\"}]}}",
      "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Sequence\",\"pretokenizers\":["
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]}]}}"};
  sonde_error err = {0};
  (void)state;
  sonde_tokenizer *plain = base();
  sonde_ids want = reference_encode(plain, "the depth of the sea", 20, 0);
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    json_t *tree = json_deep_copy(json_object_get(ref, "base")), *setting = json_loads(settings[i], 0, NULL);
    json_object_update_recursive(tree, setting);
    sonde_tokenizer *t = reference_parse(tree, &err);
    if (!t) fail_msg("%s: %s", settings[i], err.text);
    static const char *const told[] = {"truncation", "padding", "byte_fallback", "", "", "", "the decoder Fuse", ""};
    assert_string_equal(sonde_tokenizer_unused(t), told[i]);
    sonde_ids got = reference_encode(t, "the depth of the sea", 20, 0);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.id, want.id, (size_t)got.n * sizeof *got.id);
    sonde_ids_free(&got);
    sonde_tokenizer_free(t);
    json_object_del(json_object_get(json_object_get(tree, "model"), "vocab"), "Q");      /* now a byte has no token */
    t = reference_parse(tree, &err);
    assert_true(i < 2 || i > 3 ? t != NULL : !t && err.code == SONDE_EUNSUP);
    sonde_tokenizer_free(t);
    json_decref(setting);
    json_decref(tree);
  }
  sonde_ids_free(&want);
  sonde_tokenizer_free(plain);
}

/* Some work for each added token and each place of the text, and no more: of tokens that begin alike, too. */
static void many_added_tokens_cost_little(void **state) {
  enum { MANY = 20000 };
  sonde_error err = {0};
  char name[64], text[64 * 200];
  int n = 0;
  (void)state;
  json_t *tree = json_deep_copy(json_object_get(ref, "base")), *added = json_object_get(tree, "added_tokens");
  int32_t next = (int32_t)json_object_size(json_object_get(json_object_get(tree, "model"), "vocab"));
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "<|reserved_token_%d|>", i);
    json_array_append_new(
        added, json_pack("{s:i,s:s,s:b,s:b}", "id", next + i, "content", name, "special", 1, "normalized", 0));
  }
  sonde_tokenizer *t = reference_parse(tree, &err);
  if (!t) fail_msg("%s", err.text);
  for (int i = 0; i < 200; i++) n += snprintf(text + n, sizeof text - (size_t)n, "<|reserved_token_%d|>", i * 97);
  clock_t begin = clock();
  for (int round = 0; round < 50; round++) {      /* 10^4 tokens; each was compared with up to all others */
    sonde_ids ids = reference_encode(t, text, n, 0);
    assert_int_equal(ids.n, 200);
    for (int i = 0; i < 200; i++) {
      assert_int_equal(ids.id[i], next + i * 97);
      snprintf(name, sizeof name, "<|reserved_token_%d|>", i * 97);
      assert_int_equal(sonde_tokenizer_special(t, name), next + i * 97);
    }
    sonde_ids_free(&ids);
  }
  assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 1);
  sonde_tokenizer_free(t);
  json_decref(tree);
}

static void damaged_files_are_refused(void **state) {
  (void)state;
  refused("model", "7", SONDE_EFORMAT, "vocabulary");
  refused("model.vocab", "[]", SONDE_EFORMAT, "vocabulary");
  refused("model.vocab", "{\"a\":-1}", SONDE_EFORMAT, "'a'");
  refused("model.vocab", "{\"a\":1.5}", SONDE_EFORMAT, "'a'");
  refused("model.vocab", "{\"a\":9223372036854775807}", SONDE_EFORMAT, "9223372036854775807");
  refused("model.vocab", "{\"a\":0,\"b\":0}", SONDE_EFORMAT, "two tokens");
  refused("model.merges", "7", SONDE_EFORMAT, "merges");
  refused("model.merges", "[\"ab\"]", SONDE_EFORMAT, "merge 0");
  refused("model.merges", "[\"a b c\"]", SONDE_EFORMAT, "merge 0");
  refused("model.merges", "[[\"a\"]]", SONDE_EFORMAT, "merge 0");
  refused("model.merges", "[[\"a\",1]]", SONDE_EFORMAT, "merge 0");
  refused("model.merges", "[\"zz zz\"]", SONDE_EFORMAT, "'zz'");
  refused("model.ignore_merges", "1", SONDE_EFORMAT, "ignore_merges");
  refused("added_tokens", "7", SONDE_EFORMAT, "added_tokens");
  refused("added_tokens", "[{}]", SONDE_EFORMAT, "added token 0");
  refused("added_tokens", "[{\"id\":2147483647,\"content\":\"x\"}]", SONDE_EFORMAT, "2147483647");
  refused("added_tokens", "[{\"id\":5,\"content\":\"other\"}]", SONDE_EFORMAT, "'other'");
  refused("added_tokens", "[{\"id\":500,\"content\":1}]", SONDE_EFORMAT, "content");
}

static void a_byte_without_a_token_is_left_out(void **state) {
  sonde_error err = {0};
  sonde_ids ids = {0};
  (void)state;
  json_t *tree = json_deep_copy(json_object_get(ref, "base"));
  json_object_set_new(json_object_get(tree, "model"), "merges", json_array());
  json_object_del(json_object_get(json_object_get(tree, "model"), "vocab"), "q");
  sonde_tokenizer *t = reference_parse(tree, &err);
  assert_non_null(t);
  sonde_encoder *e = sonde_encoder_new(t, &err);
  assert_int_equal(sonde_encode(e, "pp", 2, 0, &ids, &err), 0);
  int64_t before = ids.n;
  assert_int_equal(sonde_encode(e, "pqp", 3, 0, &ids, &err), 0);
  assert_int_equal(ids.n, before + 2);
  assert_int_equal(ids.id[before], ids.id[0]);
  assert_int_equal(ids.id[before + 1], ids.id[0]);
  ids.n = 0;
  assert_int_equal(sonde_encode(e, "qq", 2, 0, &ids, &err), 0);
  assert_int_equal(ids.n, 0);
  sonde_ids_free(&ids);
  sonde_encoder_free(e);
  sonde_tokenizer_free(t);
  json_object_set_new(json_object_get(tree, "model"), "unk_token", json_string("<unk>"));
  assert_null(reference_parse(tree, &err));
  assert_int_equal(err.code, SONDE_EUNSUP);
  json_decref(tree);
}

static void any_allocation_may_fail(void **state) {
  sonde_error err = {0};
  int64_t live, failures = 0;
  (void)state;
  json_t *tree =
    variant_tree(json_object_get(json_object_get(json_object_get(ref, "variants"), "added_nfc"), "replace"));
  char *text = sonde_json_text(tree, 0);
  live = sonde_alloc_live();
  for (int nth = 1;; nth++) {
    sonde_alloc_fail_at(nth);
    sonde_tokenizer *t = sonde_tokenizer_parse(text, (int64_t)strlen(text), "x", &err);
    sonde_alloc_fail_at(0);
    if (!t) assert_int_equal(err.code, SONDE_ENOMEM);
    int done = t != NULL;
    sonde_tokenizer_free(t);
    assert_int_equal(sonde_alloc_live(), live);
    if (done) break;
    failures++;
  }
  assert_true(failures > 5);
  sonde_release(text);
  json_decref(tree);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(ids_are_those_of_the_foreign_library),
    cmocka_unit_test(texts_come_back_whatever_their_bytes),
    cmocka_unit_test(a_cache_that_overflows_changes_nothing),
    cmocka_unit_test(a_megabyte_without_a_break_merges),
    cmocka_unit_test(special_tokens_can_be_text),
    cmocka_unit_test(what_surrounds_a_text_can_be_left_out),
    cmocka_unit_test(saving_keeps_every_byte),
    cmocka_unit_test(what_is_not_known_is_refused_by_name),
    cmocka_unit_test(settings_without_effect_are_passed_over),
    cmocka_unit_test(many_added_tokens_cost_little),
    cmocka_unit_test(damaged_files_are_refused),
    cmocka_unit_test(a_byte_without_a_token_is_left_out),
    cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
