/* rng_test.c - Philox against its published vectors, and the properties of what is built on it. */
#include "config.h"

#include <math.h>
#include "testing.h"
#include "base/rng.h"

/* Random123's kat_vectors, philox4x32 with 10 rounds: counter words are (index, stream), key words the seed. */
static void known_answers(void **state) {
  (void)state;
  static const struct { uint64_t seed, stream, index; uint32_t out[4]; } kat[] = {
    {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (int i = 0; i < 3; i++) {
    uint32_t out[4];
    sonde_rng_block((sonde_rng){kat[i].seed, kat[i].stream}, kat[i].index, out);
    assert_memory_equal(out, kat[i].out, sizeof out);
  }
}

static void streams_differ_by_name_and_seed(void **state) {
  (void)state;
  static const char *const name[] = {"", "a", "b", "init/blocks.0.wq", "init/blocks.1.wq", "data", "dropout",
                                     "sampling"};
  enum { N = sizeof name / sizeof name[0] };
  uint64_t first[2 * N];
  for (int i = 0; i < 2 * N; i++) first[i] = sonde_rng_u64(sonde_rng_stream((uint64_t)(i / N), name[i % N]), 0);
  for (int i = 0; i < 2 * N; i++)
    for (int k = 0; k < i; k++) assert_int_not_equal(first[i], first[k]);
}

static void uniform_is_in_range_and_flat(void **state) {
  (void)state;
  enum { N = 100000, BINS = 20 };
  sonde_rng r = sonde_rng_stream(5, "u");
  int bin[BINS] = {0};
  for (int i = 0; i < N; i++) {
    double u = sonde_rng_uniform(r, (uint64_t)i);
    assert_true(u >= 0 && u < 1);
    bin[(int)(u * BINS)]++;
  }
  double chi2 = 0, want = (double)N / BINS;
  for (int i = 0; i < BINS; i++) chi2 += (bin[i] - want) * (bin[i] - want) / want;
  assert_true(chi2 < 43.8);   /* 19 degrees of freedom, p = 0.001 */
}

/* A fill in pieces, from any offset, gives the same bits as one fill. */
static void fills_do_not_depend_on_the_cut(void **state) {
  (void)state;
  enum { N = 1013 };
  sonde_rng r = sonde_rng_stream(9, "w");
  static float whole[2][N], part[2][N];
  sonde_rng_fill_normal(r, 3, whole[0], N, 1, 2, 0);
  sonde_rng_fill_normal(r, 3, whole[1], N, 0, 0.02f, 1);
  for (int64_t i = 0, n = 1; i < N; i += n, n = n % 7 + 1) {
    if (n > N - i) n = N - i;
    sonde_rng_fill_normal(r, 3 + (uint64_t)i, part[0] + i, n, 1, 2, 0);
    sonde_rng_fill_normal(r, 3 + (uint64_t)i, part[1] + i, n, 0, 0.02f, 1);
  }
  assert_memory_equal(whole, part, sizeof whole);
}

static void moments(const float *x, int n, double *mean, double *sd, double *kurtosis) {
  double m = 0, v = 0, k = 0;
  for (int i = 0; i < n; i++) m += x[i];
  m /= n;
  for (int i = 0; i < n; i++) v += (x[i] - m) * (x[i] - m);
  v /= n;
  for (int i = 0; i < n; i++) k += pow((x[i] - m), 4);
  *mean = m, *sd = sqrt(v), *kurtosis = k / n / (v * v);
}

static void normal_fill_has_normal_moments(void **state) {
  (void)state;
  enum { N = 200000 };
  float *x = malloc(N * sizeof *x);
  double mean, sd, kurtosis;
  sonde_rng_fill_normal(sonde_rng_stream(3, "n"), 0, x, N, 0.5f, 2, 0);
  moments(x, N, &mean, &sd, &kurtosis);
  assert_true(fabs(mean - 0.5) < 4 * 2 / sqrt(N));
  assert_true(fabs(sd - 2) < 4 * 2 / sqrt(2.0 * N));
  assert_true(fabs(kurtosis - 3) < 4 * sqrt(24.0 / N));
  double lag = 0;   /* neighbours come from one block and must not be correlated */
  for (int i = 0; i + 1 < N; i++) lag += (x[i] - 0.5) * (x[i + 1] - 0.5) / 4;
  assert_true(fabs(lag / N) < 4 / sqrt(N));
  free(x);
}

/* Standard deviation of a normal cut at t: sqrt(1 - 2 t phi(t) / (2 Phi(t) - 1)). */
static void truncation_keeps_the_shape(void **state) {
  (void)state;
  enum { N = 200000 };
  static const float bound[] = {0.001f, 0.5f, 1, 1.5f, 2, 3};
  float *x = malloc(N * sizeof *x);
  for (int b = 0; b < 6; b++) {
    double t = bound[b], mean, sd, kurtosis;
    double want = sqrt(1 - 2 * t * exp(-t * t / 2) / sqrt(2 * M_PI) / erf(t / M_SQRT2));
    sonde_rng_fill_normal(sonde_rng_stream(3, "t"), 0, x, N, 0, 1, bound[b]);
    for (int i = 0; i < N; i++) assert_true(fabsf(x[i]) <= bound[b]);
    moments(x, N, &mean, &sd, &kurtosis);
    assert_true(fabs(mean) < 5 * want / sqrt(N));
    assert_true(fabs(sd / want - 1) < 0.01);
  }
  free(x);
}

static void permutation_is_a_bijection(void **state) {
  (void)state;
  static const uint64_t size[] = {1, 2, 3, 5, 63, 64, 65, 255, 256, 257, 1000, 4096, 10007};
  for (size_t s = 0; s < sizeof size / sizeof size[0]; s++) {
    uint64_t n = size[s];
    char *seen = calloc(n, 1);
    for (uint64_t i = 0; i < n; i++) {
      uint64_t at = sonde_rng_permute(sonde_rng_stream(s, "data"), n, i);
      assert_true(at < n);
      assert_int_equal(seen[at]++, 0);
    }
    free(seen);
  }
}

static void permutation_of_a_huge_range(void **state) {
  (void)state;
  static const uint64_t size[] = {(uint64_t)1 << 32, ((uint64_t)1 << 62) + 3, UINT64_MAX};
  for (int s = 0; s < 3; s++) {
    uint64_t last = sonde_rng_permute(sonde_rng_stream(1, "data"), size[s], size[s] - 1);
    uint64_t first = sonde_rng_permute(sonde_rng_stream(1, "data"), size[s], 0);
    assert_true(last < size[s] && first < size[s] && first != last);
  }
}

/* Over many seeds, each order of three comes up about equally often. */
static void permutation_is_not_biased(void **state) {
  (void)state;
  enum { SEEDS = 6000 };
  int count[3][3] = {{0}}, order[27] = {0};
  for (uint64_t seed = 0; seed < SEEDS; seed++) {
    uint64_t at[3];
    for (uint64_t i = 0; i < 3; i++) {
      at[i] = sonde_rng_permute(sonde_rng_stream(seed, "data"), 3, i);
      count[i][at[i]]++;
    }
    order[at[0] * 9 + at[1] * 3 + at[2]]++;
  }
  for (int i = 0; i < 9; i++) assert_true(abs(count[i / 3][i % 3] - SEEDS / 3) < 160);   /* 4.4 sigma */
  int orders = 0;
  for (int i = 0; i < 27; i++)
    if (order[i]) orders++, assert_true(abs(order[i] - SEEDS / 6) < 130);
  assert_int_equal(orders, 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(known_answers),
    cmocka_unit_test(streams_differ_by_name_and_seed),
    cmocka_unit_test(uniform_is_in_range_and_flat),
    cmocka_unit_test(fills_do_not_depend_on_the_cut),
    cmocka_unit_test(normal_fill_has_normal_moments),
    cmocka_unit_test(truncation_keeps_the_shape),
    cmocka_unit_test(permutation_is_a_bijection),
    cmocka_unit_test(permutation_of_a_huge_range),
    cmocka_unit_test(permutation_is_not_biased),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
