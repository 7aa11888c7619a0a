/* kit_sparsity.c - checks of a sparsity method, on a few small matrices with inputs and gradients made for them. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "graph/graph.h"
#include "plugin/host.h"
#include "plugin/kit.h"
#include "plugin/sparsity.h"

enum { MOST = 40 * 24, WIDEST = 40, TOKENS = 96, FENCE = 64, BATCHES = 3 };
static const float FENCED = 12345.678f;

/* What matrices the checks are made with: the kit's places for a method. */
static const sonde_parameter matrices[] = {
    {sizeof matrices[0], SONDE_ROLE_FFN_IN, "model.layers.0.mlp.up_proj.weight", {SONDE_F32, 2, {40, 24, 1, 1, 1}}},
    {sizeof matrices[0], SONDE_ROLE_FFN_OUT, "model.layers.0.mlp.down_proj.weight", {SONDE_F32, 2, {24, 40, 1, 1, 1}}},
    {sizeof matrices[0], SONDE_ROLE_ATTN_OUT, "model.layers.1.self_attn.o_proj.weight",
     {SONDE_F32, 2, {1, 8, 1, 1, 1}}},
};

/* A matrix with what may be known of it, and room for what a method writes; FENCE numbers of a known value around. */
typedef struct sample {
  float w[MOST], norm[WIDEST], gram[WIDEST * WIDEST], gradient[MOST];
  float sum[FENCE + MOST + FENCE], score[FENCE + MOST + FENCE], pruned[FENCE + MOST + FENCE];
  uint8_t keep[FENCE + MOST + FENCE];
  sonde_call call;
  sonde_sparse s;
  int64_t n;
} sample;

static const sonde_sparsity *functions(const kit *k) { return k->entry->plugin ? k->entry->plugin->functions : NULL; }
static int prunes(const kit *k) { return functions(k) && functions(k)->prune; }

static void fence(float *x, int64_t n) {
  for (int64_t j = 0; j < FENCE; j++) x[j] = x[FENCE + n + j] = FENCED;
}

/* Inputs with neighbours that go together, the last `dead` of them always 0. */
static void measure(sample *m, int dead) {
  static float x[TOKENS * WIDEST];
  sonde_rng rng = sonde_rng_stream(5, "inputs");
  const int64_t in = m->s.in;
  sonde_rng_fill_normal(rng, 0, x, TOKENS * in, 0, 1, 0);
  for (int64_t t = 0; t < TOKENS; t++)
    for (int64_t j = 0; j < in; j++)
      x[t * in + j] = j >= in - dead ? 0 : (1 + (float)(j % 5)) * (x[t * in + j] + (j ? 0.5f * x[t * in + j - 1] : 0));
  for (int64_t i = 0; i < in; i++)
    for (int64_t j = 0; j < in; j++) {
      double sum = 0;
      for (int64_t t = 0; t < TOKENS; t++) sum += (double)x[t * in + i] * (double)x[t * in + j];
      m->gram[i * in + j] = (float)sum;
      if (i == j) m->norm[i] = (float)sqrt(sum);
    }
}

static void gather(const kit *k, const sonde_value *values, sample *m, int batches) {
  sonde_rng rng = sonde_rng_stream(5, "gradients");
  sonde_sparse s = m->s;
  s.norm = s.gram = s.gathered = NULL;
  for (int b = 0; b < batches; b++) {
    sonde_rng_fill_normal(rng, (uint64_t)(b * MOST), m->gradient, m->n, 0, 1, 0);
    functions(k)->gather(&s, values, m->gradient, 0.5, m->sum + FENCE);
  }
}

