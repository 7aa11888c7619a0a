/* fcd_traffic.c - situations among trajectories: encounters by time to collision, and their way into road
 * coordinates. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "drive/exact.h"
#include "drive/fcd.h"

static const double LANE = 3.2, EDGE = 1.3, PAVEMENT = 2.6; /* SUMO's lane; a lane for bicycles; metres */
static const double STREET = 4.3;                           /* half of the side street */
static const double AHEAD = 170, BEHIND = 30;               /* metres of the road on which others matter */
static const double NEAR_BY = 20;       /* who comes as near must be there for the whole clip */
static const double STRAIGHT = 0.985;   /* cosine of the most that the ego car turns away from its way */
static const double SWAY = 0.9;         /* metres that it leaves its line by, at most */

/* ---- points ---- */

static int is_there(const sonde_fcd_track *t, double step) {
  return step >= t->first && step <= t->first + t->points - 1;
}

static const sonde_fcd_point *at(const sonde_fcd_track *t, int step) {
  int i = step - t->first;
  return &t->point[i < 0 ? 0 : i >= t->points ? t->points - 1 : i];
}

/* A cubic through the points around (Catmull and Rom 1974), k in [0, 1]. */
static double cubic(double a, double b, double c, double d, double k) {
  return b + 0.5 * k * (c - a + k * (2 * a - 5 * b + 4 * c - d + k * (3 * (b - c) + d - a)));
}

/* The middle of a body at a step, which may be a fraction. */
static sonde_pose pose_at(const sonde_fcd *f, const sonde_fcd_track *t, double step) {
  int i = (int)whole(step);
  double k = step - i, back = t->body.kind == SONDE_PEDESTRIAN ? 0 : t->body.length / 2;
  const sonde_fcd_point *a = at(t, i - 1), *b = at(t, i), *c = at(t, i + 1), *d = at(t, i + 2);
  sonde_pose p = {cubic((double)a->x, (double)b->x, (double)c->x, (double)d->x, k),
                  cubic((double)a->y, (double)b->y, (double)c->y, (double)d->y, k),
                  mix((double)b->dx, (double)c->dx, k),
                  mix((double)b->dy, (double)c->dy, k),
                  mix((double)b->speed, (double)c->speed, k),
                  mix((double)c->speed - (double)a->speed, (double)d->speed - (double)b->speed, k) / (2 * f->step)};
  double n = sqrt(p.dx * p.dx + p.dy * p.dy);
  if (n < 1e-6) p.dx = (double)b->dx, p.dy = (double)b->dy, n = 1; /* turned round */
  p.dx /= n, p.dy /= n;
  p.x -= p.dx * back, p.y -= p.dy * back;
  return p;
}

/* Whether a body jumps between steps: it changed its lane at once, or was put elsewhere. */
static int jumps(const sonde_fcd *f, const sonde_fcd_track *t, int from, int to) {
  for (int s = from; s < to; s++) {
    const sonde_fcd_point *p = at(t, s), *q = at(t, s + 1);
    double x = (double)q->x - (double)p->x, y = (double)q->y - (double)p->y;
    double most = 1.5 * fmax((double)p->speed, (double)q->speed) * f->step + 0.4;
    if (x * x + y * y > most * most) return 1;
  }
  return 0;
}

/* ---- into road coordinates ---- */

/* The road along the ego car's way: its start is at (0, line). */
typedef struct way {
  double x, y, ux, uy, sign, line; /* sign: -1 turns the picture round where traffic keeps left */
} way;

static sonde_pose on_road(const way *w, sonde_pose p) {
  double x = p.x - w->x, y = p.y - w->y, dx = p.dx, dy = p.dy;
  p.x = x * w->ux + y * w->uy, p.y = w->sign * (y * w->ux - x * w->uy) + w->line;
  p.dx = dx * w->ux + dy * w->uy, p.dy = w->sign * (dy * w->ux - dx * w->uy);
  return p;
}

typedef struct cut {
  const sonde_fcd *f;
  const sonde_situation_found *s;
  double first, last; /* steps */
  way way;
  sonde_road road;
  int n;
  int track[SONDE_BODIES];
  double near[SONDE_BODIES]; /* how near each comes to the ego car */
} cut;

static sonde_pose cut_pose(const cut *c, int track, double step) {
  return on_road(&c->way, pose_at(c->f, &c->f->track[track], step));
}

