/* kit_module.c - checks of a module's forward side: building, running, shapes, effect, order of time, NaN, leaks;
 * and the list of all checks of modules. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plugin/kit.h"
#include "tensor/tensor.h"

static int reason(kit *k, const rig *r, const char *doing) {
  return kit_fail(k, "%s%.600s", doing, *r->err.text ? r->err.text : "it failed without a reason");
}

static int check_build(kit *k) {
  rig_spec spec = rig_usual(k);
  rig r;
  spec.grad = 0;
  int rc = rig_make(k, k->ctx, &spec, &r);
  int outcome = rc ? reason(k, &r, "it can be built for none of the usual widths: ") : SONDE_PASS;
  rig_drop(&r);
  return outcome;
}

static int check_run(kit *k) {
  rig_spec spec = rig_usual(k);
  rig r;
  int outcome = SONDE_PASS;
  if (rig_make(k, k->ctx, &spec, &r) || rig_run(&r)) outcome = reason(k, &r, "");
  else if (!sonde_all_finite(rig_output(&r, 0), rig_count(&r, 0)))
    outcome = kit_fail(k, "its result for N(0, 1) inputs [%lld, %lld, %lld] is not finite", (long long)spec.batch,
                       (long long)spec.context, (long long)spec.width);
  rig_drop(&r);
  return outcome;
}

/* 1 built and right, 0 refused, -1 wrong (with k->why). */
static int one_shape(kit *k, int64_t batch, int64_t context, int64_t width) {
  rig_spec spec = {.batch = batch, .context = context, .width = width, .layer = 1, .depth = 2, .seed = 7, .grad = 1};
  rig r;
  char x[80];
  const char *leaf = NULL;
  double off = 0;
  int good = 1, rc = rig_make(k, k->ctx, &spec, &r);
  snprintf(x, sizeof x, "x [%lld, %lld, %lld]", (long long)batch, (long long)context, (long long)width);
  if (rc == SONDE_EBUG) good = -1, reason(k, &r, "");
  else if (rc) good = 0;
  else if (rig_run(&r)) good = -1, reason(k, &r, "");
  else
    for (int i = 0; i < (r.has_grad ? 1 + r.n : 1) && good == 1; i++)
      if (!sonde_all_finite(rig_output(&r, i), rig_count(&r, i))) {
        good = -1;
        kit_fail(k, "%s%s is not finite for %s", i ? "the gradient of " : "the result", i ? r.name[i - 1] : "", x);
      }
  if (rc && rc != SONDE_EBUG && !*r.err.text) good = -1, kit_fail(k, "it refuses %s without a reason", x);
  if (good == 1 && r.has_grad && kit_slopes(&r, &leaf, &off)) good = -1, reason(k, &r, "");
  if (leaf)
    good = -1, kit_fail(k, "for %s d/d(%s) is off by %.2g of its size against finite differences", x, leaf, off);
  rig_drop(&r);
  return good;
}

static int check_shapes(kit *k) {
  static const int64_t width[] = {1, 2, 3, 6, 8, 15, 16, 24, 33, 64, 65, 128};
  static const int64_t size[][2] = {{1, 1}, {2, 5}, {3, 17}, {1, 65}};
  static const int64_t large[][3] = {{2, 130, 64}, {1, 2, 257}, {2, 3, 512}, {1, 2, 1030}};   /* long, or wide */
  enum {
    WIDTHS = sizeof width / sizeof width[0],
    SIZES = sizeof size / sizeof size[0],
    LARGE = sizeof large / sizeof large[0]
  };
  int taken = 0;
  for (int j = 0; j < WIDTHS * SIZES + LARGE; j++) {
    const int64_t *s = j < WIDTHS * SIZES ? size[j % SIZES] : large[j - WIDTHS * SIZES];
    int good = one_shape(k, s[0], s[1], j < WIDTHS * SIZES ? width[j / SIZES] : s[2]);
    if (good < 0) return SONDE_FAIL;
    taken += good;
  }
  if (!taken) return kit_fail(k, "it refuses all of %d shapes", WIDTHS * SIZES + LARGE);
  return taken == WIDTHS * SIZES + LARGE ? SONDE_PASS
                                         : kit_pass(k, "%d of %d shapes taken, the others refused with a reason", taken,
                                                    WIDTHS * SIZES + LARGE);
}

