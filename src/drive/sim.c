/* sim.c - runs a situation at 60 steps a second, measures it, and finds the aim that gives the wanted class. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "drive/sim_internal.h"

const char *const sonde_clip_class[SONDE_CLIP_CLASSES] = {
    "bicycle_high", "bicycle_low", "pedestrian_high", "pedestrian_low", "vehicle_high", "vehicle_low", "background"};

enum { BEFORE = 5 * SONDE_SIM_RATE }; /* steps before t = 0: manoeuvres may have begun */
static const double DT = 1.0 / SONDE_SIM_RATE;
static const double OTHERS_REACTION = 0.4; /* of the ego driver to everybody but the actor, s */
static const double CRAWL = 0.5;           /* m/s: slower is standing */
static const double ALERT = 6;             /* s: a collision course is under this */
static const double JAM = 2;               /* metres to the car ahead in a jam */

/* ---- one step ---- */

typedef struct run {
  sonde_situation s;
  int steps, now;
  sonde_pose *pose; /* [steps][n] */
} run;

static sonde_pose *at(const run *r, int step, int body) {
  return &r->pose[(step < 0 ? 0 : step) * r->s.n + body];
}

/* The intelligent driver model: acceleration at speed v, wished v0, behind somebody `gap` metres ahead at speed w, to
 * whom `jam` metres are kept. */
static double driver(double v, double v0, double gap, double w, double jam) {
  const double most = 1.8, comfortable = 2.2, headway = 1.3;
  double q = v / v0, close = jam + v * headway + v * (v - w) / (2 * sqrt(most * comfortable));
  double free_part = 1 - q * q * q * q;
  if (!(gap < 1e9)) return most * free_part;
  if (close < jam) close = jam;
  double g = close / (gap > 0.05 ? gap : 0.05);
  return most * (free_part - g * g);
}

static double half_along(const sonde_body *b, const sonde_pose *p) {
  return 0.5 * (b->length * fabs(p->dx) + b->width * fabs(p->dy));
}
static double half_across(const sonde_body *b, const sonde_pose *p) {
  return 0.5 * (b->length * fabs(p->dy) + b->width * fabs(p->dx));
}

/* Whether body b, as it was `step`, is or comes into the way of a car at (x, y) heading dir along x. */
static int in_the_way(const run *r, int me, int b, int step, double ahead) {
  const sonde_pose *p = at(r, step, b), *q = at(r, r->now, me);
  double dir = q->dx < 0 ? -1 : 1;
  if ((p->x - q->x) * dir <= 0) return 0;
  double reach = half_across(&r->s.body[b], p) + r->s.body[me].width / 2 + 0.15;
  double off = p->y - q->y, later = off + p->speed * p->dy * ahead;
  return fabs(off) < reach || fabs(later) < reach || off * later < 0;
}

/* The acceleration of a car along the road: the least over everybody it sees in its way. */
static double follow(const run *r, int me, double reaction_to_actor, double ahead) {
  const sonde_script *c = &r->s.script[me];
  const sonde_pose *q = at(r, r->now, me);
  double a = driver(q->speed, c->wish, INFINITY, 0, JAM), dir = q->dx < 0 ? -1 : 1;
  for (int b = 0; b < r->s.n; b++) {
    if (b == me) continue;
    double late = b == r->s.actor ? reaction_to_actor : OTHERS_REACTION;
    int seen = r->now - (int)(late * SONDE_SIM_RATE);
    if (!in_the_way(r, me, b, seen, ahead)) continue;
    const sonde_pose *p = at(r, seen, b), *real = at(r, r->now, b);
    double gap = (real->x - q->x) * dir - half_along(&r->s.body[b], real) - r->s.body[me].length / 2;
    double one =
        driver(q->speed, c->wish, gap, p->speed * p->dx * dir, b == r->s.actor && me == 0 ? r->s.distance : JAM);
    if (one < a) a = one;
  }
  return a;
}

/* Speeds change as fast as brakes bite. */
static void advance(sonde_script *c, sonde_pose *p, double wanted, double most, double bite) {
  double a = clamp(clamp(wanted, -most, 2.5), p->accel - bite * DT, p->accel + bite * DT);
  double v = p->speed + a * DT;
  if (v < 0) v = 0, a = -p->speed / DT;
  p->accel = a;
  c->speed = p->speed = v;
}

