/* testing.h - what every C test includes: cmocka with what it wants before it, and a scratch folder. */
#ifndef TESTS_BASE_TESTING_H
#define TESTS_BASE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"

/* A new empty folder, to be removed with test_folder_drop. */
static inline char *test_folder(char *buf, size_t n) {
  const char *tmp = getenv("TMPDIR");
  snprintf(buf, n, "%s/sonde-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  assert_non_null(mkdtemp(buf));
  return buf;
}

static inline void test_folder_drop(const char *folder) {
  assert_int_equal(sonde_remove_tree(folder, NULL), 0);
}

#endif
