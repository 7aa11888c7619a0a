/* kit_distill.c - checks of a divergence: what it is of equal distributions and of different ones, and its slope. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "ops/pointwise.h"
#include "plugin/divergence.h"
#include "plugin/kit.h"

enum { MOST = 64 };

/* A pair of distributions over n classes: logits N(0, spread^2). */
typedef struct pair { int n; double t_spread, s_spread; } pair;
static const pair pairs[] = {{7, 1, 1}, {2, 1, 1}, {MOST, 0.1, 0.1}, {33, 12, 1}, {33, 1, 12}, {MOST, 40, 40}};
static const kit_place places[] = {
    {.text = "7 classes"}, {.text = "2 classes"}, {.text = "nearly uniform distributions"}, {.text = "a sharp teacher"},
    {.text = "a sharp student"}, {.text = "probabilities of 0"},
};
_Static_assert(sizeof places / sizeof places[0] == sizeof pairs / sizeof pairs[0], "a place for each pair");

static void logits(const kit *k, const char *of, double spread, double *z) {
  float x[MOST];
  sonde_rng_fill_normal(sonde_rng_stream(11, of), (uint64_t)k->place * MOST, x, pairs[k->place].n, 0, 1, 0);
  for (int v = 0; v < pairs[k->place].n; v++) z[v] = spread * (double)x[v];
}

static void teacher_and_student(const kit *k, double *t, double *z) {
  logits(k, "teacher", pairs[k->place].t_spread, t);
  logits(k, "student", pairs[k->place].s_spread, z);
}

static const sonde_pointwise *function(const kit *k, const sonde_value *values, sonde_error *err) {
  int64_t number = sonde_divergence_of(k->ctx, k->entry, values, k->opts.build, k->opts.user, err);
  return number > 0 ? sonde_pointwise_at(number) : NULL;
}

static void log_softmax(const double *z, int n, float *l, float *p) {
  double top = z[0], sum = 0;
  for (int v = 1; v < n; v++) top = fmax(top, z[v]);
  for (int v = 0; v < n; v++) sum += exp(z[v] - top);
  for (int v = 0; v < n; v++) {
    l[v] = (float)(z[v] - top - log(sum));
    p[v] = expf(l[v]);
  }
}

/* The loss of logits z beside the teacher's t, and its gradient by z unless dz is NULL. */
static double loss_of(const sonde_pointwise *f, const double *t, const double *z, int n, double *dz) {
  float lp[MOST], p[MOST], lq[MOST], q[MOST], y[MOST], s[MOST];
  const float *in[SONDE_POINTWISE_INPUTS] = {lp, p, lq, q};
  double loss = 0, slopes = 0;
  log_softmax(t, n, lp, p);
  log_softmax(z, n, lq, q);
  sonde_pointwise_run(f, in, n, y, s);
  for (int v = 0; v < n; v++) loss += (double)y[v], slopes += (double)s[v];
  for (int v = 0; dz && v < n; v++) dz[v] = (double)s[v] - (double)q[v] * slopes;
  return loss;
}

static int check_run(kit *k) {
  sonde_error err = {0};
  double t[MOST], z[MOST], dz[MOST];
  const int n = pairs[k->place].n;
  const sonde_pointwise *f = function(k, k->values, &err);
  if (!f) return kit_fail(k, "%.600s", err.text);
  teacher_and_student(k, t, z);
  double loss = loss_of(f, t, z, n, dz);
  if (!isfinite(loss)) return kit_fail(k, "its value is %g", loss);
  for (int v = 0; v < n; v++)
    if (!isfinite(dz[v])) return kit_fail(k, "its slope is %g", dz[v]);
  return SONDE_PASS;
}

