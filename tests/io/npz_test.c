/* npz_test.c - arrays of NumPy's archives: every type, stored and deflated; what is not read; damaged files. */
#include "config.h"

#include "../base/testing.h"
#include "base/mem.h"
#include "io/npz.h"

static const char *reference(const char *name) {
  static char path[500];
  snprintf(path, sizeof path, "%s/tests/reference/%s", getenv("abs_srcdir"), name);
  return path;
}

static void reads(const char *file, const char *name, const char *shape, int n, const float *values) {
  sonde_error err = {0};
  char text[100];
  sonde_tensor *t = sonde_npz_read(reference(file), name, &err);
  assert_non_null(t);
  assert_string_equal(sonde_shape_text(&t->shape, text, sizeof text), shape);
  const float *x = sonde_tensor_read(t, &err);
  for (int k = 0; k < n; k++) assert_true(x[k] == values[k]);
  sonde_tensor_free(t);
}

static void every_type_is_read(void **state) {
  float data[24];
  (void)state;
  for (int k = 0; k < 24; k++) data[k] = (float)k / 8;
  reads("arrays.npz", "data", "f32 [2, 3, 4]", 24, data);
  reads("packed.npz", "data", "f32 [2, 3, 4]", 24, data);
  reads("packed.npz", "zeros", "f32 [4000]", 2, (float[]){0, 0});
  reads("arrays.npz", "labels", "f32 [2]", 2, (float[]){0, 1});
  reads("arrays.npz", "f8", "f32 [2]", 2, (float[]){1.5f, -2});
  reads("arrays.npz", "u1", "f32 [1]", 1, (float[]){200});
  reads("arrays.npz", "u8", "f32 [1]", 1, (float[]){1099511627776.0f});
  reads("arrays.npz", "b", "f32 [2]", 2, (float[]){1, 0});
  reads("arrays.npz", "i1", "f32 [2]", 2, (float[]){-3, 4});
  reads("arrays.npz", "i2", "f32 [1, 1]", 1, (float[]){-300});
  reads("arrays.npz", "scalar", "f32 []", 1, (float[]){3});
  reads("arrays.npz", "none", "f32 [0, 5]", 0, NULL);
}

static void what_is_no_such_array_is_refused(void **state) {
  static const struct { const char *file, *name; int code; } cases[] = {
      {"arrays.npz", "ID", SONDE_EFORMAT}, {"arrays.npz", "columns_first", SONDE_EFORMAT},
      {"arrays.npz", "complex", SONDE_EFORMAT}, {"arrays.npz", "absent", SONDE_ENOENT},
      {"make_npz.py", "data", SONDE_EFORMAT}, {"absent.npz", "data", SONDE_ENOENT}};
  (void)state;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    sonde_error err = {0};
    assert_null(sonde_npz_read(reference(cases[k].file), cases[k].name, &err));
    assert_true(err.code == cases[k].code && err.text[0]);
  }
}

/* Every truncation and every changed byte: read, or one line. */
static void damaged_archives(void **state) {
  static const char *const files[] = {"arrays.npz", "packed.npz"};
  char folder[200], path[300], *data;
  int64_t size;
  int refused = 0;
  (void)state;
  test_folder(folder, sizeof folder);
  snprintf(path, sizeof path, "%s/a.npz", folder);
  for (int f = 0; f < 2; f++) {
    assert_int_equal(sonde_file_read(reference(files[f]), 0, &data, &size, NULL), 0);
    for (int64_t k = 0; k < 2 * size; k += 1 + k % 3) {
      sonde_error err = {0};
      int64_t at = k % size, live = sonde_alloc_live();
      if (k >= size) data[at] ^= (char)(1 << k % 8);
      FILE *out = fopen(path, "wb");
      fwrite(data, 1, (size_t)(k < size ? at : size), out);
      fclose(out);
      if (k >= size) data[at] ^= (char)(1 << k % 8);
      sonde_tensor *t = sonde_npz_read(path, "data", &err);
      if (!t) assert_true(++refused && err.code < 0 && err.text[0] && !strchr(err.text, '\n'));
      sonde_tensor_free(t);
      assert_int_equal(sonde_alloc_live(), live);
    }
    sonde_release(data);
  }
  assert_true(refused > 500);
  test_folder_drop(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_type_is_read),
      cmocka_unit_test(what_is_no_such_array_is_refused),
      cmocka_unit_test(damaged_archives),
  };
  return cmocka_run_group_tests_name("npz", tests, NULL, NULL);
}
