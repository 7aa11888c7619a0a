/* fcd.h - trajectories that SUMO wrote (its "floating car data", --fcd-output), and the situations in them that make
 * clips. Time to collision and post-encroachment time are those of conflict.h, as for the traffic of sim.h; SUMO's own
 * conflicts (its SSM device) are not read. */
#ifndef SONDE_DRIVE_FCD_H
#define SONDE_DRIVE_FCD_H

#include "drive/sim.h"

/* Where a body is at one step: the middle of its front (people: their middle), metres, y to the left of x; heading. */
typedef struct sonde_fcd_point {
  float x, y, dx, dy, speed;
} sonde_fcd_point;

/* One road user, from its first to its last step without a gap. */
typedef struct sonde_fcd_track {
  sonde_body body;
  int first, points, room; /* the step of its first point; points */
  sonde_fcd_point *point;
} sonde_fcd_track;

typedef struct sonde_fcd {
  char *path;
  double begin, step; /* seconds: of the first step, between two */
  int steps, step_room;
  int tracks, track_room;
  sonde_fcd_track *track;
  int64_t *from;      /* the tracks that are there at step s: present[from[s]] up to present[from[s + 1]] */
  int *present;
  int64_t presents, present_room;
  int keeps_left;
} sonde_fcd;

/* Reads a file, which may be compressed (gzip, zstd). Refused, with the line: what is no FCD, has a document type, gaps
 * or other steps than 0.01 to 0.5 s, numbers that are none, geographic coordinates, or more than SONDE_FCD_MOST points.
 * Sizes are by the type's name: carN, N from 0 to 5, one of our models; words such as truck, bus, bike; else a car.
 * EUNSUP: a build without expat. */
enum { SONDE_FCD_MOST = 1 << 25, SONDE_FCD_CROWD = 4000 }; /* points; bodies at a time */
sonde_fcd *sonde_fcd_read(const char *path, sonde_error *err);
void sonde_fcd_free(sonde_fcd *f);

/* An encounter of a car with somebody, or a quiet stretch, as a clip of a class. */
typedef struct sonde_situation_found {
  int ego, other; /* tracks; other: -1 for background without anybody */
  double start;   /* of the clip, seconds since the first step */
} sonde_situation_found;

typedef struct sonde_found {
  int n[SONDE_CLIP_CLASSES];
  sonde_situation_found *list[SONDE_CLIP_CLASSES];
} sonde_found;

/* The situations of each class, at most `most` of each, in an order that the seed decides. spec: seconds, event_from,
 * event_to, seed. The ego car drives straight on, everybody near is there for the whole clip, nobody touches it, and
 * the class is what sonde_traffic_measure says. ENOMEM, EINVAL. */
int sonde_fcd_find(const sonde_fcd *f, const sonde_sim_spec *spec, int most, sonde_found *found, sonde_error *err);
void sonde_found_free(sonde_found *found);

/* A situation as traffic, 60 steps a second, measured, in road coordinates along the ego car's way. Lanes and the side
 * street follow from where others drive. EINVAL: it makes no clip. */
int sonde_fcd_traffic(const sonde_fcd *f, const sonde_situation_found *s, const sonde_sim_spec *spec, sonde_traffic *t,
                      sonde_error *err);

#endif
