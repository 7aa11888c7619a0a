/* analyse_test.c - rows of made scenes: a camera that comes closer, a square that crosses, a standing picture, one that
 * is repeated; the same bytes on any number of threads. */
#include "config.h"

#include "base/mem.h"
#include "../base/testing.h"
#include "picture.h"
#include "video/analyse.h"

enum { W = 160, H = 96, GRID_W = 10, GRID_H = 6, CELLS = GRID_W * GRID_H };

static sonde_analysis_opts opts(void) {
  sonde_analysis_opts o = sonde_analysis_defaults();
  o.video.thumb_width = o.video.thumb_height = 0;
  return o;
}

/* The picture grows by `growth` a frame about its centre, and moves; a square of 32 moves by itself. */
typedef struct scene { double growth, u, v; int square; double square_u; } scene;
static void moved(const void *arg, double x, double y, double *u, double *v) {
  const scene *s = arg;
  double cx = x - W / 2.0, cy = y - H / 2.0;
  *u = s->u + cx * (1 - 1 / (1 + s->growth)), *v = s->v + cy * (1 - 1 / (1 + s->growth));
  if (s->square && x >= 96 && x < 128 && y >= 32 && y < 64) *u = s->square_u, *v = 0;
}

static const float *cell(const float *row, int field, int x, int y) {
  return row + SONDE_FIGURES + (field * CELLS + y * GRID_W + x) * SONDE_CELL;
}

/* The row of the second frame of a scene, 0.1 s after the first. */
static void second_row(const sonde_analysis_opts *o, scene s, sonde_pool *pool, float *row) {
  static uint8_t luma[W * H];
  sonde_error err = {0};
  sonde_analysis *a = sonde_analysis_new(o, W, H, &err);
  assert_non_null(a);
  sonde_frame f = {.time = 5, .width = W, .height = H, .luma = luma};
  draw(luma, W, H, moved, &(scene){0});
  sonde_analysis_push(a, &f, pool, row);
  assert_true(row[0] == 5 && row[1] == 0);
  for (int k = 8; k < sonde_analysis_columns(o); k++) assert_true(row[k] == 0);
  draw(luma, W, H, moved, &s);
  f.time = 5.1;
  sonde_analysis_push(a, &f, pool, row);
  sonde_analysis_free(a);
}

static void a_camera_that_comes_closer(void **state) {
  sonde_analysis_opts o = opts();
  float row[SONDE_FIGURES + SONDE_FIELDS * CELLS * SONDE_CELL];
  (void)state;
  assert_int_equal(sonde_analysis_columns(&o), sizeof row / sizeof *row);
  second_row(&o, (scene){.growth = 0.05}, NULL, row);
  assert_true(fabs(row[1] - 0.1) < 1e-6 && row[2] == 0);
  assert_true(row[5] < 0.03);                       /* hardly anything is foreground */
  /* 5 % a frame, ten frames a second: u = x (1 - 1/1.05) / 0.1 s = x / 2.1 s; time to collision 2.1 s. */
  assert_true(fabs(row[8 + 1] - 1 / 2.1 / 2) < 0.01);           /* a1: widths a second, a half width from the centre */
  for (int k = 0; k < CELLS; k++) {
    const float *background = cell(row, SONDE_FIELD_BACKGROUND, k % GRID_W, k / GRID_W);
    double x = (k % GRID_W + 0.5) / GRID_W - 0.5;
    assert_true(fabs(background[0] - x / 2.1) < 0.02);
    assert_true(fabs(2 / background[4] - 2.1) < 0.12);
  }
}

static void a_square_that_crosses_is_foreground(void **state) {
  sonde_analysis_opts o = opts();
  float row[SONDE_FIGURES + SONDE_FIELDS * CELLS * SONDE_CELL];
  (void)state;
  second_row(&o, (scene){.u = 2, .square = 1, .square_u = -5}, NULL, row);
  assert_true(row[5] > 0.03 && row[5] < 0.15);      /* the square is 1/15 of the picture */
  const float *hit = cell(row, SONDE_FIELD_FOREGROUND, 7, 3), *miss = cell(row, SONDE_FIELD_FOREGROUND, 2, 3);
  assert_true(hit[3] > 0.6 && fabs(hit[0] + 7.0 / W / 0.1) < 0.03);
  assert_true(miss[3] == 0 && miss[0] == 0 && miss[2] == 0);
  const float *all = cell(row, SONDE_FIELD_ALL, 2, 2), *background = cell(row, SONDE_FIELD_BACKGROUND, 2, 2);
  assert_true(fabs(all[0] - 2.0 / W / 0.1) < 0.01 && fabs(background[0] - all[0]) < 0.01 && background[3] > 0.9);
}

