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

attention_inputs sonde_attention_inputs(const sonde_shape *in, int n_in, int more) {
  attention_inputs found = {-1, -1, -1, -1};
  for (int k = n_in - 1; k >= more; k--) {
    if (in[k].dtype == SONDE_F32) found.slopes = k;
    else if (in[k].dtype == SONDE_I32 && in[k].rank == 2) found.starts = k;
    else if (in[k].dtype == SONDE_I32 && in[k].rank == 3) found.segments = k;
    else if (in[k].dtype == SONDE_I32 && in[k].rank == 4) found.blocks = k;
  }
  return found;
}

static int is_of(const sonde_shape *s, int64_t a, int64_t b, int64_t c) {
  return s->dim[0] == a && (s->rank < 2 || s->dim[1] == b) && (s->rank < 3 || s->dim[2] == c);
}

/* Whether the inputs from `more` on have these shapes and this order. */
static int is_in_order(const sonde_shape *in, int n_in, int more) {
  const attention_inputs at = sonde_attention_inputs(in, n_in, more);
  const int order[4] = {at.starts, at.segments, at.blocks, at.slopes};
  int next = more;
  for (int k = 0; k < 4; k++)
    if (order[k] >= 0 && order[k] != next++) return 0;
  if (next != n_in || (at.starts >= 0 && (at.segments >= 0 || at.blocks >= 0))) return 0;
  const sonde_shape *q = &in[IN_Q];
  return (at.starts < 0 || is_of(&in[at.starts], q->dim[0], q->dim[1], 0)) &&
         (at.blocks < 0 || (is_of(&in[at.blocks], q->dim[0], q->dim[1], q->dim[2]) && in[at.blocks].dim[3] > 1)) &&
         (at.slopes < 0 || (in[at.slopes].rank == 1 && in[at.slopes].dim[0] == q->dim[2]));
}

int sonde_attention_check(const char *op, const sonde_shape *in, int n_in, int more, const sonde_attr *at,
                          sonde_error *err) {
  const int64_t *i = at->i;
  const int listed = sonde_attention_inputs(in, n_in, more).blocks >= 0;
  if (!is_in_order(in, n_in, more))
    return refuse(err, op, in, "behind them come starts i32 [B, T] or segments i32 [B, S, 4], then lists of blocks i32 "
                               "[B, T, H, 1 + K], which bring the starts, then slopes f32 [H]; each may be missing");
  if (n_in > more && !i[ATTENTION_CAUSAL])
    return sonde_fail(err, SONDE_EINVAL, "%s: starts (the first key that each query sees), lists of blocks and slopes "
                      "(what distance costs) need a causal attention", op);
  if (!(at->f[ATTENTION_SCALE] >= 0))
    return sonde_fail(err, SONDE_EINVAL, "%s: the scale must be positive, or 0 for 1/sqrt(Dh)", op);
  if (!(at->f[ATTENTION_CAP] >= 0))
    return sonde_fail(err, SONDE_EINVAL, "%s: the soft-cap must be positive, or 0 for none", op);
  for (int k = ATTENTION_WINDOW; k <= ATTENTION_STRIDE; k++)
    if (i[k] < 0 || i[k] > INT32_MAX || (i[k] && !i[ATTENTION_CAUSAL]))
      return sonde_fail(err, SONDE_EINVAL, "%s: window, sinks, the size of blocks and their stride must be 0 (none) or "
                        "positive, and causal", op);
  if ((listed || i[ATTENTION_STRIDE]) && !i[ATTENTION_SIZE])
    return sonde_fail(err, SONDE_EINVAL, "%s: blocks of keys need a size", op);
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
  return sonde_attention_check(op, in, n_in, more, at, err);
}

static int shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  int rc = check("attention", in, n_in, IN_MORE, at, err);
  if (!rc && sonde_attention_is_tree(in, n_in)) rc = sonde_attention_tree_check(in, at, err);
  if (rc) return rc;
  out[0] = sonde_shape_make(SONDE_F32, 4, in[0].dim);
  for (int k = 1; k < 3; k++)
    out[k] = sonde_shape_make(SONDE_F32, 3, (int64_t[]){in[0].dim[0], in[0].dim[2], in[0].dim[1]});
  return SONDE_OK;
}

