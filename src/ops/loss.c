/* loss.c - the LM head and its cross-entropy as one op, in chunks of tokens: the N x V logits never exist
 * at once.
 *
 * lm_loss_grad takes all its results from one pass over the logits: of each chunk it computes the logits
 * once, the loss, the softmax less the one-hot target, and the chunk's part of dx and dw. dw grows chunk
 * after chunk.
 *
 * Beside the loss stand the terms that regularise it, with lse = log sum_v exp z_v of a token's logits z: lse^2, whose
 * gradient is 2 lse softmax(z) (z-loss), and the mean over the classes of -log p_v = lse - mean z, whose gradient is
 * softmax(z) - 1/V (label smoothing). Both are 0 for an ignored token.
 *
 * With a soft-cap c the logits are c tanh(z / c), whose derivative is 1 - tanh(z / c)^2 (Gemma 2). */
#include "config.h"
#include "graph/graph.h"

#include <math.h>
#include <string.h>

#include "ops/families.h"
#include "ops/head.h"
#include "ops/rows.h"

enum { ROWS = 8, STRETCH = 2048 };

static int check(const char *op, const sonde_shape *in, const sonde_attr *at, sonde_error *err) {
  char x[96], w[96], y[96];
  const sonde_shape *s = in;
  if (!(at->f[0] >= 0))
    return sonde_fail(err, SONDE_EINVAL, "%s: the soft-cap must be positive, or 0 for none, not %g", op, at->f[0]);
  if (s[0].rank == 2 && s[1].rank == 2 && s[2].rank == 1 && s[0].dim[1] == s[1].dim[1] &&
      s[0].dim[0] == s[2].dim[0] && sonde_is_real(&s[0]) && s[0].dtype == s[1].dtype &&
      s[2].dtype == SONDE_I32 && s[1].dim[0] > 0)
    return SONDE_OK;
  return sonde_fail(err, SONDE_ESHAPE,
                    "%s of x %s, w %s, targets %s: needs x [N, D], w [V, D] of x's dtype, targets i32 [N]",
                    op, sonde_shape_text(&s[0], x, sizeof x), sonde_shape_text(&s[1], w, sizeof w),
                    sonde_shape_text(&s[2], y, sizeof y));
}

static sonde_shape terms_shape(const sonde_shape *in) {
  const int64_t dim[2] = {2, in[2].dim[0]};
  return sonde_shape_make(SONDE_F32, 2, dim);
}

static int shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  int rc = check("lm_loss", in, at, err);
  if (rc) return rc;
  out[0] = sonde_shape_make(SONDE_F32, 1, in[2].dim);
  out[1] = terms_shape(in);
  return SONDE_OK;
}

static int grad_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                      sonde_error *err) {
  int rc = check("lm_loss_grad", in, at, err);
  if (rc) return rc;
  const sonde_shape terms = terms_shape(in);
  if (in[3].rank != 1 || in[3].dim[0] != in[2].dim[0] || in[3].dtype != SONDE_F32)
    return sonde_fail(err, SONDE_ESHAPE, "lm_loss_grad: the upstream gradient must be f32 [N], one a token");
  if (n_in > 4 && (!sonde_shape_equal(&in[4], &terms) || in[4].dtype != SONDE_F32))
    return sonde_fail(err, SONDE_ESHAPE, "lm_loss_grad: the upstream gradient of the terms must be f32 [2, N]");
  out[0] = sonde_shape_make(SONDE_F32, 2, in[0].dim);
  out[1] = sonde_shape_make(SONDE_F32, 2, in[1].dim);
  out[2] = sonde_shape_make(SONDE_F32, 1, in[2].dim);
  out[3] = terms;
  return SONDE_OK;
}

static int range(const sonde_shape *in, int n_in, const sonde_attr *at, int k, int64_t *low, int64_t *high) {
  (void)n_in, (void)at;
  *low = -1, *high = in[1].dim[0] - 1;
  return k == 2;
}

/* ---- one chunk ----------------------------------------------------------------------------------- */

