/* attention_grad.c - the backward kernel of attention: the probabilities are computed anew from the log-sum-exp of each
 * query (Dao et al. 2022, section 3.1 and appendix B.4). */
#include "config.h"
#include "graph/ops.h"

#include <math.h>
#include <string.h>

#include "cpu/gemm.h"
#include "ops/attention.h"
#include "ops/rows.h"

/* Of one block of queries, as the products want it. The words hold f32, or bf16 pairs where products are in bf16. */
typedef struct queries {
  int64_t b, kv, h, first, n;
  uint32_t q[SONDE_BLOCK * SONDE_HEAD], dout[SONDE_BLOCK * SONDE_HEAD];              /* turned */
  uint32_t q_pairs[SONDE_BLOCK / 2 * SONDE_HEAD], dout_pairs[SONDE_BLOCK / 2 * SONDE_HEAD];
  float q_buf[SONDE_BLOCK * SONDE_HEAD], dout_buf[SONDE_BLOCK * SONDE_HEAD];
  rows32 q_rows, dout_rows;
  float lse[SONDE_BLOCK], delta[SONDE_BLOCK];
} queries;

/* delta = the inner product of each result with its gradient. */
static void weigh(const attention *t, queries *x) {
  float a[SONDE_HEAD], b[SONDE_HEAD];
  memset(x->lse, 0, sizeof x->lse);
  memset(x->delta, 0, sizeof x->delta);
  for (int64_t i = 0; i < x->n; i++) {
    rows32 o = sonde_attention_f32(t, IN_OUT, x->b, x->h, x->first + i, 1, a), d = sonde_attention_f32(t, IN_DOUT, x->b, x->h, x->first + i, 1, b);
    x->delta[i] = t->simd->common.dot(o.at, d.at, t->width);
    x->lse[i] = ((const float *)t->c->in[IN_LSE])[(x->b * t->heads + x->h) * t->tq + x->first + i];
  }
}

static void take_queries(const attention *t, queries *x) {
  sonde_attention_turn(t, IN_Q, x->b, x->h, x->first, x->n, x->q);
  sonde_attention_turn(t, IN_DOUT, x->b, x->h, x->first, x->n, x->dout);
  weigh(t, x);
  if (t->narrow) {
    uint16_t buf[SONDE_BLOCK * SONDE_HEAD];
    rows16 r = sonde_attention_bf16(t, IN_Q, x->b, x->h, x->first, x->n, buf);
    t->narrow->interleave(x->q_pairs, t->width, r.at, r.ld, x->n, t->width);
    r = sonde_attention_bf16(t, IN_DOUT, x->b, x->h, x->first, x->n, buf);
    t->narrow->interleave(x->dout_pairs, t->width, r.at, r.ld, x->n, t->width);
  } else {
    x->q_rows = sonde_attention_f32(t, IN_Q, x->b, x->h, x->first, x->n, x->q_buf);
    x->dout_rows = sonde_attention_f32(t, IN_DOUT, x->b, x->h, x->first, x->n, x->dout_buf);
  }
}

/* Where the tile's gradients go, and the pairs of its keys. */
typedef struct target {
  float *dq, *dk, *dv;
  int64_t dq_ld, dkv_ld;
  const uint32_t *k_pairs;
} target;

/* dv += P dout, dk += dS^T q, dq += dS k, from P and dS [keys, queries]; those that nothing reads are left out. */
static void add_narrow(const attention *t, const queries *x, const target *g, const float *p, const float *ds, int64_t at, int64_t keys) {
  const sonde_micro *m = t->narrow;
  uint16_t rows[KEYS * SONDE_BLOCK];
  uint32_t pairs[KEYS / 2 * SONDE_BLOCK];
  if (g->dv) {
    t->simd->common.to_bf16(rows, p, keys * SONDE_BLOCK);
    m->bf16(keys, t->width, x->n, rows, SONDE_BLOCK, 2, 0, x->dout_pairs, t->width, 1, g->dv + at * g->dkv_ld, g->dkv_ld, SONDE_F32);
  }
  if (g->dk) {
    t->simd->common.to_bf16(rows, ds, keys * SONDE_BLOCK);
    m->bf16(keys, t->width, x->n, rows, SONDE_BLOCK, 2, 0, x->q_pairs, t->width, 1, g->dk + at * g->dkv_ld, g->dkv_ld, SONDE_F32);
  }
  if (g->dq) {
    t->simd->pairs_bf16(pairs, ds, keys);
    m->bf16(x->n, t->width, keys, (const uint16_t *)(const void *)pairs, 2, 2 * SONDE_BLOCK, 0, g->k_pairs + at / 2 * t->width,
            t->width, 1, g->dq + x->first * g->dq_ld, g->dq_ld, SONDE_F32);
  }
}