static int grad_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                      sonde_error *err) {
  int rc = check("attention_grad", in, n_in, IN_GRAD_MORE, at, err);
  if (rc) return rc;
  if (sonde_attention_inputs(in, n_in, IN_GRAD_MORE).segments >= 0)
    return refuse(err, "attention_grad", in, "segments have no gradient");
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
  return simd->micro->bf16 && in[IN_Q].dim[3] % 2 == 0 && in[IN_Q].dtype == SONDE_BF16 &&
         in[IN_K].dtype == SONDE_BF16 && in[IN_V].dtype == SONDE_BF16;
}

attention sonde_attention_task(const sonde_call *c, int more) {
  const attention_inputs at = sonde_attention_inputs(c->in_shape, c->n_in, more);
  const sonde_shape *q = &c->in_shape[IN_Q], *k = &c->in_shape[IN_K];
  const sonde_simd_table *simd = sonde_simd_get();
  const int64_t *i = c->attr->i;
  double scale = c->attr->f[ATTENTION_SCALE] != 0 ? c->attr->f[ATTENTION_SCALE] : 1.0 / sqrt((double)q->dim[3]);
  attention t = {.c = c, .simd = simd, .narrow = is_narrow(c->in_shape, simd) ? simd->micro : NULL,
                 .batch = q->dim[0], .tq = q->dim[1], .tk = k->dim[1], .heads = q->dim[2], .kv = k->dim[2],
                 .width = q->dim[3], .ahead = k->dim[1] - q->dim[1], .window = i[ATTENTION_WINDOW],
                 .sinks = i[ATTENTION_SINKS], .size = i[ATTENTION_SIZE], .stride = i[ATTENTION_STRIDE],
                 .starts = at.starts < 0 ? NULL : c->in[at.starts], .blocks = at.blocks < 0 ? NULL : c->in[at.blocks],
                 .listed = at.blocks < 0 ? 0 : c->in_shape[at.blocks].dim[3] - 1,
                 .slopes = at.slopes < 0 ? NULL : c->in[at.slopes], .causal = i[ATTENTION_CAUSAL] != 0,
                 .scale = (float)scale, .cap = (float)c->attr->f[ATTENTION_CAP]};
  t.sparse = t.blocks || t.stride || (t.window && t.sinks);
  return t;
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

enum { LINE = 64 };              /* bytes that a cache takes at once */

void sonde_attention_ask(const char *rows, int64_t pitch, int64_t bytes, int64_t n) {
  for (int64_t i = 0; i < n; i++, rows += pitch)
    for (int64_t at = 0; at < bytes; at += LINE) __builtin_prefetch(rows + at);
}

void sonde_attention_ask_input(const attention *t, int input, int64_t b, int64_t head, int64_t first, int64_t n) {
  const sonde_shape *s = &t->c->in_shape[input];
  const int64_t size = sonde_dtype_size(s->dtype);
  if (n > s->dim[1] - first) n = s->dim[1] - first;
  sonde_attention_ask((const char *)t->c->in[input] + place_of(t, input, b, head, first) * size,
                      pitch_of(t, input) * size, t->width * size, n);
}

/* dst [words, SONDE_BLOCK] = the transpose of n rows of 32-bit words, zeros in the columns from n on. */
static void turn_words(const attention *t, uint32_t *dst, const char *src, int64_t pitch_bytes, int64_t n,
                       int64_t words) {
  if (n < SONDE_BLOCK) memset(dst, 0, (size_t)(words * SONDE_BLOCK) * sizeof *dst);
  t->simd->micro->transpose(dst, SONDE_BLOCK, src, pitch_bytes, n, words);
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

strip sonde_attention_key_strip(const meeting *m, int64_t j) {
  int64_t low = 0, high, end = m->keys;
  while (low < m->groups && m->to[low] <= j) low++;
  for (high = low; high < m->groups && m->from[high] <= j; high++);
  if (low < m->groups && m->to[low] < end) end = m->to[low];
  if (high < m->groups && m->from[high] < end) end = m->from[high];
  high *= STEP;
  return (strip){j, end, low * STEP, high < m->n ? high : m->n};
}

strip sonde_attention_query_strip(const meeting *m, int64_t low) {
  const int64_t v = low / STEP;
  int64_t last = v + 1;
  while (last < m->groups && m->from[last] == m->from[v] && m->to[last] == m->to[v]) last++;
  return (strip){m->from[v], m->to[v], low, last * STEP < m->n ? last * STEP : m->n};
}

rows32 sonde_attention_keys(const attention *t, int input, int64_t b, int64_t kv, int64_t at, int64_t n, float *buf) {
  return t->sequence ? sonde_attention_tree_rows(t, input, b, kv, at, n, buf)
                     : sonde_attention_f32(t, input, b, kv, at, n, buf);
}

void sonde_attention_scores(const attention *t, const meeting *m, int input, int64_t b, int64_t kv,
                            const uint32_t *turned, float *s) {
  float buf[KEYS * SONDE_HEAD];
  rows32 wide = {0};
  rows16 narrow = {0};
  if (t->narrow)
    narrow = sonde_attention_bf16(t, input, b, kv, m->at, m->keys, NULL);   /* bf16 already: no buffer is touched */
  else wide = sonde_attention_keys(t, input, b, kv, m->at, m->keys, buf);
  for (int64_t j = 0; j < m->keys;) {
    const strip x = sonde_attention_key_strip(m, j);
    const int64_t width = sonde_parts(x.high - x.low, STEP) * STEP;
    float *to = s + j * SONDE_BLOCK + x.low;
    if (t->narrow)
      t->narrow->bf16(x.end - j, width, t->width, narrow.at + j * narrow.ld, narrow.ld, 0, turned + x.low, SONDE_BLOCK,
                      0, to, SONDE_BLOCK, SONDE_F32);
    else
      sonde_gemm_tile(0, 0, x.end - j, width, t->width, wide.at + j * wide.ld, wide.ld,
                      (const float *)(const void *)turned + x.low, SONDE_BLOCK, 0, to, SONDE_BLOCK);
    j = x.end;
  }
}

void sonde_attention_cap(const attention *t, const meeting *m, float *s, float *slope) {
  const float a = t->scale / t->cap;
  for (int64_t v = 0; t->cap != 0 && v < m->groups; v++)
    for (int64_t k = m->from[v]; k < m->to[v]; k++) {
      float *x = s + k * SONDE_BLOCK + v * STEP, *dx = slope ? slope + k * SONDE_BLOCK + v * STEP : NULL;
      t->simd->common.scale(x, x, a, STEP);
      t->simd->common.tanh(x, x, STEP);
      for (int64_t i = 0; dx && i < STEP; i++) dx[i] = 1 - x[i] * x[i];
      t->simd->common.scale(x, x, 1 / a, STEP);
    }
}

void sonde_attention_distance(const attention *t, const meeting *m, int64_t h, float *s) {
  if (!t->slopes) return;
  const float cost = t->slopes[h] / t->scale;
  for (int64_t v = 0; v < m->groups; v++)
    for (int64_t j = m->from[v]; j < m->to[v]; j++) {
      const int64_t own = m->at + j - t->ahead - m->first - v * STEP;   /* the query of the group whose own key it is */
      float *x = s + j * SONDE_BLOCK + v * STEP;
      for (int64_t i = 0; i < STEP; i++) x[i] += cost * (float)(own - i);
    }
}

int64_t sonde_attention_paired_words(const attention *t) { return (t->tk + 1) / 2 * t->width; }

void sonde_attention_pair_rows(const attention *t, int input, int64_t b, int64_t kv, uint32_t *paired) {
  rows16 r = sonde_attention_bf16(t, input, b, kv, 0, t->tk, NULL);
  t->narrow->interleave(paired, t->width, r.at, r.ld, t->tk, t->width);
}

void sonde_attention_pack(const attention *t, const meeting *m, const uint16_t *rows, weights *packed) {
  for (int64_t v = 0; v < m->groups; v++)
    t->narrow->pack_bf16(packed->word + v * WEIGHT_STEP + m->from[v] / 2 * SONDE_GROUP, WEIGHT_STEP,
                         rows + m->from[v] * SONDE_BLOCK + v * STEP, SONDE_BLOCK, m->to[v] - m->from[v], STEP);
}

void sonde_attention_weigh(const attention *t, const strip *x, const weights *packed, const uint32_t *pairs, float *out,
                           int64_t ld) {
  if (x->j == x->end) return;
  const uint32_t *from = packed->word + x->low / STEP * WEIGHT_STEP + x->j / 2 * SONDE_GROUP;
  t->narrow->bf16(x->high - x->low, t->width, x->end - x->j, (const uint16_t *)(const void *)from, 0, 2 * WEIGHT_STEP,
                  pairs + x->j / 2 * t->width, t->width, 1, out, ld, SONDE_F32);
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
  float weighed[SONDE_BLOCK];    /* of x exp(x), where total is of exp(x); kept where the entropy is asked for */
  float out[SONDE_BLOCK * SONDE_HEAD];
} softmax;

/* Scores to exp(scale (score - top)), taking the older totals and results down to the new top. With products in
 * bf16 the weights go to `rounded`. */
static void update(const attention *t, const meeting *m, softmax *x, float *s, uint16_t *rounded) {
  float before[SONDE_BLOCK];
  const int weighs = t->c->n_out > 2 && t->c->out[2];
  memcpy(before, x->top, sizeof before);
  for (int64_t v = 0; v < m->groups; v++)
    t->simd->col_max(x->top + v * STEP, s + m->from[v] * SONDE_BLOCK + v * STEP, m->to[v] - m->from[v]);
  for (int64_t i = 0; i < m->n; i++)
    if (x->total[i] != 0 && before[i] != x->top[i]) {
      const float down = t->scale * (before[i] - x->top[i]), shrink = expf(down);
      if (weighs) x->weighed[i] = shrink * (x->weighed[i] + x->total[i] * down);
      x->total[i] *= shrink;
      t->simd->common.scale(x->out + i * t->width, x->out + i * t->width, shrink, t->width);
    }
  for (int64_t v = 0; v < m->groups; v++) {
    const int64_t at = m->from[v] * SONDE_BLOCK + v * STEP;
    t->simd->col_exp(s + at, t->narrow ? rounded + at : NULL, t->scale, x->top + v * STEP, x->total + v * STEP,
                     weighs ? x->weighed + v * STEP : NULL, m->to[v] - m->from[v]);
  }
}

/* out += P V for the keys of a stretch. */
static void gather(const attention *t, const meeting *m, softmax *x, const float *s, const uint16_t *rounded, int64_t b,
                   int64_t kv) {
  const uint32_t *pairs = NULL;
  weights p;
  float buf[KEYS * SONDE_HEAD];
  rows32 v = {0};
  if (t->narrow) {
    pairs = (const uint32_t *)t->c->scratch + (b * t->kv + kv) * sonde_attention_paired_words(t) +
            m->at / 2 * t->width;
    sonde_attention_pack(t, m, rounded, &p);
  } else {
    v = sonde_attention_keys(t, IN_V, b, kv, m->at, m->keys, buf);
  }
  for (int64_t i = 0; i < m->n;) {
    const strip of = sonde_attention_query_strip(m, i);
    float *out = x->out + i * t->width;
    if (t->narrow) sonde_attention_weigh(t, &of, &p, pairs, out, t->width);
    else
      sonde_gemm_tile(1, 0, of.high - i, t->width, of.end - of.j, s + of.j * SONDE_BLOCK + i, SONDE_BLOCK,
                      v.at + of.j * v.ld, v.ld, 1, out, t->width);
    i = of.high;
  }
}

/* Asks for what finish writes. */
static void ask_result(const attention *t, int64_t b, int64_t h, int64_t first, int64_t n) {
  const sonde_call *c = t->c;
  const int64_t size = sonde_dtype_size(c->out_shape[0].dtype), at = ((b * t->tq + first) * t->heads + h) * t->width;
  if (c->out[0])
    sonde_attention_ask((const char *)c->out[0] + at * size, t->heads * t->width * size, t->width * size, n);
}

static void finish(const attention *t, softmax *x, int64_t b, int64_t h, int64_t first, int64_t n) {
  const sonde_call *c = t->c;
  float *const lse = c->out[1], *const entropy = c->n_out > 2 ? c->out[2] : NULL;
  for (int64_t i = 0; i < n; i++) {
    float *row = x->out + i * t->width;
    const int64_t at = ((b * t->tq + first + i) * t->heads + h) * t->width;
    const int64_t query = (b * t->heads + h) * t->tq + first + i;
    t->simd->common.scale(row, row, 1.0f / x->total[i], t->width);
    if (c->out[0] && c->out_shape[0].dtype == SONDE_F32)
      memcpy((float *)c->out[0] + at, row, (size_t)t->width * sizeof(float));
    else if (c->out[0]) t->simd->common.to_bf16((uint16_t *)c->out[0] + at, row, t->width);
    if (lse) lse[query] = t->scale * x->top[i] + logf(x->total[i]);
    if (entropy) entropy[query] = sonde_attention_entropy(x->total[i], x->weighed[i]);
  }
}

void sonde_attention_forward(const attention *t, int64_t b, int64_t h, int64_t first, int64_t n) {
  const int64_t kv = h / (t->heads / t->kv);
  uint32_t turned[SONDE_BLOCK * SONDE_HEAD];
  float s[KEYS * SONDE_BLOCK];
  uint16_t rounded[KEYS * SONDE_BLOCK];
  softmax x;
  view v;
  /* Not -infinity: a query may have met no key yet, and the difference of two infinities is none. */
  for (int64_t i = 0; i < SONDE_BLOCK; i++) x.top[i] = -1e30f, x.total[i] = x.weighed[i] = 0;
  memset(x.out, 0, (size_t)(n * t->width) * sizeof(float));
  sonde_attention_turn(t, IN_Q, b, h, first, n, turned);
  ask_result(t, b, h, first, n);
  sonde_attention_look(t, b, h, first, n, &v);
  if (t->narrow) t->narrow->begin();
  for (meeting m = {0}; sonde_attention_next(t, &v, &m);) {
    sonde_attention_scores(t, &m, IN_K, b, kv, turned, s);
    sonde_attention_cap(t, &m, s, NULL);
    sonde_attention_distance(t, &m, h, s);
    sonde_attention_mask(t, &v, &m, s);
    update(t, &m, &x, s, rounded);
    gather(t, &m, &x, s, rounded, b, kv);
  }
  if (t->narrow) t->narrow->end();
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
  if (dout[1] || dout[2]) return SONDE_EUNSUP;
  if (!dout[0]) return SONDE_OK;
  if (n_in > IN_MORE && sonde_node_shape(in[IN_MORE]).rank == 3) return SONDE_EUNSUP;
  sonde_node *args[SONDE_MAX_IN] = {in[0], in[1], in[2], self, sonde_result(self, 1), dout[0]};
  for (int k = IN_MORE; k < n_in; k++) args[IN_GRAD_MORE + k - IN_MORE] = in[k];
  din[0] = sonde_op(g, "attention_grad", args, IN_GRAD_MORE + n_in - IN_MORE, sonde_node_attr(self));
  din[1] = sonde_result(din[0], 1);
  din[2] = sonde_result(din[0], 2);
  return din[0] && din[1] && din[2] ? SONDE_OK : SONDE_ESHAPE;
}

static double pairs(const sonde_shape *in, int n_in, int more, const sonde_attr *at) {
  return sonde_attention_pairs(in, n_in, more, at, (double)in[IN_Q].dim[1], (double)in[IN_K].dim[1]);
}

static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)out;
  return pairs(in, n_in, IN_MORE, at) * (4.0 * (double)in[0].dim[3] + 4.0);
}

