/* sample.c - see sample.h. Passes over the whole vocabulary are vectors or plain sums: a token of a small model is
 * computed in a millisecond, and sorting 32,000 logits takes five. */
#include "config.h"
#include "tensor/tensor.h"
#include "train/sample.h"

#include <math.h>

#include "cpu/simd.h"

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

/* Whether token x comes before y: the larger logit first, of equal ones the smaller token. */
static inline int before(const float *logits, int32_t x, int32_t y) {
  return logits[x] > logits[y] || (x < y && logits[x] == logits[y]);
}

/* Moves the fewest first tokens whose worth is `want` together to the front of c.token [n], the last of them behind the
 * others, and returns how many they are. Worth is the weight, or 1 (by_count). A quickselect: each pivot parts the
 * tokens that are still in question, so that the work is a few times n, where sorting is n log n. */
static int64_t select_first(const float *logits, sonde_candidates c, int64_t n, double want, int by_count) {
  int64_t low = 0, high = n;
  double sure = 0;             /* the worth of [0, low) */
  while (low < high) {
    int64_t mid = low;
    int32_t pivot = c.token[low + (high - low) / 2];
    double worth = 0, last = by_count ? 1 : (double)c.weight[pivot];
    for (int64_t k = low; k < high; k++) {
      int32_t x = c.token[k];
      if (!before(logits, x, pivot)) continue;
      c.token[k] = c.token[mid], c.token[mid++] = x;
      worth += by_count ? 1 : (double)c.weight[x];
    }
    if (sure + worth >= want && mid > low) {
      high = mid;
      continue;
    }
    for (int64_t k = mid; k < high; k++)
      if (c.token[k] == pivot) c.token[k] = c.token[mid], c.token[mid] = pivot;
    low = mid + 1;
    sure += worth + last;
    if (sure >= want) return low;
  }
  return n;
}

/* Draws among the first that top_k and top_p leave, in the order of the tokens. */
static int32_t draw_first(const float *logits, int64_t vocab, const sonde_sampling *s, double u, sonde_candidates c) {
  double kept = 0;
  int64_t n = vocab;
  for (int64_t k = 0; k < vocab; k++) c.token[k] = (int32_t)k;
  if (s->top_k > 0 && s->top_k < vocab) n = select_first(logits, c, vocab, (double)s->top_k, 1);
  for (int64_t k = 0; k < n; k++) kept += (double)c.weight[c.token[k]];
  if (s->top_p < 1) {
    n = select_first(logits, c, n, s->top_p * kept, 0);
    kept = 0;
    for (int64_t k = 0; k < n; k++) kept += (double)c.weight[c.token[k]];
  }
  int32_t last = c.token[n - 1], drawn = last;
  double left = u * kept;
  for (int32_t x = 0; x < vocab && left >= 0; x++)
    if (!before(logits, last, x)) left -= (double)c.weight[x], drawn = x;
  return drawn;
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
  if (!sonde_all_finite(logits, vocab)) return -1;
  if (s->temperature <= 0) {
    while (logits[first] < top) first++;
    return first;
  }
  weigh(scratch.weight, logits, vocab, top, s->temperature);
  double u = sonde_rng_uniform(rng, index);
  int whole = (s->top_k <= 0 || s->top_k >= vocab) && s->top_p >= 1;
  return whole ? draw_any(scratch.weight, vocab, u) : draw_first(logits, vocab, s, u, scratch);
}

double sonde_log_sum_exp(const float *logits, int64_t vocab, float *weight) {
  if (!sonde_all_finite(logits, vocab)) return NAN;
  float top = sonde_simd_get()->common.max(logits, vocab);
  weigh(weight, logits, vocab, top, 1);
  return (double)top + log(total_of(weight, vocab));
}

void sonde_likeliest(const float *logits, int64_t vocab, int64_t k, int32_t *token) {
  int64_t n = 0;
  for (int64_t x = 0; x < vocab; x++) {
    if (n == k && (!k || !before(logits, (int32_t)x, token[k - 1]))) continue;
    int64_t at = n < k ? n++ : k - 1;
    for (; at > 0 && before(logits, (int32_t)x, token[at - 1]); at--) token[at] = token[at - 1];
    token[at] = (int32_t)x;
  }
}
