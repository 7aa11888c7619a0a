/* peak.c - see peak.h. Twelve independent sums hide the latency of any current core's multiply-add units. */
#include "config.h"

#include <time.h>

#include "cpu/micro.h"
#include "cpu/peak.h"
#include "cpu/simd.h"
#include "sonde.h"

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

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double sonde_cpu_peak(sonde_pool *pool, int dtype, double seconds) {
  stretch_fn stretch = widest(dtype);
  int64_t tiles = (int64_t)TILES_PER_THREAD * sonde_pool_threads(pool);
  double work = stretch() * (double)tiles, best = 0, begin = now();
  for (int round = 0; round < ROUNDS_AT_LEAST || now() - begin < seconds; round++) {
    double start = now();
    sonde_pool_run(pool, tiles, run_tile, &stretch);
    double rate = work / (now() - start);
    if (rate > best) best = rate;
  }
  return best;
}
