/* attention.c - softmax attention without the T x T matrix (Dao et al. 2022, FlashAttention): blocks of queries meet
 * blocks of keys, the softmax is kept up to date row by row, the backward pass computes the probabilities anew
 * from the row's log-sum-exp. Query head h reads key head h / (H / KV) (GQA and MQA). */
#include "config.h"
#include "graph/ops.h"

#include <math.h>
#include <string.h>

#include "cpu/gemm.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

enum { BLOCK = 64, MAX_HEAD = 256, CAUSAL = 0, WINDOW = 1 };

/* ---- shapes ------------------------------------------------------------------------------------------- */

static int refuse(sonde_error *err, const char *op, const sonde_shape *in, const char *why) {
  char q[96], k[96], v[96];
  return sonde_fail(err, SONDE_ESHAPE, "%s of q %s, k %s, v %s: %s", op, sonde_shape_text(&in[0], q, sizeof q),
                    sonde_shape_text(&in[1], k, sizeof k), sonde_shape_text(&in[2], v, sizeof v), why);
}

static int check(const char *op, const sonde_shape *in, const sonde_attr *at, sonde_error *err) {
  const sonde_shape *q = &in[0], *k = &in[1], *v = &in[2];
  if (q->rank != 4 || k->rank != 4 || !sonde_shape_equal(k, v) || !sonde_is_real(q) || !sonde_is_real(k) || !sonde_is_real(v))
    return refuse(err, op, in, "needs real numbers: q [B, T, H, Dh], k and v [B, Tk, KV, Dh]");
  if (q->dim[0] != k->dim[0] || q->dim[3] != k->dim[3]) return refuse(err, op, in, "batch and head width must be equal");
  if (q->dim[3] < 1 || q->dim[3] > MAX_HEAD) return refuse(err, op, in, "the head width must be from 1 to 256");
  if (k->dim[2] < 1 || q->dim[2] % k->dim[2]) return refuse(err, op, in, "the query heads must be a multiple of the key heads");
  if (k->dim[1] < 1 || (at->i[CAUSAL] && k->dim[1] < q->dim[1])) return refuse(err, op, in, "each query needs a key to look at");
  if (at->i[WINDOW] < 0 || (at->i[WINDOW] && !at->i[CAUSAL]))
    return sonde_fail(err, SONDE_EINVAL, "%s: a window must be 0 (none) or positive, and causal", op);
  return SONDE_OK;
}

static int shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  int rc = check("attention", in, at, err);
  if (rc) return rc;
  out[0] = sonde_shape_make(SONDE_F32, 4, in[0].dim);
  out[1] = sonde_shape_make(SONDE_F32, 3, (int64_t[]){in[0].dim[0], in[0].dim[2], in[0].dim[1]});
  return SONDE_OK;
}

static int grad_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  int rc = check("attention_grad", in, at, err);
  if (rc) return rc;
  sonde_shape lse = sonde_shape_make(SONDE_F32, 3, (int64_t[]){in[0].dim[0], in[0].dim[2], in[0].dim[1]});
  if (!sonde_shape_equal(&in[3], &in[0]) || !sonde_shape_equal(&in[4], &lse) || in[4].dtype != SONDE_F32 ||
      !sonde_shape_equal(&in[5], &in[0]))
    return refuse(err, "attention_grad", in, "the result and its gradient must have q's shape, the log-sum-exp [B, H, T]");
  for (int k = 0; k < 3; k++) out[k] = sonde_shape_make(SONDE_F32, 4, in[k].dim);
  return SONDE_OK;
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

typedef struct task {
  const sonde_call *c;
  const sonde_simd_table *simd;
  int64_t batch, tq, tk, heads, kv, width;
  int64_t ahead;               /* query i sees keys up to i + ahead */
  int64_t window;
  int causal;
  float scale;
} task;

static task prepare(const sonde_call *c) {
  const sonde_shape *q = &c->in_shape[0], *k = &c->in_shape[1];
  double scale = c->attr->f[0] != 0 ? c->attr->f[0] : 1.0 / sqrt((double)q->dim[3]);
  return (task){c, sonde_simd_get(), q->dim[0], q->dim[1], k->dim[1], q->dim[2], k->dim[2], q->dim[3],
                k->dim[1] - q->dim[1], c->attr->i[WINDOW], c->attr->i[CAUSAL] != 0, (float)scale};
}

/* `n` rows of one head: f32 data where it is, or bf16 data widened into a dense buffer. */
typedef struct block {
  const float *at;
  int64_t ld, n;
} block;

