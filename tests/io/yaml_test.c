/* yaml_test.c - YAML: typed scalars, lines, bounds on hostile files, and back to text. */
#include <math.h>
#include "../base/testing.h"
#include "base/mem.h"
#include "io/bytes.h"
#include "io/yaml.h"

static sonde_doc *parse(const char *text, sonde_error *err) {
  return sonde_yaml_parse(text, (int64_t)strlen(text), "c.yaml", err);
}

/* The text is read as the JSON says. */
static void same(const char *yaml, const char *json) {
  sonde_error err = {0};
  sonde_doc *d = parse(yaml, &err);
  json_t *want = sonde_json_parse(json, (int64_t)strlen(json), "json", &err);
  if (!d) fail_msg("%s", err.text);
  assert_non_null(want);
  if (!json_equal(sonde_doc_root(d), want)) fail_msg("%s is not %s", yaml, json);
  json_decref(want);
  sonde_doc_free(d);
}

static void refused(const char *yaml, int line, const char *what) {
  sonde_error err = {0};
  char where[32];
  sonde_doc *d = parse(yaml, &err);
  if (d) fail_msg("not refused: %s", yaml);
  snprintf(where, sizeof where, "c.yaml:%d: ", line);
  if (err.code != SONDE_EFORMAT || strncmp(err.text, where, strlen(where)) || !strstr(err.text, what))
    fail_msg("'%s' lacks '%s' and '%s'", err.text, where, what);
}

static void scalars_follow_the_core_schema(void **state) {
  (void)state;
  same("a: 1\nb: -7\nc: 0x1f\nd: 0o17\ne: +3\nf: 007",
       "{\"a\":1,\"b\":-7,\"c\":31,\"d\":15,\"e\":3,\"f\":7}");
  same("[1.5, 1e-3, .5, 5., -1E+2, 6.02e23]", "[1.5, 0.001, 0.5, 5.0, -100.0, 6.02e23]");
  same("[true, False, TRUE, null, ~, ]", "[true, false, true, null, null]");
  same("a:\nb: ''", "{\"a\":null,\"b\":\"\"}");
  same("[yes, on, tRue, 1e, 0x, 0o8, 1.2.3, '1', \"true\", 1_000, -, .]",
       "[\"yes\",\"on\",\"tRue\",\"1e\",\"0x\",\"0o8\",\"1.2.3\",\"1\",\"true\",\"1_000\",\"-\",\".\"]");
  same("[!!str 1, ! 2, !!int 3, !!float 4, !!float 4.5]", "[\"1\",\"2\",3,4.0,4.5]");
  same("9223372036854775807", "9223372036854775807");
  same("", "null");
  same("|\n  two\n  lines\n", "\"two\\nlines\\n\"");
}

static void what_cannot_be_kept_is_refused(void **state) {
  (void)state;
  refused("a: 1\nb: 9223372036854775808", 2, "out of range");
  refused("a: 0xfffffffffffffffff", 1, "64 bits");
  refused("a: 1\nb: .inf", 2, "infinity");
  refused("a: .NaN", 1, "NaN");
  refused("a: 1e999", 1, "out of range");
  refused("a: !!int x", 1, "tag");
  refused("a: !thing 1", 1, "tag");
  refused("a: !thing [1]", 1, "tag");
  refused("a: 1\nb: 2\n\na: 3", 4, "'a' is repeated here");
  refused("a: &x {b: 1}\nc:\n  <<: *x", 3, "merge keys");
  refused("? [a]\n: 1", 1, "key");
  refused("a: 1\n---\nb: 2", 2, "second document");
  refused("a: [1, 2", 2, "flow sequence");
  refused("a: \"b\\0c\"", 1, "NUL");
  refused("a: *nothing", 1, "anchor");
  refused("&a [*a]", 1, "anchor");
}

