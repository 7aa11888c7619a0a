/* kit_gradient.c - gradients against finite differences, for the input and every parameter.
 *
 * f = sum(y u) with u ~ N(0, 1): a constant u hides whatever a gradient rule does wrong with dy's differences. Four
 * points (error h^4) keep f32 usable. Two looks at each leaf: single elements, of which the median must be right (a
 * kink such as ReLU's spoils a few), and random directions over all elements, which see a wrong edge or tail. What
 * fails is tried again with a smaller step, where kinks count for less and a wrong rule is as wrong as before. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "plugin/kit.h"

enum { ELEMENTS = 24, DIRECTIONS = 4 };
static const double STEPS[] = {0.02, 0.005, 0.001, 0.0003}, MEDIAN_BOUND = 3e-3, DIRECTION_BOUND = 2e-2;

static int at_offset(rig *r, int leaf, const float *start, const float *v, double h, double *f) {
  float *p = sonde_tensor_write(r->leaf[leaf], NULL);
  int64_t n = rig_count(r, 1 + leaf);
  for (int64_t j = 0; j < n; j++) p[j] = (float)((double)start[j] + h * (double)v[j]);
  const float *y;
  int rc = rig_forward(r, &y);
  if (!rc) *f = kit_dot(y, sonde_tensor_write(r->u, NULL), rig_count(r, 0));
  return rc;
}

/* df along v. */
static int slope(rig *r, int leaf, const float *start, const float *v, double step, double *out) {
  double f[4] = {0};
  static const double at[4] = {-2, -1, 1, 2};
  for (int k = 0; k < 4; k++) {
    int rc = at_offset(r, leaf, start, v, at[k] * step, &f[k]);
    if (rc) return rc;
  }
  memcpy(sonde_tensor_write(r->leaf[leaf], NULL), start, (size_t)rig_count(r, 1 + leaf) * sizeof *start);
  *out = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step);
  return SONDE_OK;
}

