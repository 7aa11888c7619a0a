/* sim_layout.c - draws situations: a road, who comes into the ego car's way and how, and the others. */
#include "config.h"

#include <string.h>

#include "drive/sim_internal.h"

const char *const sonde_event_name[EVENTS] = {"none",     "cut_in",   "braking_leader",   "oncoming_turn",
                                              "side_car", "crossing", "swerving_bicycle", "stepping_out",
                                              "zebra"};

/* ---- bodies ---- */

const double sonde_car_size[SONDE_CAR_SHAPES][3] = {{4.0, 1.74, 1.50}, {4.6, 1.80, 1.44}, {4.5, 1.86, 1.68},
                                                    {5.3, 1.95, 2.25}, {7.4, 2.30, 3.10}, {10.5, 2.50, 3.05}};

static int add(sonde_situation *s, sonde_body body, sonde_script script, sonde_draws *d) {
  if (s->n == SONDE_BODIES) return 0;
  body.colour = (uint32_t)draw_int(d, 1 << 24);
  s->body[s->n] = body, s->script[s->n] = script;
  return s->n++;
}

/* A car; large: trucks and buses too. */
static sonde_body a_car(sonde_draws *d, int large) {
  double u = draw(d, 0, 1);
  int shape = u < 0.3 ? 0 : u < 0.58 ? 1 : u < 0.82 ? 2 : !large || u < 0.91 ? 3 : u < 0.97 ? 4 : 5;
  const double *size = sonde_car_size[shape];
  return (sonde_body){SONDE_VEHICLE, shape, size[0], size[1], size[2], 0};
}
static sonde_body a_bicycle(sonde_draws *d) {
  int helmet = draw_int(d, 2);
  return (sonde_body){SONDE_BICYCLE, helmet, 1.75, 0.6, draw(d, 1.62, 1.8), 0};
}
static sonde_body a_person(sonde_draws *d, double child) {
  int small = draw_chance(d, child);
  double height = small ? draw(d, 1.15, 1.4) : draw(d, 1.58, 1.86);
  return (sonde_body){SONDE_PEDESTRIAN, small, 0.26 * height, 0.3 * height, height, 0};
}

/* ---- the road ---- */

static void draw_road(sonde_situation *s, int domain, sonde_draws *d) {
  sonde_road *r = &s->road;
  int e = s->event, across = e == TURN_ACROSS || e == SIDE_CAR || e == CROSSING_BICYCLE || e == ZEBRA;
  double u = draw(d, 0, 1);
  r->surroundings = domain == 0 ? (u < 0.65  ? SONDE_CITY
                                   : u < 0.9 ? SONDE_SUBURB
                                             : SONDE_COUNTRY)
                                : (u < 0.25  ? SONDE_CITY
                                   : u < 0.8 ? SONDE_SUBURB
                                             : SONDE_COUNTRY);
  if (r->surroundings == SONDE_COUNTRY && (e == STEP_OUT || e == ZEBRA)) r->surroundings = SONDE_SUBURB;
  r->lanes = e == CUT_IN || (domain == 0 && r->surroundings == SONDE_CITY && draw_chance(d, 0.35)) ? 2 : 1;
  r->parking = e == STEP_OUT || (r->surroundings != SONDE_COUNTRY && draw_chance(d, 0.55));
  r->lane = domain == 0 ? draw(d, 3.3, 3.7) : draw(d, 3.1, 3.4);
  r->edge = r->parking ? draw(d, 2.1, 2.4) : draw(d, 1.4, 1.8);
  r->pavement = r->surroundings == SONDE_CITY ? draw(d, 2.6, 4.2) : draw(d, 1.6, 2.4);
  r->crossing_half = draw(d, 3.4, 4.4);
  r->crossing = across || draw_chance(d, 0.5) ? 0 : NAN; /* counts from the encounter until it is aimed */
  if (e == ZEBRA) r->crossing = r->crossing_half + 3.75;
  if (!across && !isnan(r->crossing)) r->crossing = draw_chance(d, 0.5) ? draw(d, 22, 70) : draw(d, -60, -24);
}

static double kerb(const sonde_road *r) {
  return r->lanes * r->lane + r->edge;
}

/* The centre of lane k of one direction, from the middle of the road. */
static double lane_at(const sonde_road *r, int k) {
  return r->lane * (k + 0.5);
}

/* ---- others ---- */

static int near_crossing(const sonde_road *r, double x) {
  return !isnan(r->crossing) && fabs(x - r->crossing) < r->crossing_half + 9;
}

