/* options_test.c - options against a schema: defaults, conversions, and the words of every refusal. */
#include "config.h"

#include "../base/testing.h"
#include "base/mem.h"
#include "plugin/options.h"

static const sonde_option schema[] = {
    {"eps", 'f', "1e-6", 1e-12, 1, NULL, "added under the root"},
    {"heads", 'i', NULL, 1, 64, NULL, "number of heads"},
    {"bias", 'b', "true", 0, 0, NULL, "whether there is a bias"},
    {"form", 's', "exact", 0, 0, "exact|tanh", "which formula"},
    {"label", 's', "", 0, 0, NULL, "any text"},
};
enum { N = sizeof schema / sizeof schema[0] };

static sonde_value *parse(const char *json, sonde_error *err) {
  json_t *given = json ? json_loads(json, 0, NULL) : NULL;
  if (json) assert_non_null(given);
  sonde_value *v = sonde_options_parse("norm 'x'", schema, N, given, err);
  json_decref(given);
  return v;
}

static sonde_value *parse_pairs(const char *const *pair, int n, sonde_error *err) {
  json_t *given = sonde_options_object("norm 'x'", schema, N, pair, n, err);
  sonde_value *v = given ? sonde_options_parse("norm 'x'", schema, N, given, err) : NULL;
  json_decref(given);
  return v;
}

static void refused(const char *json, const char *text) {
  sonde_error err = {0};
  assert_null(parse(json, &err));
  assert_int_equal(err.code, SONDE_EINVAL);
  assert_string_equal(err.text, text);
}

static void defaults_fill_what_is_not_given(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_value *v = parse("{\"heads\": 4}", &err);
  assert_non_null(v);
  assert_true(v[0].f == 1e-6 && v[1].i == 4 && v[1].f == 4.0 && v[2].i == 1);
  assert_string_equal(v[3].s, "exact");
  assert_string_equal(v[4].s, "");
  sonde_release(v);
}

static void given_values_outlive_their_json(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_value *v =
      parse("{\"heads\": 8.0, \"eps\": 1, \"bias\": false, \"form\": \"tanh\", \"label\": \"a b\"}", &err);
  assert_non_null(v);
  assert_true(v[0].f == 1.0 && v[1].i == 8 && v[2].i == 0);
  assert_string_equal(v[3].s, "tanh");
  assert_string_equal(v[4].s, "a b");
  sonde_release(v);
}

static void refusals_name_option_value_and_range(void **state) {
  (void)state;
  refused("{\"heads\": 65}", "norm 'x': option 'heads' is 65; it takes: integer, 1 to 64");
  refused("{\"heads\": 2.5}", "norm 'x': option 'heads' is 2.5; it takes: integer, 1 to 64");
  refused("{\"heads\": \"four\"}", "norm 'x': option 'heads' is \"four\"; it takes: integer, 1 to 64");
  refused("{\"heads\": 4, \"eps\": 0}", "norm 'x': option 'eps' is 0; it takes: number, 1e-12 to 1");
  refused("{\"heads\": 4, \"bias\": 1}", "norm 'x': option 'bias' is 1; it takes: true or false");
  refused("{\"heads\": 4, \"form\": \"tan\"}", "norm 'x': option 'form' is \"tan\"; it takes: one of exact, tanh");
  refused("{\"heads\": 4, \"form\": null}", "norm 'x': option 'form' is null; it takes: one of exact, tanh");
  refused("{}", "norm 'x': option 'heads' must be given; it takes: integer, 1 to 64");
  refused("[4]", "norm 'x': options must be a table of names and values");
}

static void unknown_options_get_the_nearest_name_or_the_list(void **state) {
  (void)state;
  refused("{\"haeds\": 4}", "norm 'x': unknown option 'haeds'; did you mean 'heads'?");
  refused("{\"temperature\": 4}", "norm 'x': unknown option 'temperature'; it has: eps, heads, bias, form, label");
  sonde_error err = {0};
  json_t *given = json_pack("{s:i}", "eps", 1);
  assert_null(sonde_options_parse("norm 'y'", NULL, 0, given, &err));
  assert_string_equal(err.text, "norm 'y': unknown option 'eps'; it has no options");
  json_decref(given);
}

static void pairs_are_read_by_the_type_of_the_option(void **state) {
  (void)state;
  sonde_error err = {0};
  const char *good[] = {"heads=16", "eps=1e-3", "bias=false", "form=tanh", "label=7"};
  sonde_value *v = parse_pairs(good, 5, &err);
  assert_non_null(v);
  assert_true(v[0].f == 1e-3 && v[1].i == 16 && v[2].i == 0);
  assert_string_equal(v[4].s, "7");
  sonde_release(v);
  const struct { const char *pair[2]; const char *text; } bad[] = {
      {{"heads=many", "eps=1"}, "norm 'x': option 'heads' is \"many\"; it takes: integer, 1 to 64"},
      {{"heads=4", "heads=4"}, "norm 'x': option 'heads' is given twice"},
      {{"heads", "eps=1"}, "norm 'x': 'heads' is no option; write name=value"},
      {{"heads=4", "esp=1"}, "norm 'x': unknown option 'esp'; did you mean 'eps'?"},
      {{"heads=99999999999999999999", "eps=1"}, "norm 'x': option 'heads' is 1e20; it takes: integer, 1 to 64"},
      {{"heads=4", "label=\xff"}, "norm 'x': option 'label': the value is no UTF-8 text"},
  };
  for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
    assert_null(parse_pairs(bad[k].pair, 2, &err));
    assert_string_equal(err.text, bad[k].text);
  }
}

static void schemas_are_checked_too(void **state) {
  (void)state;
  const struct { sonde_option o[2]; int n; const char *text;
  } bad[] = {
      {{{"a", 'q', "1", 0, 0, NULL, "doc"}}, 1, "norm 'x': option 'a' has the type 'q'; use i, f, b or s"},
      {{{"a", 'i', "1", 0, 0, NULL, ""}}, 1, "norm 'x': option 'a' has no line of doc"},
      {{{"", 'i', "1", 0, 0, NULL, "doc"}}, 1, "norm 'x': option 1 has no name"},
      {{{"a", 'i', "1", 5, 2, NULL, "doc"}}, 1, "norm 'x': option 'a' has the range 5 to 2"},
      {{{"a", 'b', "true", 0, 1, NULL, "doc"}}, 1, "norm 'x': option 'a' is no number but has a range"},
      {{{"a", 'f', "1", 0, 0, "x|y", "doc"}}, 1, "norm 'x': option 'a' is no text but has choices"},
      {{{"a", 'i', "9", 1, 5, NULL, "doc"}},
       1,
       "the schema's own default: norm 'x': option 'a' is 9; it takes: integer, 1 to 5"},
      {{{"a", 'i', "1", 0, 0, NULL, "doc"}, {"a", 'f', "1", 0, 0, NULL, "doc"}},
       2,
       "norm 'x': the option 'a' is there twice"},
  };
  sonde_error err = {0};
  assert_int_equal(sonde_options_check("norm 'x'", schema, N, &err), 0);
  for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
    assert_int_equal(sonde_options_check("norm 'x'", bad[k].o, bad[k].n, &err), SONDE_EINVAL);
    assert_string_equal(err.text, bad[k].text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_fill_what_is_not_given),
      cmocka_unit_test(given_values_outlive_their_json),
      cmocka_unit_test(refusals_name_option_value_and_range),
      cmocka_unit_test(unknown_options_get_the_nearest_name_or_the_list),
      cmocka_unit_test(pairs_are_read_by_the_type_of_the_option),
      cmocka_unit_test(schemas_are_checked_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
