/* conflict.c - time to collision and post-encroachment time of moving rectangles. */
#include "config.h"

#include "drive/conflict.h"
#include "drive/exact.h"

/* Half the extent of a rectangle along the unit vector (ux, uy). */
static double half_extent(const sonde_rect *r, double ux, double uy) {
  double along = fabs(r->dx * ux + r->dy * uy), across = fabs(r->dx * uy - r->dy * ux);
  return 0.5 * (r->length * along + r->width * across);
}

double sonde_ttc(const sonde_rect *a, const sonde_rect *b) {
  double enter = 0, leave = INFINITY;
  const double axis[4][2] = {{a->dx, a->dy}, {-a->dy, a->dx}, {b->dx, b->dy}, {-b->dy, b->dx}};
  for (int i = 0; i < 4; i++) {
    double ux = axis[i][0], uy = axis[i][1];
    double reach = half_extent(a, ux, uy) + half_extent(b, ux, uy);
    double apart = (b->x - a->x) * ux + (b->y - a->y) * uy;
    double speed = (b->vx - a->vx) * ux + (b->vy - a->vy) * uy;
    if (apart < 0) apart = -apart, speed = -speed;
    if (fabs(speed) < 1e-9) {
      if (apart >= reach) return INFINITY;
      continue;
    }
    double first = (-reach - apart) / speed, second = (reach - apart) / speed; /* |apart + speed t| = reach */
    double t0 = first < second ? first : second, t1 = first < second ? second : first;
    if (t0 > enter) enter = t0;
    if (t1 < leave) leave = t1;
  }
  return enter < leave ? enter : INFINITY;
}

static int touch(const sonde_rect *a, const sonde_rect *b) {
  double far = 0.5 * (a->length + a->width + b->length + b->width);
  if (fabs(a->x - b->x) > far || fabs(a->y - b->y) > far) return 0;
  sonde_rect p = *a, q = *b;
  p.vx = p.vy = q.vx = q.vy = 0;
  return sonde_ttc(&p, &q) == 0;
}

double sonde_pet(const sonde_rect *a, const sonde_rect *b, int n, double dt, double horizon) {
  int reach = (int)(horizon / dt);
  for (int lag = 0; lag <= reach && lag < n; lag++)
    for (int i = 0; i + lag < n; i++)
      if (touch(&a[i], &b[i + lag]) || touch(&a[i + lag], &b[i])) return lag * dt;
  return INFINITY;
}

/* Whether b, ahead of a, moves sideways and is in the strip that a covers ahead within `soon` seconds. */
static int moves_in(const sonde_rect *a, const sonde_rect *b, double soon) {
  const double sideways = 0.3; /* m/s: less is swaying */
  double along = (b->x - a->x) * a->dx + (b->y - a->y) * a->dy, off = (b->y - a->y) * a->dx - (b->x - a->x) * a->dy;
  double speed = b->vy * a->dx - b->vx * a->dy, reach = a->width / 2 + half_extent(b, -a->dy, a->dx);
  if (along < 0 || fabs(speed) < sideways) return 0;
  return fabs(off) < reach || (off * speed < 0 && fabs(off) - reach < soon * fabs(speed));
}

sonde_conflict sonde_conflict_of(const sonde_rect *a, const sonde_rect *b, int n, double dt, double least, double far) {
  sonde_conflict c = {.ttc = INFINITY};
  const double gap = 0.25, soon = 2;
  int first = 0, last = -n; /* steps in the way */
  for (int i = 0; i < n; i++) {
    if (touch(&a[i], &b[i])) {
      c.contact = 1;
      return c;
    }
    if (a[i].vx * a[i].vx + a[i].vy * a[i].vy < least * least) continue;
    double t = sonde_ttc(&a[i], &b[i]);
    int in_the_way = t < far || moves_in(&a[i], &b[i], soon);
    if (in_the_way) {
      if ((i - last) * dt > gap) first = i;
      last = i;
    }
    if (t < c.ttc) c.ttc = t, c.at = i * dt, c.since = (in_the_way ? first : i) * dt;
  }
  return c;
}