static void rows_do_not_depend_on_threads(void **state) {
  sonde_analysis_opts o = opts();
  float one[SONDE_FIGURES + SONDE_FIELDS * CELLS * SONDE_CELL], other[sizeof one / sizeof *one];
  sonde_error err = {0};
  scene s = {.growth = 0.03, .u = 1.3, .square = 1, .square_u = -4};
  (void)state;
  second_row(&o, s, NULL, one);
  for (int threads = 1; threads <= 4; threads++) {
    sonde_pool *pool = sonde_pool_new(threads, &err);
    second_row(&o, s, pool, other);
    assert_memory_equal(one, other, sizeof one);
    sonde_pool_free(pool);
  }
}

/* Frames shown twice, as where 15 frames a second were made 30: each repeats the motion before it, and the next one is
 * measured over the time of both. A picture that stays is at rest from its third repetition on. */
static void repeated_frames(void **state) {
  static uint8_t luma[W * H];
  sonde_analysis_opts o = opts();
  float row[SONDE_FIGURES + SONDE_FIELDS * CELLS * SONDE_CELL];
  sonde_error err = {0};
  (void)state;
  sonde_analysis *a = sonde_analysis_new(&o, W, H, &err);
  for (int k = 0; k < 10; k++) {
    int at = k < 6 ? k / 2 : 2;
    draw(luma, W, H, moved, &(scene){.u = 3.0 * at});
    sonde_frame f = {.time = k * 0.05, .width = W, .height = H, .luma = luma};
    sonde_analysis_push(a, &f, NULL, row);
    const double speed = 3.0 / W / 0.1, here = (double)cell(row, SONDE_FIELD_ALL, 4, 3)[0];
    if (k >= 2 && k < 6) assert_true(fabs(here - speed) < 1e-4 && (row[2] == 1) == (k % 2 == 1));
    if (k == 6) assert_true(row[2] == 1 && fabs(here - speed) < 1e-4);
    if (k == 7) assert_true(row[2] == 0 && here == 0);
  }
  sonde_analysis_free(a);
}

static void the_codecs_vectors_are_taken(void **state) {
  static uint8_t luma[W * H];
  static sonde_codec_vector vectors[(W / 16) * (H / 16)];
  sonde_analysis_opts o = opts();
  float row[SONDE_FIGURES + SONDE_FIELDS * CELLS * SONDE_CELL];
  sonde_error err = {0};
  int n = 0;
  (void)state;
  o.codec = 1;
  for (int y = 0; y < H / 16; y++)
    for (int x = 0; x < W / 16; x++)
      vectors[n++] = (sonde_codec_vector){(float)x * 16 + 8, (float)y * 16 + 8, 8, 8, 4, -2};
  sonde_analysis *a = sonde_analysis_new(&o, W, H, &err);
  for (int k = 0; k < 3; k++) {
    draw(luma, W, H, moved, &(scene){.u = k});
    sonde_frame f = {.time = k * 0.2, .step = 0.1, .width = W, .height = H, .luma = luma,
                     .vectors = vectors, .n_vectors = k == 1 ? n : 0};
    sonde_analysis_push(a, &f, NULL, row);
    if (k != 1) assert_true(row[1] == 0);      /* a key frame has none */
    else assert_true(fabs(row[1] - 0.1) < 1e-6);
    if (k == 1) assert_true(fabs(cell(row, SONDE_FIELD_BACKGROUND, 0, 0)[0] - 4.0 / W / 0.1) < 1e-3);
  }
  sonde_analysis_free(a);
}

static void options_out_of_range_are_refused(void **state) {
  sonde_analysis_opts bad[4];
  (void)state;
  for (int k = 0; k < 4; k++) bad[k] = opts();
  bad[0].grid_width = 0, bad[1].grid_height = 65, bad[2].outlier = 0, bad[3].planar.floor = NAN;
  for (int k = 0; k < 4; k++) {
    sonde_error err = {0};
    assert_null(sonde_analysis_new(&bad[k], W, H, &err));
    assert_int_equal(err.code, SONDE_EINVAL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_camera_that_comes_closer),
      cmocka_unit_test(a_square_that_crosses_is_foreground),
      cmocka_unit_test(rows_do_not_depend_on_threads),
      cmocka_unit_test(repeated_frames),
      cmocka_unit_test(the_codecs_vectors_are_taken),
      cmocka_unit_test(options_out_of_range_are_refused),
  };
  return cmocka_run_group_tests_name("analyse", tests, NULL, NULL);
}
