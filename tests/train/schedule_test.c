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
  sonde_schedule s = {SONDE_SCHEDULE_CONSTANT, 8e-4, 0, 100, 4, 0, NULL};
  const double want[] = {2e-4, 4e-4, 6e-4, 8e-4, 8e-4};
  for (int step = 1; step <= 5; step++) near(sonde_schedule_lr(&s, step), want[step - 1]);
  near(sonde_schedule_lr(&s, 100), 8e-4);
}

static void cosine_goes_from_peak_to_its_floor(void **state) {
  (void)state;
  sonde_schedule s = {SONDE_SCHEDULE_COSINE, 1.0, 0.1, 110, 10, 0, NULL};
  near(sonde_schedule_lr(&s, 10), 1.0);
  near(sonde_schedule_lr(&s, 35), 0.1 + 0.9 * (1 + M_SQRT1_2) / 2);   /* a quarter of the way: cos(pi/4) */
  near(sonde_schedule_lr(&s, 60), 0.55);
  near(sonde_schedule_lr(&s, 110), 0.1);
}

static void wsd_stays_and_then_falls_in_a_line(void **state) {
  (void)state;
  sonde_schedule s = {SONDE_SCHEDULE_WSD, 2.0, 0.5, 100, 10, 20, NULL};
  near(sonde_schedule_lr(&s, 5), 1.0);
  near(sonde_schedule_lr(&s, 80), 2.0);
  near(sonde_schedule_lr(&s, 81), 1.95);
  near(sonde_schedule_lr(&s, 90), 1.5);
  near(sonde_schedule_lr(&s, 100), 1.0);
}

static void a_warmup_as_long_as_the_run_ends_at_the_peak(void **state) {
  (void)state;
  sonde_schedule s = {SONDE_SCHEDULE_COSINE, 3.0, 0, 4, 4, 0, NULL};
  near(sonde_schedule_lr(&s, 1), 0.75);
  near(sonde_schedule_lr(&s, 4), 3.0);
}

static void names_are_found_or_the_nearest_is_named(void **state) {
  (void)state;
  int32_t kind;
  sonde_error err = {0};
  assert_int_equal(sonde_schedule_kind_of("wsd", &kind, &err), SONDE_OK);
  assert_int_equal(kind, SONDE_SCHEDULE_WSD);
  assert_int_equal(sonde_schedule_kind_of("cosin", &kind, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "did you mean 'cosine'"));
}

static void what_does_not_fit_is_refused_by_name(void **state) {
  (void)state;
  const struct { sonde_schedule s; const char *names; } bad[] = {
      {{SONDE_SCHEDULE_COSINE, -1, 0, 10, 0, 0, NULL}, "lr"},      {{SONDE_SCHEDULE_COSINE, NAN, 0, 10, 0, 0, NULL}, "lr"},
      {{SONDE_SCHEDULE_COSINE, 1, 1.5, 10, 0, 0, NULL}, "min_lr"}, {{SONDE_SCHEDULE_COSINE, 1, 0, 0, 0, 0, NULL}, "steps"},
      {{SONDE_SCHEDULE_COSINE, 1, 0, 10, 11, 0, NULL}, "warmup"},  {{SONDE_SCHEDULE_WSD, 1, 0, 10, 5, 6, NULL}, "decay"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    sonde_error err = {0};
    assert_int_equal(sonde_schedule_check(&bad[i].s, &err), SONDE_EINVAL);
    assert_non_null(strstr(err.text, bad[i].names));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(warmup_rises_in_equal_steps),
      cmocka_unit_test(cosine_goes_from_peak_to_its_floor),
      cmocka_unit_test(wsd_stays_and_then_falls_in_a_line),
      cmocka_unit_test(a_warmup_as_long_as_the_run_ends_at_the_peak),
      cmocka_unit_test(names_are_found_or_the_nearest_is_named),
      cmocka_unit_test(what_does_not_fit_is_refused_by_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
