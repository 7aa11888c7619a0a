/* attention_measure.c - the probabilities of attention, for probes: as they are, or how many are small, without a
 * matrix T x T. Queries and keys are met block by block once more; the log-sum-exp is attention's. */
#include "config.h"
#include "ops/families.h"

#include <math.h>
#include <string.h>

#include "ops/attention.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

/* Thresholds [M, 2]: a and r of the probability a + r / n. */
enum { IN_MEASURE_LSE = 2, IN_THRESHOLDS = 3, WEIGHTS_MORE = 3, SPREAD_MORE = 4, THRESHOLDS = 16 };

static int check(const char *op, const sonde_shape *in, int n_in, int more, const sonde_attr *at, sonde_error *err) {
  char q[96], k[96];
  const sonde_shape *x = &in[IN_Q], *y = &in[IN_K];
  if (x->rank != 4 || y->rank != 4 || !sonde_is_real(x) || !sonde_is_real(y) || x->dim[0] != y->dim[0] ||
      x->dim[1] != y->dim[1] || x->dim[3] != y->dim[3] || x->dim[3] < 1 || x->dim[3] > SONDE_HEAD || y->dim[2] < 1 ||
      x->dim[2] % y->dim[2] || x->dim[1] < 1)
    return sonde_fail(err, SONDE_ESHAPE, "%s of q %s, k %s: needs real numbers q [B, T, H, Dh], k [B, T, KV, Dh], H a "
                      "multiple of KV, Dh at most 256", op, sonde_shape_text(x, q, sizeof q),
                      sonde_shape_text(y, k, sizeof k));
  const sonde_shape lse = sonde_shape_make(SONDE_F32, 3, (int64_t[]){x->dim[0], x->dim[2], x->dim[1]});
  if (!sonde_shape_equal(&in[IN_MEASURE_LSE], &lse) || in[IN_MEASURE_LSE].dtype != SONDE_F32)
    return sonde_fail(err, SONDE_ESHAPE, "%s: the log-sum-exp, attention's second result, must be f32 [B, H, T]", op);
  if (sonde_attention_inputs(in, n_in, more).segments >= 0)
    return sonde_fail(err, SONDE_EINVAL, "%s takes no segments", op);
  return sonde_attention_check(op, in, n_in, more, at, err);
}

static int weights_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  const int rc = check("attention_weights", in, n_in, WEIGHTS_MORE, at, err);
  const int64_t *q = in[IN_Q].dim;
  if (!rc) out[0] = sonde_shape_make(SONDE_F32, 4, (int64_t[]){q[0], q[2], q[1], in[IN_K].dim[1]});
  return rc;
}

static int spread_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  const sonde_shape *a = &in[IN_THRESHOLDS];
  if (a->dtype != SONDE_F32 || a->rank != 2 || a->dim[0] < 1 || a->dim[0] > THRESHOLDS || a->dim[1] != 2)
    return sonde_fail(err, SONDE_ESHAPE, "attention_spread: the thresholds must be f32 [M, 2], M at most "
                                         "%d", THRESHOLDS);
  const int rc = check("attention_spread", in, n_in, SPREAD_MORE, at, err);
  const int64_t *q = in[IN_Q].dim, by_query[4] = {q[0], q[2], q[1], a->dim[0]};
  for (int k = 0; k < 2 && !rc; k++) out[k] = sonde_shape_make(SONDE_F32, k == 0 ? 4 : 3, by_query);
  return rc;
}

/* ---- kernels -------------------------------------------------------------------------------------------- */

/* One block of queries. */
typedef struct queries {
  const attention *t;
  int64_t b, h, first;
  view v;
  uint32_t turned[SONDE_BLOCK * SONDE_HEAD];
  float s[KEYS * SONDE_BLOCK];       /* of a block of keys: scores before the scale; hidden: -infinity */
  const float *lse;                  /* of each */
} queries;

static void take_scores(queries *x, const meeting *m) {
  const attention *t = x->t;
  for (int64_t k = 0; k < m->keys * SONDE_BLOCK; k++) x->s[k] = -INFINITY;
  sonde_attention_scores(t, m, IN_K, x->b, x->h / (t->heads / t->kv), x->turned, x->s);
  sonde_attention_cap(t, m, x->s, NULL);
  sonde_attention_distance(t, m, x->h, x->s);
  sonde_attention_mask(t, &x->v, m, x->s);
}

static void take_queries(queries *x, const attention *t, int64_t b, int64_t h, int64_t first) {
  const int64_t left = t->tq - first, n = left < SONDE_BLOCK ? left : SONDE_BLOCK;
  x->t = t, x->b = b, x->h = h, x->first = first;
  x->lse = (const float *)t->c->in[IN_MEASURE_LSE] + (b * t->heads + h) * t->tq + first;
  sonde_attention_turn(t, IN_Q, b, h, first, n, x->turned);
  sonde_attention_look(t, b, h, first, n, &x->v);
}

static double keys_of(const queries *x, int64_t i) {
  int64_t n = 0, from, to;
  for (int64_t at = 0; sonde_attention_run(x->t, &x->v.of[i], at, &from, &to); at = to) n += to - from;
  return (double)n;
}

/* The logarithm of the weight that query i gives key j of the stretch. The score is rounded as attention rounds it. */
static double log_weight(const queries *x, int64_t j, int64_t i) {
  const float score = x->t->scale * x->s[j * SONDE_BLOCK + i];
  return (double)score - (double)x->lse[i];
}

