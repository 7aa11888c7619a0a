/* cache.c - generation with a key-value cache: writing the new keys or values into it, and attention of a few new
 * queries over all that is in it. The cache is a tensor of the plan's own (a leaf that an output writes back to). */
#include "ops/families.h"

#include <math.h>
#include <string.h>

#include "ops/attention.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

static int check_position(const char *op, const sonde_shape *at, sonde_error *err) {
  if (at->dtype == SONDE_I32 && sonde_shape_count(at) == 1) return 0;
  return sonde_fail(err, SONDE_ESHAPE, "%s: the position must be one i32", op);
}

/* ---- cache_write ---------------------------------------------------------------------------------------- */

static int write_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  char t1[96], t2[96];
  (void)n_in, (void)a;
  int fits = in[0].rank >= 2 && in[1].rank == in[0].rank && in[0].dtype == SONDE_F32 && sonde_is_real(&in[1]);
  for (int k = 0; fits && k < in[0].rank; k++)
    fits = k == 1 ? in[1].dim[1] <= in[0].dim[1] : in[1].dim[k] == in[0].dim[k];
  if (!fits)
    return sonde_fail(err, SONDE_ESHAPE, "cache_write of %s into %s: needs x [B, T, ..] and a cache f32 [B, S, ..]",
                      sonde_shape_text(&in[1], t1, sizeof t1), sonde_shape_text(&in[0], t2, sizeof t2));
  out[0] = in[0];
  return check_position("cache_write", &in[2], err);
}

static int write_run(const sonde_call *c) {
  const sonde_shape *cache = &c->in_shape[0], *x = &c->in_shape[1];
  const sonde_simd_table *simd = sonde_simd_get();
  int64_t row = sonde_shape_count(cache) / (cache->dim[0] * cache->dim[1]), at = *(const int32_t *)c->in[2];
  if (at < 0 || at + x->dim[1] > cache->dim[1])
    return sonde_fail(c->err, SONDE_EINVAL, "positions %lld to %lld do not fit a cache of %lld", (long long)at,
                      (long long)(at + x->dim[1] - 1), (long long)cache->dim[1]);
  if (c->out[0] != c->in[0]) memcpy(c->out[0], c->in[0], (size_t)sonde_shape_bytes(cache));
  for (int64_t b = 0; b < x->dim[0]; b++) {
    float *to = (float *)c->out[0] + (b * cache->dim[1] + at) * row;
    int64_t from = b * x->dim[1] * row, n = x->dim[1] * row;
    if (x->dtype == SONDE_F32) memcpy(to, (const float *)c->in[1] + from, (size_t)n * sizeof *to);
    else simd->common.from_bf16(to, (const uint16_t *)c->in[1] + from, n);
  }
  return 0;
}

static int write_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)n_in, (void)a;
  *low = 0, *high = in[0].dim[1] - in[1].dim[1];
  return k == 2;
}

/* ---- attention_cached ------------------------------------------------------------------------------------ */

static int cached_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  char q[96], k[96];
  const attention_inputs more = sonde_attention_inputs(in, n_in - 1, IN_MORE);
  if (more.starts >= 0 || more.segments >= 0)
    return sonde_fail(err, SONDE_EINVAL,
                      "a cache holds one document: trace without document_end, or without the cache");
  if (in[0].rank != 4 || in[1].rank != 4 || !sonde_is_real(&in[0]) || in[1].dtype != SONDE_F32 ||
      in[2].dtype != SONDE_F32 || !sonde_shape_equal(&in[1], &in[2]) || in[0].dim[0] != in[1].dim[0] ||
      in[0].dim[3] != in[1].dim[3] || in[0].dim[3] > SONDE_HEAD || in[0].dim[2] % in[1].dim[2])
    return sonde_fail(err, SONDE_ESHAPE,
                      "attention_cached of q %s over a cache %s: needs q [B, T, H, Dh] and two caches f32 "
                      "[B, S, KV, Dh], H a multiple of KV, Dh at most 256",
                      sonde_shape_text(&in[0], q, sizeof q), sonde_shape_text(&in[1], k, sizeof k));
  if (!a->i[ATTENTION_CAUSAL])
    return sonde_fail(err, SONDE_EINVAL,
                      "attention_cached: attention that is not causal cannot be computed token by token");
  int rc = sonde_attention_check("attention_cached", in, n_in - 1, IN_MORE, a, err);
  if (rc) return rc;
  out[0] = in[0];
  out[0].dtype = SONDE_F32;
  for (int j = 1; j < 3; j++)
    out[j] = sonde_shape_make(SONDE_F32, 3, (int64_t[]){in[0].dim[0], in[0].dim[2], in[0].dim[1]});
  return check_position("attention_cached", &in[n_in - 1], err);
}

/* The position of the first query, and the task. */
typedef struct job { int64_t at; attention task; } job;

/* Dot products of a query and n keys, the last of which are `last` back, to scores as the op "attention" has them:
 * scaled, capped, and less what the distance costs. */
static void to_scores(const attention *t, float *score, int64_t n, int64_t last, int64_t h) {
  t->simd->common.scale(score, score, t->scale, n);
  if (t->cap != 0) {
    t->simd->common.scale(score, score, 1 / t->cap, n);
    t->simd->common.tanh(score, score, n);
    t->simd->common.scale(score, score, t->cap, n);
  }
  for (int64_t key = 0; t->slopes && key < n; key++) score[key] -= t->slopes[h] * (float)(last + n - 1 - key);
}