/* f is a sum of f32 results, each rounded: what that can do to a slope. */
static double rounding(const rig *r, double step) {
  const float *y = rig_output(r, 0), *u = sonde_tensor_write(r->u, NULL);
  double sum = 0;
  for (int64_t j = 0; j < rig_count(r, 0); j++) sum += (double)y[j] * (double)y[j] * (double)u[j] * (double)u[j];
  return 2e-7 * sqrt(sum) / step;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

typedef struct look {
  double median, worst;     /* errors over the root mean square of the gradient */
} look;

static int look_at(rig *r, int leaf, const float *grad, const float *start, float *v, double step, look *out) {
  int64_t n = rig_count(r, 1 + leaf);
  int tries = n < ELEMENTS ? (int)n : ELEMENTS;
  double error[ELEMENTS], noise = rounding(r, step), size = sqrt(kit_dot(grad, grad, n) / (double)n), s = 0;
  sonde_rng rng = sonde_rng_stream(3, r->name[leaf]);
  *out = (look){0, 0};
  for (int t = 0; t < tries; t++) {
    int64_t j = n <= ELEMENTS ? t : (int64_t)(sonde_rng_u64(rng, (uint64_t)t) % (uint64_t)n);
    memset(v, 0, (size_t)n * sizeof *v);
    v[j] = 1;
    int rc = slope(r, leaf, start, v, step, &s);
    if (rc) return rc;
    error[t] = fmax(0, fabs(s - (double)grad[j]) - noise) / (size + 1e-12);
    if (isnan(error[t])) error[t] = INFINITY;
  }
  qsort(error, (size_t)tries, sizeof error[0], by_size);
  out->median = error[tries / 2];
  for (int t = 0; t < DIRECTIONS; t++) {
    for (int64_t j = 0; j < n; j++)
      v[j] = (float)((sonde_rng_u64(rng, (uint64_t)(1000 + t * n + j)) & 1 ? 1 : -1) / sqrt((double)n));
    int rc = slope(r, leaf, start, v, step, &s);
    if (rc) return rc;
    double e = fmax(0, fabs(s - kit_dot(grad, v, n)) - noise) / (size + 1e-12);
    if (!(e <= out->worst)) out->worst = e;
  }
  return SONDE_OK;
}

static int is_wrong(const look *l) { return l->median > MEDIAN_BOUND || l->worst > DIRECTION_BOUND; }

/* One leaf, with the step that suits it best. */
static int look_with_steps(rig *r, int leaf, look *out) {
  int64_t n = rig_count(r, 1 + leaf);
  size_t size = (size_t)n * sizeof(float);
  float *grad = sonde_alloc(size), *start = sonde_alloc(size), *v = sonde_alloc(size);
  int rc = grad && start && v ? SONDE_OK : sonde_fail(&r->err, SONDE_ENOMEM, "no memory");
  if (!rc) {
    memcpy(grad, rig_output(r, 1 + leaf), size);
    memcpy(start, sonde_tensor_write(r->leaf[leaf], NULL), size);
  }
  for (size_t s = 0; !rc && s < sizeof STEPS / sizeof STEPS[0] && (!s || is_wrong(out)); s++) {
    /* A step so small that rounding could hide an error says nothing. */
    if (s && rounding(r, STEPS[s]) > DIRECTION_BOUND * sqrt(kit_dot(grad, grad, n) / (double)n)) break;
    rc = look_at(r, leaf, grad, start, v, STEPS[s], out);
  }
  sonde_release(grad);
  sonde_release(start);
  sonde_release(v);
  return rc;
}

/* The worst leaf with the upstream gradient as it stands in r->u; *leaf NULL: none is wrong. */
static int look_at_all(rig *r, const char **leaf, look *out) {
  *out = (look){0, 0};
  *leaf = NULL;
  int rc = rig_run(r);
  for (int i = 0; !rc && i < r->n; i++) {
    look l = {0, 0};
    if (r->is_buffer[i]) continue;
    rc = look_with_steps(r, i, &l);
    if (!rc && is_wrong(&l) && (!*leaf || l.worst > out->worst)) *out = l, *leaf = r->name[i];
  }
  return rc;
}

/* ---- whether leaf i gets a gradient at all -------------------------------------------------------------- */

/* The first leaf that moves the result and whose gradient is zero everywhere; NULL: there is none. Before anything
 * is frozen: a value behind `detach` may have a part of its effect without a gradient, but not all of it. */
static int find_untrained(rig *r, const char **leaf) {
  *leaf = NULL;
  int rc = rig_run(r);
  for (int i = 0; i < r->n && !rc && !*leaf; i++) {
    const float *grad = rig_output(r, 1 + i);
    if (r->is_buffer[i] || kit_dot(grad, grad, rig_count(r, 1 + i)) > 0) continue;
    int counts = kit_leaf_counts(r, i);
    if (counts < 0) rc = r->err.code ? r->err.code : SONDE_ENOMEM;
    else if (counts) *leaf = r->name[i];
    else rc = rig_run(r);
  }
  return rc;
}

/* ---- every shape: directions alone ------------------------------------------------------------------------ */

/* Whether slopes along two random directions of leaf i are those of its gradient; one of less than a hundredth of
 * the upstream gradient may be nothing but rounding (of LayerNorm over one number, say), and counts as that
 * hundredth. With each smaller step kinks count for less and rounding for more: a step whose rounding would hide a
 * tenth of the gradient says nothing, unless that is smaller than all rounding: then the slope has to be so as well. */
static int agrees(rig *r, int i, const float *grad, const float *start, float *v, double *off) {
  enum { TRIES = 2 };
  int64_t n = rig_count(r, 1 + i);
  int64_t count = rig_count(r, 0);
  const float *u = sonde_tensor_write(r->u, NULL);
  double size = sqrt(kit_dot(grad, grad, n) / (double)n), s = 0,
         least = 0.01 * sqrt(kit_dot(u, u, count) / (double)count);
  sonde_rng rng = sonde_rng_stream(6, r->name[i]);
  *off = INFINITY;
  for (size_t step = 0; step < sizeof STEPS / sizeof STEPS[0] && *off > DIRECTION_BOUND; step++) {
    double noise = 2 * rounding(r, STEPS[step]), worst = 0;
    if (step && noise > 0.1 * size && size > noise) break;
    for (int t = 0; t < TRIES; t++) {
      for (int64_t j = 0; j < n; j++)
        v[j] = (float)((sonde_rng_u64(rng, (uint64_t)(t * n + j)) & 1 ? 1 : -1) / sqrt((double)n));
      int rc = slope(r, i, start, v, STEPS[step], &s);
      if (rc) return rc;
      double e = fmax(0, fabs(s - kit_dot(grad, v, n)) - noise) / fmax(size, least);
      worst = e <= worst ? worst : e;
    }
    *off = worst;
  }
  return SONDE_OK;
}

/* An upstream gradient that is half the result itself: what projects on it (a norm's second term) is then as large
 * in long rows as in short ones. */
static int lean_on_result(rig *r) {
  int rc = rig_run(r);
  int64_t n = rig_count(r, 0);
  const float *y = rig_output(r, 0);
  float *u = sonde_tensor_write(r->u, NULL);
  double size = rc ? 0 : sqrt(kit_dot(y, y, n) / (double)n);
  for (int64_t j = 0; size > 0 && j < n; j++) u[j] = 0.7f * (u[j] + (float)((double)y[j] / size));
  return rc;
}

int kit_slopes(rig *r, const char **leaf, double *off) {
  *leaf = NULL;
  int rc = rig_freeze_detached(r);
  if (!rc) rc = lean_on_result(r);
  for (int i = 0; i < r->n && !rc && !*leaf; i++) {
    size_t size = (size_t)rig_count(r, 1 + i) * sizeof(float);
    if (r->is_buffer[i]) continue;
    float *grad = sonde_alloc(size), *start = sonde_alloc(size), *v = sonde_alloc(size);
    rc = grad && start && v ? rig_run(r) : sonde_fail(&r->err, SONDE_ENOMEM, "no memory");
    if (!rc) {
      memcpy(grad, rig_output(r, 1 + i), size);
      memcpy(start, sonde_tensor_write(r->leaf[i], NULL), size);
      rc = agrees(r, i, grad, start, v, off);
    }
    if (!rc && !(*off <= DIRECTION_BOUND)) *leaf = r->name[i];
    sonde_release(grad);
    sonde_release(start);
    sonde_release(v);
  }
  return rc;
}

int check_gradient(kit *k) {
  rig_spec spec = rig_usual(k);
  rig r;
  look l, flat;
  const char *leaf = NULL, *flat_leaf = NULL, *untrained = NULL;
  int outcome = SONDE_PASS;
  spec.grad = 1;
  if (rig_make(k, k->ctx, &spec, &r)) outcome = kit_fail(k, "%.600s", r.err.text);
  else if (!r.has_grad) outcome = kit_fail(k, "it cannot be trained: %.600s", r.err.text);
  else if (find_untrained(&r, &untrained)) outcome = kit_fail(k, "%.600s", r.err.text);
  else if (untrained)
    outcome =
        kit_fail(k, "'%s' moves the result, but gets no gradient: let it through, or make it a buffer", untrained);
  else if (rig_freeze_detached(&r) || look_at_all(&r, &leaf, &l)) outcome = kit_fail(k, "%.600s", r.err.text);
  else if (leaf) {
    float *u = sonde_tensor_write(r.u, NULL);
    for (int64_t j = 0; j < rig_count(&r, 0); j++) u[j] = 1;
    int constant = !look_at_all(&r, &flat_leaf, &flat) && !flat_leaf;
    outcome =
        kit_fail(k, "d/d(%s) is wrong: off by %.2g of its size against finite differences%s", leaf,
                 fmax(l.median, l.worst), constant ? "; it is right for a constant upstream gradient only" : "");
  }
  rig_drop(&r);
  return outcome;
}
