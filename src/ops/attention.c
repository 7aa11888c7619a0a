/* attention.c - softmax attention without the T x T matrix (Dao et al. 2022, FlashAttention): the op, and
 * its forward kernel. Blocks of queries meet blocks of keys, and the softmax is kept up to date query by
 * query. Query head h reads key head h / (H / KV) (GQA and MQA).
 *
 * Scores are kept as [keys, queries]: then no operand of any product has to be transposed but a block of
 * queries, once, and the softmax runs along the vectors (simd_blocks.c). */
#include "config.h"
#include "ops/families.h"

#include <math.h>
#include <string.h>

#include "cpu/gemm.h"
#include "ops/attention.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

/* ---- shapes -------------------------------------------------------------------------------------- */

static int refuse(sonde_error *err, const char *op, const sonde_shape *in, const char *why) {
  char q[96], k[96], v[96];
  return sonde_fail(err, SONDE_ESHAPE, "%s of q %s, k %s, v %s: %s", op,
                    sonde_shape_text(&in[0], q, sizeof q), sonde_shape_text(&in[1], k, sizeof k),
                    sonde_shape_text(&in[2], v, sizeof v), why);
}

int sonde_attention_more(const sonde_shape *in, int n_in, int from, int dtype) {
  for (int k = from; k < n_in; k++)
    if (in[k].dtype == dtype) return k;
  return -1;
}

/* Of the inputs from `more` on: starts, then slopes. */
static int check_more(const char *op, const sonde_shape *in, int n_in, int more, const sonde_attr *at,
                      sonde_error *err) {
  const int i = sonde_attention_more(in, n_in, more, SONDE_I32), f = sonde_attention_more(in, n_in, more, SONDE_F32);
  const sonde_shape *q = &in[0], *starts = i < 0 ? NULL : &in[i], *slopes = f < 0 ? NULL : &in[f];
  int fits = n_in == more + (i >= 0) + (f >= 0) && (!starts || !slopes || i < f);
  if (fits && starts && starts->rank != 3)      /* segments are checked apart */
    fits = starts->rank == 2 && starts->dim[0] == q->dim[0] && starts->dim[1] == q->dim[1];
  if (fits && slopes) fits = slopes->rank == 1 && slopes->dim[0] == q->dim[2];
  if (!fits) return refuse(err, op, in, "behind them come starts i32 [B, T] or segments i32 [B, S, 4], then slopes "
                                       "f32 [H]; either may be missing");
  if (n_in > more && !at->i[ATTENTION_CAUSAL])
    return sonde_fail(err, SONDE_EINVAL, "%s: starts (the first key that each query sees) and slopes (what distance "
                      "costs) need a causal attention", op);
  return SONDE_OK;
}

static int check(const char *op, const sonde_shape *in, int n_in, int more, const sonde_attr *at, sonde_error *err) {
  const sonde_shape *q = &in[0], *k = &in[1], *v = &in[2];
  if (q->rank != 4 || k->rank != 4 || !sonde_shape_equal(k, v) || !sonde_is_real(q) || !sonde_is_real(k) ||
      !sonde_is_real(v))
    return refuse(err, op, in, "needs real numbers: q [B, T, H, Dh], k and v [B, Tk, KV, Dh]");
  if (q->dim[0] != k->dim[0] || q->dim[3] != k->dim[3])
    return refuse(err, op, in, "batch and head width must be equal");
  if (q->dim[3] < 1 || q->dim[3] > SONDE_HEAD)
    return refuse(err, op, in, "the head width must be from 1 to 256");
  if (k->dim[2] < 1 || q->dim[2] % k->dim[2])
    return refuse(err, op, in, "the query heads must be a multiple of the key heads");
  if (k->dim[1] < 1 || (at->i[ATTENTION_CAUSAL] && k->dim[1] < q->dim[1]))
    return refuse(err, op, in, "each query needs a key to look at");
  if (!(at->f[ATTENTION_SCALE] >= 0))
    return sonde_fail(err, SONDE_EINVAL, "%s: the scale must be positive, or 0 for 1/sqrt(Dh)", op);
  if (!(at->f[ATTENTION_CAP] >= 0))
    return sonde_fail(err, SONDE_EINVAL, "%s: the soft-cap must be positive, or 0 for none", op);
  if (at->i[ATTENTION_WINDOW] < 0 || (at->i[ATTENTION_WINDOW] && !at->i[ATTENTION_CAUSAL]))
    return sonde_fail(err, SONDE_EINVAL, "%s: a window must be 0 (none) or positive, and causal", op);
  return check_more(op, in, n_in, more, at, err);
}