static double grad_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)out;
  return pairs(in, n_in, IN_GRAD_MORE, at) * (10.0 * (double)in[0].dim[3] + 6.0);
}

const sonde_op_def sonde_ops_attention[] = {
    {.size = sizeof(sonde_op_def),
     .name = "attention",
     .min_in = 3,
     .max_in = 6,
     .n_out = 3,
     .flags = SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT,
     .doc =
         "softmax(scale q k^T) v by head: q [B, T, H, Dh], k and v [B, Tk, KV, Dh] -> [B, T, H, Dh], "
         "log-sum-exp [B, H, T], and the entropy [B, H, T] in nats of each query's weights; only the first has a "
         "gradient. f0: scale (0: 1/sqrt(Dh)), "
         "f1: soft-cap c on scores, c tanh(scale q k / c) (0: none), "
         "i0: causal (query i sees keys to i + Tk - T), "
         "i1: window, own position included (0: all), i2: sinks, the first keys that a query sees beside its window, "
         "i3: keys of a block, counted from a query's first key, i4: stride s, a query sees its own block, the s-th "
         "one before that, the 2s-th and so on (0: all; with a window, these and the window). More inputs, with "
         "causal, each of which may be missing. "
         "Starts i32 [B, T]: query i sees no key in front of its start (its own key always), as in rows of several "
         "documents; or segments i32 [B, S, 4] of (first, length, parent, depth), T = Tk: the tokens of a segment see "
         "the first `depth` tokens of its parent's sequence (parent -1: none) and then its own; length 0: no segment; "
         "no gradient. Lists of blocks i32 [B, T, H, 1 + K]: a query's start (in place of starts), and the numbers of "
         "blocks that it sees, -1: none; its own key always (with a window, sinks or a stride, these too). "
         "Slopes f32 [H]: a score is less by the slope of its head times the distance of query and key, "
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
     .doc = "of attention: q, k, v, its result, its log-sum-exp, the upstream gradient, its starts, lists of blocks "
            "and slopes if it has any -> dq, dk, dv; attributes as attention; no gradient by the lists",
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
