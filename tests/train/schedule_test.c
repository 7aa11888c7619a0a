/* schedule_test.c - learning rates against values worked out by hand from the formulas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "train/schedule.h"

static void near(double got, double want) {
  if (fabs(got - want) > 1e-12 * fabs(want)) fail_msg("rate %.17g, expected %.17g", got, want);
}

static void warmup_rises_in_equal_steps(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_CONSTANT, .lr = 8e-4, .steps = 100, .warmup = 4};
  const double want[] = {2e-4, 4e-4, 6e-4, 8e-4, 8e-4};
  for (int step = 1; step <= 5; step++) near(sonde_schedule_lr(&s, step), want[step - 1]);
  near(sonde_schedule_lr(&s, 100), 8e-4);
}

static void cosine_goes_from_peak_to_its_floor(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_COSINE, .lr = 1, .min_ratio = 0.1, .steps = 110, .warmup = 10};
  near(sonde_schedule_lr(&s, 10), 1.0);
  near(sonde_schedule_lr(&s, 35), 0.1 + 0.9 * (1 + M_SQRT1_2) / 2);   /* a quarter of the way: cos(pi/4) */
  near(sonde_schedule_lr(&s, 60), 0.55);
  near(sonde_schedule_lr(&s, 110), 0.1);
}

static void wsd_stays_and_then_falls_in_a_line(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_WSD, .lr = 2, .min_ratio = 0.5, .steps = 100, .warmup = 10, .decay = 20};
  near(sonde_schedule_lr(&s, 5), 1.0);
  near(sonde_schedule_lr(&s, 80), 2.0);
  near(sonde_schedule_lr(&s, 81), 1.95);
  near(sonde_schedule_lr(&s, 90), 1.5);
  near(sonde_schedule_lr(&s, 100), 1.0);
}

static void a_warmup_as_long_as_the_run_ends_at_the_peak(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_COSINE, .lr = 3, .steps = 4, .warmup = 4};
  near(sonde_schedule_lr(&s, 1), 0.75);
  near(sonde_schedule_lr(&s, 4), 3.0);
}

static void warmup_may_begin_above_zero(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_CONSTANT, .lr = 2, .steps = 10, .warmup = 4, .warmup_from = 0.5};
  const double want[] = {1.25, 1.5, 1.75, 2, 2};
  for (int step = 1; step <= 5; step++) near(sonde_schedule_lr(&s, step), want[step - 1]);
}

static void linear_falls_in_a_line(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_LINEAR, .lr = 2, .min_ratio = 0.25, .steps = 50, .warmup = 10};
  near(sonde_schedule_lr(&s, 5), 1);
  near(sonde_schedule_lr(&s, 10), 2);
  near(sonde_schedule_lr(&s, 20), 1.625);
  near(sonde_schedule_lr(&s, 50), 0.5);
  s.min_ratio = 0;
  assert_true(sonde_schedule_lr(&s, 50) == 0);
}

static void inverse_sqrt_falls_with_the_root_of_the_step(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_INVERSE_SQRT, .lr = 3, .min_ratio = 0.3, .steps = 1000, .warmup = 16};
  near(sonde_schedule_lr(&s, 4), 0.75);
  near(sonde_schedule_lr(&s, 16), 3);
  near(sonde_schedule_lr(&s, 64), 1.5);
  near(sonde_schedule_lr(&s, 100), 1.2);
  near(sonde_schedule_lr(&s, 1000), 0.9);   /* 3 sqrt(16 / 1000) = 0.38 is below the floor */
  s.warmup = s.min_ratio = 0;
  near(sonde_schedule_lr(&s, 1), 3);
  near(sonde_schedule_lr(&s, 9), 1);
}

static void restarts_begin_at_the_peak_again(void **state) {
  (void)state;
  sonde_schedule s = {.kind = SONDE_SCHEDULE_COSINE_RESTARTS, .lr = 1, .min_ratio = 0.2, .steps = 70, .warmup = 10,
                      .cycles = 3, .growth = 1};
  for (int cycle = 0; cycle < 3; cycle++) {   /* 20 updates each */
    near(sonde_schedule_lr(&s, 10 + 20 * cycle), 1);
    near(sonde_schedule_lr(&s, 15 + 20 * cycle), 0.2 + 0.8 * (1 + M_SQRT1_2) / 2);
    near(sonde_schedule_lr(&s, 20 + 20 * cycle), 0.6);
    near(sonde_schedule_lr(&s, 29 + 20 * cycle), 0.2 + 0.4 * (1 + cos(0.95 * M_PI)));
  }
  near(sonde_schedule_lr(&s, 70), 0.2);
  s.growth = 2;   /* 60 updates in parts of 1, 2 and 4: they begin at 0, 60/7 and 180/7 */
  s.steps = 10 + 70;
  near(sonde_schedule_lr(&s, 10), 1);
  near(sonde_schedule_lr(&s, 15), 0.6);
  near(sonde_schedule_lr(&s, 20), 1);
  near(sonde_schedule_lr(&s, 30), 0.6);
  near(sonde_schedule_lr(&s, 40), 1);
  near(sonde_schedule_lr(&s, 50), 0.2 + 0.8 * (1 + M_SQRT1_2) / 2);
  near(sonde_schedule_lr(&s, 80), 0.2);
  s.cycles = 1;   /* is the plain cosine */
  sonde_schedule plain = s;
  plain.kind = SONDE_SCHEDULE_COSINE;
  for (int step = 1; step <= 80; step++) near(sonde_schedule_lr(&s, step), sonde_schedule_lr(&plain, step));
}

