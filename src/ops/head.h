/* head.h - the LM head in chunks of tokens: what the ops over the vocabulary share (loss.c, distill.c, teacher.c).
 *
 * N tokens x [N, D] and the head w [V, D]: logits x w^T, dx = slope w, dw = slope^T x. Chunks are cut by N and V
 * alone. */
#ifndef SONDE_OPS_HEAD_H
#define SONDE_OPS_HEAD_H

#include "cpu/gemm.h"

/* Rows of a chunk, when `v` numbers are kept of each. */
int64_t sonde_head_rows(int64_t n, int64_t v);

/* A model's part of a pass: x [N, d], the head w [V, d], of dtype `type`, and where the logits of a chunk go. */
typedef struct sonde_head {
  const void *x, *w;
  int64_t d;
  int type;
  float *logits;                 /* [rows, V] */
} sonde_head;

/* All N tokens, chunk after chunk: the logits, then row(task, token, i) of each token, whose logits are row i of the
 * chunk; rows run on several threads. Where there is a gradient, row leaves the slopes, of own.type, in row i of
 * `slope`, and dx [N, D] and dw [V, D] follow from them. */
typedef struct sonde_head_pass {
  int64_t n, v, rows;            /* rows: of a chunk (sonde_head_rows) */
  sonde_head own, other;         /* other: whose logits are wanted beside them; w NULL: none */
  const void *slope;             /* [rows, V], own.logits or another; NULL: no gradient */
  float *dx, *dw;                /* NULL: not wanted */
  void *scratch;                 /* sonde_head_scratch bytes, the most of own and other */
  sonde_pool *pool;
  void (*row)(const void *task, int64_t token, int64_t i);
  const void *task;
} sonde_head_pass;
void sonde_head_run(const sonde_head_pass *pass);

/* Bytes that any of a pass's products needs for chunks of `rows` of n rows, the last of which is shorter; gradient 0:
 * the logits alone. */
int64_t sonde_head_scratch(int64_t n, int64_t rows, int64_t v, int64_t d, int type, int gradient);

/* The logits of a token under a soft-cap: cap tanh(z / cap). */
void sonde_head_cap(float *z, float cap, int64_t v);

/* In place of the logarithm of 0, so that p log p is 0 and no term infinite. */
#define SONDE_LOG_OF_ZERO -104.0f

static inline int64_t sonde_head_aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

#endif
