/* sweep.h - features of many clips, each made in a process of its own: a decoder that dies takes only its clip with it,
 * and one that hangs is ended. The processes are forks, so that the libraries are loaded once. */
#ifndef SONDE_VIDEO_SWEEP_H
#define SONDE_VIDEO_SWEEP_H

#include "video/features.h"

typedef struct sonde_sweep sonde_sweep;

/* At most `workers` clips at a time. */
sonde_sweep *sonde_sweep_new(const sonde_feature_opts *o, int workers, sonde_error *err);
/* Ends the processes that run; their files do not exist. */
void sonde_sweep_free(sonde_sweep *s);

/* The part of `clip` from start to end (seconds), into the file `path`. */
int sonde_sweep_add(sonde_sweep *s, const char *clip, const char *path, double start, double end, sonde_error *err);

typedef struct sonde_sweep_result {
  int64_t job;            /* in the order of sonde_sweep_add, from 0 */
  sonde_error error;      /* code 0: the file is there */
} sonde_sweep_result;

/* Starts clips and waits for one to end, at most so many seconds. 1: *r is its result; 0: none ended (all have, if
 * sonde_sweep_left is 0). */
int sonde_sweep_next(sonde_sweep *s, double seconds, sonde_sweep_result *r);
int64_t sonde_sweep_left(const sonde_sweep *s);
/* Rows made so far, of all clips. */
int64_t sonde_sweep_rows(const sonde_sweep *s);

#endif