static void step_along(run *r, int me, sonde_pose *p, double t) {
  sonde_script *c = &r->s.script[me];
  const sonde_pose *old = at(r, r->now, me);
  double a = me == 0 ? follow(r, 0, r->s.reaction, 0.7) : c->heeds ? follow(r, me, OTHERS_REACTION, 0) : 0;
  if (c->brake > 0 && t >= c->t0)
    a = p->speed > c->slow ? -c->brake : 0;
  else if (me && !c->heeds)
    a = 0.8 * (c->wish - p->speed);
  advance(c, p, a, me == 0 ? r->s.brake_most : 8.5, me == 0 ? 18 : 30);
  p->x = old->x + p->speed * c->dir * DT;
  double lateral = 0;
  if (c->shift != 0 && t > c->t0) {
    double k = clamp((t - c->t0) / c->lasts, 0, 1), k1 = clamp((t - DT - c->t0) / c->lasts, 0, 1);
    double y = c->y + c->shift * k * k * k * (10 - k * (15 - 6 * k)); /* least jerk (Flash, Hogan 1985) */
    double y1 = c->y + c->shift * k1 * k1 * k1 * (10 - k1 * (15 - 6 * k1));
    p->y = y, lateral = (y - y1) / DT;
  } else if (me == 0 && r->s.sway > 0) {
    double w = 0.9 * t + r->s.sway_phase;
    p->y = c->y + r->s.sway * exact_sin(w), lateral = 0.9 * r->s.sway * exact_cos(w) * clamp(p->speed / 8, 0, 1);
  }
  double n = sqrt(p->speed * p->speed + lateral * lateral);
  p->dx = c->dir, p->dy = 0;
  if (p->speed > CRAWL) p->dx = c->dir * p->speed / n, p->dy = lateral / n;
}

static void step_across(sonde_script *c, sonde_pose *p, double t) {
  double wanted = t < c->t0 ? 0 : c->wish;
  if (c->stop > 0 && c->done > c->stop - 0.3) wanted = 0;
  double a = clamp((wanted - p->speed) * 6, -6, 5);
  p->speed += a * DT;
  if (p->speed < 0.02) p->speed = 0;
  p->accel = a;
  c->done += p->speed * DT;
  p->y = c->y + c->dir * c->done;
}

static void step_turn(sonde_script *c, sonde_pose *p) {
  const double quarter = 1.5707963267948966;
  double arc = c->radius * quarter, s = c->done - c->corner; /* metres since the corner */
  double wanted = s > -12 ? c->slow : c->wish;
  p->accel = clamp((wanted - p->speed) * 2, -4, 2.5);
  p->speed += p->accel * DT;
  c->done += p->speed * DT;
  s = c->done - c->corner;
  double angle = clamp(s / c->radius, 0, quarter);
  p->dx = -exact_cos(angle), p->dy = -exact_sin(angle);
  double line = s < 0 ? c->done : c->corner, out = s > arc ? s - arc : 0;
  p->x = c->x - line - c->radius * exact_sin(angle);
  p->y = c->y - c->radius * (1 - exact_cos(angle)) - out;
}

static void step_body(run *r, int me, double t) {
  sonde_script *c = &r->s.script[me];
  sonde_pose *p = at(r, r->now + 1, me);
  *p = *at(r, r->now, me);
  if (c->move == ALONG) step_along(r, me, p, t);
  if (c->move == ACROSS) step_across(c, p, t);
  if (c->move == TURN) step_turn(c, p);
}

/* ---- a run ---- */

static void start(run *r) {
  double before = BEFORE * DT;
  for (int b = 0; b < r->s.n; b++) {
    sonde_script *c = &r->s.script[b];
    sonde_pose *p = at(r, 0, b);
    *p = (sonde_pose){.x = c->x, .y = c->y, .dx = c->dir, .speed = c->speed};
    if (c->move == ALONG) p->x -= c->dir * c->speed * before;
    if (c->move == ACROSS) p->dx = 0, p->dy = c->dir, p->speed = 0, c->done = 0;
    if (c->move == TURN) c->done = -c->speed * before, p->x = c->x - c->done, p->dx = -1;
    if (c->move == STAND && c->across) p->dx = 0, p->dy = c->dir;
  }
}