static int shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  int rc = check("attention", in, n_in, IN_MORE, at, err);
  if (!rc && sonde_attention_is_tree(in, n_in)) rc = sonde_attention_tree_check(in, at, err);
  if (rc) return rc;
  out[0] = sonde_shape_make(SONDE_F32, 4, in[0].dim);
  out[1] = sonde_shape_make(SONDE_F32, 3, (int64_t[]){in[0].dim[0], in[0].dim[2], in[0].dim[1]});
  return SONDE_OK;
}

static int grad_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                      sonde_error *err) {
  int rc = check("attention_grad", in, n_in, IN_GRAD_MORE, at, err);
  if (rc) return rc;
  sonde_shape lse = sonde_shape_make(SONDE_F32, 3, (int64_t[]){in[0].dim[0], in[0].dim[2], in[0].dim[1]});
  if (!sonde_shape_equal(&in[3], &in[0]) || !sonde_shape_equal(&in[4], &lse) || in[4].dtype != SONDE_F32 ||
      !sonde_shape_equal(&in[5], &in[0]))
    return refuse(err, "attention_grad", in,
                  "the result and its gradient must have q's shape, the log-sum-exp [B, H, T]");
  for (int k = 0; k < 3; k++) out[k] = sonde_shape_make(SONDE_F32, 4, in[k].dim);
  return SONDE_OK;
}

/* ---- blocks -------------------------------------------------------------------------------------- */

/* bf16 products need all three inputs in bf16 and whole pairs along the head. */
static int is_narrow(const sonde_shape *in, const sonde_simd_table *simd) {
  return simd->micro && simd->micro->bf16 && in[IN_Q].dim[3] % 2 == 0 && in[IN_Q].dtype == SONDE_BF16 &&
         in[IN_K].dtype == SONDE_BF16 && in[IN_V].dtype == SONDE_BF16;
}

attention sonde_attention_task(const sonde_call *c, int more) {
  const int starts = sonde_attention_more(c->in_shape, c->n_in, more, SONDE_I32),
            slopes = sonde_attention_more(c->in_shape, c->n_in, more, SONDE_F32);
  const sonde_shape *q = &c->in_shape[IN_Q], *k = &c->in_shape[IN_K];
  const sonde_simd_table *simd = sonde_simd_get();
  double scale = c->attr->f[ATTENTION_SCALE] != 0 ? c->attr->f[ATTENTION_SCALE] : 1.0 / sqrt((double)q->dim[3]);
  return (attention){.c = c, .simd = simd, .narrow = is_narrow(c->in_shape, simd) ? simd->micro : NULL,
                     .batch = q->dim[0], .tq = q->dim[1], .tk = k->dim[1], .heads = q->dim[2], .kv = k->dim[2],
                     .width = q->dim[3], .ahead = k->dim[1] - q->dim[1], .window = c->attr->i[ATTENTION_WINDOW],
                     .starts = starts < 0 ? NULL : c->in[starts], .slopes = slopes < 0 ? NULL : c->in[slopes],
                     .causal = c->attr->i[ATTENTION_CAUSAL] != 0, .scale = (float)scale,
                     .cap = (float)c->attr->f[ATTENTION_CAP]};
}

static int64_t pitch_of(const attention *t, int input) { return t->c->in_shape[input].dim[2] * t->width; }

static int64_t place_of(const attention *t, int input, int64_t b, int64_t head, int64_t first) {
  return (b * t->c->in_shape[input].dim[1] + first) * pitch_of(t, input) + head * t->width;
}

