/* sample.c - see sample.h. Passes over the whole vocabulary are vectors or plain sums: a token of a small model is computed in
 * a millisecond, and sorting 32,000 logits takes four. */
#include "config.h"
#include "train/sample.h"

#include <math.h>
#include <stdlib.h>

#include "cpu/simd.h"

static int all_finite(const float *x, int64_t n) {
  int finite = 1;
  for (int64_t k = 0; k < n; k++) finite &= fabsf(x[k]) <= 3.402823466e38f;
  return finite;
}

/* weight = exp((logit - top) / temperature): 1 for the largest. */
static void weigh(float *weight, const float *logits, int64_t n, float top, double temperature) {
  for (int64_t k = 0; k < n; k++) weight[k] = (float)(((double)logits[k] - (double)top) / temperature);
  sonde_simd_get()->exp_sum(weight, weight, 0, n);
}

/* Several sums, so that none waits for another. */
static double total_of(const float *x, int64_t n) {
  enum { SUMS = 8 };
  double sum[SUMS] = {0}, total = 0;
  int64_t k = 0;
  for (; k + SUMS <= n; k += SUMS)
    for (int j = 0; j < SUMS; j++) sum[j] += (double)x[k + j];
  for (; k < n; k++) total += (double)x[k];
  for (int j = 0; j < SUMS; j++) total += sum[j];
  return total;
}

static int by_logit(const void *a, const void *b, void *arg) {
  const float *logits = arg;
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return logits[x] > logits[y] ? -1 : logits[x] < logits[y] ? 1 : x < y ? -1 : x > y;
}

/* Lists the heaviest tokens, the heaviest first: at least top_k of them, or else those that hold top_p of the total. Only as
 * many are sorted as the threshold that is low enough lets through. Returns how many. */
static int64_t heaviest(const float *logits, int64_t vocab, const sonde_sampling *s, double total, sonde_candidates c) {
  int64_t n = 0;
  for (float threshold = 1.0f / 16;; threshold = threshold > 1e-30f ? threshold / 16 : 0) {
    double mass = 0;
    n = 0;
    for (int64_t k = 0; k < vocab; k++)
      if (c.weight[k] >= threshold) mass += (double)c.weight[k], c.token[n++] = (int32_t)k;
    if (n == vocab || threshold <= 0 || (s->top_k > 0 ? n >= s->top_k : mass >= s->top_p * total)) break;
  }
  qsort_r(c.token, (size_t)n, sizeof *c.token, by_logit, (void *)(uintptr_t)logits);
  return n;
}

/* Draws among the heaviest that top_k and top_p leave. */
static int32_t draw_heaviest(const float *logits, int64_t vocab, const sonde_sampling *s, double u, sonde_candidates c) {
  double total = total_of(c.weight, vocab), kept = 0;
  int64_t n = heaviest(logits, vocab, s, total, c), m = 0;
  if (s->top_k > 0) {
    n = n < s->top_k ? n : s->top_k;
    total = 0;
    for (int64_t k = 0; k < n; k++) total += (double)c.weight[c.token[k]];
  }
  while (m < n && (m == 0 || s->top_p >= 1 || kept < s->top_p * total)) kept += (double)c.weight[c.token[m++]];
  double left = u * kept;
  for (int64_t k = 0; k < m - 1; k++)
    if ((left -= (double)c.weight[c.token[k]]) < 0) return c.token[k];
  return c.token[m - 1];
}

static int32_t draw_any(const float *weight, int64_t vocab, double u) {
  double left = u * total_of(weight, vocab);
  for (int64_t k = 0; k < vocab - 1; k++)
    if ((left -= (double)weight[k]) < 0) return (int32_t)k;
  return (int32_t)vocab - 1;
}

int32_t sonde_sample(const float *logits, int64_t vocab, const sonde_sampling *s, sonde_rng rng, uint64_t index,
                     sonde_candidates scratch) {
  float top = sonde_simd_get()->common.max(logits, vocab);
  int32_t first = 0;
  if (!all_finite(logits, vocab)) return -1;
  if (s->temperature <= 0) {
    while (logits[first] < top) first++;
    return first;
  }
  weigh(scratch.weight, logits, vocab, top, s->temperature);
  double u = sonde_rng_uniform(rng, index);
  int whole = (s->top_k <= 0 || s->top_k >= vocab) && s->top_p >= 1;
  return whole ? draw_any(scratch.weight, vocab, u) : draw_heaviest(logits, vocab, s, u, scratch);
}
