/* schedule.h - the learning rate as a pure function of the step, so that resuming needs no state. */
#ifndef SONDE_TRAIN_SCHEDULE_H
#define SONDE_TRAIN_SCHEDULE_H

#include "base/error.h"

/* After the warm-up: CONSTANT stays; COSINE falls by half a cosine to min_ratio * lr at the last step (Loshchilov
 * and Hutter, ICLR 2017, eq. 5 without restarts); WSD stays and then falls linearly to min_ratio * lr over the last
 * `decay` steps (warm-up, stable, decay; Hu et al., MiniCPM, 2024, eq. 1 with a linear f). */
typedef enum sonde_schedule_kind {
  SONDE_SCHEDULE_CONSTANT,
  SONDE_SCHEDULE_COSINE,
  SONDE_SCHEDULE_WSD,
  SONDE_SCHEDULE_TABLE     /* given for each update; without warm-up */
} sonde_schedule_kind;

typedef struct sonde_schedule {
  int32_t kind;        /* sonde_schedule_kind */
  double lr;           /* the peak */
  double min_ratio;    /* last rate over peak, 0..1; not used by CONSTANT */
  int64_t steps;       /* updates in all, >= 1 */
  int64_t warmup;      /* updates of linear warm-up, 0 <= warmup <= steps: update s has lr * s / warmup */
  int64_t decay;       /* WSD only: updates of the last phase, 0 <= decay <= steps - warmup */
  const double *table; /* TABLE only: [steps] rate of each update over lr, >= 0; borrowed */
} sonde_schedule;

/* The kind of that name ("constant", "cosine", "wsd"); EINVAL names the nearest one. */
int sonde_schedule_kind_of(const char *name, int32_t *kind, sonde_error *err);

/* EINVAL names the field that is out of range. */
int sonde_schedule_check(const sonde_schedule *s, sonde_error *err);

/* The rate of update `step`, 1 <= step <= steps. */
double sonde_schedule_lr(const sonde_schedule *s, int64_t step);

#endif