enum { LOOKS = 7 };
static double look_step(const cut *c, int k) {
  return mix(c->first, c->last, (double)k / (LOOKS - 1));
}

/* The ego car's way; 0 where it is none that can be shown. */
static int find_way(cut *c) {
  const sonde_fcd_track *ego = &c->f->track[c->s->ego];
  if (!is_there(ego, c->first) || !is_there(ego, c->last)) return 0;
  sonde_pose a = pose_at(c->f, ego, c->first), b = pose_at(c->f, ego, c->last);
  double x = b.x - a.x, y = b.y - a.y, n = sqrt(x * x + y * y);
  if (n < 4) return 0;
  c->way = (way){a.x, a.y, x / n, y / n, c->f->keeps_left ? -1 : 1, 0};
  for (double s = c->first; s <= c->last; s += 1) {
    sonde_pose p = cut_pose(c, c->s->ego, s);
    if (p.dx < STRAIGHT || fabs(p.y) > SWAY) return 0;
  }
  return !jumps(c->f, ego, (int)c->first, (int)c->last + 1);
}

/* Lanes on both sides of the ego car's, as others drive beside it and towards it. */
static void find_lanes(cut *c, const int *others, int n) {
  int left = 0, right = 0, oncoming = 0;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < LOOKS; k++) {
      const sonde_fcd_track *t = &c->f->track[others[i]];
      if (t->body.kind != SONDE_VEHICLE || !is_there(t, look_step(c, k))) continue;
      sonde_pose p = cut_pose(c, others[i], look_step(c, k));
      int lane = (int)whole(p.y / LANE + 0.5);
      if (fabs(p.dx) < 0.97 || fabs(p.x) > 80 || lane < -2 || lane > 5) continue;
      if (p.dx > 0 && lane > left && lane < 3) left = lane;
      if (p.dx > 0 && -lane > right) right = -lane;
      if (p.dx < 0 && lane > 0 && (!oncoming || lane < oncoming)) oncoming = lane;
    }
  if (oncoming && oncoming / 2 < 3) left = oncoming / 2; /* the middle is half way */
  if (left + 1 + right > 3) right = 2 - left;
  c->road = (sonde_road){.lanes = left + 1 + right, .lane = LANE, .edge = EDGE, .pavement = PAVEMENT,
                         .crossing = NAN, .crossing_half = STREET};
  c->way.line = -(left + 0.5) * LANE;
}

/* The side street is where others come across: drivers keep to their right of its middle. */
static void find_street(cut *c, const int *others, int n, double event) {
  double best = INFINITY, near = event > 0 ? event : 30;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < LOOKS; k++) {
      const sonde_fcd_track *t = &c->f->track[others[i]];
      if (t->body.kind == SONDE_PEDESTRIAN || !is_there(t, look_step(c, k))) continue;
      sonde_pose p = cut_pose(c, others[i], look_step(c, k));
      double side = t->body.kind == SONDE_BICYCLE ? LANE + 0.5 : LANE / 2, middle = p.x - (p.dy > 0 ? side : -side);
      if (fabs(p.dy) < 0.95 || fabs(p.y) > 40 || p.x < -10 || p.x > AHEAD) continue;
      if (fabs(middle - near) < fabs(best - near)) best = middle;
    }
  if (best < INFINITY) c->road.crossing = best;
}

/* How near somebody comes, metres; INFINITY: never to where it can be seen. */
static double nearest(const cut *c, int track) {
  double kerb = c->road.lanes * LANE + EDGE + PAVEMENT, least = INFINITY;
  for (int k = 0; k < LOOKS; k++) {
    double s = look_step(c, k);
    if (!is_there(&c->f->track[track], s)) continue;
    sonde_pose p = cut_pose(c, track, s), e = cut_pose(c, c->s->ego, s);
    double along = p.x - e.x, off = p.y - e.y;
    int in_street = fabs(p.x - c->road.crossing) < STREET + PAVEMENT && fabs(p.y) < 60;
    if (along < -BEHIND || along > AHEAD || (fabs(p.y) > kerb && !in_street)) continue;
    least = fmin(least, sqrt(along * along + off * off));
  }
  return least;
}