/* A student like its teacher: the gradient is 0, and the loss 0 or, of a cross-entropy, the teacher's entropy. */
static int check_equal(kit *k) {
  sonde_error err = {0};
  double t[MOST], z[MOST], dz[MOST], entropy = 0;
  float l[MOST], p[MOST];
  const int n = pairs[k->place].n;
  const sonde_pointwise *f = function(k, k->values, &err);
  if (!f) return kit_fail(k, "%.600s", err.text);
  teacher_and_student(k, t, z);
  log_softmax(t, n, l, p);
  for (int v = 0; v < n; v++) entropy -= (double)p[v] * (double)l[v];
  double loss = loss_of(f, t, t, n, dz);
  if (fabs(loss) > 1e-5 && fabs(loss - entropy) > 1e-5 * (1 + entropy))
    return kit_fail(k, "of a student like its teacher it is %g; it must be 0, or the teacher's entropy, %g", loss,
                    entropy);
  for (int v = 0; v < n; v++)
    if (fabs(dz[v]) > 1e-5)
      return kit_fail(k, "of a student like its teacher the gradient of a logit is %g; it must be 0", dz[v]);
  double other = loss_of(f, t, z, n, NULL);
  if (other < loss - 1e-5 * (1 + fabs(loss)))
    return kit_fail(k, "of a student unlike its teacher it is %g, less than %g of one like it", other, loss);
  return SONDE_PASS;
}

/* Slopes along random directions of the logits. What `detach` holds still is moved here too, so it shows. */
static int check_slopes(kit *k) {
  enum { TRIES = 4 };
  static const double step[] = {1e-2, 2e-3, 5e-2};
  sonde_error err = {0};
  double t[MOST], z[MOST], dz[MOST], off = 0, size = 0, slope = 0;
  const int n = pairs[k->place].n;
  const sonde_pointwise *f = function(k, k->values, &err);
  if (!f) return kit_fail(k, "%.600s", err.text);
  teacher_and_student(k, t, z);
  const double loss = loss_of(f, t, z, n, dz);
  for (int v = 0; v < n; v++) size += dz[v] * dz[v];
  for (int try = 0; try < TRIES; try++) {
    double best = INFINITY;
    for (size_t s = 0; s < sizeof step / sizeof step[0]; s++) {
      float d[MOST];
      double up[MOST], down[MOST], along = 0;
      sonde_rng_fill_normal(sonde_rng_stream(12, "direction"), (uint64_t)try * MOST, d, n, 0, 1, 0);
      for (int v = 0; v < n; v++) {
        up[v] = z[v] + step[s] * (double)d[v];
        down[v] = z[v] - step[s] * (double)d[v];
        along += dz[v] * (double)d[v];
      }
      slope = (loss_of(f, t, up, n, NULL) - loss_of(f, t, down, n, NULL)) / (2 * step[s]);
      const double noise = 1e-6 * (1 + fabs(loss)) / step[s];
      best = fmin(best, fmax(0, fabs(slope - along) - noise));
    }
    off = fmax(off, best);
  }
  if (off <= 0.02 * sqrt(size) + 1e-5) return SONDE_PASS;
  return kit_fail(k, "its slope is wrong: off by %.2g of the gradient's size, %.2g, against finite differences", off,
                  sqrt(size));
}

static int check_nan(kit *k) {
  sonde_error err = {0};
  double t[MOST], z[MOST];
  const sonde_pointwise *f = function(k, k->values, &err);
  if (!f) return kit_fail(k, "%.600s", err.text);
  for (int which = 0; which < 2; which++) {
    teacher_and_student(k, t, z);
    (which ? t : z)[0] = NAN;
    double loss = loss_of(f, t, z, pairs[k->place].n, NULL);
    if (!isnan(loss))
      return kit_fail(k, "a NaN of the %s is swallowed: the loss is %g", which ? "teacher" : "student", loss);
  }
  return SONDE_PASS;
}

/* Losses of a pair whose classes are turned by the tile's number, as kernels ask for them: several at once. */
enum { TILES = 24 };
typedef struct turned { const kit *k; const sonde_pointwise *f; uint64_t bits[TILES]; int backwards; } turned;

static uint64_t bits_of(double loss, const double *dz, int n) {
  uint64_t word, all = 0;
  memcpy(&word, &loss, sizeof word);
  all = kit_mix(all, word);
  for (int v = 0; v < n; v++) {
    memcpy(&word, &dz[v], sizeof word);
    all = kit_mix(all, word);
  }
  return all;
}

static void one_tile(void *arg, int64_t index, int worker) {
  turned *w = arg;
  const int n = pairs[w->k->place].n, tile = w->backwards ? TILES - 1 - (int)index : (int)index;
  double t[MOST], z[MOST], of_t[MOST] = {0}, of_z[MOST] = {0}, dz[MOST];
  (void)worker;
  teacher_and_student(w->k, t, z);
  for (int v = 0; v < n; v++) of_t[v] = t[(v + tile) % n], of_z[v] = z[(v + tile) % n];
  double loss = loss_of(w->f, of_t, of_z, n, dz);
  w->bits[tile] = bits_of(loss, dz, n);
}

