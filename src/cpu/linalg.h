/* linalg.h - decompositions by LAPACK in f64: least squares over more rows than fit into memory, and singular values,
 * which probes need; the Cholesky factor of an inverse, which sparsity methods need. */
#ifndef SONDE_CPU_LINALG_H
#define SONDE_CPU_LINALG_H

#include "base/error.h"

/* Least squares Y ~ X W + b for rows that are added in portions. The state is the triangle R of the QR decomposition of
 * [1 X Y], updated by each portion, so memory does not grow with the rows and the condition number is not squared. */
typedef struct sonde_lstsq sonde_lstsq;

/* For rows of `in` inputs and `out` outputs; NULL when out of memory or too large. */
sonde_lstsq *sonde_lstsq_new(int64_t in, int64_t out, sonde_error *err);
void sonde_lstsq_free(sonde_lstsq *s);
int64_t sonde_lstsq_bytes(const sonde_lstsq *s);
int64_t sonde_lstsq_in(const sonde_lstsq *s);
int64_t sonde_lstsq_out(const sonde_lstsq *s);
int64_t sonde_lstsq_rows(const sonde_lstsq *s);      /* how many were added */

/* Adds rows x [rows, in], y [rows, out]; EINVAL, with nothing added, if a number is not finite. */
int sonde_lstsq_add(sonde_lstsq *s, const float *x, const float *y, int64_t rows, sonde_error *err);
/* Adds the rows of another one of the same shape. */
int sonde_lstsq_merge(sonde_lstsq *s, const sonde_lstsq *other, sonde_error *err);

/* W [in, out] and b [out], the solution of least norm: singular values of [1 X], its columns scaled to equal length,
 * below 8 eps sqrt(1 + in) of the largest (eps of f32) count as zero. *residual, if not NULL: ||Y - X W - b|| / ||Y -
 * mean of Y|| over the rows (0 if Y is constant and fitted). */
int sonde_lstsq_solve(const sonde_lstsq *s, float *w, float *b, double *residual, sonde_error *err);

/* Singular values of x [m, n], the largest first, min(m, n) of them. They are square roots of the eigenvalues of
 * the smaller of X X' and X' X: accurate to about 1e-8 of the largest. */
int sonde_singular_values(const float *x, int64_t m, int64_t n, float *values, sonde_error *err);

/* The host's service inverse_factor (sonde_plugin.h). */
int sonde_inverse_factor(double *a, int64_t n);

#endif
