/* distill.c - the loss of a student beside its teacher over the whole vocabulary, in chunks of tokens: neither one's
 * logits of all tokens exist at once.
 *
 * Of each token: z are the student's logits and u the teacher's, q = softmax(z / T), p = softmax(u / T). The loss is a
 * sum of terms f(p_v, q_v) over the classes v, f an elementwise function of log p, p, log q and q (pointwise.h); with
 * s_v = df/dlog q_v its gradient is dz_v = (s_v - q_v sum s) / T. Where only the teacher's largest classes are kept
 * (its top k, its top p, or those that a cache has), all others count as one class more, with the sums of their p and
 * q: then dz_v of these is q_v (s_rest / q_rest - sum s) / T.
 *
 * The same pass gives the cross-entropy of the targets, and the gradient of both: the student's logits are computed
 * once. */
#include "config.h"
#include "graph/graph.h"

#include <math.h>
#include <string.h>

#include "ops/common.h"
#include "ops/families.h"
#include "ops/head.h"
#include "ops/pointwise.h"
#include "ops/top.h"

enum { IN_X, IN_W, IN_TARGETS, IN_TEACHER, IN_TEACHER_HEAD, IN_IDS = IN_TEACHER, IN_LOGS, IN_DCE, IN_DKD, INPUTS };
enum { STRETCH = SONDE_POINTWISE_STRETCH };
/* Attributes: f0 T, f1 the student's soft-cap, f2 the teacher's, f3 top p (0: none); i0 the function, i1 top k (0:
 * none). */
enum { F_TEMPERATURE, F_CAP, F_TEACHER_CAP, F_TOP_P };
enum { I_FUNCTION, I_TOP_K };

/* In the teacher's row: the class is not kept. */
static const float LEFT_OUT = INFINITY;

/* ---- shapes ------------------------------------------------------------------------------------------------ */

static int is_cached(const sonde_shape *in) { return in[IN_IDS].dtype == SONDE_I32; }

static int check_attributes(const char *op, const sonde_attr *at, sonde_error *err) {
  if (!(at->f[F_TEMPERATURE] > 0) || !isfinite(at->f[F_TEMPERATURE]))
    return sonde_fail(err, SONDE_EINVAL, "%s: the temperature must be over 0, not %g", op, at->f[F_TEMPERATURE]);
  if (!(at->f[F_CAP] >= 0) || !(at->f[F_TEACHER_CAP] >= 0))
    return sonde_fail(err, SONDE_EINVAL, "%s: a soft-cap must be positive, or 0 for none", op);
  if (!(at->f[F_TOP_P] >= 0 && at->f[F_TOP_P] <= 1) || at->i[I_TOP_K] < 0 || (at->f[F_TOP_P] > 0 && at->i[I_TOP_K] > 0))
    return sonde_fail(err, SONDE_EINVAL, "%s: top k is at least 0 and top p from 0 to 1, and one of them 0", op);
  if (!sonde_pointwise_at(at->i[I_FUNCTION]))
    return sonde_fail(err, SONDE_EINVAL, "%s: there is no divergence %lld", op, (long long)at->i[I_FUNCTION]);
  return SONDE_OK;
}

static int is_pair(const sonde_shape *x, const sonde_shape *w) {
  return x->rank == 2 && w->rank == 2 && x->dim[1] == w->dim[1] && sonde_is_real(x) && x->dtype == w->dtype;
}

static int check(const char *op, int cached, const sonde_shape *in, const sonde_attr *at, sonde_error *err) {
  int rc = check_attributes(op, at, err);
  if (rc) return rc;
  const sonde_shape *a = &in[IN_TEACHER], *b = &in[IN_TEACHER_HEAD];
  if (!is_pair(&in[IN_X], &in[IN_W]) || in[IN_TARGETS].rank != 1 || in[IN_TARGETS].dtype != SONDE_I32 ||
      in[IN_TARGETS].dim[0] != in[IN_X].dim[0])
    return sonde_fail(err, SONDE_ESHAPE, "%s of x %s, w %s, targets %s: needs x [N, D], w [V, D] of x's dtype, targets "
                      "i32 [N]", op, sonde_shown(&in[IN_X]).text, sonde_shown(&in[IN_W]).text,
                      sonde_shown(&in[IN_TARGETS]).text);
  int fits = is_cached(in) == cached && a->rank == 2 && b->rank == 2 && a->dim[0] == in[IN_X].dim[0];
  if (cached) fits = fits && b->dim[0] == a->dim[0] && b->dim[1] == a->dim[1] + 1 && b->dtype == SONDE_F32;
  else fits = fits && is_pair(a, b) && b->dim[0] == in[IN_W].dim[0];
  if (fits) return SONDE_OK;
  return sonde_fail(err, SONDE_ESHAPE, "%s of x %s, w %s with a teacher of %s, %s: needs x [N, Dt] and w [V, Dt], or "
                    "cached classes i32 [N, K] and their logarithms f32 [N, K + 1]", op, sonde_shown(&in[IN_X]).text,
                    sonde_shown(&in[IN_W]).text, sonde_shown(a).text, sonde_shown(b).text);
}

