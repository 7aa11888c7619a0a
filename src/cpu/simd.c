/* simd.c - picks the table of inner loops for this CPU. The loops themselves are in simd_kernels.c. */
#include "config.h"
#include "base/log.h"
#include "cpu/simd_isa.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_ISA_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const sonde_simd_table *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#ifdef HAVE_ISA_AMX
static int amx_granted;

/* The CPU has tiles and bf16 products of them, the system saves tiles (bits 17 and 18 of XCR0), and it lets this
 * process use them, which has to be asked for: threads would need larger signal stacks. */
static void ask_for_amx(void) {
  enum { OSXSAVE = 1 << 27, AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, TILE_STATE = 3 << 17 };
  enum { REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
  unsigned a, b, c, d, xcr0, high;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) return;
  __asm__("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  if ((xcr0 & TILE_STATE) != TILE_STATE || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
  if (!(d & AMX_BF16) || !(d & AMX_TILE)) return;
  amx_granted = syscall(SYS_arch_prctl, REQ_XCOMP_PERM, TILE_DATA) == 0;
}

static int has_amx(void) {
  static pthread_once_t asked = PTHREAD_ONCE_INIT;
  pthread_once(&asked, ask_for_amx);
  return amx_granted;
}
#else
static int has_amx(void) { return 0; }
#endif

static int level_of_cpu(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
#ifdef HAVE_ISA_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma"))
    return __builtin_cpu_supports("avx512bf16") && has_amx() ? 3 : 2;
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
  static const char *const names[] = {"base", "avx2", "avx512", "amx"};
  enum { NAMES = sizeof names / sizeof *names };
  int k = 0;
  while (asked && *asked && k < NAMES && strcmp(asked, names[k])) k++;
  if (k == NAMES) sonde_warn("SONDE_ISA=%s is none of base, avx2, avx512, amx; it is ignored", asked);
  else if (asked && *asked && k < level) level = k;
  else if (asked && *asked && k > level) sonde_warn("SONDE_ISA=%s: this CPU has %s at most", asked, names[level]);
  chosen = sonde_simd_level(level);
}

const sonde_simd_table *sonde_simd_level(int level) {
  int most = level_of_cpu();
  if (level > most) level = most;
#ifdef HAVE_ISA_AVX512
  if (level == 3) return sonde_simd_avx512(SONDE_BF16_AMX);
  if (level == 2)
    return sonde_simd_avx512(__builtin_cpu_supports("avx512bf16") ? SONDE_BF16_AVX512 : SONDE_BF16_NONE);
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
