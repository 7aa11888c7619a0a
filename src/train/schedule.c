/* schedule.c - the learning rate of each update. */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = {"constant", "cosine", "wsd", "linear", "inverse_sqrt", "cosine_restarts"};
enum { N_KINDS = sizeof kind_names / sizeof *kind_names };

int sonde_schedule_kind_of(const char *name, int32_t *kind, sonde_error *err) {
  for (int i = 0; i < N_KINDS; i++)
    if (strcmp(name, kind_names[i]) == 0) {
      *kind = i;
      return SONDE_OK;
    }
  const char *near = sonde_nearest(name, kind_names, N_KINDS);
  if (near) return sonde_fail(err, SONDE_EINVAL, "unknown schedule '%s'; did you mean '%s'?", name, near);
  return sonde_fail(err, SONDE_EINVAL,
                    "unknown schedule '%s'; choose constant, cosine, wsd, linear, inverse_sqrt or cosine_restarts",
                    name);
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
      return sonde_fail(err, SONDE_EINVAL,
                        "the schedule gives %g at update %lld; a rate over lr is a finite number >= 0", s->table[k],
                        (long long)k + 1);
  if (s->warmup < 0 || s->warmup > s->steps)
    return sonde_fail(err, SONDE_EINVAL, "warmup of %lld steps does not fit a run of %lld",
                      (long long)s->warmup, (long long)s->steps);
  if (!(s->warmup_from >= 0 && s->warmup_from <= 1))
    return sonde_fail(err, SONDE_EINVAL, "warmup_from must be a fraction of lr from 0 to 1, not %g", s->warmup_from);
  if (s->kind == SONDE_SCHEDULE_WSD && (s->decay < 0 || s->decay > s->steps - s->warmup))
    return sonde_fail(err, SONDE_EINVAL, "decay of %lld steps does not fit a run of %lld with a warmup of %lld",
                      (long long)s->decay, (long long)s->steps, (long long)s->warmup);
  if (s->kind == SONDE_SCHEDULE_COSINE_RESTARTS && (s->cycles < 1 || s->cycles > SONDE_SCHEDULE_CYCLES))
    return sonde_fail(err, SONDE_EINVAL, "cycles must be from 1 to %d, not %lld", SONDE_SCHEDULE_CYCLES,
                      (long long)s->cycles);
  if (s->kind == SONDE_SCHEDULE_COSINE_RESTARTS && !(s->growth >= 1 && isfinite(pow(s->growth, (double)s->cycles))))
    return sonde_fail(err, SONDE_EINVAL, "cycle_growth must be at least 1 and small enough for %lld cycles, not %g",
                      (long long)s->cycles, s->growth);
  return SONDE_OK;
}

static double cosine(double from, double to, double t) { return to + (from - to) * 0.5 * (1.0 + cos(M_PI * t)); }

/* Where in its cycle update `at` of `all` is, 0..1. Cycle i takes growth^i of sum(growth^j) parts; the products are
 * exact for whole growths, so a cycle of whole updates ends where it should. */
static double place_in_cycle(const sonde_schedule *s, double at, double all) {
  double parts = 0, length = 1, before = 0;
  for (int64_t i = 0; i < s->cycles; i++, length *= s->growth) parts += length;
  length = 1;
  for (int64_t i = 1; i < s->cycles && at * parts >= all * (before + length); i++) {
    before += length;
    length *= s->growth;
  }
  return (at * parts - all * before) / (all * length);
}

double sonde_schedule_lr(const sonde_schedule *s, int64_t step) {
  if (s->kind == SONDE_SCHEDULE_TABLE) return s->lr * s->table[step - 1];
  if (step < s->warmup) {
    double from = s->lr * s->warmup_from;
    return from + (s->lr - from) * (double)step / (double)s->warmup;
  }
  const double floor = s->lr * s->min_ratio, at = (double)(step - s->warmup), all = (double)(s->steps - s->warmup);
  if (s->kind == SONDE_SCHEDULE_INVERSE_SQRT)
    return fmax(floor, s->lr * sqrt(fmax(1, (double)s->warmup) / (double)step));
  if (all == 0) return s->lr;
  switch (s->kind) {
    case SONDE_SCHEDULE_COSINE: return cosine(s->lr, floor, at / all);
    case SONDE_SCHEDULE_LINEAR: return floor + (s->lr - floor) * ((all - at) / all);
    case SONDE_SCHEDULE_COSINE_RESTARTS: return cosine(s->lr, floor, place_in_cycle(s, at, all));
    case SONDE_SCHEDULE_WSD:
      if (step <= s->steps - s->decay) return s->lr;
      return s->lr + (floor - s->lr) * ((double)(step - (s->steps - s->decay)) / (double)s->decay);
    default: return s->lr;
  }
}
