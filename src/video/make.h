/* make.h - clips of the driving simulator, made by several threads: traffic, frames, an MP4 file, and the truth. */
#ifndef SONDE_VIDEO_MAKE_H
#define SONDE_VIDEO_MAKE_H

#include "drive/picture.h"

typedef struct sonde_clip_spec {
  sonde_sim_spec sim; /* seed, class, domain, length, when the event may be */
  sonde_traffic given; /* traffic of that length, which the clip frees; no bodies: it is made by `sim` */
  int width, height;  /* even */
  int samples;        /* a pixel is the mean of samples x samples, 1 to 4 */
  double rate;        /* frames a second */
  const char *path;   /* of the MP4 file; NULL: none is written. Borrowed until the result */
  /* A folder that exists, for truth: NNN.flo (the flow to the next frame, in Middlebury's format) and NNN.pgm (what a
   * pixel shows: 0 sky, 1 world, 2 road, 3 bonnet, 4 + b body b, 104 + b if it moves); NULL: none. */
  const char *truth;
} sonde_clip_spec;

typedef struct sonde_clip_made {
  int64_t job;                                        /* in the order of sonde_maker_add, from 0 */
  sonde_error error;                                  /* code 0: it is made */
  char sha256[65];                                    /* of all frames, RGB */
  int frames, class_, bodies, cars, people, bicycles; /* the last three: others than the ego car, parked ones too */
  const char *event;
  double ttc, pet, event_time, alert_time, speed; /* speed: of the ego car at the beginning, m/s */
  int surroundings, lanes;
  sonde_look look;
} sonde_clip_made;

typedef struct sonde_maker sonde_maker;

/* threads >= 1, which start with the first job. */
sonde_maker *sonde_maker_new(int threads, sonde_error *err);
void sonde_maker_free(sonde_maker *m);                                              /* clips under way are given up */
/* Copies the texts; takes the given traffic where it succeeds. */
int sonde_maker_add(sonde_maker *m, const sonde_clip_spec *spec, sonde_error *err);
/* Waits at most so many seconds (an hour) for a clip, where one is to be made. 1: *made is its result; 0: none yet. */
int sonde_maker_next(sonde_maker *m, double seconds, sonde_clip_made *made);

#endif