/* Keeps the nearest ones in order; the list begins with the ego car and the actor. */
static void keep(cut *c, int track, double near, int fixed) {
  int at = c->n;
  while (at > fixed && c->near[at - 1] > near) at--;
  if (at == SONDE_BODIES) return;
  int moved = (c->n < SONDE_BODIES ? c->n : SONDE_BODIES - 1) - at;
  memmove(c->track + at + 1, c->track + at, (size_t)moved * sizeof *c->track);
  memmove(c->near + at + 1, c->near + at, (size_t)moved * sizeof *c->near);
  c->track[at] = track, c->near[at] = near;
  if (c->n < SONDE_BODIES) c->n++;
}

/* Who is shown; 0 where somebody near is not there for the whole clip, or jumps. */
static int find_bodies(cut *c, const int *others, int n) {
  const sonde_fcd *f = c->f;
  c->n = 0;
  keep(c, c->s->ego, 0, 0);
  int fixed = 1;
  if (c->s->other >= 0) keep(c, c->s->other, 0, 1), fixed = 2;
  for (int i = 0; i < n; i++) {
    const sonde_fcd_track *t = &f->track[others[i]];
    int whole_clip = is_there(t, c->first) && is_there(t, c->last);
    double near = nearest(c, others[i]);
    if (others[i] == c->s->other && (!whole_clip || jumps(f, t, (int)c->first, (int)c->last + 1))) return 0;
    if (others[i] == c->s->other || !(near < INFINITY)) continue;
    if (!whole_clip || jumps(f, t, (int)c->first, (int)c->last + 1)) {
      if (near < NEAR_BY) return 0;
      continue;
    }
    keep(c, others[i], near, fixed);
  }
  return 1;
}

/* The tracks other than the ego car's that are there at some of the looks; how many. */
static int find_others(const cut *c, int *others, uint8_t *taken) {
  const sonde_fcd *f = c->f;
  int n = 0;
  for (int k = 0; k < LOOKS; k++) {
    int s = (int)look_step(c, k);
    for (int64_t i = f->from[s]; i < f->from[s + 1]; i++) {
      int t = f->present[i];
      if (t == c->s->ego || taken[t]) continue;
      const sonde_fcd_point *p = at(&f->track[t], s);
      if (fabs((double)p->x - c->way.x) + fabs((double)p->y - c->way.y) > 2 * AHEAD) continue;
      taken[t] = 1, others[n++] = t;
    }
  }
  return n;
}

static void fill(const cut *c, const sonde_sim_spec *spec, sonde_traffic *t) {
  t->bodies = c->n, t->actor = c->s->other >= 0 ? 1 : 0, t->event = "encounter", t->road = c->road;
  double per_step = 1 / (SONDE_SIM_RATE * c->f->step);
  for (int b = 0; b < c->n; b++) {
    t->body[b] = c->f->track[c->track[b]].body;
    for (int i = 0; i < t->steps; i++) t->pose[i * t->bodies + b] = cut_pose(c, c->track[b], c->first + i * per_step);
  }
  sonde_draws d = draws_new(spec->seed + (uint64_t)c->s->ego, "surroundings");
  t->road.surroundings = draw_chance(&d, 0.7) ? SONDE_CITY : SONDE_SUBURB;
  t->road.begin = -60, t->road.end = t->pose[(t->steps - 1) * t->bodies].x + 420;
}

/* 1: *t is it; 0: it makes no clip. The pose has room; others and taken: a number and a byte for each track. */
static int cut_out(const sonde_fcd *f, const sonde_situation_found *s, const sonde_sim_spec *spec, sonde_traffic *t,
                   int *others, uint8_t *taken, sonde_error *err) {
  cut c = {.f = f, .s = s, .first = s->start / f->step};
  c.last = c.first + spec->seconds / f->step;
  t->steps = (int)(spec->seconds * SONDE_SIM_RATE) + 1;
  if (c.first < 0 || c.last > f->steps - 2 || !find_way(&c)) return 0;
  memset(taken, 0, (size_t)f->tracks);
  int n = find_others(&c, others, taken);
  find_lanes(&c, others, n);
  double event = 0;
  for (int k = 0; s->other >= 0 && k < LOOKS; k++) event = fmax(event, cut_pose(&c, s->other, look_step(&c, k)).x);
  find_street(&c, others, n, event);
  if (!find_bodies(&c, others, n)) return 0;
  fill(&c, spec, t);
  int rc = sonde_traffic_measure(t, err);
  return rc < 0 ? rc : t->class_ >= 0 && !sonde_traffic_overlaps(t);
}

static sonde_pose *new_poses(const sonde_sim_spec *spec) {
  return sonde_alloc(((size_t)(spec->seconds * SONDE_SIM_RATE) + 1) * SONDE_BODIES * sizeof(sonde_pose));
}

