/* mem_test.c - allocation, the failure that tests ask for, arena and map. */
#include "config.h"

#include "testing.h"
#include "base/mem.h"

static void memory_is_zeroed_and_aligned(void **state) {
  (void)state;
  for (size_t n = 0; n < 300; n += 37) {
    unsigned char *p = sonde_alloc(n);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 64, 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
    memset(p, 0xff, n);
    sonde_release(p);
  }
  sonde_release(NULL);
}

static void absurd_sizes_fail(void **state) {
  (void)state;
  int64_t live = sonde_alloc_live();
  assert_null(sonde_alloc(SIZE_MAX));
  assert_null(sonde_alloc((size_t)PTRDIFF_MAX));
  assert_null(sonde_grow(NULL, 0, SIZE_MAX - 63));
  assert_int_equal(sonde_alloc_live(), live);
}

static void grow_keeps_and_clears(void **state) {
  (void)state;
  unsigned char *p = sonde_alloc(100);
  memset(p, 7, 100);
  p = sonde_grow(p, 100, 1000);
  for (int i = 0; i < 1000; i++) assert_int_equal(p[i], i < 100 ? 7 : 0);
  p = sonde_grow(p, 1000, 10);
  for (int i = 0; i < 10; i++) assert_int_equal(p[i], 7);
  sonde_alloc_fail_at(1);
  assert_null(sonde_grow(p, 10, 20));
  assert_int_equal(p[9], 7);   /* the old block is still ours */
  sonde_release(p);
}

static void the_nth_allocation_fails_and_only_that(void **state) {
  (void)state;
  sonde_alloc_fail_at(3);
  void *p[4];
  for (int i = 0; i < 4; i++) p[i] = sonde_alloc(8);
  assert_true(p[0] && p[1] && !p[2] && p[3]);
  for (int i = 0; i < 4; i++) sonde_release(p[i]);
  sonde_alloc_fail_at(1);
  sonde_alloc_fail_at(0);
  char *s = sonde_strdup("off again");
  assert_string_equal(s, "off again");
  sonde_release(s);
}

static void live_count_is_exact(void **state) {
  (void)state;
  int64_t before = sonde_alloc_live();
  void *p = sonde_alloc(1), *q = sonde_strdup("x");
  assert_int_equal(sonde_alloc_live(), before + 2);
  q = sonde_grow(q, 2, 200);
  assert_int_equal(sonde_alloc_live(), before + 2);
  sonde_release(p);
  sonde_release(q);
  assert_int_equal(sonde_alloc_live(), before);
}

static void arena_blocks_do_not_overlap(void **state) {
  (void)state;
  enum { N = 2000 };
  static unsigned char *p[N];
  int64_t live = sonde_alloc_live();
  sonde_arena *a = sonde_arena_new();
  for (int i = 0; i < N; i++) {
    p[i] = sonde_arena_alloc(a, (size_t)(i % 97));
    assert_int_equal((uintptr_t)p[i] % 16, 0);
    for (int k = 0; k < i % 97; k++) assert_int_equal(p[i][k], 0);
    memset(p[i], i & 255, (size_t)(i % 97));
  }
  for (int i = 0; i < N; i++)
    for (int k = 0; k < i % 97; k++) assert_int_equal(p[i][k], i & 255);
  char *big = sonde_arena_alloc(a, 5 << 20);
  assert_non_null(big);
  memset(big, 1, 5 << 20);
  assert_string_equal(sonde_arena_strdup(a, "after a big one"), "after a big one");
  assert_null(sonde_arena_alloc(a, SIZE_MAX - 8));
  sonde_arena_free(a);
  sonde_arena_free(NULL);
  assert_int_equal(sonde_alloc_live(), live);
}

static void map_finds_what_was_set_in_order(void **state) {
  (void)state;
  enum { N = 5000 };
  static int value[N];
  char key[32];
  sonde_map *m = sonde_map_new();
  assert_null(sonde_map_get(m, "nothing yet"));
  for (int i = 0; i < N; i++) {
    snprintf(key, sizeof key, "blocks.%d.w", i * 7919 % N);
    assert_int_equal(sonde_map_set(m, key, &value[i]), 0);
  }
  assert_int_equal(sonde_map_count(m), N);
  for (int i = 0; i < N; i++) {
    snprintf(key, sizeof key, "blocks.%d.w", i * 7919 % N);
    assert_ptr_equal(sonde_map_get(m, key), &value[i]);
    assert_string_equal(sonde_map_key(m, i), key);
    assert_ptr_equal(sonde_map_value(m, i), &value[i]);
  }
  assert_null(sonde_map_get(m, "blocks.5000.w"));
  assert_null(sonde_map_get(m, ""));
  sonde_map_free(m);
  sonde_map_free(NULL);
}

static void map_replaces_and_takes_any_key(void **state) {
  (void)state;
  int a, b;
  sonde_map *m = sonde_map_new();
  assert_int_equal(sonde_map_set(m, "", &a), 0);
  assert_int_equal(sonde_map_set(m, "\xff\x01", NULL), 0);
  assert_int_equal(sonde_map_set(m, "", &b), 0);
  assert_int_equal(sonde_map_count(m), 2);
  assert_ptr_equal(sonde_map_get(m, ""), &b);
  assert_string_equal(sonde_map_key(m, 0), "");
  sonde_map_free(m);
}

/* Every allocation of a filling map fails once: the call says so, the map keeps what it had, nothing leaks. */
static void map_survives_each_failing_allocation(void **state) {
  (void)state;
  enum { N = 40 };
  int64_t live = sonde_alloc_live();
  int failures = 0;
  for (int64_t nth = 1;; nth++) {
    char key[16];
    int failed = 0;
    sonde_map *m = sonde_map_new();
    sonde_alloc_fail_at(nth);
    for (int i = 0; i < N; i++) {
      snprintf(key, sizeof key, "%d", i);
      if (sonde_map_set(m, key, m)) {
        assert_int_equal(sonde_map_count(m), i);
        assert_null(sonde_map_get(m, key));
        failed++;
        assert_int_equal(sonde_map_set(m, key, m), 0);
      }
    }
    sonde_alloc_fail_at(0);
    for (int i = 0; i < N; i++) {
      snprintf(key, sizeof key, "%d", i);
      assert_ptr_equal(sonde_map_get(m, key), m);
    }
    sonde_map_free(m);
    assert_int_equal(sonde_alloc_live(), live);
    if (!failed) break;
    failures++;
  }
  assert_true(failures >= N);   /* each key is an allocation of its own */
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(memory_is_zeroed_and_aligned),
    cmocka_unit_test(absurd_sizes_fail),
    cmocka_unit_test(grow_keeps_and_clears),
    cmocka_unit_test(the_nth_allocation_fails_and_only_that),
    cmocka_unit_test(live_count_is_exact),
    cmocka_unit_test(arena_blocks_do_not_overlap),
    cmocka_unit_test(map_finds_what_was_set_in_order),
    cmocka_unit_test(map_replaces_and_takes_any_key),
    cmocka_unit_test(map_survives_each_failing_allocation),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