static int shape_of(const char *op, int cached, const sonde_shape *in, const sonde_attr *at, sonde_shape *out,
                    sonde_error *err) {
  int rc = check(op, cached, in, at, err);
  if (!rc) out[0] = out[1] = sonde_shape_make(SONDE_F32, 1, in[IN_TARGETS].dim);
  return rc;
}

static int grad_shape_of(const char *op, int cached, const sonde_shape *in, const sonde_attr *at, sonde_shape *out,
                         sonde_error *err) {
  int rc = check(op, cached, in, at, err);
  for (int k = IN_DCE; k <= IN_DKD && !rc; k++)
    if (in[k].rank != 1 || in[k].dim[0] != in[IN_X].dim[0] || in[k].dtype != SONDE_F32)
      rc = sonde_fail(err, SONDE_ESHAPE, "%s: the upstream gradients must be f32 [N], one a token", op);
  if (rc) return rc;
  out[0] = sonde_shape_make(SONDE_F32, 2, in[IN_X].dim);
  out[1] = sonde_shape_make(SONDE_F32, 2, in[IN_W].dim);
  out[2] = out[3] = sonde_shape_make(SONDE_F32, 1, in[IN_TARGETS].dim);
  return SONDE_OK;
}

#define SHAPE(name, of, op, cached)                                                                              \
  static int name(const sonde_shape *in, int n, const sonde_attr *at, sonde_shape *out, sonde_error *err) {      \
    (void)n;                                                                                                     \
    return of(op, cached, in, at, out, err);                                                                     \
  }
SHAPE(shape, shape_of, "distill", 0)
SHAPE(cached_shape, shape_of, "distill_cached", 1)
SHAPE(grad_shape, grad_shape_of, "distill_grad", 0)
SHAPE(cached_grad_shape, grad_shape_of, "distill_cached_grad", 1)

static int range(const sonde_shape *in, int n_in, const sonde_attr *at, int k, int64_t *low, int64_t *high) {
  (void)n_in, (void)at;
  *low = k == IN_TARGETS ? -1 : 0, *high = in[IN_W].dim[0] - 1;
  return k == IN_TARGETS || (k == IN_IDS && is_cached(in));
}

/* ---- one run ----------------------------------------------------------------------------------------------- */

typedef struct task {
  const sonde_call *c;
  const sonde_simd_table *simd;
  void (*affine)(const sonde_vec *v);
  const sonde_pointwise *f;
  int64_t n, d, v, rows;         /* rows of a chunk */
  int64_t td;                    /* the teacher's width */
  int type, ttype;               /* of x and w, and of the teacher's */
  float cap, tcap, scale;        /* scale: 1 / T */
  double top_p;
  int64_t top_k;
  const int32_t *target, *ids;   /* ids [N, kept], logs [N, kept + 1]: of a cache */
  const float *logs;
  int64_t kept;
  const float *dce, *dkd;        /* NULL: only the losses are wanted */
  float *ce, *kd;                /* [N]; may be NULL */
  float *logits, *teacher;       /* [rows, V] */
  uint16_t *narrow;              /* the gradient rounded to bf16 */
  void *gemm_scratch;
} task;

static int64_t chunk(const sonde_shape *in) { return sonde_head_rows(in[IN_X].dim[0], 2 * in[IN_W].dim[0]); }

static int64_t scratch_of(const sonde_shape *in, int gradient) {
  int64_t n = in[IN_X].dim[0], v = in[IN_W].dim[0], rows = chunk(in), bytes = 2 * sonde_head_aligned(rows * v * 4);
  if (gradient && in[IN_X].dtype == SONDE_BF16) bytes += sonde_head_aligned(rows * v * 2);
  int64_t own = sonde_head_scratch(n, rows, v, in[IN_X].dim[1], in[IN_X].dtype, gradient),
          other = is_cached(in) ? 0 : sonde_head_scratch(n, rows, v, in[IN_TEACHER].dim[1], in[IN_TEACHER].dtype, 0);
  return bytes + (own > other ? own : other);
}

