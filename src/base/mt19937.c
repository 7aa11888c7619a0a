/* mt19937.c - see mt19937.h. */
#include "config.h"
#include "base/mt19937.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { N = 624, M = 397, CHUNK = 1000, BITS = 32 };

/* ---- the generator ----------------------------------------------------------------------------------- */

static void start(sonde_mt *m, uint32_t seed) {
  m->state[0] = seed;
  for (uint32_t i = 1; i < N; i++)
    m->state[i] = 1812433253u * (m->state[i - 1] ^ (m->state[i - 1] >> 30)) + i;
  m->at = N;
}

/* init_by_array of the seed's words. */
void sonde_mt_seed(sonde_mt *m, uint64_t seed) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> BITS)};
  const uint32_t words = key[1] ? 2 : 1;
  uint32_t i = 1, j = 0, *s = m->state;
  start(m, 19650218u);
  for (int k = 0; k < N; k++) {
    s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + key[j] + j;
    if (++i == N) s[0] = s[N - 1], i = 1;
    if (++j == words) j = 0;
  }
  for (int k = 0; k < N - 1; k++) {
    s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - i;
    if (++i == N) s[0] = s[N - 1], i = 1;
  }
  s[0] = 0x80000000u;
}

static void turn(sonde_mt *m) {
  uint32_t *s = m->state;
  for (int k = 0; k < N; k++) {
    uint32_t y = (s[k] & 0x80000000u) | (s[(k + 1) % N] & 0x7fffffffu);
    s[k] = s[(k + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
  }
  m->at = 0;
}

static uint32_t next_word(sonde_mt *m) {
  if (m->at >= N) turn(m);
  uint32_t y = m->state[m->at++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

static double next_number(sonde_mt *m) {
  uint32_t a = next_word(m) >> 5, b = next_word(m) >> 6;
  return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0);
}

static int64_t next_below(sonde_mt *m, int64_t n) {
  int bits = 0;
  uint32_t r;
  while (n >> bits) bits++;
  do r = next_word(m) >> (BITS - bits);
  while (r >= n);
  return r;
}

/* ---- samples ----------------------------------------------------------------------------------------- */

/* 21, and room for a set of k: 4^ceil(log4(3 k)). */
static int64_t pool_bound(int64_t k) {
  int64_t size = 21, room = 1;
  if (k <= 5) return size;
  while (room < 3 * k) room *= 4;
  return size + room;
}

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Draws again what has been drawn: `seen` is sorted. */
static void sample_apart(sonde_mt *m, int64_t n, int64_t k, int64_t *seen, int64_t *out) {
  for (int64_t i = 0; i < k; i++) {
    int64_t j = next_below(m, n), place = i;
    while (bsearch(&j, seen, (size_t)i, sizeof *seen, compare)) j = next_below(m, n);
    for (; place > 0 && seen[place - 1] > j; place--) seen[place] = seen[place - 1];
    seen[place] = out[i] = j;
  }
}

static void sample_pool(sonde_mt *m, int64_t n, int64_t k, int64_t *pool, int64_t *out) {
  for (int64_t i = 0; i < n; i++) pool[i] = i;
  for (int64_t i = 0; i < k; i++) {
    int64_t j = next_below(m, n - i);
    out[i] = pool[j];
    pool[j] = pool[n - i - 1];
  }
}

int sonde_mt_sample(sonde_mt *m, int64_t n, int64_t k, int64_t *out) {
  int small = n <= pool_bound(k);
  int64_t *memory = sonde_alloc((size_t)((small ? n : k) + 1) * sizeof *memory);
  if (!memory) return SONDE_ENOMEM;
  if (small) sample_pool(m, n, k, memory, out);
  else sample_apart(m, n, k, memory, out);
  sonde_release(memory);
  return SONDE_OK;
}

/* ---- bootstrap --------------------------------------------------------------------------------------- */

double sonde_statistic_of(sonde_statistic what, const double *x, int64_t n) {
  double sum = 0, hits = 0, wrong = 0;
  for (int64_t i = 0; i < n; i++) {
    sum += x[i];
    hits += x[i] == 3;
    wrong += x[i] == 1 || x[i] == 2;
  }
  if (what == SONDE_PERPLEXITY) return exp(-sum / (double)n);
  return hits > 0 ? 2 * hits / (2 * hits + wrong) : 0;
}

typedef struct resampling {
  sonde_statistic what;
  const double *x;
  double *drawn, *result;      /* [threads, n], [resamples] */
  int64_t n, chunk;
} resampling;

static void one_chunk(void *arg, int64_t tile, int worker) {
  const resampling *r = arg;
  double *drawn = r->drawn + worker * r->n;
  sonde_mt m;
  sonde_mt_seed(&m, (uint64_t)tile);
  for (int64_t k = 0; k < r->chunk; k++) {
    for (int64_t i = 0; i < r->n; i++) drawn[i] = r->x[(int64_t)(next_number(&m) * (double)r->n)];
    r->result[tile * r->chunk + k] = sonde_statistic_of(r->what, drawn, r->n);
  }
}

int sonde_bootstrap(sonde_statistic what, const double *x, int64_t n, int64_t resamples, sonde_pool *pool, double *out,
                    sonde_error *err) {
  if (n < 1 || resamples < 2) return sonde_fail(err, SONDE_EINVAL, "a bootstrap needs values, and two resamples");
  int64_t chunk = resamples < CHUNK ? resamples : CHUNK, chunks = resamples / chunk, all = chunks * chunk;
  resampling r = {what, x, NULL, NULL, n, chunk};
  r.drawn = sonde_alloc((size_t)(sonde_pool_threads(pool) * n) * sizeof *r.drawn);
  r.result = sonde_alloc((size_t)all * sizeof *r.result);
  if (r.drawn && r.result) {
    double mean = 0, squares = 0;
    sonde_pool_run(pool, chunks, one_chunk, &r);
    for (int64_t k = 0; k < all; k++) mean += r.result[k];
    mean /= (double)all;
    for (int64_t k = 0; k < all; k++) squares += (r.result[k] - mean) * (r.result[k] - mean);
    *out = sqrt(squares / (double)(all - 1));
  }
  int rc = r.drawn && r.result ? SONDE_OK : sonde_fail(err, SONDE_ENOMEM, "no memory for a bootstrap of %lld values",
                                                       (long long)n);
  sonde_release(r.drawn), sonde_release(r.result);
  return rc;
}