rows32 sonde_attention_f32(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n,
                           float *buf) {
  int64_t pitch = pitch_of(t, input), at = place_of(t, input, b, head, first);
  if (t->c->in_shape[input].dtype == SONDE_F32) return (rows32){(const float *)t->c->in[input] + at, pitch};
  for (int64_t i = 0; i < n; i++)
    t->simd->common.from_bf16(buf + i * t->width, (const uint16_t *)t->c->in[input] + at + i * pitch,
                              t->width);
  return (rows32){buf, t->width};
}

rows16 sonde_attention_bf16(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n,
                            uint16_t *buf) {
  int64_t pitch = pitch_of(t, input), at = place_of(t, input, b, head, first);
  if (t->c->in_shape[input].dtype == SONDE_BF16)
    return (rows16){(const uint16_t *)t->c->in[input] + at, pitch};
  for (int64_t i = 0; i < n; i++)
    t->simd->common.to_bf16(buf + i * t->width, (const float *)t->c->in[input] + at + i * pitch, t->width);
  return (rows16){buf, t->width};
}

/* dst [words, SONDE_BLOCK] = the transpose of n rows of 32-bit words, zeros in the columns from n on. */
static void turn_words(const attention *t, uint32_t *dst, const char *src, int64_t pitch_bytes, int64_t n,
                       int64_t words) {
  if (n < SONDE_BLOCK) memset(dst, 0, (size_t)(words * SONDE_BLOCK) * sizeof *dst);
  if (t->simd->micro) {
    t->simd->micro->transpose(dst, SONDE_BLOCK, src, pitch_bytes, n, words);
    return;
  }
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < words; j++) memcpy(dst + j * SONDE_BLOCK + i, src + i * pitch_bytes + j * 4, 4);
}

void sonde_attention_turn(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n,
                          uint32_t *turned) {
  if (t->narrow) {
    uint16_t buf[SONDE_BLOCK * SONDE_HEAD];
    rows16 r = sonde_attention_bf16(t, input, b, head, first, n, buf);
    turn_words(t, turned, (const char *)r.at, r.ld * 2, n, t->width / 2);
  } else {
    float buf[SONDE_BLOCK * SONDE_HEAD];
    rows32 r = sonde_attention_f32(t, input, b, head, first, n, buf);
    turn_words(t, turned, (const char *)r.at, r.ld * 4, n, t->width);
  }
}

int64_t sonde_attention_key_strip(const attention *t, int64_t first, int64_t n, int64_t at, int64_t keys,
                                  int64_t j, int64_t *end) {
  int64_t cut = t->causal ? at - t->ahead - first : -KEYS;   /* key j is hidden from queries below j + cut */
  int64_t low = j + cut > 0 ? (j + cut) / STEP * STEP : 0;
  *end = low + STEP - cut;
  if (*end > keys) *end = keys;
  return low < n ? low : n;
}

int64_t sonde_attention_query_strip(const attention *t, int64_t first, int64_t n, int64_t at, int64_t keys,
                                    int64_t i, int64_t *end) {
  int64_t seen = t->causal ? first + i + STEP + t->ahead - at : keys;
  *end = seen < keys && i + STEP < n ? i + STEP : n;
  if (*end == n) seen = t->causal ? first + n + t->ahead - at : keys;
  return seen < 0 ? 0 : seen < keys ? seen : keys;
}

/* Keys or values from `at` on, which counts in the row or in the sequence of the queries. */
static rows32 keys_of(const attention *t, int input, int64_t b, int64_t kv, int64_t at, int64_t keys, float *buf) {
  return t->sequence ? sonde_attention_tree_rows(t, input, b, kv, at, keys, buf)
                     : sonde_attention_f32(t, input, b, kv, at, keys, buf);
}

