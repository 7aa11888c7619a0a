/* gemm_library.c - which library computes the products, and its set-up. */
#include "config.h"
#include "cpu/gemm.h"

#include <pthread.h>
#include <stdio.h>

#include "cpu/micro.h"
#include "cpu/simd.h"

/* OpenBLAS's own; absent in another BLAS, which then must be single-threaded by itself. */
extern void openblas_set_num_threads(int) __attribute__((weak));
extern char *openblas_get_config(void) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));

static void setup(void) {
  if (openblas_set_num_threads) openblas_set_num_threads(1);
}

void sonde_gemm_setup(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, setup);
}

const char *sonde_gemm_library(int dtype) {
  static char text[2][160];   /* one a dtype: the names of both may be wanted at once */
  const sonde_simd_table *simd = sonde_simd_get();
  if (simd->micro && dtype == SONDE_F32) return "Sonde AVX-512";
  if (simd->micro && simd->bf16) return simd->bf16 == SONDE_BF16_AMX ? "Sonde AMX bf16" : "Sonde AVX-512 bf16";
  if (simd->micro) return "Sonde AVX-512, bf16 widened to f32";
  char name[32] = "BLAS", version[32] = "";
  if (openblas_get_config) sscanf(openblas_get_config(), "%31s %31s", name, version);
  snprintf(text[dtype != SONDE_F32], sizeof *text, "%s %s (%s)%s", name, version,
           openblas_get_corename ? openblas_get_corename() : "unknown core",
           dtype == SONDE_F32 ? "" : ", bf16 widened to f32");
  return text[dtype != SONDE_F32];
}