static block rows(const task *t, int input, int64_t b, int64_t head, int64_t first, int64_t n, float *buf) {
  const sonde_shape *s = &t->c->in_shape[input];
  int64_t pitch = s->dim[2] * t->width, at = (b * s->dim[1] + first) * pitch + head * t->width;
  if (s->dtype == SONDE_F32) return (block){(const float *)t->c->in[input] + at, pitch, n};
  for (int64_t i = 0; i < n; i++)
    t->simd->common.from_bf16(buf + i * t->width, (const uint16_t *)t->c->in[input] + at + i * pitch, t->width);
  return (block){buf, t->width, n};
}

/* The keys [*from, *to) that query i sees. */
static void visible(const task *t, int64_t i, int64_t *from, int64_t *to) {
  *from = 0, *to = t->tk;
  if (!t->causal) return;
  int64_t last = i + t->ahead;
  *to = last + 1;
  if (t->window && last - t->window + 1 > 0) *from = last - t->window + 1;
}

static void product(const task *t, int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                    int64_t ldb, float beta, float *c, int64_t ldc) {
  (void)t;
  sonde_gemm_tile(ta, tb, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

/* ---- forward ------------------------------------------------------------------------------------------ */

typedef struct softmax {         /* one block of queries on its way through the keys */
  float top[BLOCK], total[BLOCK];
  float out[BLOCK * MAX_HEAD];
} softmax;

/* Turns the scores s [n, BLOCK] of queries first.. with keys at.. into exp(score - top), taking the row's older
 * total and output down to the new top. */
static void update(const task *t, softmax *x, float *s, int64_t first, int64_t n, int64_t at, int64_t keys) {
  for (int64_t i = 0; i < n; i++) {
    int64_t from, to;
    float *row = s + i * BLOCK;
    visible(t, first + i, &from, &to);
    from = from > at ? from - at : 0;
    to = to - at < keys ? to - at : keys;
    if (from >= to) {
      memset(row, 0, (size_t)keys * sizeof *row);
      continue;
    }
    for (int64_t j = 0; j < from; j++) row[j] = 0;
    for (int64_t j = to; j < keys; j++) row[j] = 0;
    t->simd->common.scale(row + from, row + from, t->scale, to - from);
    float top = t->simd->common.max(row + from, to - from);
    if (x->top[i] > top) top = x->top[i];
    float shrink = expf(x->top[i] - top);
    x->total[i] = x->total[i] * shrink + t->simd->exp_sum(row + from, row + from, top, to - from);
    if (shrink != 1) t->simd->common.scale(x->out + i * t->width, x->out + i * t->width, shrink, t->width);
    x->top[i] = top;
  }
}

static void finish(const task *t, softmax *x, int64_t b, int64_t h, int64_t first, int64_t n) {
  const sonde_call *c = t->c;
  for (int64_t i = 0; i < n; i++) {
    float *row = x->out + i * t->width;
    t->simd->common.scale(row, row, 1.0f / x->total[i], t->width);
    int64_t at = ((b * t->tq + first + i) * t->heads + h) * t->width;
    if (c->out[0] && c->out_shape[0].dtype == SONDE_F32) memcpy((float *)c->out[0] + at, row, (size_t)t->width * sizeof(float));
    else if (c->out[0]) t->simd->common.to_bf16((uint16_t *)c->out[0] + at, row, t->width);
    if (c->out[1]) ((float *)c->out[1])[(b * t->heads + h) * t->tq + first + i] = x->top[i] + logf(x->total[i]);
  }
}

/* A tile is one block of queries of one head. The last blocks have the most keys: they come first. */
static void forward_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const task *t = arg;
  int64_t blocks = sonde_parts(t->tq, BLOCK), per = t->batch * t->heads;
  int64_t first = (blocks - 1 - tile / per) * BLOCK, b = tile % per / t->heads, h = tile % t->heads;
  int64_t n = t->tq - first < BLOCK ? t->tq - first : BLOCK, start, end, low, high, kv = h / (t->heads / t->kv);
  float qb[BLOCK * MAX_HEAD], kb[BLOCK * MAX_HEAD], vb[BLOCK * MAX_HEAD], s[BLOCK * BLOCK];
  softmax x;
  for (int64_t i = 0; i < n; i++) x.top[i] = -INFINITY, x.total[i] = 0;
  memset(x.out, 0, (size_t)(n * t->width) * sizeof(float));
  block q = rows(t, 0, b, h, first, n, qb);
  visible(t, first, &start, &low);
  visible(t, first + n - 1, &high, &end);
  for (int64_t at = start / BLOCK * BLOCK; at < end; at += BLOCK) {
    int64_t keys = end - at < BLOCK ? end - at : BLOCK;
    block k = rows(t, 1, b, kv, at, keys, kb), v = rows(t, 2, b, kv, at, keys, vb);
    product(t, 0, 1, n, keys, t->width, q.at, q.ld, k.at, k.ld, 0, s, BLOCK);
    update(t, &x, s, first, n, at, keys);
    product(t, 0, 0, n, t->width, keys, s, BLOCK, v.at, v.ld, 1, x.out, t->width);
  }
  finish(t, &x, b, h, first, n);
}

static int run(const sonde_call *c) {
  task t = prepare(c);
  sonde_pool_run(c->pool, sonde_parts(t.tq, BLOCK) * t.batch * t.heads, forward_tile, &t);
  return SONDE_OK;
}

/* ---- backward ----------------------------------------------------------------------------------------- */

/* p = exp(scale s - lse) where the query sees the key, else 0; then s is overwritten by it. */
static void probabilities(const task *t, float *s, const float *lse, int64_t first, int64_t n, int64_t at, int64_t keys) {
  for (int64_t i = 0; i < n; i++) {
    int64_t from, to;
    float *row = s + i * BLOCK;
    visible(t, first + i, &from, &to);
    from = from > at ? from - at : 0;
    to = to - at < keys ? to - at : keys;
    if (from > to) from = to = 0;
    for (int64_t j = 0; j < from && j < keys; j++) row[j] = 0;
    for (int64_t j = to > 0 ? to : 0; j < keys; j++) row[j] = 0;
    if (from >= to) continue;
    t->simd->common.scale(row + from, row + from, t->scale, to - from);
    t->simd->exp_sum(row + from, row + from, lse[i], to - from);
  }
}

/* dS = P (dP - delta) scale, into dp. */
static void score_gradient(float *dp, const float *p, const float *delta, float scale, int64_t n, int64_t keys) {
  for (int64_t i = 0; i < n; i++) {
    float *d = dp + i * BLOCK;
    const float *row = p + i * BLOCK;
#pragma GCC ivdep
    for (int64_t j = 0; j < keys; j++) d[j] = row[j] * (d[j] - delta[i]) * scale;
  }
}

/* Where a tile's part of a gradient starts; NULL for a gradient that nothing reads, which is then not computed. */
static float *part(const sonde_call *c, int out, int64_t offset) {
  return c->out[out] ? (float *)c->out[out] + offset : NULL;
}

static void clear_rows(float *d, int64_t n, int64_t pitch, int64_t width) {
  for (int64_t i = 0; d && i < n; i++) memset(d + i * pitch, 0, (size_t)width * sizeof *d);
}

/* A tile is one key head of one batch entry: its query heads, their blocks of keys and of queries in order, so every
 * sum has one order. dq, dk, dv of the tile are its own. */
static void backward_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const task *t = arg;
  const sonde_call *c = t->c;
  int64_t b = tile / t->kv, kv = tile % t->kv, group = t->heads / t->kv, qp = t->heads * t->width, kp = t->kv * t->width;
  float qb[BLOCK * MAX_HEAD], kb[BLOCK * MAX_HEAD], vb[BLOCK * MAX_HEAD], ob[BLOCK * MAX_HEAD], db[BLOCK * MAX_HEAD];
  float p[BLOCK * BLOCK], dp[BLOCK * BLOCK];
  float *delta = (float *)c->scratch + b * t->heads * t->tq;
  float *dk = part(c, 1, (b * t->tk) * kp + kv * t->width), *dv = part(c, 2, (b * t->tk) * kp + kv * t->width);
  clear_rows(dk, t->tk, kp, t->width);
  clear_rows(dv, t->tk, kp, t->width);
  for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
    float *dq = part(c, 0, (b * t->tq) * qp + h * t->width);
    const float *lse = (const float *)c->in[4] + (b * t->heads + h) * t->tq;
    clear_rows(dq, t->tq, qp, t->width);
    for (int64_t i = 0; i < t->tq; i++) {
      block o = rows(t, 3, b, h, i, 1, ob), d = rows(t, 5, b, h, i, 1, db);
      delta[h * t->tq + i] = t->simd->common.dot(o.at, d.at, t->width);
    }
    for (int64_t at = 0; at < t->tk; at += BLOCK) {
      int64_t keys = t->tk - at < BLOCK ? t->tk - at : BLOCK;
      block k = rows(t, 1, b, kv, at, keys, kb), v = rows(t, 2, b, kv, at, keys, vb);
      for (int64_t first = 0; first < t->tq; first += BLOCK) {
        int64_t n = t->tq - first < BLOCK ? t->tq - first : BLOCK, low, high, end, start;
        visible(t, first, &start, &low);
        visible(t, first + n - 1, &high, &end);
        if (end <= at || start >= at + keys) continue;
        block q = rows(t, 0, b, h, first, n, qb), d = rows(t, 5, b, h, first, n, db);
        product(t, 0, 1, n, keys, t->width, q.at, q.ld, k.at, k.ld, 0, p, BLOCK);
        probabilities(t, p, lse + first, first, n, at, keys);
        if (dv) product(t, 1, 0, keys, t->width, n, p, BLOCK, d.at, d.ld, 1, dv + at * kp, kp);
        product(t, 0, 1, n, keys, t->width, d.at, d.ld, v.at, v.ld, 0, dp, BLOCK);
        score_gradient(dp, p, delta + h * t->tq + first, t->scale, n, keys);
        if (dk) product(t, 1, 0, keys, t->width, n, dp, BLOCK, q.at, q.ld, 1, dk + at * kp, kp);
        if (dq) product(t, 0, 0, n, t->width, keys, dp, BLOCK, k.at, k.ld, 1, dq + first * qp, qp);
      }
    }
  }
}

