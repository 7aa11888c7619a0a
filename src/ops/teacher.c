/* teacher.c - what a teacher's cache keeps of each token: its K likeliest classes and the sum of all others, over the
 * whole vocabulary in chunks of tokens. */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "ops/common.h"
#include "ops/families.h"
#include "ops/head.h"
#include "ops/top.h"

enum { IN_X, IN_W };

static int shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  if (in[IN_X].rank != 2 || in[IN_W].rank != 2 || in[IN_X].dim[1] != in[IN_W].dim[1] || !sonde_is_real(&in[IN_X]) ||
      in[IN_X].dtype != in[IN_W].dtype)
    return sonde_fail(err, SONDE_ESHAPE, "teacher_top of x %s, w %s: needs x [N, D], w [V, D] of x's dtype",
                      sonde_shown(&in[IN_X]).text, sonde_shown(&in[IN_W]).text);
  if (!(at->f[0] > 0) || !isfinite(at->f[0]) || !(at->f[1] >= 0))
    return sonde_fail(err, SONDE_EINVAL, "teacher_top: the temperature must be over 0, and a soft-cap positive or 0");
  if (at->i[0] < 1 || at->i[0] > in[IN_W].dim[0])
    return sonde_fail(err, SONDE_EINVAL, "teacher_top: K is 1 to the vocabulary of %lld, not %lld",
                      (long long)in[IN_W].dim[0], (long long)at->i[0]);
  const int64_t n = in[IN_X].dim[0], dim[2] = {n, at->i[0]}, more[2] = {n, at->i[0] + 1};
  out[0] = sonde_shape_make(SONDE_I32, 2, dim);
  out[1] = sonde_shape_make(SONDE_F32, 2, more);
  out[2] = sonde_shape_make(SONDE_F32, 1, &n);
  return SONDE_OK;
}

typedef struct likely { float log; int32_t id; } likely;

static int64_t scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out;
  int64_t n = in[IN_X].dim[0], v = in[IN_W].dim[0], rows = sonde_head_rows(n, v);
  return sonde_head_aligned(rows * v * 4) + sonde_head_aligned(rows * at->i[0] * (int64_t)sizeof(likely)) +
      sonde_head_scratch(n, rows, v, in[IN_X].dim[1], in[IN_X].dtype, 0);
}

typedef struct task {
  const sonde_call *c;
  int64_t v, k;
  float cap, scale;
  float *logits;                 /* [rows, V] */
  likely *kept;                  /* [rows, K] */
} task;

static int by_likelihood(const void *a, const void *b) {
  const likely *x = a, *y = b;
  return x->log != y->log ? (x->log < y->log) - (x->log > y->log) : (x->id > y->id) - (x->id < y->id);
}

/* The K likeliest classes of row i into its pairs; the sum of the others' probabilities. */
static double choose(const task *t, int64_t i, double log_total, double *entropy) {
  const float *u = t->logits + i * t->v;
  likely *kept = t->kept + i * t->k;
  sonde_top set = sonde_top_count(u, t->v, t->k);
  double rest = 0;
  int64_t n = 0;
  for (int64_t v = 0; v < t->v; v++) {
    const double l = (double)t->scale * (double)u[v] - log_total, p = (double)expf((float)l);
    *entropy -= p * l;
    if (n < t->k && sonde_top_takes(&set, u[v])) kept[n++] = (likely){(float)l, (int32_t)v};
    else rest += p;
  }
  qsort(kept, (size_t)t->k, sizeof *kept, by_likelihood);
  return rest;
}

static void one_row(const void *arg, int64_t token, int64_t i) {
  const task *t = arg;
  float *u = t->logits + i * t->v, *logs = t->c->out[1];
  int32_t *ids = t->c->out[0];
  if (t->cap != 0) sonde_head_cap(u, t->cap, t->v);
  double total = 0, entropy = 0;
  const double top = (double)t->scale * (double)sonde_simd_get()->common.max(u, t->v);
  for (int64_t v = 0; v < t->v; v++) total += (double)expf((float)((double)t->scale * (double)u[v] - top));
  const double rest = choose(t, i, top + log(total), &entropy);
  for (int64_t j = 0; j < t->k && ids; j++) ids[token * t->k + j] = t->kept[i * t->k + j].id;
  for (int64_t j = 0; j < t->k && logs; j++) logs[token * (t->k + 1) + j] = t->kept[i * t->k + j].log;
  if (logs) logs[token * (t->k + 1) + t->k] = rest > 0 ? (float)log(rest) : SONDE_LOG_OF_ZERO;
  if (t->c->out[2]) ((float *)t->c->out[2])[token] = (float)entropy;
}

static int run(const sonde_call *c) {
  const sonde_shape *in = c->in_shape;
  const int64_t n = in[IN_X].dim[0], d = in[IN_X].dim[1], v = in[IN_W].dim[0], rows = sonde_head_rows(n, v);
  const int type = in[IN_X].dtype;
  task t = {.c = c, .v = v, .k = c->attr->i[0], .scale = (float)(1 / c->attr->f[0]), .cap = (float)c->attr->f[1],
            .logits = c->scratch};
  char *room = (char *)c->scratch + sonde_head_aligned(rows * v * 4);
  t.kept = (likely *)(void *)room;
  room += sonde_head_aligned(rows * t.k * (int64_t)sizeof(likely));
  sonde_head_run(&(sonde_head_pass){.n = n, .v = v, .rows = rows,
                                    .own = {c->in[IN_X], c->in[IN_W], d, type, t.logits}, .scratch = room,
                                    .pool = c->pool, .row = one_row, .task = &t});
  return SONDE_OK;
}

static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return (2.0 * (double)in[IN_X].dim[1] + 6) * (double)in[IN_X].dim[0] * (double)in[IN_W].dim[0];
}

const sonde_op_def sonde_ops_teacher[] = {
    {.size = sizeof(sonde_op_def),
     .name = "teacher_top",
     .min_in = 2,
     .max_in = 2,
     .n_out = 3,
     .flags = SONDE_OP_BF16_IN,
     .doc = "the K likeliest classes under softmax(x w^T / T): x [N, D], w [V, D] -> the classes i32 [N, K], likeliest "
            "first, the logarithms of their probabilities and, behind them, of all others' sum [N, K + 1], and the "
            "entropy [N] of all; f0: T, f1: soft-cap on the logits (0: none), i0: K",
     .shape = shape,
     .scratch = scratch,
     .run = run,
     .flops = flops,
     .bf16_operands = 1 | 2},
    {0}};