void sonde_attention_scores(const attention *t, int input, int64_t b, int64_t kv, int64_t at, int64_t keys,
                            int64_t first, int64_t n, const uint32_t *turned, float *s) {
  float buf[KEYS * SONDE_HEAD];
  rows32 wide = {0};
  rows16 narrow = {0};
  if (t->narrow)
    narrow = sonde_attention_bf16(t, input, b, kv, at, keys, NULL);   /* bf16 already: no buffer is touched */
  else wide = keys_of(t, input, b, kv, at, keys, buf);
  for (int64_t j = 0, end; j < keys; j = end) {
    int64_t low = sonde_attention_key_strip(t, first, n, at, keys, j, &end), place = j * SONDE_BLOCK + low;
    if (t->narrow)
      t->narrow->bf16(end - j, SONDE_BLOCK - low, t->width, narrow.at + j * narrow.ld, narrow.ld, 0,
                      turned + low, SONDE_BLOCK, 0, s + place, SONDE_BLOCK, SONDE_F32);
    else
      sonde_gemm_tile(0, 0, end - j, SONDE_BLOCK - low, t->width, wide.at + j * wide.ld, wide.ld,
                      (const float *)(const void *)turned + low, SONDE_BLOCK, 0, s + place, SONDE_BLOCK);
  }
}

void sonde_attention_cap(const attention *t, int64_t first, int64_t n, int64_t at, int64_t keys, float *s,
                         float *slope) {
  if (t->cap == 0) return;
  const float a = t->scale / t->cap;
  for (int64_t j = 0, end; j < keys; j = end) {
    int64_t low = sonde_attention_key_strip(t, first, n, at, keys, j, &end), width = SONDE_BLOCK - low;
    for (int64_t k = j; k < end; k++) {
      float *x = s + k * SONDE_BLOCK + low, *dx = slope ? slope + k * SONDE_BLOCK + low : NULL;
      t->simd->common.scale(x, x, a, width);
      t->simd->common.tanh(x, x, width);
      for (int64_t i = 0; dx && i < width; i++) dx[i] = 1 - x[i] * x[i];
      t->simd->common.scale(x, x, 1 / a, width);
    }
  }
}

/* The first key that query i of batch entry b sees by its start: its own at the latest, so that it sees one. */
static int64_t start_of(const attention *t, int64_t b, int64_t i) {
  int64_t start = t->starts[b * t->tq + i], own = i + t->ahead;
  return start < own ? start : own;
}

void sonde_attention_range(const attention *t, int64_t b, int64_t first, int64_t n, int64_t *from, int64_t *to) {
  *from = 0, *to = t->tk;
  if (!t->causal) return;
  *to = first + n + t->ahead;
  if (t->window && first + t->ahead - t->window + 1 > 0) *from = first + t->ahead - t->window + 1;
  if (!t->starts) return;
  int64_t earliest = start_of(t, b, first);
  for (int64_t i = first + 1; i < first + n; i++)
    if (start_of(t, b, i) < earliest) earliest = start_of(t, b, i);
  if (earliest > *from) *from = earliest;
}

void sonde_attention_distance(const attention *t, float *s, int64_t h, int64_t first, int64_t n, int64_t at,
                              int64_t keys) {
  if (!t->slopes) return;
  const float cost = t->slopes[h] / t->scale;
  for (int64_t j = 0; j < keys; j++, s += SONDE_BLOCK) {
    const int64_t own = at + j - t->ahead - first;      /* the query whose own key it is */
    for (int64_t i = 0; i < n; i++) s[i] += cost * (float)(own - i);
  }
}

/* Hides from each query the keys in front of its start. */
static void mask_starts(const attention *t, float *s, int64_t b, int64_t first, int64_t n, int64_t at, int64_t keys) {
  int64_t hidden[SONDE_BLOCK], most = 0;   /* keys of this block */
  for (int64_t i = 0; i < n; i++) {
    hidden[i] = start_of(t, b, first + i) - at;
    if (hidden[i] > most) most = hidden[i];
  }
  for (int64_t j = 0; j < keys && j < most; j++, s += SONDE_BLOCK)
    for (int64_t i = 0; i < n; i++)
      if (j < hidden[i]) s[i] = -INFINITY;
}