static int64_t grad_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return in[0].dim[0] * in[0].dim[1] * in[0].dim[2] * (int64_t)sizeof(float);
}

static int grad_run(const sonde_call *c) {
  task t = prepare(c);
  sonde_pool_run(c->pool, t.batch * t.kv, backward_tile, &t);
  return SONDE_OK;
}

/* ---- gradient rule and counts --------------------------------------------------------------------------- */

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  sonde_node_inputs(self, in);
  if (dout[1]) return SONDE_EUNSUP;
  if (!dout[0]) return SONDE_OK;
  sonde_node *args[6] = {in[0], in[1], in[2], self, sonde_result(self, 1), dout[0]};
  din[0] = sonde_op(g, "attention_grad", args, 6, sonde_node_attr(self));
  din[1] = sonde_result(din[0], 1);
  din[2] = sonde_result(din[0], 2);
  return din[0] && din[1] && din[2] ? SONDE_OK : SONDE_ESHAPE;
}

/* Pairs of a query and a key it sees, over all heads. */
static double pairs(const sonde_shape *in, const sonde_attr *at) {
  double n = 0;
  int64_t tq = in[0].dim[1], tk = in[1].dim[1], window = at->i[WINDOW];
  if (!at->i[CAUSAL]) n = (double)tq * (double)tk;
  else
    for (int64_t i = 0; i < tq; i++) {
      int64_t seen = i + tk - tq + 1;
      n += (double)(window && window < seen ? window : seen);
    }
  return n * (double)in[0].dim[0] * (double)in[0].dim[2];
}