typedef struct task {
  const sonde_call *c;
  const sonde_simd_table *simd;
  int64_t n, d, v, rows;       /* rows of a chunk */
  int type;                    /* of x and w */
  float cap;                   /* of the logits; 0: none */
  const int32_t *target;
  const float *dloss;          /* NULL: only the loss is wanted */
  const float *dterms;         /* [2, N]; NULL: nothing flows from them */
  float *loss, *terms;         /* [N] and [2, N]; may be NULL */
  float *logits;               /* [rows, V] */
  uint16_t *narrow;            /* the same rounded to bf16, for the products of the gradient */
  void *gemm_scratch;
} task;

static int64_t scratch_of(const sonde_shape *in, int gradient) {
  int64_t n = in[0].dim[0], d = in[0].dim[1], v = in[1].dim[0], rows = sonde_head_rows(n, v);
  int64_t bytes = sonde_head_aligned(rows * v * 4);
  if (gradient && in[0].dtype == SONDE_BF16) bytes += sonde_head_aligned(rows * v * 2);
  return bytes + sonde_head_scratch(n, rows, v, d, in[0].dtype, gradient);
}

static int64_t scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return scratch_of(in, 0);
}

static int64_t grad_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return scratch_of(in, 1);
}

static int prepare(const sonde_call *c, int gradient, task *t) {
  const sonde_shape *in = c->in_shape;
  *t = (task){.c = c, .simd = sonde_simd_get(), .n = in[0].dim[0], .d = in[0].dim[1], .v = in[1].dim[0],
              .type = in[0].dtype, .cap = (float)c->attr->f[0], .target = c->in[2], .dloss = gradient ? c->in[3] : NULL,
              .dterms = gradient && c->n_in > 4 ? c->in[4] : NULL, .loss = c->out[gradient ? 2 : 0],
              .terms = c->out[gradient ? 3 : 1], .logits = c->scratch};
  t->rows = sonde_head_rows(t->n, t->v);
  char *at = (char *)c->scratch + sonde_head_aligned(t->rows * t->v * 4);
  if (gradient && t->type == SONDE_BF16) {
    t->narrow = (uint16_t *)(void *)at;
    at += sonde_head_aligned(t->rows * t->v * 2);
  }
  t->gemm_scratch = at;
  for (int64_t i = 0; i < t->n; i++)
    if (t->target[i] < -1 || t->target[i] >= t->v)
      return sonde_fail(c->err, SONDE_EINVAL, "target %d of token %lld is outside the vocabulary of %lld",
                        (int)t->target[i], (long long)i, (long long)t->v);
  return SONDE_OK;
}

/* z = a z, in place or rounded to bf16, a stretch at a time so that the second step finds the first one's
 * in the cache. */
static void weigh(const task *t, float *z, uint16_t *narrow, float a) {
  const sonde_simd *simd = &t->simd->common;
  float buf[STRETCH];
  if (!narrow) {
    simd->scale(z, z, a, t->v);
    return;
  }
  for (int64_t j = 0; j < t->v; j += STRETCH) {
    int64_t n = t->v - j < STRETCH ? t->v - j : STRETCH;
    simd->scale(buf, z + j, a, n);
    simd->to_bf16(narrow + j, buf, n);
  }
}

/* The same with what flows from the terms: all = dloss + 2 lse dterms[0] + dterms[1] weighs the softmax, in z times
 * total. */
static void weigh_terms(const task *t, float *z, uint16_t *narrow, int32_t target, float d, float all, float total,
                        float each) {
  const sonde_simd *simd = &t->simd->common;
  simd->scale(z, z, all / total, t->v);
  for (int64_t j = 0; j < t->v; j++) z[j] -= each;
  z[target] -= d;
  if (narrow) simd->to_bf16(narrow, z, t->v);
}

/* What a token's logits weigh in the gradient: all softmax - d onehot - each. */
typedef struct weights { float d, all, each; } weights;

static weights weights_of(const task *t, int64_t k, float lse) {
  float d = t->dloss[k];
  if (!t->dterms) return (weights){d, d, 0};
  float smooth = t->dterms[t->n + k];
  return (weights){d, d + 2 * lse * t->dterms[k] + smooth, smooth / (float)t->v};
}

/* sum of exp(z - top), which leaves z as it is: the slope of the cap follows from it. */
static float exp_total(const task *t, const float *z, float top) {
  float buf[STRETCH], total = 0;
  for (int64_t j = 0; j < t->v; j += STRETCH)
    total += t->simd->exp_sum(buf, z + j, top, t->v - j < STRETCH ? t->v - j : STRETCH);
  return total;
}