void sonde_attention_mask(const attention *t, float *s, int64_t b, int64_t first, int64_t n, int64_t at, int64_t keys) {
  if (t->starts) mask_starts(t, s, b, first, n, at, keys);
  if (!t->causal) return;
  for (int64_t j = 0; j < keys; j++, s += SONDE_BLOCK) {
    /* The queries that see this key. */
    int64_t low = at + j - t->ahead - first, high = t->window ? low + t->window : n;
    for (int64_t i = 0; i < low && i < n; i++) s[i] = -INFINITY;
    for (int64_t i = high > 0 ? high : 0; i < n; i++) s[i] = -INFINITY;
  }
}

int64_t sonde_attention_paired_words(const attention *t) { return (t->tk + 1) / 2 * t->width; }

void sonde_attention_pair_rows(const attention *t, int input, int64_t b, int64_t kv, uint32_t *paired) {
  rows16 r = sonde_attention_bf16(t, input, b, kv, 0, t->tk, NULL);
  t->narrow->interleave(paired, t->width, r.at, r.ld, t->tk, t->width);
}

void sonde_attention_pack(const attention *t, const uint16_t *rows, int64_t keys, weights *packed) {
  t->narrow->pack_bf16(packed->word, WEIGHT_STEP, rows, SONDE_BLOCK, keys, SONDE_BLOCK);
}

void sonde_attention_weigh(const attention *t, const weights *packed, int64_t i, int64_t end, int64_t seen,
                           const uint32_t *pairs, float *out, int64_t ld) {
  const uint32_t *from = packed->word + i / SONDE_GROUP * WEIGHT_STEP;
  t->narrow->bf16(end - i, t->width, seen, (const uint16_t *)(const void *)from, 0, 2 * WEIGHT_STEP, pairs, t->width,
                  1, out, ld, SONDE_F32);
}

/* ---- forward ------------------------------------------------------------------------------------- */

static void pair_values(void *arg, int64_t tile, int worker) {
  (void)worker;
  const attention *t = arg;
  sonde_attention_pair_rows(t, IN_V, tile / t->kv, tile % t->kv,
                            (uint32_t *)t->c->scratch + tile * sonde_attention_paired_words(t));
}

typedef struct softmax {         /* one block of queries on its way through the keys */
  float top[SONDE_BLOCK], total[SONDE_BLOCK];
  float out[SONDE_BLOCK * SONDE_HEAD];
} softmax;

/* Scores to exp(scale score - scale top), taking the older totals and results down to the new top. */
static void update(const attention *t, softmax *x, float *s, int64_t n, int64_t keys) {
  float before[SONDE_BLOCK], shift[SONDE_BLOCK];
  memcpy(before, x->top, sizeof before);
  t->simd->col_max(x->top, s, keys);
  for (int64_t i = 0; i < SONDE_BLOCK; i++) shift[i] = t->scale * x->top[i];
  for (int64_t i = 0; i < n; i++)
    if (x->total[i] != 0 && before[i] != x->top[i]) {
      float shrink = expf(t->scale * before[i] - shift[i]);
      x->total[i] *= shrink;
      t->simd->common.scale(x->out + i * t->width, x->out + i * t->width, shrink, t->width);
    }
  t->simd->col_exp(s, t->scale, shift, x->total, keys);
}

/* out += P V for the keys at.. of a block. */
static void gather(const attention *t, softmax *x, const float *s, int64_t b, int64_t kv, int64_t first,
                   int64_t n, int64_t at, int64_t keys) {
  const uint32_t *pairs = NULL;
  weights p;
  uint16_t rounded[KEYS * SONDE_BLOCK];
  float buf[KEYS * SONDE_HEAD];
  rows32 v = {0};
  if (t->narrow) {
    pairs = (const uint32_t *)t->c->scratch + (b * t->kv + kv) * sonde_attention_paired_words(t) +
            at / 2 * t->width;
    t->simd->common.to_bf16(rounded, s, keys * SONDE_BLOCK);
    sonde_attention_pack(t, rounded, keys, &p);
  } else {
    v = keys_of(t, IN_V, b, kv, at, keys, buf);
  }
  for (int64_t i = 0, end; i < n; i = end) {
    int64_t seen = sonde_attention_query_strip(t, first, n, at, keys, i, &end);
    float *out = x->out + i * t->width;
    if (t->narrow) sonde_attention_weigh(t, &p, i, end, seen, pairs, out, t->width);
    else sonde_gemm_tile(1, 0, end - i, t->width, seen, s + i, SONDE_BLOCK, v.at, v.ld, 1, out, t->width);
  }
}