static void add_wide(const attention *t, const queries *x, const target *g, const float *p, const float *ds, int64_t at, int64_t keys) {
  float buf[KEYS * SONDE_HEAD];
  if (g->dv)
    sonde_gemm_tile(0, 0, keys, t->width, x->n, p, SONDE_BLOCK, x->dout_rows.at, x->dout_rows.ld, 1, g->dv + at * g->dkv_ld, g->dkv_ld);
  if (g->dk)
    sonde_gemm_tile(0, 0, keys, t->width, x->n, ds, SONDE_BLOCK, x->q_rows.at, x->q_rows.ld, 1, g->dk + at * g->dkv_ld, g->dkv_ld);
  if (g->dq) {
    rows32 k = sonde_attention_f32(t, IN_K, x->b, x->kv, at, keys, buf);
    sonde_gemm_tile(1, 0, x->n, t->width, keys, ds, SONDE_BLOCK, k.at, k.ld, 1, g->dq + x->first * g->dq_ld, g->dq_ld);
  }
}

static void through_keys(const attention *t, queries *x, const target *g) {
  float p[KEYS * SONDE_BLOCK], ds[KEYS * SONDE_BLOCK], unused[SONDE_BLOCK] = {0};
  int64_t from, to;
  sonde_attention_range(t, x->first, x->n, &from, &to);
  for (int64_t at = from / KEYS * KEYS; at < to; at += KEYS) {
    int64_t keys = to - at < KEYS ? to - at : KEYS;
    sonde_attention_scores(t, IN_K, x->b, x->kv, at, keys, x->q, p);
    sonde_attention_mask(t, p, x->first, x->n, at, keys);
    t->simd->col_exp(p, t->scale, x->lse, unused, keys);
    sonde_attention_scores(t, IN_V, x->b, x->kv, at, keys, x->dout, ds);
    t->simd->col_grad(ds, p, x->delta, t->scale, keys);
    if (t->narrow) add_narrow(t, x, g, p, ds, at, keys);
    else add_wide(t, x, g, p, ds, at, keys);
  }
}

/* Head `head` of batch entry b of a gradient [B, rows, heads, width], cleared; NULL if nothing reads it. */
static float *cleared(void *out, int64_t b, int64_t rows, int64_t heads, int64_t head, int64_t width) {
  if (!out) return NULL;
  float *x = (float *)out + b * rows * heads * width + head * width;
  for (int64_t i = 0; i < rows; i++) memset(x + i * heads * width, 0, (size_t)width * sizeof *x);
  return x;
}

/* A tile is one key head of one batch entry: its query heads, their blocks of queries and of keys in order, so every
 * sum has one order. The tile's parts of dq, dk and dv are its own. */
static void backward_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const attention *t = arg;
  const sonde_call *c = t->c;
  int64_t b = tile / t->kv, kv = tile % t->kv, group = t->heads / t->kv;
  target g = {.dq_ld = t->heads * t->width, .dkv_ld = t->kv * t->width};
  queries x;
  g.dk = cleared(c->out[1], b, t->tk, t->kv, kv, t->width);
  g.dv = cleared(c->out[2], b, t->tk, t->kv, kv, t->width);
  if (t->narrow) {
    uint32_t *pairs = (uint32_t *)c->scratch + tile * sonde_attention_paired_words(t);
    sonde_attention_pair_rows(t, IN_K, b, kv, pairs);
    g.k_pairs = pairs;
  }
  for (x.b = b, x.kv = kv, x.h = kv * group; x.h < (kv + 1) * group; x.h++) {
    g.dq = cleared(c->out[0], b, t->tq, t->heads, x.h, t->width);
    for (x.first = 0; x.first < t->tq; x.first += SONDE_BLOCK) {
      x.n = t->tq - x.first < SONDE_BLOCK ? t->tq - x.first : SONDE_BLOCK;
      take_queries(t, &x);
      through_keys(t, &x, &g);
    }
  }
}

int sonde_attention_grad_run(const sonde_call *c) {
  attention t = sonde_attention_task(c);
  sonde_pool_run(c->pool, t.batch * t.kv, backward_tile, &t);
  return SONDE_OK;
}
