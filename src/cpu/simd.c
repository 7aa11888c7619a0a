/* simd.c - picks the table of inner loops for this CPU. The loops themselves are in simd_kernels.c. */
#include "config.h"
#include "cpu/simd_isa.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const sonde_simd_table *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int level_of_cpu(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
#ifdef HAVE_ISA_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma"))
    return 2;
#endif
#ifdef HAVE_ISA_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return 1;
#endif
  return 0;
}

static void choose(void) {
  int level = level_of_cpu();
  const char *asked = getenv("SONDE_ISA");
  if (asked && !strcmp(asked, "base")) level = 0;
  if (asked && !strcmp(asked, "avx2") && level > 1) level = 1;
  chosen = sonde_simd_level(level);
}

const sonde_simd_table *sonde_simd_level(int level) {
  int most = level_of_cpu();
  if (level > most) level = most;
#ifdef HAVE_ISA_AVX512
  if (level == 2) return sonde_simd_avx512(__builtin_cpu_supports("avx512bf16") != 0);
#endif
#ifdef HAVE_ISA_AVX2
  if (level == 1) return sonde_simd_avx2(0);
#endif
  return sonde_simd_base(0);
}

const sonde_simd_table *sonde_simd_get(void) {
  pthread_once(&once, choose);
  return chosen;
}

void sonde_simd_use(const sonde_simd_table *table) {
  pthread_once(&once, choose);
  chosen = table;
}
