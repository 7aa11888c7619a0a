/* schedule.c - warm-up with a constant, cosine or warm-up-stable-decay rate. */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = {"constant", "cosine", "wsd"};
enum { N_KINDS = sizeof kind_names / sizeof *kind_names };

int sonde_schedule_kind_of(const char *name, int32_t *kind, sonde_error *err) {
  for (int i = 0; i < N_KINDS; i++)
    if (strcmp(name, kind_names[i]) == 0) {
      *kind = i;
      return SONDE_OK;
    }
  const char *near = sonde_nearest(name, kind_names, N_KINDS);
  if (near) return sonde_fail(err, SONDE_EINVAL, "unknown schedule '%s'; did you mean '%s'?", name, near);
  return sonde_fail(err, SONDE_EINVAL, "unknown schedule '%s'; choose constant, cosine or wsd", name);
}

int sonde_schedule_check(const sonde_schedule *s, sonde_error *err) {
  if (s->kind < 0 || s->kind > SONDE_SCHEDULE_TABLE || (s->kind == SONDE_SCHEDULE_TABLE && !s->table))
    return sonde_fail(err, SONDE_EINVAL, "schedule: no kind of number %d", s->kind);
  if (!(s->lr >= 0) || isinf(s->lr))
    return sonde_fail(err, SONDE_EINVAL, "lr must be a number >= 0, not %g", s->lr);
  if (!(s->min_ratio >= 0 && s->min_ratio <= 1))
    return sonde_fail(err, SONDE_EINVAL, "min_lr must be a fraction of lr from 0 to 1, not %g", s->min_ratio);
  if (s->steps < 1)
    return sonde_fail(err, SONDE_EINVAL, "steps must be at least 1, not %lld", (long long)s->steps);
  for (int64_t k = 0; s->kind == SONDE_SCHEDULE_TABLE && k < s->steps; k++)
    if (!(s->table[k] >= 0 && isfinite(s->table[k])))
      return sonde_fail(err, SONDE_EINVAL, "the schedule gives %g at update %lld; a rate over lr is a finite number >= 0",
                        s->table[k], (long long)k + 1);
  if (s->warmup < 0 || s->warmup > s->steps)
    return sonde_fail(err, SONDE_EINVAL, "warmup of %lld steps does not fit a run of %lld",
                      (long long)s->warmup, (long long)s->steps);
  if (s->kind == SONDE_SCHEDULE_WSD && (s->decay < 0 || s->decay > s->steps - s->warmup))
    return sonde_fail(err, SONDE_EINVAL, "decay of %lld steps does not fit a run of %lld with a warmup of %lld",
                      (long long)s->decay, (long long)s->steps, (long long)s->warmup);
  return SONDE_OK;
}

double sonde_schedule_lr(const sonde_schedule *s, int64_t step) {
  if (s->kind == SONDE_SCHEDULE_TABLE) return s->lr * s->table[step - 1];
  if (step < s->warmup) return s->lr * (double)step / (double)s->warmup;
  double floor = s->lr * s->min_ratio;
  if (s->kind == SONDE_SCHEDULE_COSINE && s->steps > s->warmup) {
    double t = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    return floor + (s->lr - floor) * 0.5 * (1.0 + cos(M_PI * t));
  }
  if (s->kind == SONDE_SCHEDULE_WSD && step > s->steps - s->decay) {
    double t = (double)(step - (s->steps - s->decay)) / (double)s->decay;
    return s->lr + (floor - s->lr) * t;
  }
  return s->lr;
}