static double largest(const float *a, const float *b, int64_t n) {
  double most = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)a[i] - (b ? (double)b[i] : 0));
    if (d > most || isnan(d)) most = d;
  }
  return most;
}

int kit_leaf_counts(rig *r, int i) {
  int64_t n = rig_count(r, 1 + i), ny = rig_count(r, 0);
  float *v = sonde_tensor_write(r->leaf[i], NULL);
  float *start = sonde_alloc((size_t)n * sizeof *start), *before = sonde_alloc((size_t)ny * sizeof *before);
  int changed = start && before && !rig_run(r) ? 0 : -1;
  if (!changed) {
    memcpy(start, v, (size_t)n * sizeof *v);
    memcpy(before, rig_output(r, 0), (size_t)ny * sizeof *before);
    for (int64_t j = 0; j < n; j++) v[j] = v[j] * 1.5f + 0.25f * (float)(j % 3);
    changed = rig_run(r) ? -1 : memcmp(before, rig_output(r, 0), (size_t)ny * sizeof *before) != 0;
    memcpy(v, start, (size_t)n * sizeof *v);
  }
  sonde_release(start);
  sonde_release(before);
  return changed;
}

static int check_effect(kit *k) {
  rig_spec spec = rig_usual(k);
  rig r;
  int outcome = SONDE_PASS;
  if (rig_make(k, k->ctx, &spec, &r) || rig_run(&r)) outcome = reason(k, &r, "");
  else if (largest(rig_output(&r, 0), NULL, rig_count(&r, 0)) == 0) outcome = kit_fail(k, "its result is zero");
  else if (largest(rig_output(&r, 0), sonde_tensor_write(r.x, NULL), rig_count(&r, 0)) < 1e-6)
    outcome = kit_fail(k, "it does nothing: its result is its input");
  for (int i = 0; outcome == SONDE_PASS && i < r.n; i++) {
    int counts = kit_leaf_counts(&r, i);
    if (counts < 0) outcome = reason(k, &r, "");
    else if (!counts)
      outcome = kit_fail(k, "%s '%s' has no effect on the result", i ? "parameter" : "input", r.name[i]);
  }
  rig_drop(&r);
  return outcome;
}

/* Another value at token t of sequence 0 must leave the tokens before t as they were. */
static int check_causal(kit *k) {
  rig_spec spec = rig_usual(k);
  rig r;
  int outcome = SONDE_PASS;
  spec.context = 19;
  int64_t t = 11, n = t * spec.width;
  float *before = sonde_alloc((size_t)n * sizeof *before);
  if (!before) return kit_fail(k, "no memory");
  if (rig_make(k, k->ctx, &spec, &r) || rig_run(&r)) outcome = reason(k, &r, "");
  else {
    float *x = sonde_tensor_write(r.x, NULL);
    memcpy(before, rig_output(&r, 0), (size_t)n * sizeof *before);
    for (int64_t j = 0; j < spec.width; j++) x[t * spec.width + j] += 3;
    if (rig_run(&r)) outcome = reason(k, &r, "");
    else if (largest(before, rig_output(&r, 0), n) > 1e-5 * largest(before, NULL, n))
      outcome = kit_fail(k, "it looks ahead: token %lld changes the result of earlier tokens", (long long)t);
  }
  sonde_release(before);
  rig_drop(&r);
  return outcome;
}

/* Compares the result of rig `many` for the first tokens of its last sample with that of rig `few`, where they are
 * sample 0. */
