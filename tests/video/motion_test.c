/* motion_test.c - block matching: known shifts of a texture, whole and between pixels; the same with and without SIMD
 * and on any number of threads; blocks without structure. */
#include "config.h"

#include "base/mem.h"
#include "../base/testing.h"
#include "picture.h"
#include "video/motion.h"

enum { W = 96, H = 70, MOST = 200 };

typedef struct shift { double u, v; } shift;
static void shifted(const void *arg, double x, double y, double *u, double *v) {
  const shift *s = arg;
  (void)x, (void)y;
  *u = s->u, *v = s->v;
}

/* The blocks of a picture that moved by s since the reference; their number. */
static int match(shift s, sonde_matcher_opts opts, sonde_pool *pool, sonde_block *blocks, int *columns) {
  static uint8_t a[W * H], b[W * H];
  sonde_error err = {0};
  sonde_matcher *m = sonde_matcher_new(W, H, &opts, &err);
  assert_non_null(m);
  draw(a, W, H, shifted, &(shift){0, 0});
  draw(b, W, H, shifted, &s);
  assert_int_equal(sonde_matcher_take(m, a), -1);
  sonde_matcher_keep(m);
  int changed = sonde_matcher_take(m, b);
  assert_true(s.u || s.v ? changed > 0 : changed == 0);
  sonde_matcher_match(m, pool, blocks);
  int n = sonde_matcher_columns(m) * sonde_matcher_rows(m);
  *columns = sonde_matcher_columns(m);
  assert_true(n <= MOST);
  sonde_matcher_free(m);
  return n;
}

/* The mean difference from the shift, in pixels, over the blocks with structure whose source is in the picture;
 * *right: the share of blocks that have none. */
static double mean_error(shift s, const sonde_block *b, int n, int columns, int side, double *right) {
  double sum = 0;
  int counted = 0, exact = 0;
  for (int k = 0; k < n; k++) {
    double x = k % columns * side, y = k / columns * side;
    if (b[k].weight < SONDE_FULL_WEIGHT / 2) continue;
    if (x - s.u < 0 || y - s.v < 0 || x - s.u + side > W || y - s.v + side > H || y + side > H) continue;
    double error = hypot((double)b[k].u / SONDE_SUBPIXELS - s.u, (double)b[k].v / SONDE_SUBPIXELS - s.v);
    sum += error;
    exact += error == 0;
    counted++;
  }
  assert_true(counted > 5);
  *right = (double)exact / counted;
  return sum / counted;
}

/* At the edge of the search, odd shifts lie between pixels of the half size: a block may find something else there. */
static void whole_shifts_are_found(void **state) {
  static const shift shifts[] = {{0, 0}, {1, 0}, {0, -1}, {3, 2}, {-7, 5}, {12, -9}, {-14, 15}, {15, -14}};
  sonde_block blocks[MOST];
  double right;
  (void)state;
  for (int side = 8; side <= 16; side += 8)
    for (size_t k = 0; k < sizeof shifts / sizeof *shifts; k++) {
      int columns, n = match(shifts[k], (sonde_matcher_opts){side, 8, 0}, NULL, blocks, &columns);
      mean_error(shifts[k], blocks, n, columns, side, &right);
      assert_true(k < 6 ? right == 1 : right > 0.8);
    }
}

/* To whole pixels alone, the mean would be 0.38 where both parts are even over the pixel. */
static void shifts_between_pixels_are_found(void **state) {
  sonde_block blocks[MOST];
  double sum = 0, right;
  int count = 0;
  (void)state;
  for (double u = -2; u <= 2; u += 0.25, count++) {
    shift s = {u, 1.5 - u / 2};
    int columns, n = match(s, (sonde_matcher_opts){8, 8, 0}, NULL, blocks, &columns);
    sum += mean_error(s, blocks, n, columns, 8, &right);
  }
  assert_true(sum / count < 0.2);
}

static void bytes_do_not_depend_on_simd_or_threads(void **state) {
  sonde_block one[MOST], other[MOST];
  sonde_error err = {0};
  sonde_pool *pool = sonde_pool_new(3, &err);
  (void)state;
  assert_non_null(pool);
  for (int side = 8; side <= 16; side += 8)
    for (int k = 0; k < 6; k++) {
      shift s = {k * 2.3 - 6, 4 - k * 1.7};
      int columns, n = match(s, (sonde_matcher_opts){side, 5, 0}, NULL, one, &columns);
      match(s, (sonde_matcher_opts){side, 5, 1}, NULL, other, &columns);
      assert_memory_equal(one, other, (size_t)n * sizeof *one);
      match(s, (sonde_matcher_opts){side, 5, 0}, pool, other, &columns);
      assert_memory_equal(one, other, (size_t)n * sizeof *one);
    }
  sonde_pool_free(pool);
}

/* Noise of a grey level on a flat left half and on stripes on the right: neither says how far it moved. */
static void blocks_without_structure(void **state) {
  uint8_t a[W * H], b[W * H];
  sonde_block blocks[MOST];
  sonde_error err = {0};
  (void)state;
  for (int y = 0; y < H; y++)
    for (int x = 0; x < W; x++) {
      int level = x < W / 2 ? 90 : 90 + (x / 3 % 2) * 80;
      a[y * W + x] = (uint8_t)(level + (texture_point(x, y) > 0.5));
      b[y * W + x] = (uint8_t)(level + (texture_point(x + 1000, y) > 0.5));
    }
  sonde_matcher *m = sonde_matcher_new(W, H, &(sonde_matcher_opts){8, 8, 0}, &err);
  sonde_matcher_take(m, a);
  sonde_matcher_keep(m);
  assert_in_range(sonde_matcher_take(m, b), 64, 192);      /* half the pixels by one level: about 128 / 256 */
  sonde_matcher_match(m, NULL, blocks);
  for (int k = 0; k < sonde_matcher_columns(m) * sonde_matcher_rows(m); k++) assert_int_equal(blocks[k].weight, 0);
  sonde_matcher_free(m);
}

static void what_cannot_be_matched_is_refused(void **state) {
  static const struct { int width, height; sonde_matcher_opts opts; } bad[] = {
      {15, 64, {8, 8, 0}}, {64, 15, {8, 8, 0}}, {64, 64, {4, 8, 0}}, {64, 64, {8, 0, 0}}, {64, 64, {8, 33, 0}},
      {1 << 20, 64, {8, 8, 0}}};
  (void)state;
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    sonde_error err = {0};
    assert_null(sonde_matcher_new(bad[k].width, bad[k].height, &bad[k].opts, &err));
    assert_int_equal(err.code, SONDE_EINVAL);
  }
  for (int nth = 1; nth <= 6; nth++) {
    sonde_error err = {0};
    int64_t live = sonde_alloc_live();
    sonde_alloc_fail_at(nth);
    assert_null(sonde_matcher_new(W, H, &(sonde_matcher_opts){8, 8, 0}, &err));
    sonde_alloc_fail_at(0);
    assert_int_equal(err.code, SONDE_ENOMEM);
    assert_int_equal(sonde_alloc_live(), live);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_shifts_are_found),
      cmocka_unit_test(shifts_between_pixels_are_found),
      cmocka_unit_test(bytes_do_not_depend_on_simd_or_threads),
      cmocka_unit_test(blocks_without_structure),
      cmocka_unit_test(what_cannot_be_matched_is_refused),
  };
  return cmocka_run_group_tests_name("motion", tests, NULL, NULL);
}