static int64_t scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return scratch_of(in, 0);
}

static int64_t grad_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return scratch_of(in, 1);
}

static int check_classes(const task *t, const int32_t *id, int64_t n, int64_t each, int32_t least, const char *what) {
  for (int64_t i = 0; i < n; i++)
    if (id[i] < least || id[i] >= t->v)
      return sonde_fail(t->c->err, SONDE_EINVAL, "%s %d of token %lld is outside the vocabulary of %lld", what,
                        (int)id[i], (long long)(i / each), (long long)t->v);
  return SONDE_OK;
}

static int prepare(const sonde_call *c, int gradient, task *t) {
  const sonde_shape *in = c->in_shape;
  const sonde_attr *at = c->attr;
  *t = (task){.c = c, .simd = sonde_simd_get(), .affine = sonde_simd_get()->vec("affine"),
              .f = sonde_pointwise_at(at->i[I_FUNCTION]), .n = in[IN_X].dim[0],
              .d = in[IN_X].dim[1], .v = in[IN_W].dim[0], .type = in[IN_X].dtype, .cap = (float)at->f[F_CAP],
              .tcap = (float)at->f[F_TEACHER_CAP], .scale = (float)(1 / at->f[F_TEMPERATURE]),
              .top_p = at->f[F_TOP_P], .top_k = at->i[I_TOP_K], .target = c->in[IN_TARGETS],
              .dce = gradient ? c->in[IN_DCE] : NULL, .dkd = gradient ? c->in[IN_DKD] : NULL,
              .ce = c->out[gradient ? 2 : 0], .kd = c->out[gradient ? 3 : 1], .rows = chunk(in),
              .logits = c->scratch};
  if (is_cached(in)) t->ids = c->in[IN_IDS], t->logs = c->in[IN_LOGS], t->kept = in[IN_IDS].dim[1];
  else t->td = in[IN_TEACHER].dim[1], t->ttype = in[IN_TEACHER].dtype;
  char *room = (char *)c->scratch + sonde_head_aligned(t->rows * t->v * 4);
  t->teacher = (float *)(void *)room;
  room += sonde_head_aligned(t->rows * t->v * 4);
  if (gradient && t->type == SONDE_BF16) {
    t->narrow = (uint16_t *)(void *)room;
    room += sonde_head_aligned(t->rows * t->v * 2);
  }
  t->gemm_scratch = room;
  int rc = check_classes(t, t->target, t->n, 1, -1, "target");
  return rc || !t->ids ? rc : check_classes(t, t->ids, t->n * t->kept, t->kept, 0, "cached class");
}

/* ---- one token --------------------------------------------------------------------------------------------- */

static int64_t stretch_of(const task *t, int64_t j) { return t->v - j < STRETCH ? t->v - j : STRETCH; }

/* y = scale x - shift */
static void shifted(const task *t, float *y, const float *x, float scale, float shift, int64_t n) {
  const sonde_attr at = {{(double)scale, -(double)shift}, {0}};
  t->affine(&(sonde_vec){.n = n, .out = y, .in = {x}, .attr = &at});
}

/* log sum exp(scale z) */
static float log_sum(const task *t, const float *z, float scale) {
  float buf[STRETCH], total = 0, top = scale * t->simd->common.max(z, t->v);
  for (int64_t j = 0; j < t->v; j += STRETCH) {
    int64_t n = stretch_of(t, j);
    if (scale != 1) shifted(t, buf, z + j, scale, 0, n);
    total += t->simd->exp_sum(buf, scale != 1 ? buf : z + j, top, n);
  }
  return top + logf(total);
}

static float log_of(double x) { return x > 0 ? (float)log(x) : SONDE_LOG_OF_ZERO; }