int sonde_fcd_traffic(const sonde_fcd *f, const sonde_situation_found *s, const sonde_sim_spec *spec, sonde_traffic *t,
                      sonde_error *err) {
  int *others = sonde_alloc((size_t)f->tracks * sizeof *others);
  uint8_t *taken = sonde_alloc((size_t)f->tracks);
  memset(t, 0, sizeof *t);
  t->pose = new_poses(spec);
  int rc = others && taken && t->pose ? cut_out(f, s, spec, t, others, taken, err)
                                      : sonde_fail(err, SONDE_ENOMEM, "no memory for a situation of '%s'", f->path);
  sonde_release(others), sonde_release(taken);
  if (rc == 1) return 0;
  sonde_traffic_free(t);
  return rc < 0 ? rc : sonde_fail(err, SONDE_EINVAL, "'%s': the situation makes no clip", f->path);
}

/* ---- encounters ---- */

typedef struct encounter {
  int ego, other, last;  /* tracks; the step it was seen last */
  int64_t before;        /* the one before of the same ego, + 1 */
  double ttc, at;        /* the least time to collision, s; its step */
} encounter;

typedef struct finder {
  const sonde_fcd *f;
  const sonde_sim_spec *spec;
  sonde_error *err;
  encounter *list;
  int64_t n, room, *latest; /* latest: of each ego, + 1 */
  int *others, most;
  uint8_t *taken;
  sonde_found *found;
  sonde_traffic t;
} finder;

static const double PASSED = 1, FAR = 6, SLOW = 2; /* s between two encounters; s; m/s of the ego car */

static int is_ego(const sonde_fcd_track *t) {
  return t->body.kind == SONDE_VEHICLE && t->body.shape <= 2;
}

static sonde_rect rect_at(const sonde_fcd *f, const sonde_fcd_track *t, int step) {
  sonde_pose p = pose_at(f, t, step);
  return (sonde_rect){p.x, p.y, p.dx, p.dy, t->body.length, t->body.width, p.speed * p.dx, p.speed * p.dy};
}

static int note(finder *g, int ego, int other, int step, double ttc) {
  for (int64_t i = g->latest[ego]; i; i = g->list[i - 1].before) {
    encounter *e = &g->list[i - 1];
    if ((step - e->last) * g->f->step > PASSED) break;
    if (e->other != other) continue;
    e->last = step;
    if (ttc < e->ttc) e->ttc = ttc, e->at = step;
    return 0;
  }
  if (g->n == g->room) {
    int64_t more = g->room * 2 + 256;
    void *p = sonde_grow(g->list, (size_t)g->room * sizeof *g->list, (size_t)more * sizeof *g->list);
    if (!p) return sonde_fail(g->err, SONDE_ENOMEM, "no memory for the encounters of '%s'", g->f->path);
    g->list = p, g->room = more;
  }
  g->list[g->n++] = (encounter){ego, other, step, g->latest[ego], ttc, step};
  g->latest[ego] = g->n;
  return 0;
}

/* All encounters, at about five steps a second. */
static int find_encounters(finder *g) {
  const sonde_fcd *f = g->f;
  int stride = f->step < 0.19 ? (int)(0.2 / f->step + 0.5) : 1;
  for (int s = 0; s < f->steps; s += stride)
    for (int64_t a = f->from[s]; a < f->from[s + 1]; a++) {
      const sonde_fcd_track *ego = &f->track[f->present[a]];
      const sonde_fcd_point *p = at(ego, s);
      if (!is_ego(ego) || (double)p->speed < SLOW) continue;
      sonde_rect r = rect_at(f, ego, s);
      for (int64_t b = f->from[s]; b < f->from[s + 1]; b++) {
        const sonde_fcd_track *other = &f->track[f->present[b]];
        const sonde_fcd_point *q = at(other, s);
        float x = q->x - p->x, y = q->y - p->y, along = x * p->dx + y * p->dy;
        if (a == b || along < -8 || x * x + y * y > 3600) continue;
        sonde_rect o = rect_at(f, other, s);
        double ttc = sonde_ttc(&r, &o);
        if (ttc < FAR && note(g, f->present[a], f->present[b], s, ttc)) return SONDE_ENOMEM;
      }
    }
  return 0;
}

/* ---- choosing ---- */

