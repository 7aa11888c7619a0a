/* simd_blocks.c - the inner loops of blocked attention, compiled once per instruction set (SONDE_ISA). A
 * block is [keys, SONDE_BLOCK queries]: a query is a lane, so that maxima and sums over keys need no sums
 * across a vector. */
#include "config.h"
#include "cpu/simd_isa.h"
#include "cpu/simd_vector.h"

enum { WIDE = SONDE_BLOCK / LANES };

static void col_max(float *top, const float *s, int64_t keys) {
  vec m[WIDE];
  for (int v = 0; v < WIDE; v++) m[v] = load(top + v * LANES);
  for (int64_t k = 0; k < keys; k++, s += SONDE_BLOCK)
    for (int v = 0; v < WIDE; v++) m[v] = max_of(load(s + v * LANES), m[v]);
  for (int v = 0; v < WIDE; v++) store(top + v * LANES, m[v]);
}

static void col_exp(float *s, float scale, const float *shift, float *sum, int64_t keys) {
  vec down[WIDE], total[WIDE];
  for (int v = 0; v < WIDE; v++) down[v] = load(shift + v * LANES), total[v] = load(sum + v * LANES);
  for (int64_t k = 0; k < keys; k++, s += SONDE_BLOCK)
    for (int v = 0; v < WIDE; v++) {
      vec e = exp_of(load(s + v * LANES) * scale - down[v]);
      store(s + v * LANES, e);
      total[v] += e;
    }
  for (int v = 0; v < WIDE; v++) store(sum + v * LANES, total[v]);
}

static void col_grad(float *ds, const float *p, const float *delta, float scale, int64_t keys) {
  vec shift[WIDE];
  for (int v = 0; v < WIDE; v++) shift[v] = load(delta + v * LANES);
  for (int64_t k = 0; k < keys; k++, ds += SONDE_BLOCK, p += SONDE_BLOCK)
    for (int v = 0; v < WIDE; v++)
      store(ds + v * LANES, load(p + v * LANES) * (load(ds + v * LANES) - shift[v]) * scale);
}

void ISA_NAME(sonde_blocks)(sonde_simd_table *t) {
  t->col_max = col_max;
  t->col_exp = col_exp;
  t->col_grad = col_grad;
}
