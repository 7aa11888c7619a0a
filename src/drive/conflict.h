/* conflict.h - surrogate measures of safety from trajectories: time to collision and post-encroachment time. One code
 * for every source of trajectories (sim.h, SUMO). */
#ifndef SONDE_DRIVE_CONFLICT_H
#define SONDE_DRIVE_CONFLICT_H

/* A body on the plane at one moment: a rectangle with its centre at (x, y), metres, its long side along the unit vector
 * (dx, dy), moving at (vx, vy), metres a second. */
typedef struct sonde_rect {
  double x, y, dx, dy, length, width, vx, vy;
} sonde_rect;

/* Time to collision (Hayward 1972): seconds until the rectangles touch if both keep their velocity and orientation, by
 * the separating axes of moving polygons; INFINITY if they never do; 0 if they touch now. */
double sonde_ttc(const sonde_rect *a, const sonde_rect *b);

/* Post-encroachment time (Allen, Shin, Cooper 1978) of two trajectories of n rectangles, `dt` seconds apart: the least
 * time between the moments at which the two cover the same place; 0 if they touch; INFINITY if they share none within
 * `horizon` seconds. */
double sonde_pet(const sonde_rect *a, const sonde_rect *b, int n, double dt, double horizon);

typedef struct sonde_conflict {
  double ttc;   /* the least time to collision before contact, seconds; INFINITY */
  double at;    /* when it is reached, seconds from the first rectangle */
  double since; /* since when b was in the way then, with breaks of a quarter of a second at most: on a collision course
                   of under `far` seconds, or moving sideways into the strip that a covers ahead within two seconds */
  int contact;  /* whether they touch */
} sonde_conflict;

/* The conflict of two trajectories of n rectangles, `dt` seconds apart. Moments at which `a` moves slower than `least`
 * (m/s) are left out: who stands still is in nobody's way. */
sonde_conflict sonde_conflict_of(const sonde_rect *a, const sonde_rect *b, int n, double dt, double least, double far);

#endif
