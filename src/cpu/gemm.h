/* gemm.h - matrix products. They are split into tiles by shape only, each computed by one thread, so results are
 * bitwise the same at any thread count.
 *
 * C [m,n] = beta C + op(A) op(B), row-major. op(A) is [m,k]: A is stored [m,k] (ta 0) or [k,m] (ta 1); B is
 * stored [k,n] (tb 0) or [n,k] (tb 1). A and B are both f32 or both bf16, or B is f32 and rounded to bf16 as it is
 * packed (wide_b; in_type bf16); accumulation is f32; C is f32 or bf16 (bf16 C: beta must be 0). `batch` products at
 * the given element strides (stride 0 shares an operand). */
#ifndef SONDE_CPU_GEMM_H
#define SONDE_CPU_GEMM_H

#include "base/pool.h"

typedef struct sonde_gemm {
  int64_t m, n, k, batch;
  int ta, tb;
  int in_type, out_type;            /* sonde_dtype */
  int64_t lda, ldb, ldc;
  int64_t stride_a, stride_b, stride_c;
  float beta;                       /* 0 or 1 */
  int wide_b;                       /* B is f32 beside a bf16 A */
  int large;                        /* C is a part of results that no cache holds; set for those that are so large */
} sonde_gemm;

/* Bytes of scratch for packed or widened operands: the same at any number of threads, which share it. */
int64_t sonde_gemm_scratch(const sonde_gemm *g);
void sonde_gemm_run(const sonde_gemm *g, const void *a, const void *b, void *c, void *scratch,
                    sonde_pool *pool);

/* Products of rows in `batch` groups, of which group e has the rows first[e] to first[e + 1]: with ta 0 those of A and
 * C, times matrix e of B (stride_b), m being all rows; with ta 1 those of A and B (tb 0), whose product is matrix e of
 * C (stride_c), k being all rows. The work is that of the rows that there are. Scratch is for any `first`. */
int64_t sonde_gemm_groups_scratch(const sonde_gemm *g);
void sonde_gemm_groups_run(const sonde_gemm *g, const int32_t *first, const void *a, const void *b, void *c,
                           void *scratch, sonde_pool *pool);

/* One f32 product on the calling thread (for use inside a tile). */
void sonde_gemm_tile(int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                     const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* The kernels for products of this dtype, for records: "Sonde AVX-512", "Sonde AVX2, bf16 widened to f32", ... */
const char *sonde_gemm_kernels(int dtype);

#endif
