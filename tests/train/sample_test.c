/* sample_test.c - drawn tokens against the definition, worked out in double precision from the same random number. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "train/sample.h"

enum { VOCAB = 1000, DRAWS = 200 };

static float logits[VOCAB], weight[VOCAB];
static int32_t token[VOCAB];

static int32_t sample(int64_t vocab, double temperature, int64_t top_k, double top_p, uint64_t index) {
  sonde_sampling s = {temperature, top_k, top_p};
  return sonde_sample(logits, vocab, &s, sonde_rng_stream(7, "test"), index, (sonde_candidates){weight, token});
}

static int by_logit(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return logits[x] > logits[y] ? -1 : logits[x] < logits[y] ? 1 : x - y;
}

/* Sorts all; keeps k of them, then the fewest that hold p of what is left; draws among these in the order of the
 * tokens. */
static int32_t by_definition(double temperature, int64_t top_k, double top_p, double u) {
  int order[VOCAB], kept[VOCAB] = {0}, n = VOCAB, m = 0, drawn = 0;
  double p[VOCAB], total = 0, mass = 0, at = 0;
  for (int k = 0; k < VOCAB; k++) order[k] = k;
  qsort(order, VOCAB, sizeof *order, by_logit);
  if (top_k && top_k < n) n = (int)top_k;
  for (int k = 0; k < VOCAB; k++) p[k] = exp(((double)logits[k] - 9) / temperature);
  for (int k = 0; k < n; k++) total += p[order[k]];
  while (m < n && (top_p >= 1 || mass < top_p * total)) kept[order[m]] = 1, mass += p[order[m++]];
  for (int k = 0; k < VOCAB; k++) {
    if (!kept[k]) continue;
    drawn = k;
    if ((at += p[k]) > u * mass) break;
  }
  return drawn;
}

static void make_logits(float spread) {
  sonde_rng rng = sonde_rng_stream(3, "logits");
  for (uint64_t k = 0; k < VOCAB; k++) logits[k] = spread * (float)(sonde_rng_uniform(rng, k) - 0.5);
  logits[123] = logits[77];
  logits[500] = logits[501] = spread;
}

static void draws_follow_the_definition(void **state) {
  (void)state;
  const double temperatures[] = {0.3, 1, 4};
  const struct { int64_t k; double p; } kept[] = {{0, 1}, {1, 1}, {7, 1}, {999, 1}, {1000, 1}, {0, 0.2}, {0, 0.9},
                                                  {0, 0.9999}, {40, 0.5}};
  sonde_rng rng = sonde_rng_stream(7, "test");
  for (int spread = 1; spread <= 16; spread *= 4) {
    make_logits((float)spread);
    for (size_t t = 0; t < sizeof temperatures / sizeof *temperatures; t++)
      for (size_t q = 0; q < sizeof kept / sizeof *kept; q++) {
        int other = 0;
        for (uint64_t i = 0; i < DRAWS; i++) {
          double u = sonde_rng_uniform(rng, i);
          other += sample(VOCAB, temperatures[t], kept[q].k, kept[q].p, i) !=
                   by_definition(temperatures[t], kept[q].k, kept[q].p, u);
        }
        /* exp is good to 2 ulp: a random number within 1e-6 of a border may fall on either side */
        if (other > 4)
          fail_msg("spread %d, temperature %g, top_k %d, top_p %g: %d of %d draws are other tokens", spread,
                   temperatures[t], (int)kept[q].k, kept[q].p, other, DRAWS);
      }
  }
}

static void greedy_takes_the_first_of_the_largest(void **state) {
  (void)state;
  make_logits(4);
  assert_int_equal(sample(VOCAB, 0, 0, 1, 0), 500);
  assert_int_equal(sample(VOCAB, 0, 5, 0.1, 0), 500);
  for (uint64_t i = 0; i < 50; i++) {
    assert_int_equal(sample(VOCAB, 1e-300, 1, 1, i), 500);
    assert_in_range(sample(VOCAB, 1e-300, 0, 1, i), 500, 501);
    assert_in_range(sample(VOCAB, 1e-3, 0, 0.999, i), 500, 501);
  }
  for (int k = 0; k < VOCAB; k++) logits[k] = -3;
  assert_int_equal(sample(VOCAB, 0, 0, 1, 0), 0);
  assert_int_equal(sample(1, 1, 0, 1, 0), 0);
  assert_int_equal(sample(1, 1, 3, 0.5, 0), 0);
}

static void logits_that_are_not_finite_are_refused(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY};
  const double temperatures[] = {0, 1};
  for (int v = 0; v < 3; v++)
    for (int t = 0; t < 2; t++)
      for (int at = 0; at < VOCAB; at += 333) {
        make_logits(4);
        logits[at] = bad[v];
        assert_int_equal(sample(VOCAB, temperatures[t], 0, 1, 0), -1);
        assert_int_equal(sample(VOCAB, temperatures[t], 5, 0.5, 0), -1);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(draws_follow_the_definition),
      cmocka_unit_test(greedy_takes_the_first_of_the_largest),
      cmocka_unit_test(logits_that_are_not_finite_are_refused),
  };
  return cmocka_run_group_tests_name("sampling", tests, NULL, NULL);
}
