/* planar_test.c - the robust fit: fields made by known parameters come back, also under outliers and noise. */
#include "config.h"

#include "../base/testing.h"
#include "picture.h"
#include "video/planar.h"

enum { COLUMNS = 40, ROWS = 23, N = COLUMNS * ROWS };

static const sonde_planar TRUE_MOTION = {.a = {1.5, 4, -2, -0.7, 1, 3, 2.5, -1.5}};

/* Whole pixels away from a value, evenly: -0.5..0.5. */
static double noise(int k, int axis) { return texture_point(k, 7000 + axis) - 0.5; }

static void make(sonde_flow f[N], const sonde_planar *p, double scatter) {
  for (int k = 0; k < N; k++) {
    double x = (k % COLUMNS - 19.5) / 20, y = (k / COLUMNS - 11) / 20.0, u, v;
    sonde_planar_at(p, x, y, &u, &v);
    f[k] = (sonde_flow){(float)x, (float)y, (float)(u + scatter * noise(k, 0)), (float)(v + scatter * noise(k, 1)), 1};
  }
}

/* The largest difference of the two models within the picture, in pixels. */
static double apart(const sonde_planar *a, const sonde_planar *b) {
  double most = 0;
  for (double x = -1; x <= 1; x += 0.5)
    for (double y = -0.575; y <= 0.6; y += 0.575) {
      double u, v, s, t;
      sonde_planar_at(a, x, y, &u, &v);
      sonde_planar_at(b, x, y, &s, &t);
      most = fmax(most, hypot(u - s, v - t));
    }
  return most;
}

static void an_exact_field_comes_back(void **state) {
  sonde_flow f[N];
  (void)state;
  make(f, &TRUE_MOTION, 0);
  sonde_planar p = sonde_planar_fit(f, N, &(sonde_planar_opts){0, 0.5});
  for (int k = 0; k < SONDE_PLANAR; k++) assert_true(fabs(p.a[k] - TRUE_MOTION.a[k]) < 1e-4);
  assert_true(p.median == 0 && p.sigma == 0.5);      /* the floor */
}

/* A third of the blocks moves together by something else, each vector is rounded to pixels. */
static void outliers_and_rounding_move_it_little(void **state) {
  sonde_flow f[N];
  (void)state;
  for (double share = 0.1; share < 0.34; share += 0.08) {
    make(f, &TRUE_MOTION, 1);
    for (int k = 0; k < N; k++)
      if (k % COLUMNS < share * COLUMNS) f[k].u += 11, f[k].v -= 6;
    sonde_planar p = sonde_planar_fit(f, N, &(sonde_planar_opts){0, 0.5});
    assert_true(apart(&p, &TRUE_MOTION) < 0.25);
    sonde_planar plain = p;      /* what least squares alone makes of it: the test can fail */
    sonde_flow all[N];
    memcpy(all, f, sizeof all);
    plain = sonde_planar_fit(all, N, &(sonde_planar_opts){0, 1e6});
    assert_true(apart(&plain, &TRUE_MOTION) > 1);
  }
}

static void the_affine_model_has_six_parameters(void **state) {
  sonde_flow f[N];
  sonde_planar flat = TRUE_MOTION;
  (void)state;
  flat.a[6] = flat.a[7] = 0;
  make(f, &flat, 0);
  sonde_planar p = sonde_planar_fit(f, N, &(sonde_planar_opts){1, 0.5});
  assert_true(apart(&p, &flat) < 1e-4);
  make(f, &TRUE_MOTION, 0);
  p = sonde_planar_fit(f, N, &(sonde_planar_opts){1, 0.5});
  assert_true(p.a[6] == 0 && p.a[7] == 0 && p.median > 0.2);   /* it cannot express the field */
}

static void blocks_without_weight_do_not_count(void **state) {
  sonde_flow f[N];
  (void)state;
  make(f, &TRUE_MOTION, 0);
  for (int k = 0; k < N; k += 2) f[k].weight = 0, f[k].u = 30;
  sonde_planar p = sonde_planar_fit(f, N, &(sonde_planar_opts){0, 0.5});
  assert_true(apart(&p, &TRUE_MOTION) < 1e-3);
}

static void too_few_blocks_give_no_motion(void **state) {
  sonde_flow f[N];
  (void)state;
  make(f, &TRUE_MOTION, 0);
  for (int n = 0; n < 16; n++) {
    sonde_planar p = sonde_planar_fit(f, n, &(sonde_planar_opts){0, 0.5});
    for (int k = 0; k < SONDE_PLANAR; k++) assert_true(p.a[k] == 0);
  }
  sonde_planar line = sonde_planar_fit(f, COLUMNS, &(sonde_planar_opts){0, 0.5});   /* one row: y is always the same */
  for (int k = 0; k < SONDE_PLANAR; k++) assert_true(isfinite(line.a[k]));
  double u, v, s, t;
  sonde_planar_at(&line, f[5].x, f[5].y, &u, &v);
  sonde_planar_at(&TRUE_MOTION, f[5].x, f[5].y, &s, &t);
  assert_true(hypot(u - s, v - t) < 0.05);
}

static void the_divergence_is_the_slope(void **state) {
  const double x = 0.3, y = -0.2, d = 1e-5;
  double u, v, s, t, e, f, g, h;
  (void)state;
  sonde_planar_at(&TRUE_MOTION, x + d, y, &u, &v);
  sonde_planar_at(&TRUE_MOTION, x - d, y, &s, &t);
  sonde_planar_at(&TRUE_MOTION, x, y + d, &e, &f);
  sonde_planar_at(&TRUE_MOTION, x, y - d, &g, &h);
  assert_true(fabs((u - s + f - h) / (2 * d) - sonde_planar_divergence(&TRUE_MOTION, x, y)) < 1e-6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_exact_field_comes_back),
      cmocka_unit_test(outliers_and_rounding_move_it_little),
      cmocka_unit_test(the_affine_model_has_six_parameters),
      cmocka_unit_test(blocks_without_weight_do_not_count),
      cmocka_unit_test(too_few_blocks_give_no_motion),
      cmocka_unit_test(the_divergence_is_the_slope),
  };
  return cmocka_run_group_tests_name("planar", tests, NULL, NULL);
}
