/* sim_test.c - the simulator makes the wanted classes, by what is measured; the same seed, the same traffic. */
#include "config.h"

#include <math.h>

#include "../base/testing.h"
#include "base/mem.h"
#include "drive/sim.h"

static sonde_sim_spec spec_of(int seed, int class_, int domain) {
  return (sonde_sim_spec){(uint64_t)seed, class_, domain, 3, 1.35, 2.76};
}

static void check_kind(const sonde_traffic *t, int class_) {
  int kind = class_ / 2, high = class_ % 2 == SONDE_HIGH;
  assert_true(t->actor > 0);
  assert_int_equal(t->body[t->actor].kind, kind);
  assert_true(high ? t->ttc < SONDE_TTC_HIGH : t->ttc > SONDE_TTC_LOW && t->ttc < SONDE_TTC_LOW_MOST);
  assert_true(t->event_time >= 1.35 && t->event_time <= 2.76);
  assert_true(t->alert_time >= 0 && t->alert_time <= t->event_time);
  assert_true(t->pet > 0); /* nobody touches */
}

static void classes_are_what_is_measured(void **state) {
  (void)state;
  for (int domain = 0; domain < 2; domain++)
    for (int c = 0; c < SONDE_CLIP_CLASSES; c++) {
      sonde_traffic t;
      sonde_error err = {0};
      sonde_sim_spec spec = spec_of(5 + c, c, domain);
      if (sonde_traffic_make(&spec, &t, &err) < 0) fail_msg("%s: %s", sonde_clip_class[c], err.text);
      assert_int_equal(t.class_, c);
      assert_int_equal(t.steps, 3 * SONDE_SIM_RATE + 1);
      assert_true(t.bodies >= 2 && t.bodies <= SONDE_BODIES);
      if (c != SONDE_BACKGROUND)
        check_kind(&t, c);
      else
        assert_true(t.ttc > SONDE_TTC_BACKGROUND);
      sonde_traffic_free(&t);
    }
}

static sonde_rect rect_at(const sonde_traffic *t, int step, int body) {
  const sonde_pose *p = &t->pose[step * t->bodies + body];
  return (sonde_rect){
      p->x, p->y, p->dx, p->dy, t->body[body].length, t->body[body].width, p->speed * p->dx, p->speed * p->dy};
}

static double ttc_at(const sonde_traffic *t, int step) {
  sonde_rect a = rect_at(t, step, 0), b = rect_at(t, step, t->actor);
  return sonde_ttc(&a, &b);
}

/* The same by plain geometry: points of the actor, in small steps of time. */
static double ttc_by_steps(const sonde_traffic *t, int step) {
  const sonde_pose *a = &t->pose[step * t->bodies], *b = &t->pose[step * t->bodies + t->actor];
  const sonde_body *m = &t->body[0], *n = &t->body[t->actor];
  for (double s = 0; s < 1; s += 0.005) {
    double rx = b->x + b->speed * b->dx * s - a->x - a->speed * a->dx * s,
           ry = b->y + b->speed * b->dy * s - a->y - a->speed * a->dy * s;
    for (int i = 0; i <= 80; i++)
      for (int j = 0; j <= 40; j++) { /* points of the actor, in the ego car's frame */
        double u = (i / 80.0 - 0.5) * n->length, v = (j / 40.0 - 0.5) * n->width;
        double x = rx + u * b->dx - v * b->dy, y = ry + u * b->dy + v * b->dx;
        double along = x * a->dx + y * a->dy, across = y * a->dx - x * a->dy;
        if (fabs(along) <= m->length / 2 && fabs(across) <= m->width / 2) return s;
      }
  }
  return INFINITY;
}

static void the_event_is_as_claimed(void **state) {
  (void)state;
  for (int c = 0; c < SONDE_BACKGROUND; c += 2) {
    sonde_traffic t;
    sonde_sim_spec spec = spec_of(40 + c, c, 0);
    assert_int_equal(sonde_traffic_make(&spec, &t, NULL), 0);
    int step = (int)(t.event_time * SONDE_SIM_RATE + 0.5);
    assert_true(fabs(ttc_at(&t, step) - t.ttc) < 1e-9);
    step -= 6; /* at the event itself the bodies may pass by a hair's breadth */
    double again = ttc_by_steps(&t, step);
    if (!(fabs(again - ttc_at(&t, step)) < 0.02))
      fail_msg("%s: %g s, by steps %g", sonde_clip_class[c], ttc_at(&t, step), again);
    sonde_traffic_free(&t);
  }
}

