/* fcd_test.c - trajectories written by hand: the situations in them by arithmetic, what is refused. */
#include "config.h"

#include <math.h>

#include "../base/testing.h"
#include "base/mem.h"
#include "drive/fcd.h"

static char folder[128], path[160];

static void put(const char *text) {
  assert_int_equal(sonde_file_write(path, text, (int64_t)strlen(text), NULL), 0);
}

/* A car drives along a street that heads `turn` degrees from north, at 10 m/s, and from t = 13 s on brakes by 5 m/s2 to
 * a stop after 10 m; a person stands where `gap` metres are left then. Another car comes towards it. From north so that
 * angles are those of SUMO: x grows with the sine. */
static void write_braking(double gap, double turn, int left_hand) {
  enum { STEPS = 190 };
  char *text = sonde_alloc(STEPS * 512), *at = text;
  double s = sin(turn * 0.017453292519943295), c = cos(turn * 0.017453292519943295), side = left_hand ? -1 : 1;
  double stop = 140 + gap + 0.23; /* the person's middle: a car's front is at 130 + 10; half of 0.26 x 1.7 m or so */
  at += sprintf(at, "<?xml version=\"1.0\"?>\n<!-- by hand -->\n<fcd-export>\n");
  for (int i = 0; i < STEPS; i++) {
    double t = i * 0.1, b = t < 13 ? 0 : t < 15 ? t - 13 : 2, x = t < 13 ? 10 * t : 130 + 10 * b - 2.5 * b * b;
    double speed = 10 - 5 * b, other = 260 - 8 * t;
    at += sprintf(at, "<timestep time=\"%.2f\">\n", t);
    at += sprintf(at, "<vehicle id=\"a\" x=\"%.3f\" y=\"%.3f\" angle=\"%.2f\" type=\"car1\" speed=\"%.3f\"/>\n",
                  500 + x * s, 500 + x * c, turn, speed);
    at += sprintf(at, "<vehicle id=\"b\" x=\"%.3f\" y=\"%.3f\" angle=\"%.2f\" type=\"delivery\" speed=\"8\"/>\n",
                  500 + other * s - side * 3.2 * c, 500 + other * c + side * 3.2 * s, turn + 180);
    at += sprintf(at, "<person id=\"p\" x=\"%.3f\" y=\"%.3f\" angle=\"%.2f\" speed=\"0\"/>\n</timestep>\n",
                  500 + stop * s, 500 + stop * c, turn - 90);
  }
  sprintf(at, "</fcd-export>\n");
  put(text);
  sonde_release(text);
}

static const sonde_sim_spec spec = {.seed = 3, .seconds = 3, .event_from = 1.35, .event_to = 2.76};

/* The gap that is left is m + v^2 / 10, the time to collision m / v + v / 10: least where v = sqrt(10 m). */
static void an_encounter_is_what_arithmetic_says(void **state) {
  (void)state;
  const double turns[] = {0, 90, 217};
  for (int k = 0; k < 6; k++) {
    sonde_error err = {0};
    sonde_found found;
    sonde_traffic t;
    write_braking(0.4, turns[k % 3], k / 3);
    sonde_fcd *f = sonde_fcd_read(path, &err);
    if (!f) fail_msg("%s", err.text);
    assert_int_equal(f->tracks, 3);
    assert_int_equal(f->steps, 190);
    assert_int_equal(f->keeps_left, k / 3);
    assert_int_equal(sonde_fcd_find(f, &spec, 2, &found, &err), 0);
    const int high = 2 * SONDE_PEDESTRIAN + SONDE_HIGH;
    assert_int_equal(found.n[high], 1);
    for (int c = 0; c < SONDE_BACKGROUND; c++) assert_true(c == high || found.n[c] == 0);
    assert_int_equal(sonde_fcd_traffic(f, &found.list[high][0], &spec, &t, &err), 0);
    assert_int_equal(t.class_, high);
    double size = t.body[t.actor].width, m = 0.4 + 0.23 - size / 2; /* heads across: its width is along */
    assert_int_equal(t.body[t.actor].kind, SONDE_PEDESTRIAN);
    assert_true(fabs(t.ttc - 2 * sqrt(m / 10)) < 0.02);
    double at = found.list[high][0].start + t.event_time; /* 13 s + (10 - v) / 5 */
    assert_true(fabs(at - (15 - sqrt(10 * m) / 5)) < 0.06);
    assert_int_equal(t.road.lanes, 1);
    assert_true(fabs(t.pose[0].y + 1.6) < 0.02 && fabs(t.pose[0].x) < 0.02);
    assert_true(fabs(t.pose[1].y + 1.6) < 0.02);     /* before the ego car */
    assert_true(fabs(t.pose[2].y - 1.6) < 0.02 && t.pose[2].dx < -0.99); /* on the other lane */
    sonde_traffic_free(&t);
    sonde_found_free(&found);
    sonde_fcd_free(f);
  }
}

static void quiet_stretches_are_background(void **state) {
  (void)state;
  sonde_found found;
  sonde_traffic t;
  write_braking(0.4, 90, 0);
  sonde_fcd *f = sonde_fcd_read(path, NULL);
  assert_int_equal(sonde_fcd_find(f, &spec, 100, &found, NULL), 0);
  assert_true(found.n[SONDE_BACKGROUND] > 0);
  for (int i = 0; i < found.n[SONDE_BACKGROUND]; i++) {
    assert_int_equal(sonde_fcd_traffic(f, &found.list[SONDE_BACKGROUND][i], &spec, &t, NULL), 0);
    assert_true(t.ttc > SONDE_TTC_BACKGROUND && t.class_ == SONDE_BACKGROUND);
    assert_int_equal(t.steps, 3 * SONDE_SIM_RATE + 1);
    sonde_traffic_free(&t);
  }
  sonde_found_free(&found);
  sonde_fcd_free(f);
}