static void add_parked(sonde_situation *s, double occupied, sonde_draws *d) {
  const sonde_road *r = &s->road;
  s->road.rows_from = -34, s->road.rows_to = 62;
  for (int side = -1; side <= 1; side += 2)
    for (double x = r->rows_from; x < r->rows_to && s->n < SONDE_BODIES - 18; x += draw(d, 5.9, 6.6)) {
      sonde_body car = a_car(d, 0);
      double y = side * (r->lanes * r->lane + r->edge - 0.15 - car.width / 2), jitter = draw(d, -0.06, 0.06);
      if (!draw_chance(d, occupied) || near_crossing(r, x)) continue;
      double clear = s->event == STEP_OUT ? car.length / 2 + 0.5 : 0; /* somebody walks out between two cars */
      if (x > -clear && x < clear) continue;
      add(s, car, (sonde_script){.move = STAND, .x = x, .y = y + jitter, .dir = -side, .fixed = 1}, d);
    }
}

static void add_traffic(sonde_situation *s, double seconds, int count, sonde_draws *d) {
  const sonde_road *r = &s->road;
  double speed = s->script[0].wish, reach = 2 * speed * seconds + 90;
  for (int i = 0; i < count; i++) { /* the other direction, in even steps so that nobody drives into another */
    double x = 14 + reach * (i + draw(d, 0.1, 0.6)) / count;
    double y = lane_at(r, draw_int(d, r->lanes)), v = speed * draw(d, 0.9, 0.95);
    add(s, a_car(d, 1), (sonde_script){ALONG, x, y, -1, v, v, .heeds = 0}, d);
  }
  if (r->lanes == 2 && s->event != CUT_IN) { /* beside the ego car */
    double other = s->script[0].y < -r->lane ? -lane_at(r, 0) : -lane_at(r, 1);
    for (int i = 0, n = draw_int(d, 3); i < n; i++) {
      double v = speed * draw(d, 0.92, 1.06), x = draw(d, 4, 10) + 26 * i;
      add(s, a_car(d, 0), (sonde_script){ALONG, x, other, 1, v, v, .heeds = 0}, d);
    }
  }
  if (s->event != LEADER && s->event != CUT_IN && s->event != SWERVE && draw_chance(d, 0.45)) { /* well ahead */
    double v = speed * draw(d, 0.98, 1.08), gap = s->event ? speed * draw(d, 4.5, 6.5) : speed * draw(d, 1.7, 5);
    add(s, a_car(d, 1), (sonde_script){ALONG, gap + 5, s->script[0].y, 1, v, v, .heeds = 0}, d);
  }
}

static void add_walkers(sonde_situation *s, int people, int cyclists, double seconds, sonde_draws *d) {
  const sonde_road *r = &s->road;
  double reach = s->script[0].wish * seconds + 45;
  for (int i = 0; i < people; i++) {
    int side = draw_chance(d, 0.5) ? 1 : -1, dir = draw_chance(d, 0.5) ? 1 : -1;
    double y = side * (kerb(r) + draw(d, 0.7, r->pavement - 0.5)), v = draw(d, 0.9, 1.6);
    double x = 8 + reach * (i + draw(d, 0, 0.6)) / people;
    add(s, a_person(d, 0.15), (sonde_script){ALONG, x, y, dir, v, v, .heeds = 0}, d);
  }
  for (int i = 0; i < cyclists; i++) { /* in their lane, or on the pavement where cars are parked */
    int side = s->event == SWERVE || draw_chance(d, 0.6) ? 1 : -1;
    double y = r->parking ? side * (kerb(r) + 0.5) : side * (kerb(r) - r->edge * 0.45), v = draw(d, 3.2, 5.4);
    double x = 20 + reach * (i + draw(d, 0, 0.6)) / cyclists;
    add(s, a_bicycle(d), (sonde_script){ALONG, x, y, -side, v, v, .heeds = 0}, d);
  }
  if (!isnan(r->crossing)) /* somebody waits in the side street */
    for (int side = -1; side <= 1; side += 2) {
      if (s->event == SIDE_CAR || s->event == CROSSING_BICYCLE || s->event == TURN_ACROSS || draw_chance(d, 0.5))
        continue;
      sonde_body car = a_car(d, 0);
      add(s, car,
          (sonde_script){.move = STAND,
                         .x = r->crossing - side * r->crossing_half / 2,
                         .y = side * (kerb(r) + 1.2 + car.length / 2),
                         .dir = -side,
                         .across = 1,
                         .fixed = 1},
          d);
    }
}

/* ---- the one who comes into the way ---- */