/* The log-sum-exp and the entropy of query i of head h, of its n weights exp(score - top). */
static void measure(const attention *t, int64_t b, int64_t i, int64_t h, const float *weight, int64_t n, float top,
                    float total) {
  const int64_t query = (b * t->heads + h) * t->tq + i;
  float *const lse = t->c->out[1], *const entropy = t->c->out[2];
  float weighed = 0;
  for (int64_t k = 0; entropy && k < n; k++) weighed += weight[k] > 0 ? weight[k] * logf(weight[k]) : weight[k];
  if (lse) lse[query] = top + logf(total);
  if (entropy) entropy[query] = sonde_attention_entropy(total, weighed);
}

/* One query of one head: scores over the keys it sees, softmax, weighted sum of the values. */
static void attend(const job *j, int64_t b, int64_t i, int64_t h, float *score) {
  const attention *t = &j->task;
  const sonde_call *c = t->c;
  const int64_t width = t->width, row = t->kv * width, place = ((b * t->tq + i) * t->heads + h) * width;
  const int64_t first = b * t->tk * row + h / (t->heads / t->kv) * width;
  const visible x = sonde_attention_visible(t, b, h, i, j->at + i);
  float wide[SONDE_HEAD], part[SONDE_HEAD];
  const float *query = sonde_row_in(t->simd, c->in[IN_Q], c->in_shape[IN_Q].dtype, place, width, wide);
  const float *key = (const float *)c->in[IN_K] + first, *val = (const float *)c->in[IN_V] + first;
  float *out = (float *)c->out[0] + place;
  int64_t n = 0, from, to;
  for (int64_t at = 0; sonde_attention_run(t, &x, at, &from, &to); at = to, n += to - from) {
    t->simd->dots(score + n, query, key + from * row, row, to - from, width);
    to_scores(t, score + n, to - from, x.own + 1 - to, h);
  }
  const float top = t->simd->common.max(score, n), total = t->simd->exp_sum(score, score, top, n);
  measure(t, b, i, h, score, n, top, total);
  n = 0;
  for (int64_t at = 0; sonde_attention_run(t, &x, at, &from, &to); at = to, n += to - from) {
    t->simd->weigh(n ? part : out, score + n, val + from * row, row, to - from, width);
    if (n) t->simd->common.axpy(out, part, 1, width);
  }
  t->simd->common.scale(out, out, 1 / total, width);
}

static void attend_tile(void *arg, int64_t tile, int worker) {
  const job *j = arg;
  const attention *t = &j->task;
  (void)worker;
  float *score = (float *)t->c->scratch + tile * t->tk;
  for (int64_t i = 0; i < t->tq; i++) attend(j, tile / t->heads, i, tile % t->heads, score);
}

static int cached_run(const sonde_call *c) {
  const sonde_shape *q = &c->in_shape[0], *k = &c->in_shape[1];
  job j = {*(const int32_t *)c->in[c->n_in - 1], sonde_attention_task(c, IN_MORE)};
  if (j.at < 0 || j.at + q->dim[1] > k->dim[1])
    return sonde_fail(c->err, SONDE_EINVAL, "position %lld is past the cache of %lld", (long long)j.at,
                      (long long)k->dim[1]);
  sonde_pool_run(c->pool, q->dim[0] * q->dim[2], attend_tile, &j);
  return 0;
}

static int cached_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)a;
  *low = 0, *high = in[1].dim[1] - in[0].dim[1];
  return k == n_in - 1;
}

static int64_t cached_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  double bytes = (double)in[0].dim[0] * (double)in[0].dim[2] * (double)in[1].dim[1] * sizeof(float);
  return bytes < 1e18 ? (int64_t)bytes : INT64_MAX / 2;      /* which no plan takes */
}

static double cached_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)out;
  /* As at the end of the cache. */
  const double keys = (double)in[1].dim[1], pairs = sonde_attention_pairs(in, n_in - 1, IN_MORE, a, 1, keys);
  return 4.0 * pairs * (double)in[0].dim[1] * (double)in[0].dim[3];
}

const sonde_op_def sonde_ops_cache[] = {
    {.size = sizeof(sonde_op_def),
     .name = "cache_write",
     .min_in = 3,
     .max_in = 3,
     .n_out = 1,
     .flags = SONDE_OP_INPLACE | SONDE_OP_BF16_IN,
     .doc = "cache [B, S, ..] with x [B, T, ..] at positions p to p+T-1: cache_write(cache, x, p i32 [1]); no gradient",
     .shape = write_shape,
     .run = write_run,
     .range = write_range},
    {.size = sizeof(sonde_op_def),
     .name = "attention_cached",
     .min_in = 4,
     .max_in = 6,
     .n_out = 3,
     .flags = SONDE_OP_BF16_IN,
     .doc = "attention of q [B, T, H, Dh] at positions p.. over caches of keys and values [B, S, KV, Dh]: query i sees "
            "positions to p+i. attention_cached(q, k, v[, blocks][, slopes], p i32 [1]); attributes, lists of blocks "
            "and slopes as attention, causal, and its results. Starts are refused: a cache holds one document; no "
            "gradient",
     .shape = cached_shape,
     .scratch = cached_scratch,
     .run = cached_run,
     .flops = cached_flops,
     .range = cached_range},
    {0}};
