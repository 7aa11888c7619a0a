/* sim.h - a small traffic simulator: a stretch of road, the ego car, up to one road user who comes into its way, and
 * others around. The ego car follows the intelligent driver model (Treiber, Hennecke, Helbing, PRE 62, 2000) with a
 * late reaction to that one; how dangerous the encounter is follows from the measured time to collision (conflict.h),
 * never from the script.
 *
 * Road coordinates, metres: x along the road, y to the left of its centre line, the ego car driving towards +x on the
 * right. Where traffic keeps left, and where the road bends, the scene maps them to the world (scene.h). */
#ifndef SONDE_DRIVE_SIM_H
#define SONDE_DRIVE_SIM_H

#include "base/error.h"
#include "drive/conflict.h"

enum { SONDE_BICYCLE, SONDE_PEDESTRIAN, SONDE_VEHICLE, SONDE_KINDS }; /* of road users */
enum { SONDE_HIGH, SONDE_LOW };                                       /* danger */
enum { SONDE_BACKGROUND = 2 * SONDE_KINDS, SONDE_CLIP_CLASSES };      /* the classes: kind * 2 + danger */
enum { SONDE_SIM_RATE = 60, SONDE_BODIES = 48 };                      /* steps a second; the most bodies */

/* "bicycle_high", "bicycle_low", "pedestrian_high", ..., "background" */
extern const char *const sonde_clip_class[SONDE_CLIP_CLASSES];

/* Time to collision that separates the classes, seconds: high danger is below HIGH, low between LOW and LOW_MOST,
 * background above BACKGROUND (NIDB's two bounds; what lies between is not made). */
#define SONDE_TTC_HIGH 0.5
#define SONDE_TTC_LOW 2.0
#define SONDE_TTC_LOW_MOST 3.5
#define SONDE_TTC_BACKGROUND 4.0

enum { SONDE_CITY, SONDE_SUBURB, SONDE_COUNTRY }; /* surroundings */

/* The cars that can be drawn: three sizes of car, a van, a truck, a bus; length, width, height in metres. */
enum { SONDE_CAR_SHAPES = 6 };
extern const double sonde_car_size[SONDE_CAR_SHAPES][3];

typedef struct sonde_road {
  int surroundings, lanes;        /* lanes in each direction */
  int parking;                    /* parked cars at the sides; otherwise a lane for bicycles */
  double lane, edge, pavement;    /* widths */
  double crossing, crossing_half; /* where a street crosses, and half its width; crossing: NAN without one */
  double begin, end;              /* of the road */
  double rows_from, rows_to;      /* between these the parked cars are bodies; elsewhere the scene may have more */
} sonde_road;

typedef struct sonde_pose {
  double x, y, dx, dy, speed, accel;
} sonde_pose; /* (dx, dy): where it is heading */

typedef struct sonde_body {
  int kind, shape; /* shape: among the models of its kind */
  double length, width, height;
  uint32_t colour; /* seed of its looks */
} sonde_body;

/* What happened: bodies[0] is the ego car. pose[step * bodies + body]. */
typedef struct sonde_traffic {
  sonde_road road;
  int bodies, steps;
  sonde_body body[SONDE_BODIES];
  sonde_pose *pose;
  int actor;                     /* the body that comes into the way; 0: none */
  const char *event;             /* what it does, "cut_in"; "none" */
  int class_;                    /* as measured */
  double ttc, pet;               /* of the actor, seconds; INFINITY */
  double event_time, alert_time; /* when ttc is reached; since when the actor was in the way; seconds; 0 in
                                       background */
} sonde_traffic;

typedef struct sonde_sim_spec {
  uint64_t seed;
  int class_; /* wanted */
  int domain; /* 0: A, 1: B (doc/video.md): which roads, how dense, how fast */
  double seconds;
  double event_from, event_to; /* the event is within these, seconds */
} sonde_sim_spec;

/* Draws situations of the seed until the measured class is the wanted one. EINVAL: a length or an interval that cannot
 * be; ENOMEM. */
int sonde_traffic_make(const sonde_sim_spec *spec, sonde_traffic *t, sonde_error *err);
void sonde_traffic_free(sonde_traffic *t);

/* Measures what happens to the ego car: class (-1: none that is made), ttc, pet, event and alert. Nobody but t->actor
 * may come near. ENOMEM. */
int sonde_traffic_measure(sonde_traffic *t, sonde_error *err);

/* Whether others than the ego car pass through each other, near enough to be seen. */
int sonde_traffic_overlaps(const sonde_traffic *t);

/* The pose at `seconds`, between steps by interpolation. */
sonde_pose sonde_traffic_pose(const sonde_traffic *t, int body, double seconds);

#endif
