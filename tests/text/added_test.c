/* added_test.c - added tokens under all their flags, and what expressions cut, beside the foreign library's ids
 * (tests/reference/added_tokens.json). `added_test FILE` takes another file of that form. */
#include "reference.h"

static const char *file;

static json_t *load(void) {
  sonde_error err = {0};
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/reference/added_tokens.json",
           getenv("abs_srcdir") ? getenv("abs_srcdir") : ".");
  json_t *tree = sonde_json_load(file ? file : path, 0, &err);
  if (!tree) fail_msg("%s", err.text);
  return tree;
}

/* Ids of every text of a variant of `base`; counts those that differ, and shows some. */
static int64_t differing(const json_t *tree, const json_t *variant) {
  sonde_error err = {0};
  json_t *text;
  size_t i;
  int64_t bad = 0;
  sonde_tokenizer *t = reference_parse(tree, &err);
  if (!t) fail_msg("%s", err.text);
  json_array_foreach(json_object_get(variant, "texts"), i, text) {
    const json_t *want = json_array_get(json_object_get(variant, "ids"), i);
    sonde_ids got = reference_encode(t, json_string_value(text), (int64_t)json_string_length(text), 0);
    int same = got.n == (int64_t)json_array_size(want);
    for (int64_t k = 0; same && k < got.n; k++) same = got.id[k] == json_integer_value(json_array_get(want, (size_t)k));
    if (!same && bad++ < 3) {
      char *w = sonde_json_text(want, 0), *s = sonde_json_text(text, 0),
           *f = sonde_json_text(json_object_get(variant, "flags"), 0);
      print_error("%s %s wants %s, got", f ? f : json_string_value(json_object_get(variant, "pattern")), s, w);
      for (int64_t k = 0; k < got.n; k++) print_error(" %d", got.id[k]);
      print_error("\n");
      sonde_release(w);
      sonde_release(s);
      sonde_release(f);
    }
    sonde_ids_free(&got);
  }
  sonde_tokenizer_free(t);
  return bad;
}

static void flags_mean_what_they_mean_elsewhere(void **state) {
  static const char *const names[] = {"[A]", "[B]", "  ", "[N\xc3\xa9]"};
  json_t *ref = load(), *variant;
  size_t i;
  int64_t bad = 0;
  (void)state;
  json_array_foreach(json_object_get(ref, "variants"), i, variant) {
    json_t *tree = json_deep_copy(json_object_get(ref, "base")), *added = json_object_get(tree, "added_tokens");
    size_t next = json_object_size(json_object_get(json_object_get(tree, "model"), "vocab"));
    for (size_t k = 0; k < 4; k++) {
      const json_t *flag = json_array_get(json_object_get(variant, "flags"), k);
      int bits = (int)json_integer_value(json_array_get(flag, 0)),
          special = (int)json_integer_value(json_array_get(flag, 1));
      json_array_append_new(added, json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", (int)(next + k), "content",
                                             names[k], "lstrip", bits & 1, "rstrip", bits & 2, "single_word", bits & 4,
                                             "normalized", bits & 8, "special", special));
    }
    if (json_is_true(json_object_get(variant, "nfc")))
      json_object_set_new(tree, "normalizer", json_pack("{s:s}", "type", "NFC"));
    bad += differing(tree, variant);
    json_decref(tree);
  }
  assert_true(i >= 256);
  assert_int_equal(bad, 0);
  json_decref(ref);
}

static void expressions_cut_as_elsewhere(void **state) {
  json_t *ref = load(), *cut;
  size_t i;
  int64_t bad = 0;
  (void)state;
  json_array_foreach(json_object_get(ref, "cuts"), i, cut) {
    json_t *tree = json_deep_copy(json_object_get(ref, "base"));
    json_object_set_new(tree, "pre_tokenizer",
                        json_pack("{s:s, s:[{s:s, s:{s:O}, s:s, s:b}, {s:s, s:b, s:b, s:b}]}", "type", "Sequence",
                                  "pretokenizers", "type", "Split", "pattern", "Regex", json_object_get(cut, "pattern"),
                                  "behavior", "Removed", "invert", 0, "type", "ByteLevel", "add_prefix_space", 0,
                                  "trim_offsets", 1, "use_regex", 0));
    bad += differing(tree, cut);
    json_decref(tree);
  }
  assert_true(i >= 12);
  assert_int_equal(bad, 0);
  json_decref(ref);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(flags_mean_what_they_mean_elsewhere),
    cmocka_unit_test(expressions_cut_as_elsewhere),
  };
  if (argc > 1) file = argv[1];
  return cmocka_run_group_tests(tests, NULL, NULL);
}
