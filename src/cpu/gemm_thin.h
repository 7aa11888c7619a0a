/* gemm_thin.h - products of very few rows, as generation with a cache makes them: packing would cost more than it
 * saves, so each result is one dot product of rows where they are. */
#ifndef SONDE_CPU_GEMM_THIN_H
#define SONDE_CPU_GEMM_THIN_H

#include "cpu/gemm.h"

/* Whether a product is computed this way; then it needs no scratch. */
int sonde_gemm_is_thin(const sonde_gemm *g);
/* As sonde_gemm_run, of such a product with m, n, k and batch above 0. */
void sonde_gemm_thin_run(const sonde_gemm *g, const void *a, const void *b, void *c, sonde_pool *pool);

#endif
