/* tanh_rows.h - rows y = gain tanh(a x) + bias and their gradients, for the norms that bound their result (DyT, BHyT).
 *
 * tanh is computed again in the backward pass: it costs less than to store it and read it back, and a model then keeps
 * one array fewer for each norm. Gradients of gain, scalar and bias are sums over all rows: the gain's [D], then the
 * scalar's, then, where there is one, the bias's [D]. */
#ifndef SONDE_TANH_ROWS_H
#define SONDE_TANH_ROWS_H

#include <stdio.h>
#include <string.h>

#include "sonde_plugin.h"

enum { PIECE = 1024 };

/* For probes: what the bounded function is of, under "<slot>.tanh_input" or "<slot>.erf_input". No step computes it. */
static inline void publish_argument(sonde_site *site, const char *function, sonde_node *argument) {
  char name[64];
  snprintf(name, sizeof name, "%s.%s_input", sonde_where(site)->slot, function);
  sonde_publish(site, name, argument);
}

static inline int64_t rows_of(const sonde_shape *x) {
  int64_t n = 1;
  for (int k = 0; k < x->rank - 1; k++) n *= x->dim[k];
  return n;
}
static inline int64_t width_of(const sonde_shape *x) { return x->dim[x->rank - 1]; }
static inline void *row_at(void *y, int dtype, int64_t at) {
  return (char *)y + at * (dtype == SONDE_F32 ? (int64_t)sizeof(float) : (int64_t)sizeof(uint16_t));
}

/* f32 [.., D], gain [D], a scalar [1]: what both norms take. */
static inline int tanh_rows_check(const char *op, const sonde_shape *x, const sonde_shape *gain,
                                  const sonde_shape *scalar, sonde_error *err) {
  int fits = x->rank >= 1 && gain->rank == 1 && gain->dim[0] == width_of(x);
  if (!fits || x->dtype != SONDE_F32 || gain->dtype != SONDE_F32)
    return sonde_the_host->fail(err, SONDE_ESHAPE, "%s: needs f32 [.., D] and a gain f32 [D]", op);
  if (scalar->rank != 1 || scalar->dim[0] != 1 || scalar->dtype != SONDE_F32)
    return sonde_the_host->fail(err, SONDE_ESHAPE, "%s: its factor must be f32 [1]", op);
  return SONDE_OK;
}

/* y = gain tanh(a x) + bias, which may be NULL; y may be bf16. */
static inline void tanh_row(void *y, int dtype, const float *x, const float *gain, const float *bias, float a,
                            int64_t width) {
  const sonde_simd *simd = sonde_the_host->simd;
  float piece[PIECE];
  if (dtype == SONDE_F32) {
    simd->tanh_row(y, x, gain, a, width);
    if (bias) simd->axpy(y, bias, 1, width);
    return;
  }
  for (int64_t at = 0; at < width; at += PIECE) {
    int64_t n = width - at < PIECE ? width - at : PIECE;
    simd->tanh_row(piece, x + at, gain + at, a, n);
    if (bias) simd->axpy(piece, bias + at, 1, n);
    simd->to_bf16((uint16_t *)y + at, piece, n);
  }
}

/* dx (which may be NULL) and dgain of it; returns da (see sonde_simd). */
static inline float tanh_row_grad(float *dx, float *dgain, const float *x, const float *gain, const float *dy, float a,
                                  int64_t width) {
  const sonde_simd *simd = sonde_the_host->simd;
  float piece[PIECE], da = 0;
  if (dx) return simd->tanh_row_grad(dx, dgain, x, gain, dy, a, width);
  for (int64_t at = 0; at < width; at += PIECE) {
    int64_t n = width - at < PIECE ? width - at : PIECE;
    da += simd->tanh_row_grad(piece, dgain + at, x + at, gain + at, dy + at, a, n);
  }
  return da;
}

static inline int64_t tanh_sums(int64_t width, int has_bias) { return width + 1 + (has_bias ? width : 0); }

static inline int64_t tanh_grad_scratch(const sonde_shape *x, int has_bias) {
  return sonde_the_host->rows_scratch(rows_of(x), width_of(x), tanh_sums(width_of(x), has_bias));
}

/* Runs fn over the rows; what it sums goes to dgain, dscalar and, with has_bias, dbias, any of which may be NULL. 0, or
 * a code. */
static inline int tanh_grad_run(const sonde_call *c, sonde_rows fn, int has_bias, float *dgain, float *dscalar,
                                float *dbias) {
  int64_t width = width_of(&c->in_shape[0]), n = tanh_sums(width, has_bias);
  const float *sums = sonde_the_host->rows(c, rows_of(&c->in_shape[0]), width, n, fn, (void *)(uintptr_t)c);
  if (!sums) return SONDE_EBUG;
  if (dgain) memcpy(dgain, sums, (size_t)width * sizeof *dgain);
  if (dscalar) *dscalar = sums[width];
  if (has_bias && dbias) memcpy(dbias, sums + width + 1, (size_t)width * sizeof *dbias);
  return SONDE_OK;
}

#endif