static int with_threads(kit *k, int threads, turned *w) {
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(threads, &err);
  if (!ctx) return kit_fail(k, "%s", err.text);
  sonde_pool_run(ctx->pool, TILES, one_tile, w);
  sonde_ctx_free(ctx);
  return SONDE_PASS;
}

/* Threads may by luck take their tiles in turn; from the last to the first does not depend on luck. */
static int check_thread_bits(kit *k) {
  static const int threads[] = {1, 1, 2, 3, 7};
  sonde_error err = {0};
  turned first = {.k = k, .f = function(k, k->values, &err)};
  if (!first.f) return kit_fail(k, "%.600s", err.text);
  if (with_threads(k, 1, &first)) return SONDE_FAIL;
  for (int t = 0; t < 5; t++) {
    turned w = {.k = k, .f = first.f, .backwards = t == 1};
    if (with_threads(k, threads[t], &w)) return SONDE_FAIL;
    if (!memcmp(w.bits, first.bits, sizeof w.bits)) continue;
    if (threads[t] > 1) return kit_fail(k, "other bits with %d threads than with one", threads[t]);
    return kit_fail(k, "its bits depend on what was computed before");
  }
  return SONDE_PASS;
}

static int check_lost(kit *k) {
  kit_memory seen = {0};
  sonde_error err = {0};
  for (int round = 0; round < KIT_ROUNDS; round++) {
    if (!function(k, k->values, &err)) return kit_fail(k, "%.600s", err.text);
    kit_memory_look(&seen, round);
  }
  if (kit_memory_lost(&seen))
    return kit_fail(k, "it loses memory: %lld bytes each time it is made", (long long)kit_memory_lost(&seen));
  return SONDE_PASS;
}

static int bits(kit *k, const sonde_value *values, uint64_t *all, sonde_error *err) {
  double t[MOST], z[MOST], dz[MOST];
  const sonde_pointwise *f = function(k, values, err);
  if (!f) return err->code;
  teacher_and_student(k, t, z);
  double loss = loss_of(f, t, z, pairs[k->place].n, dz);
  *all = kit_mix(*all, bits_of(loss, dz, pairs[k->place].n));
  return SONDE_OK;
}

static double ms(const kit *k) {
  enum { CLASSES = 1 << 20, RUNS = 5 };
  float x[4][SONDE_POINTWISE_STRETCH], y[SONDE_POINTWISE_STRETCH], s[SONDE_POINTWISE_STRETCH];
  const float *in[4] = {x[0], x[1], x[2], x[3]};
  double times[RUNS];
  sonde_error err = {0};
  const sonde_pointwise *f = function(k, k->values, &err);
  if (!f) return -1;
  for (int i = 0; i < SONDE_POINTWISE_STRETCH; i++) {
    x[0][i] = -7 + 0.001f * (float)i, x[2][i] = -6 - 0.001f * (float)i;
    x[1][i] = expf(x[0][i]), x[3][i] = expf(x[2][i]);
  }
  for (int run = 0; run < RUNS; run++) {
    double start = kit_now_ms();
    for (int at = 0; at < CLASSES; at += SONDE_POINTWISE_STRETCH)
      sonde_pointwise_run(f, in, SONDE_POINTWISE_STRETCH, y, s);
    times[run] = kit_now_ms() - start;
  }
  return kit_median(times, RUNS);
}

static const kit_named checks[] = {
    {"schema", check_schema, KIT_ONCE, 0},
    {"run", check_run, KIT_VARIANTS, 1},
    {"equal", check_equal, KIT_VARIANTS, 0},
    {"gradient", check_slopes, KIT_VARIANTS, 0},
    {"options", check_options, KIT_ONCE, 0},
    {"nan", check_nan, KIT_PLACES, 0},
    {"threads", check_thread_bits, KIT_PLACES, 0},
    {"leaks", check_lost, KIT_ONCE, 0},
    {NULL, NULL, KIT_ONCE, 0},
};

const kit_kind kit_distill = {
    .checks = checks, .place = places, .places = sizeof places / sizeof places[0], .bits = bits, .ms = ms,
    .work = "2^20 classes",
};
