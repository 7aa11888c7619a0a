/* paths_test.c - the order of the search paths, and trees that were moved. */
#include "config.h"

#include "testing.h"
#include "base/mem.h"
#include "base/paths.h"

static void expect_moved(const char *from, const char *to, const char *here, const char *want) {
  char *p = sonde_path_moved(from, to, here);
  assert_string_equal(p, want);
  sonde_release(p);
}

static void a_moved_tree_keeps_its_shape(void **state) {
  (void)state;
  expect_moved("/usr/bin", "/usr/lib/sonde/plugins", "/opt/s/bin", "/opt/s/lib/sonde/plugins");
  expect_moved("/usr/bin", "/usr/lib/x86_64-linux-gnu/sonde", "/usr/bin", "/usr/lib/x86_64-linux-gnu/sonde");
  expect_moved("/usr/lib", "/usr/libexec/s", "/opt/lib", "/opt/libexec/s");   /* folders are compared whole */
  expect_moved("/usr", "/usr/share/s", "/home/me", "/home/me/share/s");
  expect_moved("/bin", "/srv/data", "/opt/bin", "/opt/srv/data");
  expect_moved("/a/b/c", "/a/d", "/x", "/d");   /* shallower than it was built for: as far up as there is */
}

static void environment_comes_first_and_never_the_current_folder(void **state) {
  (void)state;
  int n = 0;
  setenv("SONDE_PLUGIN_PATH", "/first::/second:/first:", 1);
  char **list = sonde_path_plugins(&n, NULL);
  assert_non_null(list);
  assert_true(n >= 3);
  assert_string_equal(list[0], "/first");
  assert_string_equal(list[1], "/second");
  for (int i = 0; i < n; i++) {
    assert_int_equal(list[i][0], '/');
    for (int k = 0; k < i; k++) assert_string_not_equal(list[i], list[k]);
  }
  int with_env = n;
  sonde_release(list);
  unsetenv("SONDE_PLUGIN_PATH");
  list = sonde_path_plugins(&n, NULL);
  assert_int_equal(n, with_env - 2);
  sonde_release(list);
}

static void lua_folder_by_environment(void **state) {
  (void)state;
  setenv("SONDE_LUA_PATH", "/my/lua", 1);
  char *p = sonde_path_lua(NULL);
  assert_string_equal(p, "/my/lua");
  sonde_release(p);
  setenv("SONDE_LUA_PATH", "", 1);   /* empty is as if unset, not the current folder */
  p = sonde_path_lua(NULL);
  assert_int_equal(p[0], '/');
  sonde_release(p);
}

static void each_allocation_may_fail(void **state) {
  (void)state;
  int64_t live = sonde_alloc_live();
  int failures = 0;
  setenv("SONDE_PLUGIN_PATH", "/first", 1);
  unsetenv("SONDE_LUA_PATH");
  for (int64_t nth = 1;; nth++) {
    sonde_error e = {0};
    int n;
    sonde_alloc_fail_at(nth);
    char **list = sonde_path_plugins(&n, &e);
    char *lua = list ? sonde_path_lua(&e) : NULL;
    sonde_alloc_fail_at(0);
    sonde_release(list);
    sonde_release(lua);
    assert_int_equal(sonde_alloc_live(), live);
    if (list && lua) break;
    assert_int_equal(e.code, SONDE_ENOMEM);
    failures++;
  }
  assert_true(failures >= 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_moved_tree_keeps_its_shape),
    cmocka_unit_test(environment_comes_first_and_never_the_current_folder),
    cmocka_unit_test(lua_folder_by_environment),
    cmocka_unit_test(each_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
