/* root.h - a scratch folder for all tests of a program, made by root_setup and removed by root_teardown. */
#ifndef TESTS_BASE_ROOT_H
#define TESTS_BASE_ROOT_H

#include "testing.h"

static char root[256];

static int root_setup(void **state) {
  (void)state;
  test_folder(root, sizeof root);
  return 0;
}

static int root_teardown(void **state) {
  sonde_error err;
  (void)state;
  return sonde_remove_tree(root, &err);
}

/* The path of `name` in the folder, valid until the next call. */
static inline char *in_root(const char *name) {
  static char path[512];
  assert_true(snprintf(path, sizeof path, "%s/%s", root, name) < (int)sizeof path);
  return path;
}

#endif