/* The matrix of k->place with other numbers for each `number`, and what the method needs of it. */
static void make(const kit *k, const sonde_value *values, sonde_pool *pool, int number, int dead, sample *m) {
  const sonde_sparsity *f = functions(k);
  const sonde_parameter *is = &matrices[k->place];
  memset(m, 0, sizeof *m);
  m->n = is->shape.dim[0] * is->shape.dim[1];
  sonde_rng_fill_normal(sonde_rng_stream(5, "weights"), (uint64_t)(number * MOST), m->w, m->n, 0, 1, 0);
  m->call = (sonde_call){.size = sizeof m->call, .host = sonde_host_table(), .pool = pool};
  m->s = (sonde_sparse){.size = sizeof m->s, .parameter = is, .out = is->shape.dim[0], .in = is->shape.dim[1],
                        .w = m->w, .tokens = TOKENS, .seed = 7, .call = &m->call, .sparsity = 0.5};
  measure(m, dead);
  fence(m->sum, m->n), fence(m->score, m->n), fence(m->pruned, m->n);
  memset(m->keep, 0xa7, sizeof m->keep);
  if (f && f->gather) gather(k, values, m, BATCHES);
  if (!f || f->needs & SONDE_NEEDS_NORM) m->s.norm = m->norm;
  if (!f || f->needs & SONDE_NEEDS_GRAM) m->s.gram = m->gram;
  if (!f || f->gather) m->s.gathered = m->sum + FENCE;
}

/* Scores it, or prunes a copy. 0 or a code. */
static int apply(const kit *k, const sonde_value *values, sample *m, sonde_error *err) {
  const sonde_sparsity *f = functions(k);
  if (!f) return k->opts.score(k->opts.user, k->entry, &m->s, values, m->score + FENCE, err);
  if (f->score) return f->score(&m->s, values, m->score + FENCE, err);
  memcpy(m->pruned + FENCE, m->w, (size_t)m->n * sizeof *m->w);
  return f->prune(&m->s, values, m->pruned + FENCE, m->keep + FENCE, err);
}

static const float *result(const kit *k, const sample *m) { return (prunes(k) ? m->pruned : m->score) + FENCE; }

static uint64_t bits_of(const float *x, int64_t n, uint64_t bits) {
  const unsigned char *b = (const unsigned char *)x;
  for (size_t j = 0; j < (size_t)n * sizeof *x; j++) bits = (bits ^ b[j]) * 0x100000001b3u;
  return bits;
}

static int apply_bits(kit *k, const sonde_value *values, uint64_t *bits, sonde_error *err) {
  sample m;
  make(k, values, k->ctx->pool, 0, 0, &m);
  int code = apply(k, values, &m, err);
  *bits = bits_of(result(k, &m), m.n, *bits);
  return code;
}

/* ---- the checks ------------------------------------------------------------------------------------------------ */

static int is_finite(kit *k, sample *m) {
  sonde_error err = {0};
  if (apply(k, k->values, m, &err)) return kit_fail(k, "it refuses: %.600s", *err.text ? err.text : "without a reason");
  for (int64_t j = 0; j < m->n; j++)
    if (!isfinite(result(k, m)[j]))
      return kit_fail(k, "%s %lld is not finite", prunes(k) ? "weight" : "the score of weight", (long long)j + 1);
  return SONDE_PASS;
}

static int check_run(kit *k) {
  sample m;
  make(k, k->values, k->ctx->pool, 0, 0, &m);
  return is_finite(k, &m);
}

/* Inputs that are 0 on all of the text. */
static int check_dead(kit *k) {
  sample m;
  make(k, k->values, k->ctx->pool, 0, 3, &m);
  return is_finite(k, &m);
}

static int check_effect(kit *k) {
  sample m;
  make(k, k->values, k->ctx->pool, 0, 0, &m);
  if (is_finite(k, &m)) return SONDE_FAIL;
  const float *x = result(k, &m);
  for (int64_t j = 1; j < m.n; j++)
    if (x[j] != x[0]) return SONDE_PASS;
  return k->place == 2 ? SONDE_PASS : kit_fail(k, "all weights have one score");   /* a method may score whole rows */
}

