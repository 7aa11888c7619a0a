/* schedule.h - the learning rate as a pure function of the step, so that resuming needs no state. */
#ifndef SONDE_TRAIN_SCHEDULE_H
#define SONDE_TRAIN_SCHEDULE_H

#include "base/error.h"

/* The rate r(s) of update s, with the floor f = min_ratio * lr. In the warm-up it rises in equal steps from
 * warmup_from * lr, which is that of update 0; after it, with t = (s - warmup) / (steps - warmup):
 *   CONSTANT         r = lr
 *   COSINE           r = f + (lr - f) (1 + cos(pi t)) / 2    (Loshchilov and Hutter, ICLR 2017, eq. 5 without restarts)
 *   WSD              r = lr, and over the last `decay` updates a line down to f    (Hu et al., MiniCPM, 2024, eq. 1)
 *   LINEAR           r = f + (lr - f) (1 - t)
 *   INVERSE_SQRT     r = max(f, lr sqrt(max(1, warmup) / s))    (Vaswani et al., 2017, eq. 3)
 *   COSINE_RESTARTS  a cosine in each of `cycles` cycles, of which each is `growth` times as long as the one before
 *                    (eq. 5 of Loshchilov and Hutter; growth is their T_mult); update `steps` ends the last one with f
 */
typedef enum sonde_schedule_kind {
  SONDE_SCHEDULE_CONSTANT,
  SONDE_SCHEDULE_COSINE,
  SONDE_SCHEDULE_WSD,
  SONDE_SCHEDULE_LINEAR,
  SONDE_SCHEDULE_INVERSE_SQRT,
  SONDE_SCHEDULE_COSINE_RESTARTS,
  SONDE_SCHEDULE_TABLE     /* given for each update; without warm-up */
} sonde_schedule_kind;

enum { SONDE_SCHEDULE_CYCLES = 1000 };   /* most cycles of COSINE_RESTARTS */

typedef struct sonde_schedule {
  int32_t kind;        /* sonde_schedule_kind */
  double lr;           /* the peak */
  double min_ratio;    /* floor over peak, 0..1; not used by CONSTANT */
  int64_t steps;       /* updates in all, >= 1 */
  int64_t warmup;      /* updates of linear warm-up, 0 <= warmup <= steps */
  double warmup_from;  /* where the warm-up begins, over the peak, 0..1 */
  int64_t decay;       /* WSD only: updates of the last phase, 0 <= decay <= steps - warmup */
  int64_t cycles;      /* COSINE_RESTARTS only: 1..SONDE_SCHEDULE_CYCLES */
  double growth;       /* COSINE_RESTARTS only: >= 1 */
  const double *table; /* TABLE only: [steps] rate of each update over lr, >= 0; borrowed */
} sonde_schedule;

/* The kind of that name ("constant", "cosine", "wsd", "linear", "inverse_sqrt", "cosine_restarts"); EINVAL names the
 * nearest one. */
int sonde_schedule_kind_of(const char *name, int32_t *kind, sonde_error *err);

/* EINVAL names the field that is out of range. */
int sonde_schedule_check(const sonde_schedule *s, sonde_error *err);

/* The rate of update `step`, 1 <= step <= steps. */
double sonde_schedule_lr(const sonde_schedule *s, int64_t step);

#endif
