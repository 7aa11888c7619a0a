/* attention_grad.c - the backward kernel of attention: the probabilities are computed anew from the
 * log-sum-exp of each query (Dao et al. 2022, section 3.1 and appendix B.4). */
#include "config.h"
#include "graph/ops.h"

#include <math.h>
#include <string.h>

#include "cpu/gemm.h"
#include "ops/attention.h"
#include "ops/rows.h"

/* Of one block of queries, as the products want it. The words hold f32, or bf16 pairs where products are in
 * bf16. */
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
    rows32 o = sonde_attention_f32(t, IN_OUT, x->b, x->h, x->first + i, 1, a),
           d = sonde_attention_f32(t, IN_DOUT, x->b, x->h, x->first + i, 1, b);
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

/* Weights of a block, [keys, queries], and where products are in bf16 the same rounded. */
typedef struct block {
  float wide[KEYS * SONDE_BLOCK];
  uint16_t narrow[KEYS * SONDE_BLOCK];
} block;

/* dkv += P^T b for a block of keys: P [keys, queries] and b (pairs of) the queries' rows. */
static void add_to_keys(const attention *t, const queries *x, float *dkv, int64_t ld, const block *p,
                        const uint32_t *pairs, rows32 b, int64_t at, int64_t keys) {
  if (!dkv) return;
  for (int64_t j = 0, end; j < keys; j = end) {
    int64_t low = sonde_attention_key_strip(t, x->first, x->n, at, keys, j, &end),
            from = j * SONDE_BLOCK + low, depth = x->n - low;
    float *to = dkv + (at + j) * ld;
    if (t->narrow)
      t->narrow->bf16(end - j, t->width, depth, p->narrow + from, SONDE_BLOCK, 0, pairs + low / 2 * t->width,
                      t->width, 1, to, ld, SONDE_F32);
    else
      sonde_gemm_tile(0, 0, end - j, t->width, depth, p->wide + from, SONDE_BLOCK, b.at + low * b.ld, b.ld, 1,
                      to, ld);
  }
}

/* dq += dS k for a block of keys. */
static void add_to_queries(const attention *t, const queries *x, const target *g, const block *ds, int64_t at,
                           int64_t keys) {
  weights packed;
  float buf[KEYS * SONDE_HEAD];
  rows32 k = {0};
  if (!g->dq) return;
  if (t->narrow) sonde_attention_pack(t, ds->narrow, keys, &packed);
  else k = sonde_attention_f32(t, IN_K, x->b, x->kv, at, keys, buf);
  for (int64_t i = 0, end; i < x->n; i = end) {
    int64_t seen = sonde_attention_query_strip(t, x->first, x->n, at, keys, i, &end);
    float *to = g->dq + (x->first + i) * g->dq_ld;
    if (t->narrow)
      sonde_attention_weigh(t, &packed, i, end, seen, g->k_pairs + at / 2 * t->width, to, g->dq_ld);
    else sonde_gemm_tile(1, 0, end - i, t->width, seen, ds->wide + i, SONDE_BLOCK, k.at, k.ld, 1, to, g->dq_ld);
  }
}

/* ds times the slope of the soft-cap, where it was taken. */
static void through_cap(const attention *t, const queries *x, int64_t at, int64_t keys, const float *slope, float *ds) {
  if (t->cap == 0) return;
  for (int64_t j = 0, end; j < keys; j = end) {
    int64_t low = sonde_attention_key_strip(t, x->first, x->n, at, keys, j, &end);
    for (int64_t k = j * SONDE_BLOCK; k < end * SONDE_BLOCK; k += SONDE_BLOCK)
      t->simd->common.mul(ds + k + low, ds + k + low, slope + k + low, SONDE_BLOCK - low);
  }
}