/* What is left of a matrix by several patterns, when the method prunes. */
static int check_pattern(kit *k) {
  static const sonde_sparse_pattern patterns[] = {{0.5, 0, 0}, {0.25, 0, 0}, {0, 2, 4}, {0, 1, 8}, {0, 4, 4}};
  if (!prunes(k)) return kit_skip(k, "its scores are compared by the host");
  for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++) {
    sample m;
    sonde_error err = {0};
    float mask[MOST];
    int64_t out = 0;
    make(k, k->values, k->ctx->pool, 0, 0, &m);
    m.s.sparsity = patterns[p].sparsity, m.s.keep = patterns[p].keep, m.s.group = patterns[p].group;
    for (int64_t j = 0; j < m.n; j++) mask[j] = 1;
    if (sonde_sparsity_prune(functions(k), &m.s, k->values, m.pruned + FENCE, mask, &err))
      return kit_fail(k, "%.600s", err.text);
    for (int64_t j = 0; j < m.n; j++) out += mask[j] == 0;
    const double share = m.s.group ? 1 - (double)m.s.keep / m.s.group : m.s.sparsity, slack = m.s.group ? 0 : 0.02;
    if (fabs((double)out / (double)m.n - share) > slack + 0.5 / (double)m.n)
      return kit_fail(k, "of %lld weights %lld are out, where %g of them must be", (long long)m.n,
                      (long long)out, share);
  }
  return SONDE_PASS;
}

/* A second gathering adds as much again. */
static int check_gather(kit *k) {
  sample once, twice;
  if (!functions(k) || !functions(k)->gather) return kit_skip(k, "it looks at no gradients");
  make(k, k->values, k->ctx->pool, 0, 0, &once);
  make(k, k->values, k->ctx->pool, 0, 0, &twice);
  gather(k, k->values, &twice, BATCHES);
  for (int64_t j = 0; j < once.n; j++) {
    const double a = once.sum[FENCE + j], b = twice.sum[FENCE + j];
    if (!(fabs(b - 2 * a) <= 1e-4 * (1 + fabs(a))))
      return kit_fail(k, "gathering the same gradients twice gives %g and not 2 times %g: it must add to the sum",
                      b, a);
  }
  return SONDE_PASS;
}

static int bits_with(kit *k, int threads, uint64_t *bits) {
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(threads, &err);
  sample m;
  if (!ctx) return kit_fail(k, "%s", err.text);
  make(k, k->values, ctx->pool, 0, 0, &m);
  int code = apply(k, k->values, &m, &err);
  *bits = bits_of(result(k, &m), m.n, 1);
  sonde_ctx_free(ctx);
  return code ? kit_fail(k, "%.600s", err.text) : SONDE_PASS;
}

static int check_thread_bits(kit *k) {
  uint64_t first = 0, bits = 0;
  if (bits_with(k, 1, &first)) return SONDE_FAIL;
  for (int threads = 2; threads <= 5; threads++)
    for (int schedule = 0; schedule < 3; schedule++) {
      /* Real threads may by luck take their tiles in turn; these schedules do not depend on luck. */
      if (schedule) sonde_host_rehearse(threads, schedule - 1);
      int outcome = bits_with(k, schedule ? 1 : threads, &bits);
      sonde_host_rehearse(0, 0);
      if (outcome) return outcome;
      if (bits != first) return kit_fail(k, "other bits with %d threads than with one", threads);
    }
  return SONDE_PASS;
}

/* Another matrix in between must not show, and neither what the room for the result held. */
static int check_again(kit *k) {
  sample first, other, again;
  sonde_error err = {0};
  make(k, k->values, k->ctx->pool, 0, 0, &first);
  if (is_finite(k, &first)) return SONDE_FAIL;
  make(k, k->values, k->ctx->pool, 1, 0, &other);
  if (apply(k, k->values, &other, &err)) return kit_fail(k, "%.600s", err.text);
  make(k, k->values, k->ctx->pool, 0, 0, &again);
  for (int64_t j = 0; j < again.n; j++) again.score[FENCE + j] = 51015;
  if (is_finite(k, &again)) return SONDE_FAIL;
  if (memcmp(result(k, &first), result(k, &again), (size_t)first.n * sizeof(float)))
    return kit_fail(k, "the same matrix gets another result the second time: something is kept outside the arguments");
  return SONDE_PASS;
}