/* The teacher's row: log p of what is kept, LEFT_OUT elsewhere, and log p of the rest. Returns whether there is one. */
static int teacher_row(const task *t, int64_t token, float *u, float *log_rest) {
  if (t->ids) {
    const int32_t *id = t->ids + token * t->kept;
    const float *logs = t->logs + token * (t->kept + 1);
    for (int64_t v = 0; v < t->v; v++) u[v] = LEFT_OUT;
    for (int64_t j = 0; j < t->kept; j++) u[id[j]] = logs[j];
    *log_rest = logs[t->kept] > SONDE_LOG_OF_ZERO ? logs[t->kept] : SONDE_LOG_OF_ZERO;
    return 1;
  }
  if (t->tcap != 0) sonde_head_cap(u, t->tcap, t->v);
  const float total = log_sum(t, u, t->scale);
  if (!(t->top_k && t->top_k < t->v) && !(t->top_p > 0 && t->top_p < 1)) {
    shifted(t, u, u, t->scale, total, t->v);
    return 0;
  }
  sonde_top top = t->top_k ? sonde_top_count(u, t->v, t->top_k) : sonde_top_mass(u, t->v, t->scale, total, t->top_p);
  double rest = 0;
  for (int64_t j = 0; j < t->v; j += STRETCH) {
    int64_t n = stretch_of(t, j);
    float l[STRETCH], p[STRETCH];
    shifted(t, l, u + j, t->scale, total, n);
    t->simd->common.exp(p, l, n);
    for (int64_t i = 0; i < n; i++) {
      int kept = sonde_top_takes(&top, u[j + i]);
      if (kept) p[i] = 0;
      u[j + i] = kept ? l[i] : LEFT_OUT;
    }
    rest += (double)t->simd->common.sum(p, n);      /* as the student's: equal rows have equal sums */
  }
  *log_rest = log_of(rest);
  return 1;
}

/* What a token's terms add up to. */
typedef struct sums { double loss, slope; double rest_q; float rest_slope; } sums;

/* Terms of n classes; their slopes go to dy unless it is NULL. */
static void add_terms(const task *t, const float *lp, const float *lq, const float *q, int64_t n, float *dy, sums *s) {
  float p[STRETCH], y[STRETCH];
  const float *in[SONDE_POINTWISE_INPUTS] = {lp, p, lq, q};
  t->simd->common.exp(p, lp, n);
  sonde_pointwise_run(t->f, in, n, y, dy);
  s->loss += (double)t->simd->common.sum(y, n);
  if (dy) s->slope += (double)t->simd->common.sum(dy, n);
}

/* Kept classes among others, collected until a stretch is full. */
typedef struct gathered { int64_t n, at[STRETCH]; float lp[STRETCH], lq[STRETCH], q[STRETCH]; } gathered;

static void flush(const task *t, gathered *g, float *u, sums *s) {
  float dy[STRETCH];
  if (!g->n) return;
  add_terms(t, g->lp, g->lq, g->q, g->n, t->dkd ? dy : NULL, s);
  for (int64_t i = 0; t->dkd && i < g->n; i++) u[g->at[i]] = dy[i];
  g->n = 0;
}

/* Whether q takes the place of the logits behind the terms: then nothing else needs these. */
static int keeps_q(const task *t) { return t->dkd && t->scale == 1 && t->cap == 0; }

/* The loss of a token; the teacher's row u becomes the slopes. `total`: log sum exp(z / T). */
static sums terms_of(const task *t, float *z, float *u, float total, int sparse, float log_rest) {
  sums s = {0, 0, 0, 0};
  gathered g;
  g.n = 0;
  for (int64_t j = 0; j < t->v; j += STRETCH) {
    int64_t n = stretch_of(t, j);
    float lq[STRETCH], q[STRETCH], dy[STRETCH];
    shifted(t, lq, z + j, t->scale, total, n);
    t->simd->common.exp(q, lq, n);
    if (keeps_q(t)) memcpy(z + j, q, (size_t)n * sizeof *q);
    if (!sparse) {
      add_terms(t, u + j, lq, q, n, t->dkd ? dy : NULL, &s);
      if (t->dkd) memcpy(u + j, dy, (size_t)n * sizeof *dy);
      continue;
    }
    for (int64_t i = 0; i < n; i++) {
      if (u[j + i] == LEFT_OUT) continue;
      g.at[g.n] = j + i, g.lp[g.n] = u[j + i], g.lq[g.n] = lq[i], g.q[g.n] = q[i];
      q[i] = 0;
      if (++g.n == STRETCH) flush(t, &g, u, &s);
    }
    s.rest_q += (double)t->simd->common.sum(q, n);
  }
  if (!sparse) return s;
  flush(t, &g, u, &s);
  float lq = log_of(s.rest_q), q;
  t->simd->common.exp(&q, &lq, 1);
  add_terms(t, &log_rest, &lq, &q, 1, t->dkd ? &s.rest_slope : NULL, &s);
  return s;
}