static int take(finder *g, const sonde_situation_found *s) {
  int rc = cut_out(g->f, s, g->spec, &g->t, g->others, g->taken, g->err);
  if (rc <= 0) return rc;
  int c = g->t.class_;
  if (g->found->n[c] == g->most || (c == SONDE_BACKGROUND) != (s->other < 0)) return 0;
  if (c != SONDE_BACKGROUND && (g->t.event_time < g->spec->event_from || g->t.event_time > g->spec->event_to)) return 0;
  g->found->list[c][g->found->n[c]++] = *s;
  return 1;
}

/* The i-th of n in an order by the seed: a walk whose stride has no divisor in common with n. */
static int64_t shuffled(int64_t i, int64_t n, uint64_t seed) {
  int64_t stride = (int64_t)(0.382 * (double)n) + 1 + (int64_t)(seed % 97);
  for (int64_t a = n, b = stride; a != 1;) { /* Euclid */
    int64_t rest = b % a;
    b = a, a = rest;
    if (a == 0) a = n, b = ++stride;
  }
  return (int64_t)(((unsigned __int128)stride * (uint64_t)i + seed) % (uint64_t)n);
}

static int take_encounters(finder *g) {
  const sonde_sim_spec *spec = g->spec;
  for (int64_t i = 0; i < g->n; i++) {
    int64_t k = shuffled(i, g->n, spec->seed);
    const encounter *e = &g->list[k];
    int high = 2 * g->f->track[e->other].body.kind, *n = g->found->n;
    if (e->ttc > SONDE_TTC_LOW_MOST + 0.2 || (n[high] == g->most && n[high + 1] == g->most)) continue;
    double room = spec->event_to - spec->event_from, u = spec->event_from + room * (double)hash01((uint32_t)k, 7);
    sonde_situation_found s = {e->ego, e->other, fmax(e->at * g->f->step - u, 0)};
    int rc = take(g, &s);
    if (rc < 0) return rc;
  }
  return 0;
}

/* Quiet stretches: of each car one, then another, ... */
static int take_background(finder *g) {
  enum { STRETCHES = 6 };
  const sonde_fcd *f = g->f;
  for (int round = 0; round < STRETCHES; round++)
    for (int64_t i = 0; i < f->tracks && g->found->n[SONDE_BACKGROUND] < g->most; i++) {
      int k = (int)shuffled(i, f->tracks, g->spec->seed);
      const sonde_fcd_track *t = &f->track[k];
      double spare = (t->points - 3) * f->step - g->spec->seconds;
      if (!is_ego(t) || spare < 0) continue;
      sonde_situation_found s = {k, -1, t->first * f->step + spare * (double)hash01((uint32_t)k, (uint32_t)round)};
      int rc = take(g, &s);
      if (rc < 0) return rc;
    }
  return 0;
}

void sonde_found_free(sonde_found *found) {
  for (int c = 0; c < SONDE_CLIP_CLASSES; c++) sonde_release(found->list[c]);
  memset(found, 0, sizeof *found);
}

int sonde_fcd_find(const sonde_fcd *f, const sonde_sim_spec *spec, int most, sonde_found *found, sonde_error *err) {
  memset(found, 0, sizeof *found);
  if (!(spec->seconds >= 1 && spec->seconds <= 120) || most < 1)
    return sonde_fail(err, SONDE_EINVAL, "a clip is 1 to 120 seconds long, and at least one is looked for");
  finder g = {.f = f, .spec = spec, .err = err, .most = most, .found = found};
  g.latest = sonde_alloc((size_t)f->tracks * sizeof *g.latest), g.taken = sonde_alloc((size_t)f->tracks);
  g.others = sonde_alloc((size_t)f->tracks * sizeof *g.others), g.t.pose = new_poses(spec);
  int bad = !g.latest || !g.taken || !g.others || !g.t.pose;
  for (int c = 0; c < SONDE_CLIP_CLASSES; c++)
    bad |= !(found->list[c] = sonde_alloc((size_t)most * sizeof *found->list[c]));
  int rc = bad ? sonde_fail(err, SONDE_ENOMEM, "no memory for the situations of '%s'", f->path) : find_encounters(&g);
  if (rc == 0) rc = take_encounters(&g);
  if (rc == 0) rc = take_background(&g);
  sonde_release(g.latest), sonde_release(g.taken), sonde_release(g.others), sonde_release(g.list);
  sonde_release(g.t.pose);
  if (rc < 0) sonde_found_free(found);
  return rc;
}