static int outside(const float *x, int64_t n) {
  for (int64_t j = 0; j < FENCE; j++)
    if (x[j] != FENCED || x[FENCE + n + j] != FENCED) return 1;
  return 0;
}

static int check_fences(kit *k) {
  sample m, before;
  make(k, k->values, k->ctx->pool, 0, 0, &m);
  before = m;
  if (is_finite(k, &m)) return SONDE_FAIL;
  if (outside(m.score, m.n)) return kit_fail(k, "it writes outside the scores");
  if (outside(m.pruned, m.n)) return kit_fail(k, "it writes outside the pruned matrix");
  if (outside(m.sum, m.n)) return kit_fail(k, "it gathers outside the sum");
  for (int64_t j = 0; j < FENCE; j++)
    if (m.keep[j] != 0xa7 || m.keep[FENCE + m.n + j] != 0xa7) return kit_fail(k, "it writes outside the mask");
  if (memcmp(m.w, before.w, sizeof m.w)) return kit_fail(k, "it changes the weights that it is given");
  if (memcmp(m.norm, before.norm, sizeof m.norm) || memcmp(m.gram, before.gram, sizeof m.gram))
    return kit_fail(k, "it changes what is known of the inputs");
  if (memcmp(m.sum, before.sum, sizeof m.sum)) return kit_fail(k, "scoring changes what was gathered");
  return SONDE_PASS;
}

static int check_lost(kit *k) {
  sample m;
  kit_memory seen = {0};
  sonde_error err = {0};
  for (int round = 0; round < KIT_ROUNDS; round++) {
    make(k, k->values, k->ctx->pool, 0, 0, &m);
    if (apply(k, k->values, &m, &err)) return kit_fail(k, "%.600s", err.text);
    kit_memory_look(&seen, round);
  }
  if (functions(k) && kit_memory_lost(&seen))
    return kit_fail(k, "it loses memory: %lld bytes with each matrix", (long long)kit_memory_lost(&seen));
  return SONDE_PASS;
}

static double score_ms(const kit *k) {
  enum { RUNS = 400 };
  sample m;
  sonde_error err = {0};
  make(k, k->values, k->ctx->pool, 0, 0, &m);
  double start = kit_now_ms();
  for (int r = 0; r < RUNS; r++)
    if (apply(k, k->values, &m, &err)) return -1;
  return kit_now_ms() - start;
}

static const kit_named checks[] = {
    {"schema", check_schema, KIT_ONCE, 0},
    {"run", check_run, KIT_VARIANTS, 1},
    {"options", check_options, KIT_ONCE, 0},
    {"effect", check_effect, KIT_VARIANTS, 0},
    {"dead", check_dead, KIT_VARIANTS, 0},
    {"pattern", check_pattern, KIT_VARIANTS, 0},
    {"gather", check_gather, KIT_PLACES, 0},
    {"threads", check_thread_bits, KIT_PLACES, 0},
    {"reload", check_again, KIT_PLACES, 0},
    {"guards", check_fences, KIT_VARIANTS, 0},
    {"leaks", check_lost, KIT_ONCE, 0},
    {NULL, NULL, KIT_ONCE, 0},
};

/* In the order of the matrices. */
static const kit_place places[] = {
    {.text = "matrix = model.layers.0.mlp.up_proj.weight [40, 24]"},
    {.text = "matrix = model.layers.0.mlp.down_proj.weight [24, 40]"},
    {.text = "matrix = model.layers.1.self_attn.o_proj.weight [1, 8]"},
};
_Static_assert(sizeof places / sizeof places[0] == sizeof matrices / sizeof matrices[0], "a place for each matrix");

const kit_kind kit_sparsity = {
    .checks = checks,
    .place = places,
    .places = sizeof places / sizeof places[0],
    .bits = apply_bits,
    .ms = score_ms,
    .work = "400 matrices [40, 24]",
};
