/* micro.h - the register-blocked product that AVX-512 machines use instead of the BLAS, and the two
 * packings it needs.
 *
 * Both operands are read where they are as long as B's rows are contiguous, so most products pack nothing:
 *   f32:   C [m,n] = (C +) A B, A(i,k) at a[i rs + k cs], B(k,j) at b[k ldb + j];
 *   bf16:  the same over pairs of k: a pair (k, k+1) of A is one 32-bit word at (uint16_t *)a + i rs +
 *          (k/2) cs, a pair of B at b[(k/2) ldb + j]. An odd last k needs its second half in B to be zero;
 *          A's is not read. If step is not 0, A is packed in groups of SONDE_GROUP rows that are `step`
 *          apart: row i is row i%GROUP of its group. k is summed in one chain per element, in order: the
 *          bits depend on the shape only. */
#ifndef SONDE_CPU_MICRO_H
#define SONDE_CPU_MICRO_H

#include <stdint.h>

enum { SONDE_GROUP = 16 };

typedef struct sonde_micro {
  /* out_type: sonde_dtype of C. accumulate: add to C, which then is f32. */
  void (*f32)(int64_t m, int64_t n, int64_t k, const float *a, int64_t rs, int64_t cs, int64_t step,
              const float *b, int64_t ldb, int accumulate, void *c, int64_t ldc, int out_type);
  /* NULL without avx512_bf16. */
  void (*bf16)(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t rs, int64_t cs, int64_t step,
               const uint32_t *b, int64_t ldb, int accumulate, void *c, int64_t ldc, int out_type);
  /* dst [cols, rows] = the transpose of src [rows, cols], 32-bit words at any 2-byte boundary (f32, or bf16
   * pairs). */
  void (*transpose)(uint32_t *dst, int64_t ldd, const void *src, int64_t lds_bytes, int64_t rows,
                    int64_t cols);
  /* dst [rows/2, cols] of pairs (src[2r][c], src[2r+1][c]); an odd last row is paired with zeros. */
  void (*interleave)(uint32_t *dst, int64_t ldd, const uint16_t *src, int64_t lds, int64_t rows,
                     int64_t cols);
  /* One word of k of groups of `width` columns (a multiple of 16), `step` words apart: dst[j/width step +
   * j%width] = src[j]; of bf16, the pairs of one or two rows. lds: to the next row, which will be wanted
   * soon. */
  void (*spread_f32)(uint32_t *dst, int64_t width, int64_t step, const float *src, int64_t lds, int64_t cols);
  void (*spread_bf16)(uint32_t *dst, int64_t width, int64_t step, const uint16_t *src, int64_t lds,
                      int64_t rows, int64_t cols);
} sonde_micro;

const sonde_micro *sonde_micro_avx512(int bf16);

#endif