static void run_all(run *r) {
  start(r);
  for (r->now = 0; r->now + 1 < r->steps; r->now++)
    for (int b = 0; b < r->s.n; b++) step_body(r, b, (r->now + 1 - BEFORE) * DT);
}

static void to_traffic(const run *r, sonde_traffic *t) {
  t->road = r->s.road, t->bodies = r->s.n, t->steps = r->steps - BEFORE, t->actor = r->s.actor;
  memcpy(t->body, r->s.body, sizeof t->body);
  memcpy(t->pose, r->pose + (size_t)BEFORE * (size_t)r->s.n, sizeof *t->pose * (size_t)t->steps * (size_t)r->s.n);
  t->event = sonde_event_name[r->s.event];
}

/* ---- measuring ---- */

static void rects_of(const sonde_traffic *t, int body, sonde_rect *out) {
  for (int i = 0; i < t->steps; i++) {
    const sonde_pose *p = &t->pose[i * t->bodies + body];
    out[i] = (sonde_rect){
        p->x, p->y, p->dx, p->dy, t->body[body].length, t->body[body].width, p->speed * p->dx, p->speed * p->dy};
  }
}

static int class_of(const sonde_traffic *t, double ttc) {
  if (ttc > SONDE_TTC_BACKGROUND) return SONDE_BACKGROUND;
  if (ttc < SONDE_TTC_HIGH) return t->body[t->actor].kind * 2 + SONDE_HIGH;
  if (ttc > SONDE_TTC_LOW && ttc < SONDE_TTC_LOW_MOST) return t->body[t->actor].kind * 2 + SONDE_LOW;
  return -1;
}

int sonde_traffic_measure(sonde_traffic *t, sonde_error *err) {
  size_t n = (size_t)t->steps;
  sonde_rect *ego = sonde_alloc(2 * n * sizeof *ego), *other = ego + n;
  if (!ego) return sonde_fail(err, SONDE_ENOMEM, "no memory to measure a traffic situation of %d steps", t->steps);
  rects_of(t, 0, ego);
  t->class_ = -1, t->ttc = t->pet = INFINITY, t->event_time = t->alert_time = 0;
  int wanted = t->actor, contact = 0;
  double second = INFINITY;
  for (int b = 1; b < t->bodies; b++) {
    rects_of(t, b, other);
    sonde_conflict c = sonde_conflict_of(ego, other, t->steps, DT, CRAWL, ALERT);
    contact |= c.contact;
    if (c.ttc < t->ttc)
      second = t->ttc, t->ttc = c.ttc, t->event_time = c.at, t->alert_time = c.since, t->actor = b;
    else if (c.ttc < second)
      second = c.ttc;
  }
  int class_ = class_of(t, t->ttc);
  if (class_ == SONDE_BACKGROUND) t->actor = wanted > 0 ? wanted : 0, t->event_time = t->alert_time = 0;
  /* Nobody else may come near: the clip has one event, with one road user. */
  else if (second < SONDE_TTC_LOW || second < t->ttc + 0.3 || t->actor != wanted)
    class_ = -1;
  if (t->actor > 0 && class_ >= 0) {
    rects_of(t, t->actor, other);
    t->pet = sonde_pet(ego, other, t->steps, DT, 4);
  }
  t->class_ = contact ? -1 : class_;
  sonde_release(ego);
  return 0;
}

int sonde_traffic_overlaps(const sonde_traffic *t) {
  for (int i = 0; i < t->steps; i += 6)
    for (int a = 1; a < t->bodies; a++)
      for (int b = a + 1; b < t->bodies; b++) {
        const sonde_pose *p = &t->pose[i * t->bodies + a], *q = &t->pose[i * t->bodies + b];
        if (fabs(p->x - q->x) > 8) continue;
        sonde_rect u = {p->x, p->y, p->dx, p->dy, t->body[a].length, t->body[a].width, 0, 0};
        sonde_rect v = {q->x, q->y, q->dx, q->dy, t->body[b].length, t->body[b].width, 0, 0};
        if (sonde_ttc(&u, &v) == 0) return 1;
      }
  return 0;
}

/* ---- the search ---- */

static int run_once(run *r, const sonde_situation *s, double lead, sonde_traffic *t, sonde_error *err) {
  r->s = *s;
  sonde_situation_aim(&r->s, lead);
  run_all(r);
  to_traffic(r, t);
  return sonde_traffic_measure(t, err);
}