/* g = softmax(z) and q = softmax(z / T) of n logits; behind terms that keep q they are there. */
static const float *distributions(const task *t, const float *z, float one, float total, int64_t n, float *g,
                                  float *q) {
  if (keeps_q(t)) return z;
  shifted(t, q, z, t->scale, total, n);
  t->simd->common.exp(q, q, n);
  if (t->scale == 1) return q;
  shifted(t, g, z, 1, one, n);
  t->simd->common.exp(g, g, n);
  return q;
}

/* The gradient of a token in the logits' place, or as bf16: dce (softmax(z) - onehot) + dkd (s - q sum s) / T, where
 * s of what is left out is q s_rest / q_rest. `one` is log sum exp z, `total` that of z / T. */
static void gradient_of(const task *t, int64_t token, float *z, const float *u, float one, float total, int sparse,
                        const sums *s, uint16_t *narrow) {
  const sonde_simd *simd = &t->simd->common;
  const float dce = t->dce[token], dkd = t->dkd[token] * t->scale, sum = (float)s->slope,
              rest = s->rest_q > 0 ? (float)(s->rest_slope / s->rest_q) : 0,
              curve = t->cap != 0 ? 1 / (t->cap * t->cap) : 0;
  const int32_t target = t->target[token];
  for (int64_t j = 0; j < t->v; j += STRETCH) {
    int64_t n = stretch_of(t, j);
    float g[STRETCH], room[STRETCH];
    const float *q = distributions(t, z + j, one, total, n, g, room);
    const float each = dkd * (rest - sum);
    if (t->scale == 1) {
      simd->scale(g, q, dce + each, n);
    } else {
      simd->scale(g, g, dce, n);
      simd->axpy(g, q, each, n);
    }
    if (!sparse) simd->axpy(g, u + j, dkd, n);
    for (int64_t i = 0; i < n && sparse; i++)
      if (u[j + i] != LEFT_OUT) g[i] += dkd * (u[j + i] - q[i] * rest);
    if (target >= j && target < j + n) g[target - j] -= dce;
    for (int64_t i = 0; i < n && curve != 0; i++) g[i] *= 1 - z[j + i] * z[j + i] * curve;
    if (narrow) simd->to_bf16(narrow + j, g, n);
    else memcpy(z + j, g, (size_t)n * sizeof *g);
  }
}

static void one_row(const void *arg, int64_t token, int64_t i) {
  const task *t = arg;
  float *z = t->logits + i * t->v, *u = t->teacher + i * t->v;
  uint16_t *narrow = t->narrow ? t->narrow + i * t->v : NULL;
  const int32_t target = t->target[token];
  const int distils = t->kd || t->dkd;
  if (target < 0) {
    if (t->ce) t->ce[token] = 0;
    if (t->kd) t->kd[token] = 0;
    if (t->dce) memset(narrow ? (void *)narrow : z, 0, (size_t)t->v * (narrow ? sizeof *narrow : sizeof *z));
    return;
  }
  if (t->cap != 0) sonde_head_cap(z, t->cap, t->v);
  const float one = log_sum(t, z, 1), total = t->scale != 1 ? log_sum(t, z, t->scale) : one;
  if (t->ce) t->ce[token] = one - z[target];
  if (!distils) return;
  float log_rest = 0;
  const int sparse = teacher_row(t, token, u, &log_rest);
  sums s = terms_of(t, z, u, total, sparse, log_rest);
  if (t->kd) t->kd[token] = (float)s.loss;
  if (t->dkd) gradient_of(t, token, z, u, one, total, sparse, &s, narrow);
}

static void run_pass(const task *t) {
  const sonde_call *c = t->c;
  const int gradient = t->dkd != NULL, teacher = !t->ids && (t->kd || t->dkd);
  const void *slope = t->narrow ? (const void *)t->narrow : t->logits;
  sonde_head_run(&(sonde_head_pass){
      .n = t->n, .v = t->v, .rows = t->rows, .own = {c->in[IN_X], c->in[IN_W], t->d, t->type, t->logits},
      .other = {c->in[IN_TEACHER], teacher ? c->in[IN_TEACHER_HEAD] : NULL, t->td, t->ttype, t->teacher},
      .slope = gradient ? slope : NULL, .dx = gradient ? c->out[0] : NULL, .dw = gradient ? c->out[1] : NULL,
      .scratch = t->gemm_scratch, .pool = c->pool, .row = one_row, .task = t});
}

