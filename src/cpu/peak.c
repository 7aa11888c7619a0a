/* peak.c - see peak.h. Twelve independent sums hide the latency of any current core's multiply-add units. */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cpu/micro.h"
#include "cpu/peak.h"
#include "cpu/simd.h"
#include "tensor/tensor.h"

enum { SUMS = 12, STEPS = 20000, TILES_PER_THREAD = 8, ROUNDS_AT_LEAST = 5 };

/* Adds to SUMS sums in registers STEPS times; returns how many operations that were. */
typedef double (*stretch_fn)(void);

#define EACH_SUM _Pragma("GCC unroll 12") for (int k = 0; k < SUMS; k++)
#define HIDE(value) __asm__ volatile("" : "+x"(value))   /* the compiler must take it as changed, and keep it */

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static double avx512_f32(void) {
  __m512 sum[SUMS], x = _mm512_set1_ps(0.5f);
  EACH_SUM sum[k] = x;
  EACH_SUM HIDE(sum[k]);
  for (int s = 0; s < STEPS; s++) EACH_SUM sum[k] = _mm512_fmadd_ps(x, x, sum[k]);
  EACH_SUM HIDE(sum[k]);
  return 2.0 * 16 * SUMS * STEPS;
}

__attribute__((target("avx512f,avx512bf16"))) static double avx512_bf16(void) {
  __m512 sum[SUMS], half = _mm512_set1_ps(0.5f);
  __m512bh x = _mm512_cvtne2ps_pbh(half, half);
  EACH_SUM sum[k] = half;
  EACH_SUM HIDE(sum[k]);
  for (int s = 0; s < STEPS; s++) EACH_SUM sum[k] = _mm512_dpbf16_ps(sum[k], x, x);
  EACH_SUM HIDE(sum[k]);
  return 2.0 * 32 * SUMS * STEPS;
}

__attribute__((target("avx2,fma"))) static double avx2_f32(void) {
  __m256 sum[SUMS], x = _mm256_set1_ps(0.5f);
  EACH_SUM sum[k] = x;
  EACH_SUM HIDE(sum[k]);
  for (int s = 0; s < STEPS; s++) EACH_SUM sum[k] = _mm256_fmadd_ps(x, x, sum[k]);
  EACH_SUM HIDE(sum[k]);
  return 2.0 * 8 * SUMS * STEPS;
}
#endif

static double base_f32(void) {
  typedef float lanes __attribute__((vector_size(16)));
  lanes sum[SUMS], x = {0.5f, 0.5f, 0.5f, 0.5f};
  EACH_SUM sum[k] = x;
  EACH_SUM HIDE(sum[k]);
  for (int s = 0; s < STEPS; s++) EACH_SUM sum[k] = sum[k] * x + x;
  EACH_SUM HIDE(sum[k]);
  return 2.0 * 4 * SUMS * STEPS;
}

#ifdef HAVE_ISA_AMX
static double amx_bf16(void) { return sonde_amx_stretch(STEPS); }
#endif

static stretch_fn widest(int dtype) {
#ifdef HAVE_ISA_AMX
  if (dtype == SONDE_BF16 && sonde_simd_get()->bf16 == SONDE_BF16_AMX) return amx_bf16;
#endif
#if defined(__x86_64__)
  if (dtype == SONDE_BF16 && __builtin_cpu_supports("avx512bf16")) return avx512_bf16;
  if (__builtin_cpu_supports("avx512f")) return avx512_f32;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_f32;
#endif
  (void)dtype;
  return base_f32;
}

static void run_tile(void *arg, int64_t tile, int worker) {
  (void)tile;
  (void)worker;
  (*(stretch_fn *)arg)();
}

/* ---- memory --------------------------------------------------------------------------------------------------- */

enum { READ_TILE = 1 << 18, AHEAD = 4096, READ_SUMS = 8 };
typedef float line __attribute__((vector_size(64), aligned(64)));

typedef struct reading { const char *data; float *result; } reading;

/* Several sums, so that none waits for another; prefetches cross the page's end, where the hardware's stop. */
static void read_tile(void *arg, int64_t tile, int worker) {
  const reading *r = arg;
  const line *x = (const line *)(const void *)(r->data + tile * READ_TILE);
  line sum[READ_SUMS] = {{0}};
  (void)worker;
  for (int64_t i = 0; i < READ_TILE / (int64_t)sizeof *x; i += READ_SUMS)
    for (int k = 0; k < READ_SUMS; k++) {
      __builtin_prefetch((const char *)&x[i + k] + AHEAD);
      sum[k] += x[i + k];
    }
  for (int k = 1; k < READ_SUMS; k++) sum[0] += sum[k];
  r->result[tile] = sum[0][0];
}

double sonde_cpu_read_rate(sonde_pool *pool, int64_t bytes, double seconds) {
  int64_t tiles = (bytes + READ_TILE - 1) / READ_TILE;
  char *data = sonde_pages_alloc(tiles * READ_TILE + AHEAD);
  float *result = sonde_alloc((size_t)tiles * sizeof *result);
  double best = 0, begin = sonde_clock_seconds();
  if (data && result) {
    memset(data, 0, (size_t)(tiles * READ_TILE + AHEAD));   /* or all pages would be the one page of zeros */
    reading r = {data, result};
    for (int round = 0; round < ROUNDS_AT_LEAST || sonde_clock_seconds() - begin < seconds; round++) {
      double start = sonde_clock_seconds();
      sonde_pool_run(pool, tiles, read_tile, &r);
      double rate = (double)(tiles * READ_TILE) / (sonde_clock_seconds() - start);
      if (rate > best) best = rate;
    }
  }
  sonde_pages_release(data, tiles * READ_TILE + AHEAD);
  sonde_release(result);
  return best;
}

double sonde_cpu_peak(sonde_pool *pool, int dtype, double seconds) {
  stretch_fn stretch = widest(dtype);
  int64_t tiles = (int64_t)TILES_PER_THREAD * (pool ? sonde_pool_threads(pool) : 1);
  double work = stretch() * (double)tiles, best = 0, begin = sonde_clock_seconds();
  for (int round = 0; round < ROUNDS_AT_LEAST || sonde_clock_seconds() - begin < seconds; round++) {
    double start = sonde_clock_seconds();
    if (pool) sonde_pool_run(pool, tiles, run_tile, &stretch);
    else for (int64_t k = 0; k < tiles; k++) run_tile(&stretch, k, 0);
    double rate = work / (sonde_clock_seconds() - start);
    if (rate > best) best = rate;
  }
  return best;
}