static void finish(const attention *t, softmax *x, int64_t b, int64_t h, int64_t first, int64_t n) {
  const sonde_call *c = t->c;
  for (int64_t i = 0; i < n; i++) {
    float *row = x->out + i * t->width;
    int64_t at = ((b * t->tq + first + i) * t->heads + h) * t->width;
    t->simd->common.scale(row, row, 1.0f / x->total[i], t->width);
    if (c->out[0] && c->out_shape[0].dtype == SONDE_F32)
      memcpy((float *)c->out[0] + at, row, (size_t)t->width * sizeof(float));
    else if (c->out[0]) t->simd->common.to_bf16((uint16_t *)c->out[0] + at, row, t->width);
    if (c->out[1])
      ((float *)c->out[1])[(b * t->heads + h) * t->tq + first + i] = t->scale * x->top[i] + logf(x->total[i]);
  }
}

void sonde_attention_forward(const attention *t, int64_t b, int64_t h, int64_t first, int64_t n) {
  int64_t from, to, kv = h / (t->heads / t->kv);
  uint32_t turned[SONDE_BLOCK * SONDE_HEAD];
  float s[KEYS * SONDE_BLOCK];
  softmax x;
  /* Not -infinity: a query may have met no key yet, and the difference of two infinities is none. */
  for (int64_t i = 0; i < SONDE_BLOCK; i++) x.top[i] = -1e30f, x.total[i] = 0;
  memset(x.out, 0, (size_t)(n * t->width) * sizeof(float));
  sonde_attention_turn(t, IN_Q, b, h, first, n, turned);
  sonde_attention_range(t, b, first, n, &from, &to);
  for (int64_t at = from / KEYS * KEYS; at < to; at += KEYS) {
    int64_t keys = to - at < KEYS ? to - at : KEYS;
    sonde_attention_scores(t, IN_K, b, kv, at, keys, first, n, turned, s);
    sonde_attention_cap(t, first, n, at, keys, s, NULL);
    sonde_attention_distance(t, s, h, first, n, at, keys);
    sonde_attention_mask(t, s, b, first, n, at, keys);
    update(t, &x, s, n, keys);
    gather(t, &x, s, b, kv, first, n, at, keys);
  }
  finish(t, &x, b, h, first, n);
}

/* A tile is one block of queries of one head. The last blocks have the most keys: they come first. */
static void forward_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const attention *t = arg;
  int64_t blocks = sonde_parts(t->tq, SONDE_BLOCK), per = t->batch * t->heads;
  int64_t first = (blocks - 1 - tile / per) * SONDE_BLOCK;
  sonde_attention_forward(t, tile % per / t->heads, tile % t->heads, first,
                          t->tq - first < SONDE_BLOCK ? t->tq - first : SONDE_BLOCK);
}

static int run(const sonde_call *c) {
  if (sonde_attention_is_tree(c->in_shape, c->n_in)) return sonde_attention_tree_run(c);
  attention t = sonde_attention_task(c, IN_MORE);
  if (t.narrow) sonde_pool_run(c->pool, t.batch * t.kv, pair_values, &t);
  sonde_pool_run(c->pool, sonde_parts(t.tq, SONDE_BLOCK) * t.batch * t.heads, forward_tile, &t);
  return SONDE_OK;
}

/* The pairs of all values (forward) or keys (backward). */
static int64_t scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)out, (void)at;
  if (sonde_attention_is_tree(in, n_in)) return sonde_attention_tree_scratch(in);
  return is_narrow(in, sonde_simd_get())
             ? in[IN_V].dim[0] * in[IN_V].dim[2] * ((in[IN_V].dim[1] + 1) / 2) * in[IN_V].dim[3] * 4
             : 0;
}