static int run(const sonde_call *c) {
  task t;
  int rc = prepare(c, 0, &t);
  if (!rc) run_pass(&t);
  return rc;
}

static int grad_run(const sonde_call *c) {
  task t;
  int rc = prepare(c, 1, &t);
  if (!rc) run_pass(&t);
  return rc;
}

/* ---- gradient rule and counts ------------------------------------------------------------------------------ */

/* Nothing flows to the teacher. As with lm_loss the gradient's pass gives the losses as well. */
static int grad_by(const char *op, sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  sonde_node_inputs(self, in);
  if (!dout[0] && !dout[1]) return SONDE_OK;
  sonde_shape items = sonde_node_shape(self);
  for (int k = 0; k < 2; k++) in[IN_DCE + k] = dout[k] ? dout[k] : sonde_constant(g, &items, 0);
  din[IN_X] = sonde_op(g, op, in, INPUTS, sonde_node_attr(self));
  din[IN_W] = sonde_result(din[IN_X], 1);
  sonde_node *ce = sonde_result(din[IN_X], 2), *kd = sonde_result(din[IN_X], 3), *old = sonde_result(self, 1);
  if (!din[IN_W] || !ce || !kd || !old) return SONDE_ESHAPE;
  sonde_graph_also(ce, self);
  sonde_graph_also(kd, old);
  return SONDE_OK;
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  return grad_by("distill_grad", g, self, dout, din);
}

static int cached_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  return grad_by("distill_cached_grad", g, self, dout, din);
}

static double flops_of(const sonde_shape *in, const sonde_attr *at, int products) {
  const sonde_pointwise *f = sonde_pointwise_at(at->i[I_FUNCTION]);
  double n = (double)in[IN_X].dim[0], v = (double)in[IN_W].dim[0], each = 12 + (f ? sonde_pointwise_flops(f) : 0),
         teacher = is_cached(in) ? 0 : 2 * n * v * (double)in[IN_TEACHER].dim[1];
  return 2.0 * products * n * v * (double)in[IN_X].dim[1] + teacher + each * n * v;
}

static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out;
  return flops_of(in, at, 1);
}

static double grad_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out;
  return flops_of(in, at, 3);
}

#define ATTRIBUTES "f0: T, f1: the student's soft-cap, f2: the teacher's, f3: top p, i0: divergence, i1: top k"
#define FORWARD \
  .size = sizeof(sonde_op_def), .min_in = INPUTS - 2, .max_in = INPUTS - 2, .n_out = 2, .flags = SONDE_OP_BF16_IN, \
  .scratch = scratch, .run = run, .flops = flops, .range = range
#define GRADIENT \
  .size = sizeof(sonde_op_def), .min_in = INPUTS, .max_in = INPUTS, .n_out = 4, .flags = SONDE_OP_BF16_IN, \
  .scratch = grad_scratch, .run = grad_run, .flops = grad_flops, .range = range

const sonde_op_def sonde_ops_distill[] = {
    {FORWARD, .name = "distill", .shape = shape, .grad = grad, .bf16_operands = 1 | 2 | 8 | 16,
     .doc = "a student's losses beside a teacher: x [N, D], w [V, D], targets i32 [N] (-1: ignored, losses 0), the "
            "teacher's x [N, Dt] and w [V, Dt] -> the cross-entropy [N] of the targets, and the divergence [N] of "
            "softmax(x w^T / T) from the teacher's; " ATTRIBUTES},
    {GRADIENT, .name = "distill_grad", .shape = grad_shape, .bf16_operands = 1 | 2 | 8 | 16,
     .doc = "of distill: its inputs, and the upstream gradients [N] of the cross-entropy and of the divergence -> dx "
            "[N, D], dw [V, D], and the two losses [N]; " ATTRIBUTES},
    {FORWARD, .name = "distill_cached", .shape = cached_shape, .grad = cached_grad, .bf16_operands = 1 | 2,
     .doc = "distill where the teacher is given by K classes of each token, i32 [N, K], with the logarithms of their "
            "probabilities at T and, behind them, of all others' sum, f32 [N, K + 1]; " ATTRIBUTES},
    {GRADIENT, .name = "distill_cached_grad", .shape = cached_grad_shape, .bf16_operands = 1 | 2,
     .doc = "of distill_cached, as distill_grad is of distill; " ATTRIBUTES},
    {0}};
