/* json_test.c - JSON: errors with a line, limits, numbers that come back. */
#include "../base/testing.h"
#include "base/mem.h"
#include "io/json.h"

static json_t *parse(const char *text, sonde_error *err) {
  return sonde_json_parse(text, (int64_t)strlen(text), "x.json", err);
}

static void bad_text_names_file_and_line(void **state) {
  sonde_error err = {0};
  (void)state;
  assert_null(parse("{\n \"a\": 1,\n \"b\": }\n", &err));
  assert_int_equal(err.code, SONDE_EFORMAT);
  assert_ptr_equal(strstr(err.text, "x.json:3: "), err.text);
  assert_null(parse("{\"a\": 1, \"a\": 2}", &err));
  assert_non_null(strstr(err.text, "duplicate"));
  assert_null(parse("[1, 99999999999999999999]", &err));
  assert_non_null(strstr(err.text, "integer"));
  assert_null(parse("[1] 2", &err));
}

static void deep_nesting_is_refused(void **state) {
  sonde_error err = {0};
  (void)state;
  char *text = malloc(100001);
  memset(text, '[', 100000);
  text[100000] = '\0';
  assert_null(parse(text, &err));
  assert_int_equal(err.code, SONDE_EFORMAT);
  free(text);
}

static void a_file_over_the_limit_is_refused(void **state) {
  sonde_error err = {0};
  char folder[256], path[300];
  (void)state;
  snprintf(path, sizeof path, "%s/a.json", test_folder(folder, sizeof folder));
  assert_int_equal(sonde_file_write(path, "[1, 2, 3]", 9, &err), 0);
  assert_null(sonde_json_load(path, 8, &err));
  assert_int_equal(err.code, SONDE_ELIMIT);
  json_t *tree = sonde_json_load(path, 9, &err);
  assert_int_equal(json_array_size(tree), 3);
  json_decref(tree);
  test_folder_drop(folder);
}

static void numbers_come_back_with_few_digits(void **state) {
  static const double x[] = {0.1, 1e-3, 1.0 / 3, 2, 1e300, 5e-324, -0.0, 123456789.125};
  sonde_error err = {0};
  (void)state;
  json_t *a = json_array();
  json_array_append_new(a, json_real(0.1));
  json_array_append_new(a, json_real(0.001));
  char *text = sonde_json_text(a, 0);
  assert_string_equal(text, "[0.1,0.001]");
  sonde_release(text);
  json_array_clear(a);
  for (size_t i = 0; i < sizeof x / sizeof *x; i++) json_array_append_new(a, json_real(x[i]));
  text = sonde_json_text(a, 2);
  json_t *b = parse(text, &err);
  assert_non_null(b);
  for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
    double y = json_real_value(json_array_get(b, i));
    assert_memory_equal(&x[i], &y, sizeof y);
  }
  sonde_release(text);
  json_decref(a);
  json_decref(b);
}

static void saving_writes_one_line_end(void **state) {
  sonde_error err = {0};
  char folder[256], path[300], *data;
  int64_t n;
  (void)state;
  snprintf(path, sizeof path, "%s/a.json", test_folder(folder, sizeof folder));
  json_t *tree = json_pack("{s:i, s:s}", "b", 1, "a", "x");
  assert_int_equal(sonde_json_save(tree, path, 0, &err), 0);
  assert_int_equal(sonde_file_read(path, 0, &data, &n, &err), 0);
  assert_string_equal(data, "{\"b\":1,\"a\":\"x\"}\n");
  sonde_release(data);
  json_decref(tree);
  test_folder_drop(folder);
}

static void members_are_typed(void **state) {
  sonde_error err = {0};
  const char *s;
  int b;
  (void)state;
  json_t *o = json_pack("{s:s, s:i, s:b, s:n}", "s", "text", "i", 1, "b", 1, "n");
  assert_int_equal(sonde_json_string(o, "s", "here", &s, &err), 0);
  assert_string_equal(s, "text");
  assert_int_equal(sonde_json_string(o, "i", "here", &s, &err), SONDE_EFORMAT);
  assert_string_equal(err.text, "here: 'i' is an integer, not a string");
  assert_int_equal(sonde_json_string(o, "none", "here", &s, &err), SONDE_EFORMAT);
  assert_int_equal(sonde_json_bool_or(o, "b", 0, "here", &b, &err), 0);
  assert_int_equal(b, 1);
  assert_int_equal(sonde_json_bool_or(o, "n", 7, "here", &b, &err), 0);
  assert_int_equal(b, 7);
  assert_int_equal(sonde_json_bool_or(o, "s", 0, "here", &b, &err), SONDE_EFORMAT);
  json_decref(o);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(bad_text_names_file_and_line),   cmocka_unit_test(deep_nesting_is_refused),
    cmocka_unit_test(a_file_over_the_limit_is_refused), cmocka_unit_test(numbers_come_back_with_few_digits),
    cmocka_unit_test(saving_writes_one_line_end),     cmocka_unit_test(members_are_typed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