/* Whether a measured situation is what was wanted. */
static int accepted(const sonde_sim_spec *spec, const sonde_traffic *t) {
  if (t->class_ != spec->class_ || sonde_traffic_overlaps(t)) return 0;
  if (spec->class_ == SONDE_BACKGROUND) return 1;
  return t->event_time >= spec->event_from && t->event_time <= spec->event_to;
}

/* Bisects the lead until the measured time to collision is near the wanted one: the more lead, the more time. */
static int aim(run *r, const sonde_situation *s, const sonde_sim_spec *spec, double wanted, sonde_traffic *t,
               sonde_error *err) {
  double lo = 0.05, hi = 9;
  for (int i = 0; i < 14; i++) {
    double lead = (lo + hi) / 2;
    int rc = run_once(r, s, lead, t, err);
    if (rc < 0) return rc;
    if (accepted(spec, t) && fabs(t->ttc - wanted) < 0.12) return 1;
    if (t->class_ != SONDE_BACKGROUND && !(t->ttc > wanted))
      lo = lead;
    else
      hi = lead;
  }
  return accepted(spec, t);
}

int sonde_traffic_make(const sonde_sim_spec *spec, sonde_traffic *t, sonde_error *err) {
  enum { TRIES = 400, TRIES_OF_EVENT = 40 };
  if (!(spec->seconds >= 1 && spec->seconds <= 120) || spec->class_ < 0 || spec->class_ >= SONDE_CLIP_CLASSES)
    return sonde_fail(err, SONDE_EINVAL, "a clip is 1 to 120 seconds long, and of one of %d classes",
                      SONDE_CLIP_CLASSES);
  run r = {.steps = BEFORE + (int)(spec->seconds * SONDE_SIM_RATE) + 1};
  size_t poses = (size_t)r.steps * SONDE_BODIES;
  memset(t, 0, sizeof *t);
  r.pose = sonde_alloc(poses * sizeof *r.pose);
  t->pose = sonde_alloc(poses * sizeof *t->pose);
  int rc = r.pose && t->pose ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory for %d steps of traffic", r.steps);
  sonde_draws d = draws_new(spec->seed, "traffic");
  int event = NO_EVENT;
  for (int i = 0; rc == 0 && i < TRIES; i++) {
    sonde_situation s;
    if (i % TRIES_OF_EVENT == 0) event = sonde_event_draw(spec, &d);
    sonde_situation_draw(&s, spec, event, &d);
    double wanted = spec->class_ == SONDE_BACKGROUND ? draw(&d, 5, 9)
                    : spec->class_ % 2 == SONDE_HIGH ? draw(&d, 0.15, SONDE_TTC_HIGH)
                                                     : draw(&d, SONDE_TTC_LOW, SONDE_TTC_LOW_MOST);
    if (s.actor)
      rc = aim(&r, &s, spec, wanted, t, err);
    else if ((rc = run_once(&r, &s, 2, t, err)) == 0)
      rc = accepted(spec, t);
  }
  sonde_release(r.pose);
  if (rc == 1) return 0;
  sonde_traffic_free(t);
  if (rc < 0) return rc;
  return sonde_fail(err, SONDE_EINVAL,
                    "no situation of class '%s' with its event between %.2g and %.2g s came out of %d "
                    "tries; give the event more room",
                    sonde_clip_class[spec->class_], spec->event_from, spec->event_to, TRIES);
}

void sonde_traffic_free(sonde_traffic *t) {
  sonde_release(t->pose);
  memset(t, 0, sizeof *t);
}

sonde_pose sonde_traffic_pose(const sonde_traffic *t, int body, double seconds) {
  double f = clamp(seconds * SONDE_SIM_RATE, 0, t->steps - 1);
  int i = (int)f, j = i + 1 < t->steps ? i + 1 : i;
  const sonde_pose *a = &t->pose[i * t->bodies + body], *b = &t->pose[j * t->bodies + body];
  double k = f - i;
  sonde_pose p = {mix(a->x, b->x, k),   mix(a->y, b->y, k),         mix(a->dx, b->dx, k),
                  mix(a->dy, b->dy, k), mix(a->speed, b->speed, k), mix(a->accel, b->accel, k)};
  double n = sqrt(p.dx * p.dx + p.dy * p.dy);
  p.dx /= n, p.dy /= n;
  return p;
}