/* The gradient through the cap, in place of the capped logits z or as bf16. */
static void weigh_capped(const task *t, float *z, uint16_t *narrow, int32_t target, weights w, float top, float total) {
  const float share = w.all / total, slope = 1 / (t->cap * t->cap);
  float e[STRETCH];
  for (int64_t j = 0; j < t->v; j += STRETCH) {
    int64_t n = t->v - j < STRETCH ? t->v - j : STRETCH;
    t->simd->exp_sum(e, z + j, top, n);
    for (int64_t i = 0; i < n; i++) e[i] = e[i] * share - w.each;
    if (target >= j && target < j + n) e[target - j] -= w.d;
    for (int64_t i = 0; i < n; i++) z[j + i] = e[i] * (1 - z[j + i] * z[j + i] * slope);
  }
  if (narrow) t->simd->common.to_bf16(narrow, z, t->v);
}

/* The gradient of a row, in the logits' place or as bf16. z holds exp(logit - top), or under a cap the logits. */
static void row_gradient(const task *t, float *z, uint16_t *narrow, int64_t k, float top, float total) {
  int32_t target = t->target[k];
  weights w = weights_of(t, k, top + logf(total));
  if (t->cap != 0) {
    weigh_capped(t, z, narrow, target, w, top, total);
  } else if (t->dterms) {
    weigh_terms(t, z, narrow, target, w.d, w.all, total, w.each);
  } else {
    z[target] -= total;   /* total (softmax - onehot) */
    weigh(t, z, narrow, w.d / total);
  }
}

/* Token k, row i of the chunk: the loss, its terms, and in the gradient (softmax - onehot) dloss and what flows from
 * the terms, in the logits' place or as bf16. */
static void one_row(const void *arg, int64_t k, int64_t i) {
  const task *t = arg;
  const sonde_simd *simd = &t->simd->common;
  float *z = t->logits + i * t->v, loss = 0, square = 0, uniform = 0;
  uint16_t *narrow = t->narrow ? t->narrow + i * t->v : NULL;
  int32_t target = t->target[k];
  if (target >= 0) {
    if (t->cap != 0) sonde_head_cap(z, t->cap, t->v);
    float mean = t->terms ? simd->sum(z, t->v) / (float)t->v : 0, top = simd->max(z, t->v), at = z[target];
    float total = t->cap != 0 ? exp_total(t, z, top) : t->simd->exp_sum(z, z, top, t->v), lse = top + logf(total);
    loss = top - at + logf(total);
    square = lse * lse;
    uniform = lse - mean;
    if (t->dloss) row_gradient(t, z, narrow, k, top, total);
  } else if (t->dloss) {
    if (narrow) memset(narrow, 0, (size_t)t->v * sizeof *narrow);
    else memset(z, 0, (size_t)t->v * sizeof *z);
  }
  if (t->loss) t->loss[k] = loss;
  if (!t->terms) return;
  t->terms[k] = square;
  t->terms[t->n + k] = uniform;
}

static void run_pass(const task *t) {
  const sonde_call *c = t->c;
  const void *slope = t->narrow ? (const void *)t->narrow : t->logits;
  sonde_head_run(&(sonde_head_pass){
      .n = t->n, .v = t->v, .rows = t->rows, .own = {c->in[0], c->in[1], t->d, t->type, t->logits},
      .slope = t->dloss ? slope : NULL, .dx = t->dloss ? c->out[0] : NULL, .dw = t->dloss ? c->out[1] : NULL,
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

/* ---- gradient rule and counts -------------------------------------------------------------------- */

/* The gradient's pass gives the loss as well, so where it runs the forward op need not. */
static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  sonde_node_inputs(self, in);
  if (!dout[0] && !dout[1]) return SONDE_OK;
  sonde_shape items = sonde_node_shape(self);
  sonde_node *args[5] = {in[0], in[1], in[2], dout[0] ? dout[0] : sonde_constant(g, &items, 0), dout[1]};
  din[0] = sonde_op(g, "lm_loss_grad", args, dout[1] ? 5 : 4, sonde_node_attr(self));
  din[1] = sonde_result(din[0], 1);
  sonde_node *loss = sonde_result(din[0], 2);
  if (!din[0] || !din[1] || !loss) return SONDE_ESHAPE;
  sonde_graph_also(loss, self);
  if (!dout[1]) return SONDE_OK;
  sonde_node *terms = sonde_result(din[0], 3);
  if (!terms) return SONDE_ESHAPE;
  sonde_graph_also(terms, sonde_result(self, 1));
  return SONDE_OK;
}

static double product_flops(const sonde_shape *in) {
  return 2.0 * (double)in[0].dim[0] * (double)in[0].dim[1] * (double)in[1].dim[0];
}

static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return product_flops(in) + 4.0 * (double)in[0].dim[0] * (double)in[1].dim[0];
}

static double grad_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return 3 * product_flops(in) + 5.0 * (double)in[0].dim[0] * (double)in[1].dim[0];
}