/* Across the road, from between range[0] and [1] metres beyond the kerb, at a speed between [2] and [3] m/s. */
static sonde_script crossing_script(const sonde_situation *s, int dir, const double range[4], sonde_draws *d) {
  double from = draw(d, range[0], range[1]), speed = draw(d, range[2], range[3]);
  return (sonde_script){.move = ACROSS, .y = -dir * (kerb(&s->road) + from), .dir = dir, .wish = speed, .fixed = 1};
}

static void draw_actor(sonde_situation *s, int calm, sonde_draws *d) {
  double v = s->script[0].wish, me = s->script[0].y;
  const sonde_road *r = &s->road;
  sonde_body body = a_car(d, 0);
  sonde_script c = {0};
  int dir = draw_chance(d, 0.7) ? 1 : -1; /* most come from the near side */
  switch (s->event) {
    case CUT_IN:
      c = (sonde_script){.move = ALONG, .dir = 1, .speed = v - draw(d, 2.2, 0.5 * v)};
      c.lasts = draw(d, 1.5, 2.4);
      c.y = me < -r->lane ? -lane_at(r, 0) : -lane_at(r, 1), c.shift = me - c.y;
      c.brake = draw_chance(d, 0.6) ? draw(d, 1, 3.5) : 0, c.slow = c.speed * draw(d, 0.5, 0.8);
      break;
    case LEADER:
      c = (sonde_script){.move = ALONG, .y = me, .dir = 1, .speed = v, .brake = draw(d, calm ? 3 : 5.5, calm ? 5 : 8)};
      c.slow = draw_chance(d, 0.7) ? 0 : v * 0.3;
      break;
    case TURN_ACROSS:
      c = (sonde_script){.move = TURN, .y = lane_at(r, 0), .dir = -1, .speed = draw(d, 6, 8)};
      c.slow = draw(d, 3.5, 5.5), c.radius = draw(d, 7, 8.5), c.fixed = 1;
      break;
    case SIDE_CAR: c = crossing_script(s, dir, (double[4]){3.5, 8, 2.5, 5}, d); break;
    case CROSSING_BICYCLE: body = a_bicycle(d), c = crossing_script(s, dir, (double[4]){2, 7, 2.5, 4.5}, d); break;
    case SWERVE:
      body = a_bicycle(d);
      c = (sonde_script){.move = ALONG, .y = -(r->lanes * r->lane) + 0.28, .dir = 1, .speed = draw(d, 3.5, 5)};
      c.shift = draw(d, 1.0, 1.5), c.lasts = draw(d, 0.9, 1.5);
      break;
    case STEP_OUT: body = a_person(d, 0.3), c = crossing_script(s, dir, (double[4]){0.2, 0.5, 1.4, 2.8}, d); break;
    default: body = a_person(d, 0.15), c = crossing_script(s, dir, (double[4]){0.4, 1.5, 1.1, 2.0}, d);
  }
  if (c.move == ALONG) c.wish = c.speed;
  if (c.move == TURN) c.wish = c.speed;
  if (c.move == ACROSS && s->event != SIDE_CAR && draw_chance(d, calm ? 0.5 : 0.35)) /* freezes in the middle */
    c.stop = fabs(c.y - me) + draw(d, -0.4, 0.5);
  s->actor = add(s, body, c, d);
}

int sonde_event_draw(const sonde_sim_spec *spec, sonde_draws *d) {
  static const int by_kind[SONDE_KINDS][4] = {{CROSSING_BICYCLE, SWERVE, CROSSING_BICYCLE, SWERVE},
                                              {STEP_OUT, ZEBRA, STEP_OUT, STEP_OUT},
                                              {CUT_IN, LEADER, TURN_ACROSS, SIDE_CAR}};
  int kind = spec->class_ / 2;
  if (spec->class_ == SONDE_BACKGROUND) { /* nobody, or somebody who is far enough */
    if (draw_chance(d, 0.45)) return NO_EVENT;
    kind = draw_int(d, SONDE_KINDS);
  }
  return by_kind[kind][draw_int(d, 4)];
}

/* When the actor comes into the way, for an event within the wanted time: what passes in between by event. */
static double draw_enter(const sonde_situation *s, const sonde_sim_spec *spec, int calm, sonde_draws *d) {
  static const double later[EVENTS][2] = {
      [CUT_IN] = {0.9, 0.8}, [LEADER] = {1.7, 1.5},           [TURN_ACROSS] = {0.7, 0.7}, [SIDE_CAR] = {0.9, 0.6},
      [SWERVE] = {1.0, 0.8}, [CROSSING_BICYCLE] = {0.9, 0.6}, [STEP_OUT] = {0.9, 0.8},    [ZEBRA] = {0.9, 0.8}};
  return draw(d, spec->event_from, spec->event_to) - later[s->event][calm];
}