static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out;
  return pairs(in, at) * (4.0 * (double)in[0].dim[3] + 4.0);
}

static double grad_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out;
  return pairs(in, at) * (10.0 * (double)in[0].dim[3] + 6.0);
}

const sonde_op_def sonde_ops_attention[] = {
    {.size = sizeof(sonde_op_def), .name = "attention", .min_in = 3, .max_in = 3, .n_out = 2,
     .flags = SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT,
     .doc = "softmax(scale q k^T) v by head: q [B, T, H, Dh], k and v [B, Tk, KV, Dh] -> [B, T, H, Dh], log-sum-exp [B, H, T]. "
            "f0: scale (0: 1/sqrt(Dh)), i0: causal (query i sees keys to i + Tk - T), i1: window, own position included (0: all)",
     .shape = shape, .grad = grad, .run = run, .flops = flops},
    {.size = sizeof(sonde_op_def), .name = "attention_grad", .min_in = 6, .max_in = 6, .n_out = 3, .flags = SONDE_OP_BF16_IN,
     .doc = "of attention: q, k, v, its result, its log-sum-exp, the upstream gradient -> dq, dk, dv; attributes as attention",
     .shape = grad_shape, .scratch = grad_scratch, .run = grad_run, .flops = grad_flops},
    {0}};