/* Adds to below[k] how many of the probabilities of query i are below bound[k]: NaN if one is NaN. */
static void measure(const queries *x, int64_t keys, int64_t i, const double *bound, int64_t bounds, double *below) {
  for (int64_t j = 0; j < keys; j++) {
    const double log_p = log_weight(x, j, i), p = exp(log_p);
    if (log_p == -INFINITY) continue;
    for (int64_t k = 0; k < bounds; k++) below[k] += isnan(p) ? p : p < bound[k];
  }
}

/* A tile is one block of queries of one head. */
static queries *tile_queries(queries *x, const attention *t, int64_t tile) {
  const int64_t per = t->batch * t->heads;
  take_queries(x, t, tile % per / t->heads, tile % t->heads, tile / per * SONDE_BLOCK);
  return x;
}

static void spread_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  queries x;
  const attention *t = tile_queries(&x, arg, tile)->t;
  const float *threshold = t->c->in[IN_THRESHOLDS];
  const int64_t bounds = t->c->in_shape[IN_THRESHOLDS].dim[0], at = (x.b * t->heads + x.h) * t->tq + x.first;
  float *const shares = t->c->out[0], *const keys = t->c->out[1];
  double below[SONDE_BLOCK][THRESHOLDS] = {{0}}, bound[SONDE_BLOCK][THRESHOLDS], seen[SONDE_BLOCK];
  for (int64_t i = 0; i < x.v.n; i++) {
    seen[i] = keys_of(&x, i);
    for (int64_t k = 0; k < bounds; k++)
      bound[i][k] = (double)threshold[2 * k] + (double)threshold[2 * k + 1] / seen[i];
  }
  for (meeting m = {0}; shares && sonde_attention_next(t, &x.v, &m);) {
    take_scores(&x, &m);
    for (int64_t i = 0; i < x.v.n; i++) measure(&x, m.keys, i, bound[i], bounds, below[i]);
  }
  for (int64_t i = 0; i < x.v.n; i++) {
    for (int64_t k = 0; shares && k < bounds; k++) shares[(at + i) * bounds + k] = (float)(below[i][k] / seen[i]);
    if (keys) keys[at + i] = (float)seen[i];
  }
}

static void weights_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  queries x;
  const attention *t = tile_queries(&x, arg, tile)->t;
  float *out = (float *)t->c->out[0] + ((x.b * t->heads + x.h) * t->tq + x.first) * t->tk;
  memset(out, 0, (size_t)(x.v.n * t->tk) * sizeof *out);
  for (meeting m = {0}; sonde_attention_next(t, &x.v, &m);) {
    take_scores(&x, &m);
    for (int64_t i = 0; i < x.v.n; i++)
      for (int64_t j = 0; j < m.keys; j++)
        out[i * t->tk + m.at + j] = (float)exp(log_weight(&x, j, i));
  }
}

static int run(const sonde_call *c, int more, sonde_tile tile) {
  attention t = sonde_attention_task(c, more);
  t.narrow = NULL;                    /* there are no values, whose dtype it goes by */
  sonde_pool_run(c->pool, sonde_parts(t.tq, SONDE_BLOCK) * t.batch * t.heads, tile, &t);
  return SONDE_OK;
}
static int spread_run(const sonde_call *c) { return run(c, SPREAD_MORE, spread_tile); }
static int weights_run(const sonde_call *c) { return run(c, WEIGHTS_MORE, weights_tile); }

static double flops(const sonde_shape *in, int n_in, int more, const sonde_attr *at) {
  const double tokens = (double)in[IN_Q].dim[1];
  return sonde_attention_pairs(in, n_in, more, at, tokens, tokens) * (2.0 * (double)in[IN_Q].dim[3] + 2.0);
}
static double spread_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)out;
  return flops(in, n_in, SPREAD_MORE, at);
}
static double weights_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)out;
  return flops(in, n_in, WEIGHTS_MORE, at);
}

const sonde_op_def sonde_ops_attention_measures[] = {
    {.size = sizeof(sonde_op_def),
     .name = "attention_weights",
     .min_in = 3,
     .max_in = 6,
     .n_out = 1,
     .flags = SONDE_OP_BF16_IN,
     .doc = "the probabilities of attention, f32 [B, H, T, T] by query and key, 0 where a key is not seen, of q [B, T, "
            "H, Dh] and k [B, T, KV, Dh] and attention's log-sum-exp [B, H, T]; attributes, and the inputs behind "
            "these, as attention has behind v; no segments, no gradient",
     .shape = weights_shape,
     .run = weights_run,
     .flops = weights_flops,
     .bf16_operands = 1 << IN_Q | 1 << IN_K},
    {.size = sizeof(sonde_op_def),
     .name = "attention_spread",
     .min_in = 4,
     .max_in = 7,
     .n_out = 2,
     .flags = SONDE_OP_BF16_IN,
     .doc = "of the probabilities p of each query over the n keys that it sees: the share of p < a + r / n [B, H, T, "
            "M], and n [B, H, T]. attention_spread(q, k, log-sum-exp [B, H, T] of attention, thresholds f32 [M, 2] of "
            "(a, r)[, starts][, blocks][, slopes]); attributes and the last inputs as attention; no segments, no "
            "gradient",
     .shape = spread_shape,
     .run = spread_run,
     .flops = spread_flops,
     .bf16_operands = 1 << IN_Q | 1 << IN_K},
    {0}};