static void through_keys(const attention *t, queries *x, const target *g) {
  float unused[SONDE_BLOCK] = {0}, slope[KEYS * SONDE_BLOCK];
  block p, ds;
  view v;
  int64_t keys;
  sonde_attention_look(t, x->b, x->h, x->first, x->n, &v);
  for (int64_t at = 0; sonde_attention_next(t, &v, &at, &keys); at += keys) {
    sonde_attention_scores(t, IN_K, x->b, x->kv, at, keys, x->first, x->n, x->q, p.wide);
    sonde_attention_cap(t, x->first, x->n, at, keys, p.wide, slope);
    sonde_attention_distance(t, p.wide, x->h, x->first, x->n, at, keys);
    sonde_attention_mask(t, &v, p.wide, at, keys);
    t->simd->col_exp(p.wide, t->scale, x->lse, unused, keys);
    sonde_attention_scores(t, IN_V, x->b, x->kv, at, keys, x->first, x->n, x->dout, ds.wide);
    t->simd->col_grad(ds.wide, p.wide, x->delta, t->scale, keys);
    through_cap(t, x, at, keys, slope, ds.wide);
    if (t->narrow) {
      t->simd->common.to_bf16(p.narrow, p.wide, keys * SONDE_BLOCK);
      t->simd->common.to_bf16(ds.narrow, ds.wide, keys * SONDE_BLOCK);
    }
    add_to_keys(t, x, g->dv, g->dkv_ld, &p, x->dout_pairs, x->dout_rows, at, keys);
    add_to_keys(t, x, g->dk, g->dkv_ld, &ds, x->q_pairs, x->q_rows, at, keys);
    add_to_queries(t, x, g, &ds, at, keys);
  }
}

/* Head `head` of batch entry b of a gradient [B, rows, heads, width]; NULL if nothing reads it. */
static float *head_of(void *out, int64_t b, int64_t rows, int64_t heads, int64_t head, int64_t width) {
  return out ? (float *)out + b * rows * heads * width + head * width : NULL;
}

/* Rows [from, to) of a head, ld numbers apart, are set to 0. */
static void clear(float *x, int64_t ld, int64_t from, int64_t to, int64_t width) {
  for (int64_t i = from; x && i < to; i++) memset(x + i * ld, 0, (size_t)width * sizeof *x);
}

/* A tile is one key head of one batch entry: its query heads, their blocks of queries and of keys in order,
 * so every sum has one order. The tile's parts of dq, dk and dv are its own. */
static void backward_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const attention *t = arg;
  const sonde_call *c = t->c;
  int64_t b = tile / t->kv, kv = tile % t->kv, group = t->heads / t->kv;
  target g = {.dq_ld = t->heads * t->width, .dkv_ld = t->kv * t->width};
  queries x;
  int64_t ready = 0;             /* rows of dk and dv that are cleared: when they are needed, to be in the cache */
  g.dk = head_of(c->out[1], b, t->tk, t->kv, kv, t->width);
  g.dv = head_of(c->out[2], b, t->tk, t->kv, kv, t->width);
  if (t->narrow) {
    uint32_t *pairs = (uint32_t *)c->scratch + tile * sonde_attention_paired_words(t);
    sonde_attention_pair_rows(t, IN_K, b, kv, pairs);
    g.k_pairs = pairs;
  }
  for (x.b = b, x.kv = kv, x.h = kv * group; x.h < (kv + 1) * group; x.h++) {
    g.dq = head_of(c->out[0], b, t->tq, t->heads, x.h, t->width);
    for (x.first = 0; x.first < t->tq; x.first += SONDE_BLOCK) {
      x.n = t->tq - x.first < SONDE_BLOCK ? t->tq - x.first : SONDE_BLOCK;
      const int64_t end = t->causal ? x.first + x.n + t->ahead : t->tk;
      clear(g.dq, g.dq_ld, x.first, x.first + x.n, t->width);
      clear(g.dk, g.dkv_ld, ready, end, t->width);
      clear(g.dv, g.dkv_ld, ready, end, t->width);
      if (end > ready) ready = end;
      take_queries(t, &x);
      through_keys(t, &x, &g);
    }
  }
}

int sonde_attention_grad_run(const sonde_call *c) {
  attention t = sonde_attention_task(c, IN_GRAD_MORE);
  sonde_pool_run(c->pool, t.batch * t.kv, backward_tile, &t);
  return SONDE_OK;
}