static void anchors_unfold_within_bounds(void **state) {
  sonde_bytes b = {0};
  char line[200];
  (void)state;
  same("a: &x [1, {b: 2}]\nc: *x\nd: &x 5\ne: *x",
       "{\"a\":[1,{\"b\":2}],\"c\":[1,{\"b\":2}],\"d\":5,\"e\":5}");
  sonde_bytes_add(&b, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n", 36);
  for (int i = 1; i < 12; i++) {
    int n = snprintf(line, sizeof line, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n",
                     i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    sonde_bytes_add(&b, line, n);
  }
  refused(b.data, 7, "million");
  b.n = 0;
  sonde_bytes_add(&b, "a0: &a0 [x]\n", 12);
  for (int i = 1; i < 100; i++)
    sonde_bytes_add(&b, line, snprintf(line, sizeof line, "a%d: &a%d [*a%d]\n", i, i, i - 1));
  refused(b.data, 63, "deep");
  sonde_bytes_free(&b);
}

static void nesting_is_bounded(void **state) {
  char deep[2000], text[4100];
  (void)state;
  memset(deep, '[', sizeof deep);
  refused((deep[1999] = '\0', deep), 1, "deep");
  snprintf(text, sizeof text, "%.*s%.*s", 64, deep, 64,
           "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
  sonde_error err = {0};
  sonde_doc *d = parse(text, &err);
  assert_non_null(d);
  sonde_doc_free(d);
}

static void lines_are_found_by_path(void **state) {
  sonde_error err = {0};
  char buf[64];
  (void)state;
  sonde_doc *d =
    parse("# head\nmodel:\n  width: 64\n  heads:\n    - 1\n    - 2\ntrain: &t\n  lr: 1e-3\nmore: *t\n", &err);
  assert_non_null(d);
  assert_int_equal(sonde_doc_line(d, "model"), 2);
  assert_int_equal(sonde_doc_line(d, "model.width"), 3);
  assert_int_equal(sonde_doc_line(d, "model.heads.1"), 6);
  assert_int_equal(sonde_doc_line(d, "train.lr"), 8);
  assert_int_equal(sonde_doc_line(d, "more.lr"), 9);
  assert_int_equal(sonde_doc_line(d, "model.absent"), 2);
  assert_int_equal(sonde_doc_line(d, "absent"), 0);
  assert_string_equal(sonde_doc_where(d, "model.heads", buf, sizeof buf), "c.yaml:4");
  assert_string_equal(sonde_doc_where(d, "nothing", buf, sizeof buf), "c.yaml");
  sonde_doc_free(d);
}

static void writing_and_reading_give_the_same_tree(void **state) {
  sonde_error err = {0};
  (void)state;
  static const char *const json[] = {
    "{\"lr\": 0.001, \"small\": 1e-5, \"big\": 1e300, \"n\": 3, \"whole\": 2.0, \"t\": true, \"none\": null}",
    "{\"strings\": [\"true\", \"null\", \"1\", \"1.5\", \"\", \" lead\", \"trail \", \"a: b\", \"# c\", "
    "\"yes\", \"~\", \"-\", \"0x1\"]}",
    "{\"odd\": [\"two\\nlines\\n\", \"tab\\t\", \"\\u0001\", \"\xc3\xa9\xf0\x9f\x98\x80\", \"'\\\"\", "
    "\"*a\", \"&a\", \"!x\", \"%\", \"@\", \"<<\"]}",
    "{\"true\": 1, \"1\": 2, \"\": 3, \"<<\": 4, \"a b\": {\"c\": [[1, 2], [], {}, [{\"d\": 5}]]}}",
    "[]",
    "{}",
    "\"text\"",
    "12",
    "null",
  };
  for (size_t i = 0; i < sizeof json / sizeof *json; i++) {
    json_t *tree = sonde_json_parse(json[i], (int64_t)strlen(json[i]), "json", &err);
    assert_non_null(tree);
    char *text = sonde_yaml_text(tree, &err);
    assert_non_null(text);
    sonde_doc *d = parse(text, &err);
    if (!d) fail_msg("%s in:\n%s", err.text, text);
    if (!json_equal(sonde_doc_root(d), tree)) fail_msg("%s became\n%s", json[i], text);
    sonde_doc_free(d);
    sonde_release(text);
    json_decref(tree);
  }
}

static void reals_keep_a_point_and_strings_their_quotes(void **state) {
  sonde_error err = {0};
  (void)state;
  json_t *tree = json_pack("{s:f, s:s, s:[i,i]}", "lr", 1e-5, "version", "1.0", "dims", 4, 8);
  char *text = sonde_yaml_text(tree, &err);
  assert_string_equal(text, "lr: 1.0e-5\nversion: \"1.0\"\ndims: [4, 8]\n");
  sonde_release(text);
  json_decref(tree);
}

static void what_was_read_is_given_back_on_failure(void **state) {
  sonde_error err = {0};
  (void)state;
  int64_t live = sonde_alloc_live();
  const char *text = "a: &x [1, {b: 2}]\nc: *x\nd: {e: f}\n";
  int nth = 1, failures = 0;
  for (;; nth++) {
    sonde_alloc_fail_at(nth);
    sonde_doc *d = parse(text, &err);
    sonde_alloc_fail_at(0);
    assert_int_equal(d ? 0 : SONDE_ENOMEM, d ? 0 : err.code);
    int done = d != NULL;
    sonde_doc_free(d);
    assert_int_equal(sonde_alloc_live(), live);
    if (done) break;
    failures++;
  }
  assert_true(failures > 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(scalars_follow_the_core_schema),
    cmocka_unit_test(what_cannot_be_kept_is_refused),
    cmocka_unit_test(anchors_unfold_within_bounds),
    cmocka_unit_test(nesting_is_bounded),
    cmocka_unit_test(lines_are_found_by_path),
    cmocka_unit_test(writing_and_reading_give_the_same_tree),
    cmocka_unit_test(reals_keep_a_point_and_strings_their_quotes),
    cmocka_unit_test(what_was_read_is_given_back_on_failure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