static int compare_sizes(kit *k, rig *many, const rig_spec *m, rig *few, const rig_spec *f) {
  int64_t n = f->context * f->width, at = (m->batch - 1) * m->context * m->width;
  const float *from = sonde_tensor_read(many->x, NULL);
  memcpy(sonde_tensor_write(few->x, NULL), from + at, (size_t)n * sizeof(float));
  if (rig_run(many)) return reason(k, many, "");
  if (rig_run(few)) return reason(k, few, "");
  const float *there = rig_output(many, 0) + at;
  if (largest(there, rig_output(few, 0), n) <= 1e-4 * largest(there, NULL, n)) return SONDE_PASS;
  return kit_fail(k, "the same tokens get one result among %lld samples of %lld and another among %lld of %lld",
                  (long long)m->batch, (long long)m->context, (long long)f->batch, (long long)f->context);
}

/* However large the batch and long the context, the same tokens get the same result. */
static int other_sizes(kit *k) {
  rig_spec usual = rig_usual(k), m = usual, f = usual;
  rig many, few;
  int outcome = SONDE_PASS;
  m.batch = 3, m.context = m.trained_context = 70;
  f.batch = 2, f.context = 5, f.trained_context = 70;
  if (rig_make(k, k->ctx, &m, &many)) outcome = reason(k, &many, "");
  if (rig_make(k, k->ctx, &f, &few) && outcome == SONDE_PASS) outcome = reason(k, &few, "");
  for (int i = 1; i < many.n && outcome == SONDE_PASS; i++)
    if (i >= few.n || rig_count(&many, 1 + i) != rig_count(&few, 1 + i))
      outcome = kit_fail(k, "'%s' has another shape for 3 samples of 70 tokens than for 2 of 5", many.name[i]);
  if (outcome == SONDE_PASS) outcome = compare_sizes(k, &many, &m, &few, &f);
  rig_drop(&many);
  rig_drop(&few);
  return outcome;
}

/* What is said of sample 1 must leave samples 0 and 2 as they were, results and gradients of x. */
static int check_batch(kit *k) {
  rig_spec spec = rig_usual(k);
  rig r;
  int outcome = SONDE_PASS;
  spec.batch = 3, spec.context = 7, spec.grad = 1;
  int64_t sample = spec.context * spec.width, n = spec.batch * sample;
  float *before = sonde_alloc(2 * (size_t)n * sizeof *before);
  if (!before) return kit_fail(k, "no memory");
  if (rig_make(k, k->ctx, &spec, &r) || rig_run(&r)) outcome = reason(k, &r, "");
  else {
    float *x = (float *)sonde_tensor_write(r.x, NULL) + sample, *u = (float *)sonde_tensor_write(r.u, NULL) + sample;
    for (int i = 0; i <= r.has_grad; i++) memcpy(before + i * n, rig_output(&r, i), (size_t)n * sizeof *before);
    for (int64_t j = 0; j < sample; j++) x[j] = 3 - x[j], u[j] = 5 + u[j];
    if (rig_run(&r)) outcome = reason(k, &r, "");
    for (int i = 0; i <= r.has_grad && outcome == SONDE_PASS; i++)
      for (int64_t at = 0; at < n && outcome == SONDE_PASS; at += 2 * sample)
        if (!(largest(before + i * n + at, rig_output(&r, i) + at, sample) <= 1e-5 * largest(before + i * n, NULL, n)))
          outcome = kit_fail(k, "sample 1 of the batch changes %s sample %lld",
                             i ? "the gradient of x in" : "the result of", (long long)(at / sample));
  }
  sonde_release(before);
  rig_drop(&r);
  return outcome == SONDE_PASS ? other_sizes(k) : outcome;
}

static int check_nan(kit *k) {
  rig_spec spec = rig_usual(k);
  rig r;
  int outcome = SONDE_PASS, seen = 0;
  if (rig_make(k, k->ctx, &spec, &r)) outcome = reason(k, &r, "");
  else {
    int64_t token = 3;
    ((float *)sonde_tensor_write(r.x, NULL))[token * spec.width + spec.width / 2] = NAN;
    if (rig_run(&r)) outcome = reason(k, &r, "");
    else {
      const float *y = rig_output(&r, 0) + token * spec.width;
      for (int64_t j = 0; j < spec.width; j++) seen |= isnan(y[j]) != 0;
      if (!seen) outcome = kit_fail(k, "it swallows NaN: one in a token's input, none in its result");
    }
  }
  rig_drop(&r);
  return outcome;
}

