/* safetensors_test.c - values as PyTorch has them, files back as written, hostile files refused. */
#include <math.h>
#include "../base/testing.h"
#include "base/file.h"
#include "base/mem.h"
#include "io/safetensors.h"

/* A file in memory: the header text, then `size` bytes. */
static char *build(const char *header, int64_t size, int64_t *n) {
  size_t length = strlen(header);
  *n = 8 + (int64_t)length + size;
  char *p = calloc(1, (size_t)*n + 1);
  for (int i = 0; i < 8; i++) p[i] = (char)(length >> 8 * i);
  memcpy(p + 8, header, length);
  return p;
}

static void refused(const char *header, int64_t size, const char *what) {
  sonde_error err = {0};
  int64_t n;
  char *p = build(header, size, &n);
  sonde_st *st = sonde_st_open_memory(p, n, "x.safetensors", &err);
  if (st) fail_msg("not refused: %s", header);
  if (err.code != SONDE_EFORMAT || !strstr(err.text, what) || !strstr(err.text, "x.safetensors"))
    fail_msg("'%s' lacks '%s'", err.text, what);
  free(p);
}

static void headers_are_checked(void **state) {
  (void)state;
  refused("[]", 0, "not an object");
  refused("{", 0, "not JSON");
  refused("{\"a\":1}", 0, "not described");
  refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype");
  refused("{\"a\":{\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'F99'");
  refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "not a count");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "not a count");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
          "9 dimensions");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]}}", 4,
          "2^63 elements");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807],\"data_offsets\":[0,4]}}", 4,
          "2^63 bytes");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}", 4, "integer");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 4, "data_offsets");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "cut short");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "cut short");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "cut short");
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "ask for 8");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, "overlap");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
          "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "overlap");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
          "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}}", 6, "2 bytes before tensor 'b'");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 5, "3 bytes at the end");
  refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
          "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}", 4, "duplicate");
  refused("{\"__metadata__\":[]}", 0, "__metadata__");
  refused("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__");
}

static void lengths_and_nesting_are_bounded(void **state) {
  sonde_error err = {0};
  unsigned char p[64] = {0};
  (void)state;
  assert_null(sonde_st_open_memory(p, 7, "short", &err));
  assert_non_null(strstr(err.text, "too few"));
  memset(p, 0xff, 8);
  assert_null(sonde_st_open_memory(p, sizeof p, "huge", &err));
  assert_non_null(strstr(err.text, "18446744073709551615"));
  memset(p, 0, 8);
  p[0] = 57;                                         /* one more than there are */
  assert_null(sonde_st_open_memory(p, sizeof p, "long", &err));
  char *deep = malloc(100001);
  memset(deep, '[', 100000);
  deep[100000] = '\0';
  refused(deep, 0, "not JSON");
  memcpy(deep, "{\"a\":", 5);
  refused(deep, 0, "not JSON");
  free(deep);
}

