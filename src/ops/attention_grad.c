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

/* Weights of a block, [keys, queries]: in `narrow` where products are in bf16. */
typedef struct block {
  float wide[KEYS * SONDE_BLOCK];
  uint16_t narrow[KEYS * SONDE_BLOCK];
} block;

/* dkv += P^T b for a stretch of keys: P [keys, queries] and b (pairs of) the queries' rows. */
static void add_to_keys(const attention *t, const meeting *m, float *dkv, int64_t ld, const block *p,
                        const uint32_t *pairs, rows32 b) {
  for (int64_t j = 0; dkv && j < m->keys;) {
    const strip x = sonde_attention_key_strip(m, j);
    const int64_t from = j * SONDE_BLOCK + x.low, depth = x.high - x.low;
    float *to = dkv + (m->at + j) * ld;
    if (t->narrow)
      t->narrow->bf16(x.end - j, t->width, depth, p->narrow + from, SONDE_BLOCK, 0, pairs + x.low / 2 * t->width,
                      t->width, 1, to, ld, SONDE_F32);
    else
      sonde_gemm_tile(0, 0, x.end - j, t->width, depth, p->wide + from, SONDE_BLOCK, b.at + x.low * b.ld, b.ld, 1, to,
                      ld);
    j = x.end;
  }
}

/* dq += dS k for a stretch of keys. */
static void add_to_queries(const attention *t, const meeting *m, const queries *x, const target *g, const block *ds) {
  weights packed;
  float buf[KEYS * SONDE_HEAD];
  rows32 k = {0};
  if (!g->dq) return;
  if (t->narrow) sonde_attention_pack(t, m, ds->narrow, &packed);
  else k = sonde_attention_f32(t, IN_K, x->b, x->kv, m->at, m->keys, buf);
  for (int64_t i = 0; i < m->n;) {
    const strip of = sonde_attention_query_strip(m, i);
    float *to = g->dq + (m->first + i) * g->dq_ld;
    if (t->narrow) sonde_attention_weigh(t, &of, &packed, g->k_pairs + m->at / 2 * t->width, to, g->dq_ld);
    else
      sonde_gemm_tile(1, 0, of.high - i, t->width, of.end - of.j, ds->wide + of.j * SONDE_BLOCK + i, SONDE_BLOCK,
                      k.at + of.j * k.ld, k.ld, 1, to, g->dq_ld);
    i = of.high;
  }
}

/* Scores to probabilities, and their gradient (in ds that of the probabilities) to that of the scores. */
static void weigh_block(const attention *t, const meeting *m, const queries *x, block *p, block *ds,
                        const float *slope) {
  for (int64_t v = 0; v < m->groups; v++) {
    const int64_t at = m->from[v] * SONDE_BLOCK + v * STEP;
    uint16_t *const narrow[2] = {p->narrow + at, ds->narrow + at};
    t->simd->col_grad(p->wide + at, ds->wide + at, t->cap == 0 ? NULL : slope + at, t->narrow ? narrow : NULL,
                      t->scale, x->lse + v * STEP, x->delta + v * STEP, m->to[v] - m->from[v]);
  }
}

static void through_keys(const attention *t, queries *x, const target *g) {
  float slope[KEYS * SONDE_BLOCK];
  block p, ds;
  view v;
  sonde_attention_look(t, x->b, x->h, x->first, x->n, &v);
  if (t->narrow) t->narrow->begin();
  for (meeting m = {0}; sonde_attention_next(t, &v, &m);) {
    sonde_attention_scores(t, &m, IN_K, x->b, x->kv, x->q, p.wide);
    sonde_attention_cap(t, &m, p.wide, slope);
    sonde_attention_distance(t, &m, x->h, p.wide);
    sonde_attention_mask(t, &v, &m, p.wide);
    sonde_attention_scores(t, &m, IN_V, x->b, x->kv, x->dout, ds.wide);
    weigh_block(t, &m, x, &p, &ds, slope);
    add_to_keys(t, &m, g->dv, g->dkv_ld, &p, x->dout_pairs, x->dout_rows);
    add_to_keys(t, &m, g->dk, g->dkv_ld, &ds, x->q_pairs, x->q_rows);
    add_to_queries(t, &m, x, g, &ds);
  }
  if (t->narrow) t->narrow->end();
}

/* Head `head` of batch entry b of a gradient [B, rows, heads, width]; NULL if nothing reads it. */
static float *head_of(void *out, int64_t b, int64_t rows, int64_t heads, int64_t head, int64_t width) {
  return out ? (float *)out + b * rows * heads * width + head * width : NULL;
}

/* Rows [from, to) of a head, ld numbers apart, are set to 0. */
static void clear(float *x, int64_t ld, int64_t from, int64_t to, int64_t width) {
  for (int64_t i = from; x && i < to; i++) memset(x + i * ld, 0, (size_t)width * sizeof *x);
}

/* Asks for what the next block of queries needs, from its query `next` on: its rows, and its own keys, some of which it
 * is the first to read. Keys before `ready` have gradients already. */
static void ask_next(const attention *t, const queries *x, const target *g, int64_t next, int64_t ready) {
  static const int of_queries[] = {IN_Q, IN_DOUT, IN_OUT}, of_keys[] = {IN_K, IN_V};
  const int64_t n = t->tq - next < SONDE_BLOCK ? t->tq - next : SONDE_BLOCK, row = t->width * (int64_t)sizeof(float);
  const int64_t keys = t->causal ? n : 0, at = next + t->ahead;
  float *const to[2] = {g->dk, g->dv};
  if (n <= 0) return;
  for (int k = 0; k < 3; k++) sonde_attention_ask_input(t, of_queries[k], x->b, x->h, next, n);
  for (int k = 0; k < 2; k++) sonde_attention_ask_input(t, of_keys[k], x->b, x->kv, at, keys);
  if (g->dq) sonde_attention_ask((const char *)(g->dq + next * g->dq_ld), g->dq_ld * 4, row, n);
  for (int k = 0; k < 2 && at >= ready; k++)
    if (to[k]) sonde_attention_ask((const char *)(to[k] + at * g->dkv_ld), g->dkv_ld * 4, row, keys);
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
      ask_next(t, &x, &g, x.first + SONDE_BLOCK, ready);
      through_keys(t, &x, &g);
    }
  }
}

int sonde_attention_grad_run(const sonde_call *c) {
  attention t = sonde_attention_task(c, IN_GRAD_MORE);
  sonde_pool_run(c->pool, t.batch * t.kv, backward_tile, &t);
  return SONDE_OK;
}