void sonde_situation_draw(sonde_situation *s, const sonde_sim_spec *spec, int event, sonde_draws *d) {
  int calm = spec->class_ == SONDE_BACKGROUND || spec->class_ % 2 == SONDE_LOW, b = spec->domain;
  memset(s, 0, sizeof *s);
  s->event = event;
  draw_road(s, b, d);
  const sonde_road *r = &s->road;
  double speed = r->surroundings == SONDE_CITY ? draw(d, 7, 12) : draw(d, 8, 14);
  if (b == 1) speed *= 0.85;
  if (s->event == LEADER || s->event == CUT_IN) speed += 2;
  int lane = r->lanes == 2 && (s->event != CUT_IN ? !draw_chance(d, 0.3) : draw_chance(d, 0.5));
  if (s->event == STEP_OUT || s->event == SWERVE) lane = r->lanes - 1;
  s->body[0] = (sonde_body){SONDE_VEHICLE, 1, 4.5, 1.8, 1.5, (uint32_t)draw_int(d, 1 << 24)};
  s->script[0] = (sonde_script){ALONG, 0, -lane_at(r, lane), 1, speed, speed, .heeds = 1};
  s->n = 1;
  s->sway = draw(d, 0.02, 0.12), s->sway_phase = draw(d, 0, 6.28);
  s->reaction = calm ? draw(d, 0.35, 0.8) : draw(d, 0.7, 1.3),
  s->brake_most = calm ? draw(d, 4.5, 7) : draw(d, 6.5, 8.8);
  s->distance = calm ? draw(d, 5, 9) : draw(d, 1, 2);
  s->enter = draw_enter(s, spec, calm, d);
  if (s->event) draw_actor(s, calm, d);
  if (r->parking) add_parked(s, draw(d, 0.35, 0.85), d);
  int city = r->surroundings == SONDE_CITY, country = r->surroundings == SONDE_COUNTRY;
  add_traffic(s, spec->seconds, 1 + draw_int(d, b == 0 ? 4 : 2), d);
  int people = country ? draw_int(d, 2) : 2 + draw_int(d, city ? 6 : 4), cyclists = draw_int(d, b == 0 ? 2 : 3);
  add_walkers(s, people, cyclists, spec->seconds, d);
}

/* ---- the aim ---- */

/* The actor crosses the road at `place`; the side street is where it comes from. */
static void aim_across(sonde_situation *s, sonde_script *c, const sonde_body *body, double place) {
  double way = fabs(c->y - s->script[0].y) - (s->body[0].width + body->length) / 2;
  c->t0 = s->enter - way / c->wish - c->wish / 10 - 0.15;
  c->x = body->width / 2;
  if (s->event == SIDE_CAR || s->event == CROSSING_BICYCLE)
    s->road.crossing = place + c->x - c->dir * s->road.crossing_half / 2;
}

/* The turn begins where the car reaches the ego car's lane at `place`. */
static void aim_turn(sonde_situation *s, sonde_script *c, const sonde_body *body, double place) {
  double across = c->y - s->script[0].y - (s->body[0].width + body->width) / 2 - 0.5;
  double q = 1 - clamp(across, 0.1, c->radius) / c->radius, along = c->radius * sqrt(1 - q * q);
  double at = s->enter - 1.1 * along / c->slow; /* when it leaves its line */
  c->corner = c->speed * (at - 0.6) + 2.5;
  c->x = along + body->length / 2 * q + c->corner;
  s->road.crossing = place + c->x - c->corner - c->radius + s->road.crossing_half / 2;
}

void sonde_situation_aim(sonde_situation *s, double lead) {
  sonde_script *ego = &s->script[0], *c = &s->script[s->actor];
  const sonde_body *body = &s->body[s->actor];
  double v = ego->speed, place = v * s->enter + s->body[0].length / 2 + v * lead;
  double bumpers = (s->body[0].length + body->length) / 2, x = 0;
  sonde_road *r = &s->road;
  int moved = !isnan(r->crossing);
  if (moved) r->crossing += place;
  if (s->actor && c->move == ALONG) {
    double gap = s->event == LEADER ? 0.6 * v * lead : (v - c->speed) * lead;
    x = v * s->enter + bumpers + gap - c->speed * s->enter;
    c->x = x, c->t0 = s->event == LEADER ? s->enter : s->enter - 0.35 * c->lasts;
  }
  if (s->actor && c->move == ACROSS) aim_across(s, c, body, place);
  if (s->actor && c->move == TURN) aim_turn(s, c, body, place);
  for (int i = 0; i < s->n; i++)
    if (s->script[i].fixed) s->script[i].x += place;
  r->rows_from += place, r->rows_to += place;
  r->begin = -60, r->end = place + 420;
}