static void every_truncation_is_refused(void **state) {
  sonde_error err = {0};
  int64_t n;
  (void)state;
  char *p = build("{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 24, &n);
  for (int64_t k = 0; k < n; k++) {
    char *cut = malloc((size_t)k + 1);               /* a block of its own: a read past it shows under ASan */
    memcpy(cut, p, (size_t)k);
    assert_null(sonde_st_open_memory(cut, k, "cut", &err));
    free(cut);
  }
  sonde_st *st = sonde_st_open_memory(p, n, "whole", &err);
  assert_non_null(st);
  sonde_st_free(st);
  free(p);
}

static void empty_tensors_and_scalars_are_fine(void **state) {
  sonde_error err = {0};
  int64_t n;
  float x;
  (void)state;
  char *p = build("{\"none\":{\"dtype\":\"F32\",\"shape\":[0,9223372036854775807],\"data_offsets\":[4,4]},"
                  "\"one\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}   ", 4, &n);
  sonde_st *st = sonde_st_open_memory(p, n, "x", &err);
  if (!st) fail_msg("%s", err.text);
  const sonde_st_entry *e = sonde_st_find(st, "none");
  assert_int_equal(e->count, 0);
  assert_int_equal(sonde_st_read_f32(e, NULL, 0, &err), 0);
  e = sonde_st_find(st, "one");
  assert_int_equal(e->rank, 0);
  assert_int_equal(sonde_st_read_f32(e, &x, 1, &err), 0);
  assert_int_equal(sonde_st_read_f32(e, &x, 2, &err), SONDE_ESHAPE);
  assert_null(sonde_st_find(st, "two"));
  sonde_st_free(st);
  free(p);
}

/* ---- values -------------------------------------------------------------------------------------------- */

static sonde_st *open_halves(void) {
  sonde_error err = {0};
  char path[4096];
  snprintf(path, sizeof path, "%s/tests/reference/halves.safetensors", getenv("abs_srcdir"));
  sonde_st *st = sonde_st_open(path, &err);
  if (!st) fail_msg("%s", err.text);
  return st;
}

static void half_precision_reads_as_in_pytorch(void **state) {
  sonde_error err = {0};
  float got[40], want[40];
  (void)state;
  sonde_st *st = open_halves();
  assert_string_equal(sonde_st_meta(st, "format"), "pt");
  assert_null(sonde_st_meta(st, "none"));
  assert_string_equal(sonde_st_at(st, 0)->name, "odd");
  assert_null(sonde_st_at(st, sonde_st_count(st)));
  for (int bf = 0; bf < 2; bf++) {
    const sonde_st_entry *e = sonde_st_find(st, bf ? "bf16" : "f16");
    assert_int_equal(e->rank, 2);
    assert_int_equal(e->dim[0] * e->dim[1], 40);
    assert_int_equal(sonde_st_read_f32(e, got, 40, &err), 0);
    assert_int_equal(sonde_st_read_f32(sonde_st_find(st, bf ? "bf16_as_f32" : "f16_as_f32"), want, 40, &err),
                     0);
    assert_memory_equal(got, want, sizeof want);
  }
  assert_int_equal(sonde_st_read_f32(sonde_st_find(st, "odd"), got, 3, &err), SONDE_EUNSUP);
  assert_non_null(strstr(err.text, "'odd' is U8"));
  sonde_st_free(st);
}

static void half_precision_is_written_as_in_pytorch(void **state) {
  sonde_error err = {0};
  char folder[256], path[300];
  float x[40];
  int64_t dim = 40;
  (void)state;
  sonde_st *want = open_halves();
  assert_int_equal(sonde_st_read_f32(sonde_st_find(want, "f32"), x, 40, &err), 0);
  sonde_st_item items[] = {{"f16", SONDE_ST_F16, 1, &dim, x, 1}, {"bf16", SONDE_ST_BF16, 1, &dim, x, 1}};
  snprintf(path, sizeof path, "%s/h.safetensors", test_folder(folder, sizeof folder));
  /* What PyTorch makes infinite is refused, by name, and nothing is written. */
  assert_int_equal(sonde_st_save(path, items, 2, NULL, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "which is too large for "));
  assert_false(sonde_path_exists(path));
  float narrow[40];
  for (int i = 0; i < 40; i++) {
    narrow[i] = fabsf(x[i]) >= 65520 ? copysignf(INFINITY, x[i]) : x[i];
    if (fabsf(x[i]) > 3.3961e38f) x[i] = copysignf(INFINITY, x[i]);
  }
  items[0].data = narrow;
  assert_int_equal(sonde_st_save(path, items, 2, NULL, &err), 0);
  sonde_st *got = sonde_st_open(path, &err);
  assert_non_null(got);
  assert_memory_equal(sonde_st_find(got, "f16")->data, sonde_st_find(want, "f16")->data, 80);
  assert_memory_equal(sonde_st_find(got, "bf16")->data, sonde_st_find(want, "bf16")->data, 80);
  sonde_st_free(got);
  sonde_st_free(want);
  test_folder_drop(folder);
}

static void tensors_are_filled_by_shape(void **state) {
  sonde_error err = {0};
  (void)state;
  sonde_st *st = open_halves();
  int64_t right[] = {2, 20}, wrong[] = {20, 2};
  sonde_shape s = {SONDE_F32, 2, {right[0], right[1], 1, 1, 1}};
  sonde_tensor *t = sonde_tensor_new(&s, &err);
  assert_int_equal(sonde_st_read_tensor(sonde_st_find(st, "f16"), t, &err), 0);
  assert_memory_equal(sonde_tensor_write(t, NULL), sonde_st_find(st, "f16_as_f32")->data, 160);
  sonde_tensor_free(t);
  s.dtype = SONDE_BF16;
  t = sonde_tensor_new(&s, &err);
  assert_int_equal(sonde_st_read_tensor(sonde_st_find(st, "f32"), t, &err), 0);
  assert_memory_equal(sonde_tensor_write(t, NULL), sonde_st_find(st, "bf16")->data, 80);
  assert_int_equal(sonde_st_read_tensor(sonde_st_find(st, "odd"), t, &err), SONDE_ESHAPE);
  sonde_tensor_free(t);
  s = (sonde_shape){SONDE_F32, 2, {wrong[0], wrong[1], 1, 1, 1}};
  t = sonde_tensor_new(&s, &err);
  assert_int_equal(sonde_st_read_tensor(sonde_st_find(st, "f32"), t, &err), SONDE_ESHAPE);
  assert_non_null(strstr(err.text, "[20, 2]"));
  sonde_tensor_free(t);
  sonde_st_free(st);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static void equal_content_gives_equal_bytes(void **state) {
  sonde_error err = {0};
  char folder[256], a[300], b[300], *x, *y;
  int64_t d2[] = {2, 3}, d1 = 3, nx, ny;
  float w[6] = {1, 2, 3, 4, 5, 6};
  int32_t ids[3] = {7, 8, 9};
  uint8_t bytes[3] = {1, 2, 3};
  (void)state;
  sonde_st_item items[] = {{"b", SONDE_ST_U8, 1, &d1, bytes, 0},
                           {"z", SONDE_ST_F32, 2, d2, w, 0},
                           {"a", SONDE_ST_I32, 1, &d1, ids, 0}};
  sonde_st_item other[] = {items[2], items[0], items[1]};
  const char *meta[] = {"format", "pt", NULL};
  test_folder(folder, sizeof folder);
  snprintf(a, sizeof a, "%s/a.safetensors", folder);
  snprintf(b, sizeof b, "%s/b.safetensors", folder);
  assert_int_equal(sonde_st_save(a, items, 3, meta, &err), 0);
  assert_int_equal(sonde_st_save(b, other, 3, meta, &err), 0);
  assert_int_equal(sonde_file_read(a, 0, &x, &nx, &err), 0);
  assert_int_equal(sonde_file_read(b, 0, &y, &ny, &err), 0);
  assert_int_equal(nx, ny);
  assert_memory_equal(x, y, nx);
  assert_int_equal((nx - 6 * 4 - 3 * 4 - 3) % 8, 0);           /* the data begins aligned */
  sonde_release(x);
  sonde_release(y);
  sonde_st *st = sonde_st_open(a, &err);
  assert_non_null(st);
  assert_string_equal(sonde_st_meta(st, "format"), "pt");
  assert_string_equal(sonde_st_at(st, 0)->name, "a");
  assert_string_equal(sonde_st_at(st, 2)->name, "b");
  assert_memory_equal(sonde_st_find(st, "z")->data, w, sizeof w);
  assert_memory_equal(sonde_st_find(st, "a")->data, ids, sizeof ids);
  sonde_st_free(st);
  items[0].name = "z";
  assert_int_equal(sonde_st_save(a, items, 3, NULL, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "'z'"));
  test_folder_drop(folder);
}

static void write_text(const char *folder, const char *name, const char *text) {
  sonde_error err = {0};
  char path[300];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  assert_int_equal(sonde_file_write(path, text, (int64_t)strlen(text), &err), 0);
}

static void index_refused(const char *folder, const char *weight_map, const char *what) {
  sonde_error err = {0};
  write_text(folder, "model.safetensors.index.json", weight_map);
  sonde_st *st = sonde_st_open(folder, &err);
  if (st) fail_msg("not refused: %s", weight_map);
  if (!strstr(err.text, what)) fail_msg("'%s' lacks '%s'", err.text, what);
}

static void shards_are_one_set_of_tensors(void **state) {
  sonde_error err = {0};
  char folder[256], path[300];
  float w[2] = {1, 2};
  int64_t dim = 2;
  (void)state;
  test_folder(folder, sizeof folder);
  assert_null(sonde_st_open(folder, &err));
  assert_int_equal(err.code, SONDE_ENOENT);
  sonde_st_item a = {"a", SONDE_ST_F32, 1, &dim, w, 0}, b = {"b", SONDE_ST_F32, 1, &dim, w, 0};
  snprintf(path, sizeof path, "%s/1.safetensors", folder);
  assert_int_equal(sonde_st_save(path, &a, 1, NULL, &err), 0);
  snprintf(path, sizeof path, "%s/2.safetensors", folder);
  assert_int_equal(sonde_st_save(path, &b, 1, NULL, &err), 0);
  snprintf(path, sizeof path, "%s/3.safetensors", folder);
  assert_int_equal(sonde_st_save(path, &a, 1, NULL, &err), 0);
  index_refused(folder, "{}", "weight_map");
  index_refused(folder, "{\"weight_map\":{\"a\":1}}", "'a'");
  index_refused(folder, "{\"weight_map\":{\"a\":\"../1.safetensors\"}}", "beside the index");
  index_refused(folder, "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "beside the index");
  index_refused(folder, "{\"weight_map\":{\"a\":\"9.safetensors\"}}", "9.safetensors");
  index_refused(folder, "{\"weight_map\":{\"c\":\"1.safetensors\"}}", "'c' is not in");
  index_refused(folder, "{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}",
                "'b' is not in");
  index_refused(folder, "{\"weight_map\":{\"a\":\"1.safetensors\",\"x\":\"3.safetensors\"}}",
                "is in both");
  write_text(folder, "model.safetensors.index.json",
             "{\"metadata\":{},\"weight_map\":{\"b\":\"2.safetensors\",\"a\":\"1.safetensors\"}}");
  sonde_st *st = sonde_st_open(folder, &err);
  if (!st) fail_msg("%s", err.text);
  assert_int_equal(sonde_st_count(st), 2);
  assert_string_equal(sonde_st_at(st, 0)->name, "b");
  assert_memory_equal(sonde_st_find(st, "a")->data, w, sizeof w);
  sonde_st_free(st);
  test_folder_drop(folder);
}

static void any_allocation_may_fail(void **state) {
  sonde_error err = {0};
  int64_t n, live = sonde_alloc_live();
  int failures = 0;
  (void)state;
  char *p =
    build("{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
          "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
          4, &n);
  for (int nth = 1;; nth++) {
    sonde_alloc_fail_at(nth);
    sonde_st *st = sonde_st_open_memory(p, n, "x", &err);
    sonde_alloc_fail_at(0);
    if (!st) assert_int_equal(err.code, SONDE_ENOMEM);
    int done = st != NULL;
    sonde_st_free(st);
    assert_int_equal(sonde_alloc_live(), live);
    if (done) break;
    failures++;
  }
  assert_true(failures >= 5);
  free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(headers_are_checked),
    cmocka_unit_test(lengths_and_nesting_are_bounded),
    cmocka_unit_test(every_truncation_is_refused),
    cmocka_unit_test(empty_tensors_and_scalars_are_fine),
    cmocka_unit_test(half_precision_reads_as_in_pytorch),
    cmocka_unit_test(half_precision_is_written_as_in_pytorch),
    cmocka_unit_test(tensors_are_filled_by_shape),
    cmocka_unit_test(equal_content_gives_equal_bytes),
    cmocka_unit_test(shards_are_one_set_of_tensors),
    cmocka_unit_test(any_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
