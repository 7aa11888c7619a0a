/* head.h - the LM head's products in chunks of tokens: what the losses over the vocabulary share (loss.c, distill.c).
 *
 * N tokens x [N, D] and the head w [V, D]: logits x w^T, dx = slope w, dw = slope^T x. Chunks are cut by N and V
 * alone. */
#ifndef SONDE_OPS_HEAD_H
#define SONDE_OPS_HEAD_H

#include "cpu/gemm.h"

/* Rows of a chunk, when `v` numbers are kept of each. */
int64_t sonde_head_rows(int64_t n, int64_t v);

/* `type` is the dtype of x, w and the slope; results are f32. */
sonde_gemm sonde_head_logits(int64_t rows, int64_t v, int64_t d, int type);

/* A chunk of `count` tokens from `first` on of n, with slopes [count, V]: its rows of dx [N, D], and its part of dw [V,
 * D], which the first chunk begins and the others add to. x [N, D] and w [V, D]; dx or dw NULL: not wanted. */
typedef struct sonde_head_chunk {
  int64_t first, count, v, d;
  int type;
  const void *x, *w, *slope;
  float *dx, *dw;
  void *scratch;
  sonde_pool *pool;
} sonde_head_chunk;
void sonde_head_gradient(const sonde_head_chunk *k);

/* Rows [first, ..) of x [N, width]. */
static inline const void *sonde_head_from(const void *x, int64_t first, int64_t width, int type) {
  return (const char *)x + first * width * (type == SONDE_F32 ? 4 : 2);
}

/* Bytes that any of these products needs for chunks of `rows` of n rows, the last of which is shorter; gradient 0: the
 * logits alone. */
int64_t sonde_head_scratch(int64_t n, int64_t rows, int64_t v, int64_t d, int type, int gradient);

/* The logits of a token under a soft-cap: cap tanh(z / cap). */
void sonde_head_cap(float *z, float cap, int64_t v);

/* In place of the logarithm of 0, so that p log p is 0 and no term infinite. */
#define SONDE_LOG_OF_ZERO -104.0f

static inline int64_t sonde_head_aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