/* ---- gradient rule and counts -------------------------------------------------------------------- */

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  const int n_in = sonde_node_inputs(self, in);
  if (dout[1]) return SONDE_EUNSUP;
  if (!dout[0]) return SONDE_OK;
  if (n_in > IN_MORE && sonde_node_shape(in[IN_MORE]).rank == 3) return SONDE_EUNSUP;
  sonde_node *args[SONDE_MAX_IN] = {in[0], in[1], in[2], self, sonde_result(self, 1), dout[0]};
  for (int k = IN_MORE; k < n_in; k++) args[IN_GRAD_MORE + k - IN_MORE] = in[k];
  din[0] = sonde_op(g, "attention_grad", args, IN_GRAD_MORE + n_in - IN_MORE, sonde_node_attr(self));
  din[1] = sonde_result(din[0], 1);
  din[2] = sonde_result(din[0], 2);
  return din[0] && din[1] && din[2] ? SONDE_OK : SONDE_ESHAPE;
}

/* Pairs of a query and a key it sees, over all heads. Query i sees i + Tk - T + 1 keys, or the window if that is less;
 * what starts hide is known at the run only, and counted. */
static double pairs(const sonde_shape *in, const sonde_attr *at) {
  double tq = (double)in[0].dim[1], tk = (double)in[1].dim[1], window = (double)at->i[ATTENTION_WINDOW];
  double n = tq * tk, fewest = tk - tq + 1;
  if (at->i[ATTENTION_CAUSAL]) {
    /* queries below the window */
    double growing = !window || window > tk ? tq : window > fewest ? window - fewest + 1 : 0;
    n = growing * (fewest + fewest + growing - 1) / 2 + (tq - growing) * window;
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
    {.size = sizeof(sonde_op_def),
     .name = "attention",
     .min_in = 3,
     .max_in = 5,
     .n_out = 2,
     .flags = SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT,
     .doc =
         "softmax(scale q k^T) v by head: q [B, T, H, Dh], k and v [B, Tk, KV, Dh] -> [B, T, H, Dh], "
         "log-sum-exp [B, H, T]. f0: scale (0: 1/sqrt(Dh)), f1: soft-cap c on scores, c tanh(scale q k / c) (0: none), "
         "i0: causal (query i sees keys to i + Tk - T), "
         "i1: window, own position included (0: all). Two more inputs, with causal, each of which may be missing. "
         "Starts i32 [B, T]: query i sees no key in front of its start (its own key always), as in rows of several "
         "documents; or segments i32 [B, S, 4] of (first, length, parent, depth), T = Tk: the tokens of a segment see "
         "the first `depth` tokens of its parent's sequence (parent -1: none) and then its own; length 0: no segment; "
         "no gradient. Slopes f32 [H]: a score is less by the slope of its head times the distance of query and key, "
         "behind the soft-cap (ALiBi; no gradient by the slopes)",
     .shape = shape,
     .grad = grad,
     .scratch = scratch,
     .run = run,
     .flops = flops,
     .bf16_operands = 1 << IN_Q | 1 << IN_K | 1 << IN_V,
     .step = "attention_cached",
     .cached = 1 << IN_K | 1 << IN_V},
    {.size = sizeof(sonde_op_def),
     .name = "attention_grad",
     .min_in = 6,
     .max_in = 8,
     .n_out = 3,
     .flags = SONDE_OP_BF16_IN,
     .doc = "of attention: q, k, v, its result, its log-sum-exp, the upstream gradient, its starts and slopes if it "
            "has any -> dq, dk, dv; attributes as attention",
     .shape = grad_shape,
     .scratch = scratch,
     .run = sonde_attention_grad_run,
     .flops = grad_flops,
     .bf16_operands = 1 << IN_Q | 1 << IN_K | 1 << IN_V | 1 << IN_OUT | 1 << IN_DOUT},
    {.size = sizeof(sonde_op_def),
     .name = "document_starts",
     .min_in = 1,
     .max_in = 1,
     .n_out = 2,
     .doc = "tokens i32 [B, T] of rows that hold several documents, each ended by the token i0 -> for each position "
            "where its "
            "document starts in the row, and how far it is from there, i32 [B, T] both; no gradient",
     .shape = sonde_document_starts_shape,
     .run = sonde_document_starts_run},
    {0}};
