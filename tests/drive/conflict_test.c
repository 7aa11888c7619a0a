/* conflict_test.c - time to collision and post-encroachment time against values worked out by hand. */
#include "config.h"

#include <math.h>

#include "../base/testing.h"
#include "drive/conflict.h"

static void close_to(double got, double want) {
  if (fabs(got - want) > 1e-9) fail_msg("%.12g, expected %.12g", got, want);
}

/* A car of 4 x 2 m at the origin, driving along x. */
static sonde_rect car(double x, double y, double vx, double vy) {
  return (sonde_rect){x, y, 1, 0, 4, 2, vx, vy};
}

static void behind_a_leader(void **state) {
  (void)state;
  sonde_rect a = car(0, 0, 10, 0), b = car(24, 0, 5, 0);
  close_to(sonde_ttc(&a, &b), 20.0 / 5); /* 24 - 4 metres between bumpers, 5 m/s nearer */
  b.vx = 10;
  assert_true(isinf(sonde_ttc(&a, &b))); /* never nearer */
  b.vx = 12;
  assert_true(isinf(sonde_ttc(&a, &b)));
  b = car(24, 2.5, 5, 0);
  assert_true(isinf(sonde_ttc(&a, &b))); /* in the next lane */
  b = car(24, 1.5, 5, 0);
  close_to(sonde_ttc(&a, &b), 4); /* they overlap by half a metre sideways */
}

static void crossing(void **state) {
  (void)state;
  /* A person of 0.5 x 0.5 m, 10 m ahead of the car's middle, walks in from the right at 2 m/s: sideways they touch
   * between (3 - 1.25) / 2 and (3 + 1.25) / 2 s, along the road between (10 - 2.25) / 8 and (10 + 2.25) / 8 s. */
  sonde_rect a = car(0, 0, 8, 0), b = {10, -3, 0, 1, 0.5, 0.5, 0, 2};
  close_to(sonde_ttc(&a, &b), 7.75 / 8);
  close_to(sonde_ttc(&b, &a), 7.75 / 8);
  b.y = -4; /* sideways from 2.75 / 2 to 5.25 / 2: later */
  close_to(sonde_ttc(&a, &b), 2.75 / 2);
  b.y = -6; /* from 2.375 s on, when the car has passed (1.53 s) */
  assert_true(isinf(sonde_ttc(&a, &b)));
}

static void turned_bodies(void **state) {
  (void)state;
  /* A square of side 2 turned by 45 degrees reaches sqrt(2) along x. */
  double h = sqrt(0.5);
  sonde_rect a = {0, 0, 1, 0, 2, 2, 1, 0}, b = {10, 0, h, h, 2, 2, 0, 0};
  close_to(sonde_ttc(&a, &b), 10 - 1 - sqrt(2));
  sonde_rect near = {1.5, 1.5, h, h, 1, 1, 0, 0}; /* boxes around the two overlap; they do not */
  assert_true(sonde_ttc(&(sonde_rect){0, 0, 1, 0, 2, 2, 0, 0}, &near) > 0);
  near.x = near.y = 1.3;
  close_to(sonde_ttc(&(sonde_rect){0, 0, 1, 0, 2, 2, 0, 0}, &near), 0);
}

enum { N = 301 };
static sonde_rect p[N], q[N];

static void encroachment(void **state) {
  (void)state;
  /* The car passes x = 0 .. at 10 m/s; a bicycle of 2 x 0.5 m crosses its lane at 4 m/s, its middle reaching the
   * lane's at 2 s. The car's rear leaves the bicycle's strip |x - 10| < 0.25 at (10.25 + 2) / 10 = 1.225 s, the
   * bicycle's front reaches the car's at y = -1 at 2 - (1 + 1) / 4 = 1.5 s: 0.275 s between, in steps of 1/100 s at
   * most 0.02 more. */
  for (int i = 0; i < N; i++) {
    double t = i / 100.0;
    p[i] = car(10 * t, 0, 10, 0);
    q[i] = (sonde_rect){10, 4 * (t - 2), 0, 1, 2, 0.5, 0, 4};
  }
  double pet = sonde_pet(p, q, N, 0.01, 4);
  assert_true(pet > 0.275 && pet < 0.296);
  close_to(sonde_pet(q, p, N, 0.01, 4), pet);
  assert_true(isinf(sonde_pet(p, q, N, 0.01, 0.2))); /* beyond the horizon */
  for (int i = 0; i < N; i++) q[i].x = 100;
  assert_true(isinf(sonde_pet(p, q, N, 0.01, 4)));
}

static void the_least_on_the_way(void **state) {
  (void)state;
  /* From 10 m/s the car brakes by 5 m/s2 before a wall 12 m away from its bumper: it stops after 10 m, 2 m before it.
   * The time left, (12 - x) / v, is least where the gap is 2 + v^2 / 10 with v = sqrt(20): 4 / sqrt(20). */
  for (int i = 0; i < N; i++) {
    double t = i / 100.0 < 2 ? i / 100.0 : 2, v = 10 - 5 * t;
    p[i] = car(10 * t - 2.5 * t * t, 0, v, 0), q[i] = car(16, 0, 0, 0);
  }
  sonde_conflict c = sonde_conflict_of(p, q, N, 0.01, 0.5, 1.19);
  assert_false(c.contact);
  assert_true(fabs(c.ttc - 4 / sqrt(20)) < 1e-4);
  assert_true(fabs(c.at - (10 - sqrt(20)) / 5) < 0.011);
  assert_true(c.since > 0 && c.since < 0.05); /* 12 / 10 s at first */
  for (int i = 0; i < N; i++) q[i].x = 13;    /* 9 m are not enough */
  assert_true(sonde_conflict_of(p, q, N, 0.01, 0.5, 6).contact);
  for (int i = 0; i < N; i++) q[i].x = -20;
  c = sonde_conflict_of(p, q, N, 0.01, 0.5, 6);
  assert_true(isinf(c.ttc) && !c.contact);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(behind_a_leader), cmocka_unit_test(crossing),
                                     cmocka_unit_test(turned_bodies), cmocka_unit_test(encroachment),
                                     cmocka_unit_test(the_least_on_the_way)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