/* Where bodies touch, which SUMO's often do, there is no clip. */
static void contacts_are_left_out(void **state) {
  (void)state;
  sonde_found found;
  write_braking(-0.5, 90, 0);
  sonde_fcd *f = sonde_fcd_read(path, NULL);
  assert_int_equal(sonde_fcd_find(f, &spec, 4, &found, NULL), 0);
  for (int c = 0; c < SONDE_BACKGROUND; c++) assert_int_equal(found.n[c], 0);
  sonde_found_free(&found);
  sonde_fcd_free(f);
}

static void bad_files_are_refused(void **state) {
  (void)state;
#define STEP(t, in) "<timestep time=\"" t "\">" in "</timestep>"
#define CAR(x) "<vehicle id=\"a\" x=\"" x "\" y=\"0\" angle=\"90\" type=\"car\" speed=\"10\"/>"
  static const char *const bad[][2] = {
      {"", "no element found"},
      {"<routes/>", "no <fcd-export>"},
      {"<fcd-export/>", "has no trajectories"},
      {"<fcd-export>" STEP("0", CAR("0")) "</fcd-export>", "has no trajectories"},
      {"<fcd-export>" STEP("0", CAR("0")), "no element found"},
      {"<fcd-export>" CAR("0") "</fcd-export>", "outside of a timestep"},
      {"<fcd-export>" STEP("0", CAR("one")) "</fcd-export>", "'x' is 'one', no number"},
      {"<fcd-export>" STEP("0", CAR("nan")) "</fcd-export>", "no number"},
      {"<fcd-export>" STEP("0", CAR("1e30")) "</fcd-export>", "no number up to 1e+06"},
      {"<fcd-export>" STEP("0", CAR("0") CAR("0")) "</fcd-export>", "twice in one timestep"},
      {"<fcd-export>" STEP("0", "<vehicle id=\"a\" x=\"1\" y=\"1\" angle=\"0\"/>"), "has no 'speed'"},
      {"<fcd-export>" STEP("0", CAR("0")) STEP("1", CAR("10")) "</fcd-export>", "steps must be 0.01 to 0.5 s"},
      {"<fcd-export>" STEP("1", CAR("0")) STEP("0.9", CAR("10")) "</fcd-export>", "steps must be 0.01 to 0.5 s"},
      {"<fcd-export>" STEP("0", CAR("0")) STEP("0.1", CAR("1")) STEP("0.5", CAR("2")) "</fcd-export>", "evenly spaced"},
      {"<!DOCTYPE a [<!ENTITY b \"b\"><!ENTITY c \"&b;&b;\">]><fcd-export>&c;</fcd-export>", "document type"},
      {"<!DOCTYPE a SYSTEM \"/etc/passwd\"><fcd-export/>", "document type"},
      {"<fcd-export><timestep time=\"0\"></fcd-export>", "mismatched tag"},
      {"\x1f\x8b\x08 damaged", ""}};
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    sonde_error err = {0};
    put(bad[k][0]);
    assert_null(sonde_fcd_read(path, &err));
    if (!strstr(err.text, bad[k][1])) fail_msg("%zu: %s", k, err.text);
    assert_true(err.code < 0 && !strchr(err.text, '\n') && strstr(err.text, folder));
  }
  sonde_error err = {0};
  char *text = sonde_alloc(3 << 20), *at = text; /* degrees: bodies move 1e-4 of what their speed makes */
  at += sprintf(at, "<fcd-export>");
  for (int i = 0; i < 200; i++)
    at += sprintf(at, STEP("%.1f", "<vehicle id=\"a\" x=\"%.8f\" y=\"48\" angle=\"90\" speed=\"10\"/>"), i * 0.1,
                  11 + i * 1e-5);
  sprintf(at, "</fcd-export>");
  put(text);
  assert_null(sonde_fcd_read(path, &err));
  assert_non_null(strstr(err.text, "must be in metres"));
  at = text + sprintf(text, "<fcd-export>"); /* a tag without an end */
  memset(at, ' ', 2 << 20);
  at[0] = '<', at[1] = 'a', at[2 << 20] = 0;
  put(text);
  assert_null(sonde_fcd_read(path, &err));
  assert_non_null(strstr(err.text, "a megabyte without an element"));
  sonde_release(text);
}

static void memory_may_end_anywhere(void **state) {
  (void)state;
  write_braking(0.4, 90, 0);
  for (int64_t n = 1;; n++) {
    sonde_error err = {0};
    sonde_found found;
    sonde_alloc_fail_at(n);
    sonde_fcd *f = sonde_fcd_read(path, &err);
    int rc = f ? sonde_fcd_find(f, &spec, 1, &found, &err) : -1;
    sonde_alloc_fail_at(0);
    if (f && rc == 0) sonde_found_free(&found);
    sonde_fcd_free(f);
    if (rc == 0) break;
    assert_int_equal(err.code, SONDE_ENOMEM);
  }
  assert_int_equal(sonde_alloc_live(), 0);
}

static int set_up(void **state) {
  (void)state;
  test_folder(folder, sizeof folder);
  snprintf(path, sizeof path, "%s/x.fcd.xml", folder);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  test_folder_drop(folder);
  return 0;
}

int main(void) {
#ifndef HAVE_EXPAT
  printf("1..0 # SKIP this build has no expat\n");
  return 0;
#endif
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_encounter_is_what_arithmetic_says), cmocka_unit_test(quiet_stretches_are_background),
      cmocka_unit_test(contacts_are_left_out), cmocka_unit_test(bad_files_are_refused),
      cmocka_unit_test(memory_may_end_anywhere)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
