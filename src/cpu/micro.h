/* micro.h - the register-blocked matrix product, and its packing functions.
 *
 * Both operands are read where they are as long as B's rows are contiguous, so most products pack nothing:
 *   f32:   C [m,n] = (C +) A B, A(i,k) at a[i rs + k cs], B(k,j) at b[k ldb + j];
 *   bf16:  the same over pairs of k, with A(i,k) at a[i rs + k]: a pair (k, k+1) of B is one 32-bit word at
 *          b[(k/2) ldb + j]. An odd last k needs its second half in B to be zero; A's does not matter.
 * If step is not 0, A was packed by the same table's pack_f32 or pack_bf16 in groups of SONDE_GROUP rows that
 * are `step` numbers apart, m begins with a group, and rs and cs are not used. The order of
 * summation depends on the shape only. */
#ifndef SONDE_CPU_MICRO_H
#define SONDE_CPU_MICRO_H

#include <stdint.h>

enum { SONDE_GROUP = 16, SONDE_GROUP_WORDS = 16 };   /* words of k that are packed are a multiple of the latter */

/* How a product meets C: it is added to (and is f32), or else written; it is far, in no cache before and of no use in
 * one after (bf16 products may then write past the caches, which else would read it first). */
enum { SONDE_ADDS = 1, SONDE_FAR = 2 };

typedef struct sonde_micro {
  /* How many k of an f32 product at a time, at most BLOCK_K (gemm_tiles.h): a panel of B and the rows of A of a tile
   * stay in the L2 cache. */
  int64_t depth;
  /* out_type: sonde_dtype of C. how: SONDE_ADDS, SONDE_FAR. */
  void (*f32)(int64_t m, int64_t n, int64_t k, const float *a, int64_t rs, int64_t cs, int64_t step,
              const float *b, int64_t ldb, int how, void *c, int64_t ldc, int out_type);
  /* This and what follows, but for pack_f32 and transpose, may be NULL without avx512_bf16. The calling thread is
   * between begin and end, which are not nested: what sets the CPU up for these products takes longer than a small one
   * of them. */
  void (*begin)(void);
  void (*end)(void);
  void (*bf16)(int64_t m, int64_t n, int64_t k, const uint16_t *a, int64_t rs, int64_t step, const uint32_t *b,
               int64_t ldb, int how, void *c, int64_t ldc, int out_type);
  /* Copies src [rows, cols] in groups of SONDE_GROUP columns, `step` words apart, in which rows are `width` words
   * apart: groups of A stored [k, m], or (step SONDE_GROUP) a panel of B. The next rows are prefetched. */
  void (*pack_f32)(uint32_t *dst, int64_t width, int64_t step, const float *src, int64_t lds, int64_t rows,
                   int64_t cols);
  /* Groups of A from src [rows, cols], A stored [k, m]: SONDE_GROUP columns each, `step` words apart, with the
   * words of k from a multiple of SONDE_GROUP_WORDS on at dst + SONDE_GROUP times that. Only the end of k may
   * leave SONDE_GROUP_WORDS incomplete; the rest of them is written nevertheless. */
  void (*pack_bf16)(uint32_t *dst, int64_t step, const uint16_t *src, int64_t lds, int64_t rows, int64_t cols);
  /* dst [cols, rows] = the transpose of src [rows, cols], 32-bit words at any 2-byte boundary (f32, or bf16
   * pairs). */
  void (*transpose)(uint32_t *dst, int64_t ldd, const void *src, int64_t lds_bytes, int64_t rows,
                    int64_t cols);
  /* dst [rows/2, cols] of pairs (src[2r][c], src[2r+1][c]); an odd last row is paired with zeros. */
  void (*interleave)(uint32_t *dst, int64_t ldd, const uint16_t *src, int64_t lds, int64_t rows,
                     int64_t cols);
  /* dst [rows, cols], rows `ldd` apart, = src rounded to bf16 (to nearest even). NULL without avx512_bf16. */
  void (*round)(uint16_t *dst, int64_t ldd, const float *src, int64_t lds, int64_t rows, int64_t cols);
  /* One word of k of panels of `width` columns (a multiple of 16), `step` words apart: dst[j/width step +
   * j%width] = the pair src[j], src[lds + j], or zero with the first if rows is 1. The next rows are
   * prefetched. */
  void (*spread_bf16)(uint32_t *dst, int64_t width, int64_t step, const uint16_t *src, int64_t lds,
                      int64_t rows, int64_t cols);
} sonde_micro;

const sonde_micro *sonde_micro_avx512(int bf16);
const sonde_micro *sonde_micro_amx(void);

/* `steps` times four AMX products between registers, for measuring the peak; returns the number of operations. */
double sonde_amx_stretch(int64_t steps);

#endif
