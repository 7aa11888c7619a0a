/* simd.h - the inner loops of the kernels, in the widest instruction set of this CPU.
 *
 * The files simd_*.c are compiled once per instruction set (SONDE_ISA); sonde_simd_get() selects one of the tables at
 * the first call, by CPUID (SONDE_ISA=base|avx2|avx512 in the environment selects a narrower one, for tests). AMX,
 * which only multiplies bf16, is avx512's table with another product. Arrays are f32 unless stated otherwise, with any
 * alignment; n may be 0. Reductions have a fixed order for a given table. */
#ifndef SONDE_CPU_SIMD_H
#define SONDE_CPU_SIMD_H

#include "sonde_plugin.h"

enum { SONDE_BLOCK = 64 };
enum { SONDE_BF16_NONE, SONDE_BF16_AVX512, SONDE_BF16_AMX };   /* instructions for bf16 products */

typedef struct sonde_simd_table {
  sonde_simd common;             /* the part that plugins use too */
  const char *isa;               /* "base", "avx2", "avx512", "amx" */
  int bf16;                      /* SONDE_BF16_* */

  /* Rows of a norm. rms: r = 1/sqrt(mean(x^2)+eps), y = r x g; returns r. y f32. */
  float (*rms_row)(float *y, const float *x, const float *g, float eps, int64_t n);
  /* dx = r (g dy) - r^3/n dot(g dy, x) x ; dg += r x dy */
  void (*rms_row_grad)(float *dx, float *dg, const float *x, const float *g, const float *dy, float r,
                       int64_t n);
  /* mean and 1/std go out; y = (x-mean) r g + b */
  void (*layer_row)(float *y, const float *x, const float *g, const float *b, float eps, int64_t n,
                    float *mean, float *r);
  void (*layer_row_grad)(float *dx, float *dg, float *db, const float *x, const float *g, const float *dy,
                         float mean, float r, int64_t n);
  /* y = x [2 half] with each pair (x[j], x[j + half]) turned by the angle of cosine c[j] and sine s[j]; y may
   * be x */
  void (*turn)(float *y, const float *x, const float *c, const float *s, int64_t half);
  /* y = exp(x - shift); returns the sum of y */
  float (*exp_sum)(float *y, const float *x, float shift, int64_t n);
  /* y[j] = dot(x [n], row j of w), rows ld numbers apart, each summed in one order whatever `rows` is */
  void (*dots)(float *y, const float *x, const float *w, int64_t ld, int64_t rows, int64_t n);
  /* y [n] = sum of p[j] times row j of w, rows ld numbers apart */
  void (*weigh)(float *y, const float *p, const float *w, int64_t ld, int64_t rows, int64_t n);
  void (*dots_bf16)(float *y, const uint16_t *x, const uint16_t *w, int64_t ld, int64_t rows, int64_t n);

  /* SONDE_GROUP (micro.h) columns of a block of attention scores [keys, SONDE_BLOCK], one query a column; top, shift,
   * sum, weighed and delta are [SONDE_GROUP]. col_max: top = max(top, s). col_exp: with x = scale (s - top), s =
   * exp(x), sum += exp(x), and, if weighed is not NULL, weighed += x exp(x), 0 for an s of -infinity; s and sum are the
   * same bits with and without it. col_grad: s = exp(scale s - shift), and ds = s (ds - delta) scale (slope, if it is
   * not NULL). narrow: NULL, or, where the micro product has bf16, where the results go rounded to it, laid out as s
   * (of col_grad: s into the first, ds into the second), and s and ds are left as they are. */
  void (*col_max)(float *top, const float *s, int64_t keys);
  void (*col_exp)(float *s, uint16_t *narrow, float scale, const float *top, float *sum, float *weighed,
                  int64_t keys);
  void (*col_grad)(float *s, float *ds, const float *slope, uint16_t *const narrow[2], float scale, const float *shift,
                   const float *delta, int64_t keys);

  const struct sonde_micro *micro; /* the register-blocked product (micro.h) */

  /* The stretch function of an elementwise op by name ("add", "silu", ...); NULL if there is none. */
  void (*(*vec)(const char *name))(const sonde_vec *v);
} sonde_simd_table;

const sonde_simd_table *sonde_simd_get(void);

#endif