static void nobody_jumps(void **state) {
  (void)state;
  for (int c = 0; c < SONDE_CLIP_CLASSES; c++) {
    sonde_traffic t;
    sonde_sim_spec spec = spec_of(60 + c, c, 1);
    assert_int_equal(sonde_traffic_make(&spec, &t, NULL), 0);
    for (int i = 0; i + 1 < t.steps; i++)
      for (int b = 0; b < t.bodies; b++) {
        const sonde_pose *p = &t.pose[i * t.bodies + b], *q = p + t.bodies;
        double way = sqrt((q->x - p->x) * (q->x - p->x) + (q->y - p->y) * (q->y - p->y));
        assert_true(way < 30.0 / SONDE_SIM_RATE);
        assert_true(fabs(p->dx * p->dx + p->dy * p->dy - 1) < 1e-9);
        assert_true(fabs(q->speed - p->speed) < 12.0 / SONDE_SIM_RATE); /* m/s2: nobody brakes harder */
      }
    sonde_traffic_free(&t);
  }
}

static void a_seed_is_the_traffic(void **state) {
  (void)state;
  sonde_traffic a, b, c;
  sonde_sim_spec one = spec_of(7, 2, 0), two = spec_of(8, 2, 0);
  assert_int_equal(sonde_traffic_make(&one, &a, NULL), 0);
  assert_int_equal(sonde_traffic_make(&one, &b, NULL), 0);
  assert_int_equal(sonde_traffic_make(&two, &c, NULL), 0);
  size_t n = sizeof *a.pose * (size_t)a.steps * (size_t)a.bodies;
  assert_int_equal(a.bodies, b.bodies);
  assert_memory_equal(a.pose, b.pose, n);
  assert_true(a.bodies != c.bodies || memcmp(a.pose, c.pose, n) != 0);
  sonde_traffic_free(&a), sonde_traffic_free(&b), sonde_traffic_free(&c);
}

static void between_steps(void **state) {
  (void)state;
  sonde_traffic t;
  sonde_sim_spec spec = spec_of(3, 6, 0);
  assert_int_equal(sonde_traffic_make(&spec, &t, NULL), 0);
  const sonde_pose *p = &t.pose[10 * t.bodies], *q = &t.pose[11 * t.bodies];
  sonde_pose mid = sonde_traffic_pose(&t, 0, 10.5 / SONDE_SIM_RATE);
  assert_true(fabs(mid.x - (p->x + q->x) / 2) < 1e-9 && fabs(mid.speed - (p->speed + q->speed) / 2) < 1e-9);
  assert_true(sonde_traffic_pose(&t, 0, 99).x == t.pose[(t.steps - 1) * t.bodies].x);
  sonde_traffic_free(&t);
}

static void refusals(void **state) {
  (void)state;
  sonde_traffic t;
  sonde_error err = {0};
  sonde_sim_spec spec = spec_of(1, 7, 0);
  assert_int_equal(sonde_traffic_make(&spec, &t, &err), SONDE_EINVAL);
  spec = spec_of(1, 0, 0), spec.seconds = 0.5;
  assert_int_equal(sonde_traffic_make(&spec, &t, &err), SONDE_EINVAL);
  spec = spec_of(1, 0, 0), spec.event_from = 2.9, spec.event_to = 2.1; /* no time is within */
  assert_int_equal(sonde_traffic_make(&spec, &t, &err), SONDE_EINVAL);
  assert_non_null(strstr(err.text, "bicycle_high"));
  for (int64_t n = 1;; n++) { /* out of memory at each place */
    spec = spec_of(6, 6, 0);
    sonde_alloc_fail_at(n);
    int rc = sonde_traffic_make(&spec, &t, &err);
    sonde_alloc_fail_at(0);
    if (rc == 0) break;
    assert_int_equal(rc, SONDE_ENOMEM);
  }
  sonde_traffic_free(&t);
  assert_int_equal(sonde_alloc_live(), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(classes_are_what_is_measured),
                                     cmocka_unit_test(the_event_is_as_claimed),
                                     cmocka_unit_test(nobody_jumps),
                                     cmocka_unit_test(a_seed_is_the_traffic),
                                     cmocka_unit_test(between_steps),
                                     cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