static int check_leaks(kit *k) {
  rig_spec spec = rig_usual(k);
  int64_t live = 0;
  kit_memory seen = {0};
  spec.grad = 1;
  for (int round = 0; round < KIT_ROUNDS; round++) {
    rig r;
    int rc = rig_make(k, k->ctx, &spec, &r);
    if (!rc) rc = rig_run(&r);
    if (rc) reason(k, &r, "");
    rig_drop(&r);
    if (rc) return SONDE_FAIL;
    if (round == 0) live = sonde_alloc_live();
    kit_memory_look(&seen, round);
  }
  if (sonde_alloc_live() != live)
    return kit_fail(k, "%lld allocations of the host are left over after %d builds",
                    (long long)(sonde_alloc_live() - live), KIT_ROUNDS - 1);
  if (kit_memory_lost(&seen))
    return kit_fail(k, "it loses memory: %lld bytes with each build, run and free",
                    (long long)kit_memory_lost(&seen));
  return SONDE_PASS;
}

int kit_module_taken(kit *k) {
  rig r;
  rig_spec spec = rig_usual(k);
  int rc = rig_make(k, k->ctx, &spec, &r);
  rig_drop(&r);
  return !rc || rc == SONDE_EBUG;
}

/* Outputs, gradients and parameters at one place: with the first values, and away from them. */
int kit_module_bits(kit *k, const sonde_value *values, uint64_t *bits, sonde_error *err) {
  int rc = SONDE_OK;
  for (int first = 0; first < 2 && !rc; first++) {
    rig r;
    rig_spec spec = rig_usual(k);
    spec.context = 12;      /* options may be about tokens far from each other */
    spec.values = values;
    spec.grad = 1;
    spec.first_values = first;
    rc = rig_make(k, k->ctx, &spec, &r);
    if (!rc) rc = rig_run(&r);
    if (!rc) *bits = kit_mix(*bits, rig_bits(&r));
    else *err = r.err;
    rig_drop(&r);
  }
  return rc;
}

/* Forward and, where there is one, backward over [2, 128, 256]. */
double kit_module_ms(const kit *k) {
  enum { RUNS = 9 };
  rig_spec spec = {.batch = 2, .context = 128, .width = 256, .layer = 1, .depth = 2, .seed = 7, .grad = 1};
  double ms[RUNS];
  rig r;
  int rc = rig_make(k, k->ctx, &spec, &r);
  if (!rc) rc = rig_run(&r);
  for (int j = 0; j < RUNS && !rc; j++) {
    double start = kit_now_ms();
    rc = rig_run(&r);
    ms[j] = kit_now_ms() - start;
  }
  rig_drop(&r);
  return rc ? -1 : kit_median(ms, RUNS);
}

const kit_named kit_module_checks[] = {
    {"schema", check_schema, KIT_ONCE, 0},         {"build", check_build, KIT_ONCE, 1},
    {"run", check_run, KIT_VARIANTS, 1},           {"shapes", check_shapes, KIT_ONCE, 0},
    {"effect", check_effect, KIT_ONCE, 0},         {"options", check_options, KIT_ONCE, 0},
    {"gradient", check_gradient, KIT_VARIANTS, 0}, {"causal", check_causal, KIT_VARIANTS, 0},
    {"batch", check_batch, KIT_VARIANTS, 0},       {"threads", check_threads, KIT_VARIANTS, 0},
    {"reload", check_reload, KIT_ONCE, 0},         {"guards", check_guards, KIT_VARIANTS, 0},
    {"bf16", check_bf16, KIT_VARIANTS, 0},         {"leaks", check_leaks, KIT_ONCE, 0},
    {"nan", check_nan, KIT_VARIANTS, 0},           {NULL, NULL, KIT_ONCE, 0},
};