/* ---- argmax -------------------------------------------------------------------------------------- */

static int argmax_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                        sonde_error *err) {
  char text[96];
  (void)n_in, (void)at;
  if (in[0].rank < 1 || in[0].dtype != SONDE_F32 || in[0].dim[in[0].rank - 1] < 1)
    return sonde_fail(err, SONDE_ESHAPE, "argmax of %s: needs f32 [.., V] with V over 0",
                      sonde_shape_text(&in[0], text, sizeof text));
  *out = sonde_shape_make(SONDE_I32, in[0].rank - 1, in[0].dim);
  return SONDE_OK;
}

/* The first place of the largest value; a NaN counts as larger than any number. */
static void argmax_rows(void *arg, int64_t tile, int worker) {
  (void)worker;
  const sonde_call *c = arg;
  const sonde_simd_table *simd = sonde_simd_get();
  int64_t n = sonde_leading(&c->in_shape[0], 1), v = c->in_shape[0].dim[c->in_shape[0].rank - 1];
  int64_t end = (tile + 1) * ROWS < n ? (tile + 1) * ROWS : n;
  for (int64_t i = tile * ROWS; i < end; i++) {
    const float *x = (const float *)c->in[0] + i * v;
    float top = simd->common.max(x, v);
    int64_t k = 0;
    while (k + 1 < v && !(top == top ? x[k] == top : x[k] != x[k])) k++;
    ((int32_t *)c->out[0])[i] = (int32_t)k;
  }
}

static int argmax_run(const sonde_call *c) {
  sonde_pool_run(c->pool, sonde_parts(sonde_leading(&c->in_shape[0], 1), ROWS), argmax_rows, (void *)c);
  return SONDE_OK;
}

static double argmax_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return (double)sonde_leading(&in[0], 0);
}

const sonde_op_def sonde_ops_loss[] = {
    {.size = sizeof(sonde_op_def),
     .name = "lm_loss",
     .min_in = 3,
     .max_in = 3,
     .n_out = 2,
     .flags = SONDE_OP_BF16_IN,
     .doc =
         "cross-entropy in nats of each token under softmax(x w^T): x [N, D], w [V, D], targets i32 [N] "
         "(-1: ignored, loss 0) -> [N], and the terms [2, N]: the squared log-sum-exp, and the mean over the classes "
         "of -log p. f0: soft-cap c on the logits, c tanh(logit / c) (0: none)",
     .shape = shape,
     .grad = grad,
     .scratch = scratch,
     .run = run,
     .flops = flops,
     .range = range,
     .bf16_operands = 1 | 2},
    {.size = sizeof(sonde_op_def),
     .name = "lm_loss_grad",
     .min_in = 4,
     .max_in = 5,
     .n_out = 4,
     .flags = SONDE_OP_BF16_IN,
     .doc = "of lm_loss: x [N, D], w [V, D], targets i32 [N], dloss [N] (f32), and dterms [2, N] where "
            "something flows from the terms -> dx [N, D], dw [V, D], the loss [N] and the terms [2, N] themselves; f0 "
            "as lm_loss",
     .shape = grad_shape,
     .scratch = grad_scratch,
     .run = grad_run,
     .flops = grad_flops,
     .range = range,
     .bf16_operands = 1 | 2},
    {.size = sizeof(sonde_op_def),
     .name = "argmax",
     .min_in = 1,
     .max_in = 1,
     .n_out = 1,
     .doc = "place of the largest value along the last axis, the first of equals: x [.., V] -> i32 [..]",
     .shape = argmax_shape,
     .run = argmax_run,
     .flops = argmax_flops},
    {0}};
