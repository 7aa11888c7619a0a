/* unpack_test.c - packed files by pieces, and one member of an object among odd ones. */
#include <zlib.h>
#include "../base/testing.h"
#include "base/mem.h"
#include "io/bytes.h"
#include "io/json.h"
#include "io/unpack.h"

static char folder[256], path[300];

static int setup(void **state) {
  (void)state;
  test_folder(folder, sizeof folder);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  test_folder_drop(folder);
  return 0;
}

static void put(const char *name, const void *data, int64_t n) {
  sonde_error err = {0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(sonde_file_write(path, data, n, &err), 0);
}

/* The whole in pieces of that size; fails the test when it cannot be read. */
static sonde_bytes whole(int64_t piece) {
  sonde_error err = {0};
  sonde_bytes all = {0};
  char buf[70000];
  int64_t got;
  sonde_unpack *u = sonde_unpack_open(path, &err);
  if (!u) fail_msg("%s", err.text);
  while ((got = sonde_unpack_read(u, buf, piece, &err)) > 0) sonde_bytes_add(&all, buf, got);
  if (got) fail_msg("%s", err.text);
  assert_int_equal(sonde_unpack_read(u, buf, piece, &err), 0);
  sonde_unpack_close(u);
  return all;
}

static void pieces_of_any_size_give_the_same(void **state) {
  static char text[300000];
  (void)state;
  for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 23);
  put("plain", text, sizeof text);
  for (int packed = 0; packed < 2; packed++) {
    for (int64_t piece = 1; piece <= 70000; piece = 7 * piece + 3) {
      sonde_bytes all = whole(piece);
      assert_int_equal(all.n, sizeof text);
      assert_memory_equal(all.data, text, sizeof text);
      sonde_bytes_free(&all);
    }
    snprintf(path, sizeof path, "%s/text.gz", folder);
    gzFile f = gzopen(path, "wb");      /* in two members, as `cat a.gz b.gz` makes them */
    gzwrite(f, text, 100000);
    gzclose(f);
    f = gzopen(path, "ab");
    gzwrite(f, text + 100000, sizeof text - 100000);
    gzclose(f);
  }
  put("empty", "", 0);
  sonde_bytes none = whole(10);
  assert_int_equal(none.n, 0);
}

static void every_cut_of_a_packed_file_is_noticed(void **state) {
  sonde_error err = {0};
  char *data, buf[4096];
  int64_t n, got;
  (void)state;
  snprintf(path, sizeof path, "%s/cut.gz", folder);
  gzFile f = gzopen(path, "wb");
  gzwrite(f, "some text, some text", 20);
  gzclose(f);
  assert_int_equal(sonde_file_read(path, 0, &data, &n, &err), 0);
  for (int64_t cut = 2; cut < n; cut++) {
    put("cut", data, cut);
    sonde_unpack *u = sonde_unpack_open(path, &err);
    assert_non_null(u);
    while ((got = sonde_unpack_read(u, buf, sizeof buf, &err)) > 0) continue;
    assert_int_equal(got, SONDE_EFORMAT);
    sonde_unpack_close(u);
  }
  sonde_release(data);
}

static void member_is(const char *text, const char *want) {
  sonde_error err = {0};
  json_t *v;
  if (sonde_json_member(text, (int64_t)strlen(text), "text", "w", &v, &err)) fail_msg("%s: %s", text, err.text);
  if (want) assert_string_equal(json_string_value(v), want);
  else assert_null(v);
  json_decref(v);
}

static void a_member_is_found_among_odd_ones(void **state) {
  (void)state;
  member_is("{\"text\": \"x\"}", "x");
  member_is(" {\"a\": {\"text\": \"no\", \"b\": [\"}]\", {}]} , \"text\":\"\\u00e9\\n\" } ", "\xc3\xa9\n");
  member_is("{\"n\": NaN, \"i\": -Infinity, \"big\": 1e99999, \"text\": \"x\", \"u\": \"\\ud83d\"}", "x");
  member_is("{\"text\": \"one\", \"text\": \"two\"}", "two");
  member_is("{\"\\u0074ext\": \"x\"}", "x");
  member_is("{\"texts\": \"x\", \"tex\": \"y\"}", NULL);
  member_is("{}", NULL);
}

static void objects_that_do_not_end_are_refused(void **state) {
  static const char whole_text[] = "{\"a\": {\"text\": [1, \"x\"]}, \"text\": \"one \\\" two\", \"b\": 5}";
  sonde_error err = {0};
  json_t *v;
  (void)state;
  for (size_t n = 0; n < sizeof whole_text - 1; n++) {
    char *copy = malloc(n ? n : 1);      /* of exactly this size: a read past the end is seen */
    memcpy(copy, whole_text, n);
    assert_int_equal(sonde_json_member(copy, (int64_t)n, "text", "w", &v, &err), SONDE_EFORMAT);
    assert_null(v);
    free(copy);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(pieces_of_any_size_give_the_same),
    cmocka_unit_test(every_cut_of_a_packed_file_is_noticed),
    cmocka_unit_test(a_member_is_found_among_odd_ones),
    cmocka_unit_test(objects_that_do_not_end_are_refused),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
