/* sparsity.c - see sparsity.h. */
#include "plugin/sparsity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/crash.h"
#include "base/mem.h"
#include "ops/top.h"

/* EINVAL names what is wrong with it, for rows of `in` weights. */
static int check_pattern(const sonde_sparse_pattern *p, int64_t in, sonde_error *err) {
  if (p->group && (p->keep < 0 || p->keep > p->group))
    return sonde_fail(err, SONDE_EINVAL, "of %d neighbours %d cannot be kept", p->group, p->keep);
  if (p->group && in % p->group)
    return sonde_fail(err, SONDE_EINVAL, "rows of %lld weights are no whole groups of %d; take another pattern, or "
                      "other matrices", (long long)in, p->group);
  if (!p->group && !(p->sparsity >= 0 && p->sparsity <= 1))
    return sonde_fail(err, SONDE_EINVAL, "a sparsity of %g is no share from 0 to 1", p->sparsity);
  return SONDE_OK;
}

/* ---- masks by scores ------------------------------------------------------------------------------------------ */

/* The share of n in whole weights, down: 0.29 of 100 is 29, though 0.29 * 100 is less in f64. */
static int64_t count_of(double share, int64_t n) { return (int64_t)(share * (double)n + 1e-6); }

/* What orders the weights: minus the score, so that the largest go, and first those that are out already. */
static float order_of(float score, float mask) { return mask == 0 ? INFINITY : score == 0 ? 0 : -score; }

/* Takes `count` of the n weights out; order [n] is room. */
static void take_out(const float *score, float *mask, int64_t n, int64_t count, float *order) {
  if (!count) return;
  for (int64_t k = 0; k < n; k++) order[k] = order_of(score[k], mask[k]);
  sonde_top top = sonde_top_count(order, n, count);
  for (int64_t k = 0; k < n; k++)
    if (sonde_top_takes(&top, order[k])) mask[k] = 0;
}

/* The same of the few weights of a group, without counting digits. */
static void take_of_group(const float *score, float *mask, int64_t n, int64_t count, float *order) {
  for (int64_t k = 0; k < n; k++) order[k] = order_of(score[k], mask[k]);
  for (int64_t gone = 0; gone < count; gone++) {
    int64_t first = -1;
    for (int64_t k = 0; k < n; k++)
      if (!isnan(order[k]) && (first < 0 || order[k] > order[first])) first = k;
    mask[first] = 0;
    order[first] = NAN;
  }
}

/* The same in rows of `width`. */
static void mask_rows(const sonde_scored *m, int64_t width, int64_t count, int groups, float *order) {
  for (int64_t at = 0; at < m->out * m->in; at += width)
    (groups ? take_of_group : take_out)(m->score + at, m->mask + at, width, count, order);
}

/* The same of all matrices together. */
static void mask_model(const sonde_scored *m, int n, double sparsity, int64_t total, float *order) {
  const int64_t count = count_of(sparsity, total);
  int64_t at = 0;
  for (int i = 0; i < n; i++)
    for (int64_t k = 0; k < m[i].out * m[i].in; k++) order[at++] = order_of(m[i].score[k], m[i].mask[k]);
  if (!count) return;
  sonde_top top = sonde_top_count(order, total, count);
  at = 0;
  for (int i = 0; i < n; i++)
    for (int64_t k = 0; k < m[i].out * m[i].in; k++)
      if (sonde_top_takes(&top, order[at++])) m[i].mask[k] = 0;
}

int sonde_mask_lowest(const sonde_scored *m, int n, const sonde_sparse_pattern *p, int scope, sonde_error *err) {
  int64_t total = 0, most = 1;
  for (int i = 0; i < n; i++) {
    const int64_t count = m[i].out * m[i].in;
    int code = check_pattern(p, m[i].in, err);
    if (code) return sonde_wrap(err, "%s", m[i].name);
    for (int64_t k = 0; k < count; k++)
      if (isnan(m[i].score[k])) return sonde_fail(err, SONDE_EINVAL, "%s: the score of weight %lld is NaN", m[i].name,
                                                  (long long)k + 1);
    total += count;
    if (count > most) most = count;
  }
  float *order = sonde_alloc((size_t)(scope == SONDE_SCOPE_MODEL ? total + 1 : most) * sizeof *order);
  if (!order) return sonde_fail(err, SONDE_ENOMEM, "no memory to compare scores");
  if (scope == SONDE_SCOPE_MODEL && !p->group) mask_model(m, n, p->sparsity, total, order);
  else
    for (int i = 0; i < n; i++) {
      const int64_t width = p->group ? p->group : scope == SONDE_SCOPE_ROW ? m[i].in : m[i].out * m[i].in;
      mask_rows(&m[i], width, p->group ? p->group - p->keep : count_of(p->sparsity, width),
                p->group != 0, order);
    }
  sonde_release(order);
  return SONDE_OK;
}

/* ---- methods that prune by themselves --------------------------------------------------------------------------- */

static int check_weight(const sonde_sparse *s, const float *w, const uint8_t *keep, const float *mask, int64_t k,
                        sonde_error *err) {
  if (keep[k] > 1) return sonde_fail(err, SONDE_EBUG, "weight %lld: keep is %d, neither 0 nor 1", (long long)k + 1,
                                     keep[k]);
  if (!isfinite(w[k])) return sonde_fail(err, SONDE_EBUG, "weight %lld is not finite", (long long)k + 1);
  if (!keep[k] && w[k] != 0)
    return sonde_fail(err, SONDE_EBUG, "weight %lld is out, but is %g and not 0", (long long)k + 1, (double)w[k]);
  if (keep[k] && mask[k] == 0)
    return sonde_fail(err, SONDE_EBUG, "weight %lld was out before, and is kept", (long long)k + 1);
  if (s->group && (k + 1) % s->group == 0) {
    int kept = 0;
    for (int j = 0; j < s->group; j++) kept += keep[k - j];
    if (kept > s->keep) return sonde_fail(err, SONDE_EBUG, "weights %lld to %lld: %d are kept, %d of %d may be",
                                          (long long)k + 2 - s->group, (long long)k + 1, kept, s->keep, s->group);
  }
  return SONDE_OK;
}

int sonde_sparsity_prune(const sonde_sparsity *f, const sonde_sparse *s, const sonde_value *values, float *w,
                         float *mask, sonde_error *err) {
  const int64_t n = s->out * s->in;
  const sonde_sparse_pattern p = {s->sparsity, s->keep, s->group};
  int code = check_pattern(&p, s->in, err);
  if (code) return sonde_wrap(err, "%s", s->parameter->name);
  uint8_t *keep = sonde_alloc((size_t)n);
  if (!keep) return sonde_fail(err, SONDE_ENOMEM, "no memory for a mask of %s", s->parameter->name);
  memcpy(w, s->w, (size_t)n * sizeof *w);
  sonde_doing("the pruning of", s->parameter->name, "", f->prune);
  code = f->prune(s, values, w, keep, err);
  sonde_doing_nothing();
  if (code && !*err->text) sonde_fail(err, code, "it failed");
  for (int64_t k = 0; k < n && !code; k++) code = check_weight(s, w, keep, mask, k, err);
  for (int64_t k = 0; k < n && !code; k++) mask[k] = keep[k], w[k] = keep[k] ? w[k] : 0;
  sonde_release(keep);
  return code ? sonde_wrap(err, "%s", s->parameter->name) : SONDE_OK;
}