static void every_kind_warms_up_and_ends_within_its_bounds(void **state) {
  (void)state;
  static const int kinds[] = {SONDE_SCHEDULE_CONSTANT, SONDE_SCHEDULE_COSINE, SONDE_SCHEDULE_WSD, SONDE_SCHEDULE_LINEAR,
                              SONDE_SCHEDULE_INVERSE_SQRT, SONDE_SCHEDULE_COSINE_RESTARTS};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
    for (int64_t warmup = 0; warmup <= 30; warmup += 15) {
      sonde_schedule s = {.kind = kinds[k], .lr = 1, .min_ratio = 0.1, .steps = 30, .warmup = warmup, .cycles = 4,
                          .growth = 1.5};
      sonde_error err = {0};
      assert_int_equal(sonde_schedule_check(&s, &err), SONDE_OK);
      for (int64_t step = 1; step <= s.steps; step++) {
        double rate = sonde_schedule_lr(&s, step);
        if (step < warmup) near(rate, (double)step / (double)warmup);
        else assert_true(rate <= 1 + 1e-15 && rate >= 0.1 - 1e-15);
      }
    }
}

static void names_are_found_or_the_nearest_is_named(void **state) {
  (void)state;
  int32_t kind;
  sonde_error err = {0};
  assert_int_equal(sonde_schedule_kind_of("wsd", &kind, &err), SONDE_OK);
  assert_int_equal(kind, SONDE_SCHEDULE_WSD);
  assert_int_equal(sonde_schedule_kind_of("cosine_restarts", &kind, &err), SONDE_OK);
  assert_int_equal(kind, SONDE_SCHEDULE_COSINE_RESTARTS);
  assert_int_equal(sonde_schedule_kind_of("cosin", &kind, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "did you mean 'cosine'"));
}

static void what_does_not_fit_is_refused_by_name(void **state) {
  (void)state;
  const sonde_schedule good = {.kind = SONDE_SCHEDULE_COSINE_RESTARTS, .lr = 1, .steps = 10, .warmup = 5, .cycles = 2,
                               .growth = 1};
  enum { CASES = 12 };
  sonde_schedule bad[CASES];
  const char *const names[CASES] = {"lr",          "lr",          "min_lr", "steps",  "warmup",       "decay",
                                    "warmup_from", "warmup_from", "cycles", "cycles", "cycle_growth", "cycle_growth"};
  sonde_error err = {0};
  assert_int_equal(sonde_schedule_check(&good, &err), SONDE_OK);
  for (int i = 0; i < CASES; i++) bad[i] = good;
  bad[0].lr = -1;
  bad[1].lr = NAN;
  bad[2].min_ratio = 1.5;
  bad[3].steps = bad[3].warmup = 0;
  bad[4].warmup = 11;
  bad[5].kind = SONDE_SCHEDULE_WSD, bad[5].decay = 6;
  bad[6].warmup_from = 1.1;
  bad[7].warmup_from = NAN;
  bad[8].cycles = 0;
  bad[9].cycles = SONDE_SCHEDULE_CYCLES + 1;
  bad[10].growth = 0.5;
  bad[11].growth = INFINITY;
  for (int i = 0; i < CASES; i++) {
    assert_int_equal(sonde_schedule_check(&bad[i], &err), SONDE_EINVAL);
    assert_non_null(strstr(err.text, names[i]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(warmup_rises_in_equal_steps),
      cmocka_unit_test(warmup_may_begin_above_zero),
      cmocka_unit_test(cosine_goes_from_peak_to_its_floor),
      cmocka_unit_test(wsd_stays_and_then_falls_in_a_line),
      cmocka_unit_test(linear_falls_in_a_line),
      cmocka_unit_test(inverse_sqrt_falls_with_the_root_of_the_step),
      cmocka_unit_test(restarts_begin_at_the_peak_again),
      cmocka_unit_test(every_kind_warms_up_and_ends_within_its_bounds),
      cmocka_unit_test(a_warmup_as_long_as_the_run_ends_at_the_peak),
      cmocka_unit_test(names_are_found_or_the_nearest_is_named),
      cmocka_unit_test(what_does_not_fit_is_refused_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
