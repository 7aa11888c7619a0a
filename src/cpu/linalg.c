/* linalg.c - least squares and singular values by LAPACK. Its Fortran interface is called, which every LAPACK has:
 * matrices lie by columns, everything is passed by address. OpenBLAS's own threads are off, so the bits do not depend
 * on the number of threads. */
#include "config.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "cpu/linalg.h"
#include "tensor/tensor.h"

extern void dtpqrt_(const int *m, const int *n, const int *l, const int *nb, double *a, const int *lda, double *b,
                    const int *ldb, double *t, const int *ldt, double *work, int *info);
extern void dgeqp3_(const int *m, const int *n, double *a, const int *lda, int *jpvt, double *tau, double *work,
                    const int *lwork, int *info);
extern void dormqr_(const char *side, const char *trans, const int *m, const int *n, const int *k, double *a,
                    const int *lda, const double *tau, double *c, const int *ldc, double *work, const int *lwork,
                    int *info, size_t, size_t);
extern void dgelsy_(const int *m, const int *n, const int *nrhs, double *a, const int *lda, double *b, const int *ldb,
                    int *jpvt, const double *rcond, int *rank, double *work, const int *lwork, int *info);
extern void dsyevd_(const char *job, const char *uplo, const int *n, double *a, const int *lda, double *w,
                    double *work, const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t);

extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t);
extern void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t);

/* OpenBLAS's own; absent in another BLAS, which then must be single-threaded by itself. */
extern void openblas_set_num_threads(int) __attribute__((weak));

static void threads_off(void) {
  if (openblas_set_num_threads) openblas_set_num_threads(1);
}

static void set_up(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, threads_off);
}

enum { BLOCK = 32, LARGEST = 1 << 14 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- least squares ------------------------------------------------------------------------------------------- */

/* Columns: the ones, X, Y. `portion` rows at a time are joined. */
struct sonde_lstsq {
  int64_t in, out, n, rows, portion;
  double *r;           /* [n, n], upper triangle */
  double *add;         /* [portion, n] */
  double *work;        /* T and workspace of dtpqrt, BLOCK n each */
};

sonde_lstsq *sonde_lstsq_new(int64_t in, int64_t out, sonde_error *err) {
  if (in < 1 || out < 1 || in >= LARGEST || out >= LARGEST || in + out + 1 > LARGEST) {
    sonde_fail(err, SONDE_EINVAL, "least squares of %lld inputs and %lld outputs: up to %d in all are possible",
               (long long)in, (long long)out, LARGEST - 1);
    return NULL;
  }
  set_up();
  sonde_lstsq *s = sonde_alloc(sizeof *s);
  if (s) {
    *s = (sonde_lstsq){.in = in, .out = out, .n = 1 + in + out};
    s->portion = most(BLOCK, least(s->n, 256));
    s->r = sonde_alloc((size_t)(s->n * s->n) * sizeof(double));
    s->add = sonde_alloc((size_t)(s->portion * s->n) * sizeof(double));
    s->work = sonde_alloc((size_t)(2 * BLOCK * s->n) * sizeof(double));
  }
  if (!s || !s->r || !s->add || !s->work) {
    sonde_lstsq_free(s);
    sonde_fail(err, SONDE_ENOMEM, "no memory for least squares of %lld columns", (long long)(1 + in + out));
    return NULL;
  }
  return s;
}

void sonde_lstsq_free(sonde_lstsq *s) {
  if (!s) return;
  sonde_release(s->r), sonde_release(s->add), sonde_release(s->work), sonde_release(s);
}

int64_t sonde_lstsq_bytes(const sonde_lstsq *s) {
  return (s->n * s->n + s->portion * s->n + 2 * BLOCK * s->n) * (int64_t)sizeof(double);
}
int64_t sonde_lstsq_in(const sonde_lstsq *s) { return s->in; }
int64_t sonde_lstsq_out(const sonde_lstsq *s) { return s->out; }
int64_t sonde_lstsq_rows(const sonde_lstsq *s) { return s->rows; }

static int failed(int info, const char *routine, sonde_error *err) {
  if (info < 0) return sonde_fail(err, SONDE_EINVAL, "%s refused argument %d", routine, -info);
  return sonde_fail(err, SONDE_EINVAL, "%s did not converge", routine);
}

/* R of [R; add], where `add` has `rows` rows and is overwritten. */
static int join(sonde_lstsq *s, int64_t rows, sonde_error *err) {
  int m = (int)rows, n = (int)s->n, l = 0, nb = (int)least(BLOCK, s->n), info = 0;
  dtpqrt_(&m, &n, &l, &nb, s->r, &n, s->add, &m, s->work, &nb, s->work + BLOCK * s->n, &info);
  return info ? failed(info, "dtpqrt", err) : SONDE_OK;
}

int sonde_lstsq_add(sonde_lstsq *s, const float *x, const float *y, int64_t rows, sonde_error *err) {
  if (!sonde_all_finite(x, rows * s->in) || !sonde_all_finite(y, rows * s->out))
    return sonde_fail(err, SONDE_EINVAL, "least squares: a value is not finite");
  for (int64_t first = 0; first < rows; first += s->portion) {
    int64_t m = least(s->portion, rows - first);
    for (int64_t i = 0; i < m; i++) {
      const float *xi = x + (first + i) * s->in, *yi = y + (first + i) * s->out;
      s->add[i] = 1;
      for (int64_t j = 0; j < s->in; j++) s->add[(1 + j) * m + i] = xi[j];
      for (int64_t j = 0; j < s->out; j++) s->add[(1 + s->in + j) * m + i] = yi[j];
    }
    int rc = join(s, m, err);
    if (rc < 0) return rc;
  }
  s->rows += rows;
  return SONDE_OK;
}

int sonde_lstsq_merge(sonde_lstsq *s, const sonde_lstsq *other, sonde_error *err) {
  if (s->in != other->in || s->out != other->out)
    return sonde_fail(err, SONDE_EINVAL, "least squares of %lld x %lld and of %lld x %lld cannot be joined",
                      (long long)s->in, (long long)s->out, (long long)other->in, (long long)other->out);
  for (int64_t first = 0; first < s->n; first += s->portion) {
    int64_t m = least(s->portion, s->n - first);
    for (int64_t j = 0; j < s->n; j++)
      for (int64_t i = 0; i < m; i++) s->add[j * m + i] = first + i <= j ? other->r[j * s->n + first + i] : 0;
    int rc = join(s, m, err);
    if (rc < 0) return rc;
  }
  s->rows += other->rows;
  return SONDE_OK;
}

/* What solving R11 Z = R12 with R11 [p, p] needs; allocated here, as it is done once. */
typedef struct solver {
  int p, out, lwork, *pivot;
  double *a, *b;                     /* R11, R12: the solution in the end */
  double *rows, *tau, *length, *work;
} solver;

/* Q R P = A with the columns of A scaled to length 1, and Q' B. */
static int decompose(solver *s, const char **routine) {
  int info = 0;
  for (int j = 0; j < s->p; j++) {
    double length = cblas_dnrm2(s->p, s->a + (int64_t)j * s->p, 1);
    s->length[j] = length > 0 ? length : 1;
    cblas_dscal(s->p, 1 / s->length[j], s->a + (int64_t)j * s->p, 1);
  }
  *routine = "dgeqp3";
  dgeqp3_(&s->p, &s->p, s->a, &s->p, s->pivot, s->tau, s->work, &s->lwork, &info);
  if (info) return info;
  *routine = "dormqr";
  dormqr_("L", "T", &s->p, &s->out, &s->p, s->a, &s->p, s->tau, s->b, &s->p, s->work, &s->lwork, &info, 1, 1);
  return info;
}

/* Of the solutions that meet the rows of R above the noise, the one of least norm in the scale of the data. X was
 * rounded to f32, by some operations after one another: what it says in a direction below some units of that is made of
 * rounding, and a solution that followed it would be huge. */
static int solve_rows(solver *s, const char **routine) {
  double noise = 8 * FLT_EPSILON * sqrt(s->p), none = 0;
  int rank = 0, found = 0, info = 0;
  int64_t p = s->p;
  while (rank < p && fabs(s->a[rank * p + rank]) > noise * fabs(s->a[0])) rank++;
  for (int64_t k = 0; k < p; k++) {
    int64_t j = s->pivot[k] - 1;
    for (int64_t i = 0; i < rank; i++) s->rows[j * p + i] = i <= k ? s->a[k * p + i] * s->length[j] : 0;
  }
  memset(s->pivot, 0, (size_t)p * sizeof *s->pivot);
  *routine = "dgelsy";
  dgelsy_(&rank, &s->p, &s->out, s->rows, &s->p, s->b, &s->p, s->pivot, &none, &found, s->work, &s->lwork, &info);
  return info;
}

static int work_size(const solver *s) {
  double size[3] = {0}, none = 0;
  int query = -1, found = 0, info = 0;
  dgeqp3_(&s->p, &s->p, s->a, &s->p, s->pivot, s->tau, &size[0], &query, &info);
  dormqr_("L", "T", &s->p, &s->out, &s->p, s->a, &s->p, s->tau, s->b, &s->p, &size[1], &query, &info, 1, 1);
  dgelsy_(&s->p, &s->p, &s->out, s->a, &s->p, s->b, &s->p, s->pivot, &none, &found, &size[2], &query, &info);
  return (int)fmax(size[0], fmax(size[1], size[2]));
}

static int solve_triangle(int64_t p, int64_t out, double *a, double *b, sonde_error *err) {
  solver s = {.p = (int)p, .out = (int)out, .a = a, .b = b};
  s.pivot = sonde_alloc((size_t)p * sizeof *s.pivot);
  s.lwork = work_size(&s);
  s.rows = sonde_alloc((size_t)(p * p + 2 * p + s.lwork) * sizeof *s.rows);
  int rc = SONDE_OK;
  if (s.pivot && s.rows) {
    s.tau = s.rows + p * p, s.length = s.tau + p, s.work = s.length + p;
    const char *routine = NULL;
    int info = decompose(&s, &routine);
    if (!info) info = solve_rows(&s, &routine);
    if (info) rc = failed(info, routine, err);
  } else {
    rc = sonde_fail(err, SONDE_ENOMEM, "no memory for least squares");
  }
  sonde_release(s.pivot), sonde_release(s.rows);
  return rc;
}

/* Rows of R below the triangle of [1 X] hold what X cannot say about Y; the row of the ones holds Y's mean. What
 * R11 Z leaves of R12 (where X has lost directions) is added by the caller. */
static double share_left(const sonde_lstsq *s, const double *a, const double *z) {
  int64_t p = 1 + s->in;
  double left = 0, all = 0;
  for (int64_t j = 0; j < s->out; j++) {
    const double *column = s->r + (p + j) * s->n;
    for (int64_t i = 0; i <= p + j; i++) {
      double e = column[i];
      if (i > 0) all += e * e;
      for (int64_t k = i; i < p && k < p; k++) e -= a[k * p + i] * z[j * p + k];
      left += e * e;
    }
  }
  return all > 0 ? sqrt(left / all) : 0;
}

int sonde_lstsq_solve(const sonde_lstsq *s, float *w, float *b, double *residual, sonde_error *err) {
  int64_t p = 1 + s->in;
  if (s->rows < 1) return sonde_fail(err, SONDE_EINVAL, "least squares: there are no rows");
  size_t square = (size_t)(p * p);
  double *a = sonde_alloc((2 * square + (size_t)(p * s->out)) * sizeof *a);
  if (!a) return sonde_fail(err, SONDE_ENOMEM, "no memory for least squares");
  double *kept = a + square, *z = kept + square;
  for (int64_t j = 0; j < p; j++)
    for (int64_t i = 0; i <= j; i++) a[j * p + i] = kept[j * p + i] = s->r[j * s->n + i];
  for (int64_t j = 0; j < s->out; j++)
    for (int64_t i = 0; i < p; i++) z[j * p + i] = s->r[(p + j) * s->n + i];
  int rc = solve_triangle(p, s->out, a, z, err);
  for (int64_t j = 0; rc == SONDE_OK && j < s->out; j++) {
    b[j] = (float)z[j * p];
    for (int64_t i = 0; i < s->in; i++) w[i * s->out + j] = (float)z[j * p + 1 + i];
  }
  if (rc == SONDE_OK && residual) *residual = share_left(s, kept, z);
  sonde_release(a);
  return rc;
}

/* ---- singular values ------------------------------------------------------------------------------------------- */

/* Eigenvalues of a symmetric matrix [k, k], the smallest first, into `values`; the matrix is overwritten. */
static int eigenvalues(int64_t k, double *gram, double *values, sonde_error *err) {
  int n = (int)k, lwork = 2 * n + 1, liwork = 1, iwork = 0, info = 0;
  double *work = sonde_alloc((size_t)most(lwork, 1) * sizeof *work);
  if (!work) return sonde_fail(err, SONDE_ENOMEM, "no memory for singular values");
  dsyevd_("N", "U", &n, gram, &n, values, work, &lwork, &iwork, &liwork, &info, 1, 1);
  sonde_release(work);
  return info ? failed(info, "dsyevd", err) : SONDE_OK;
}

int sonde_singular_values(const float *x, int64_t m, int64_t n, float *values, sonde_error *err) {
  int64_t k = least(m, n), other = most(m, n);
  if (k < 1 || other > INT32_MAX || k > LARGEST)
    return sonde_fail(err, SONDE_EINVAL, "singular values of a matrix of %lld x %lld", (long long)m, (long long)n);
  if (!sonde_all_finite(x, m * n)) return sonde_fail(err, SONDE_EINVAL, "singular values: a value is not finite");
  set_up();
  double *wide = sonde_alloc((size_t)(m * n + k * k + k) * sizeof *wide);
  if (!wide) return sonde_fail(err, SONDE_ENOMEM, "no memory for singular values of %lld x %lld", (long long)m,
                               (long long)n);
  double *gram = wide + m * n, *eigen = gram + k * k;
  for (int64_t i = 0; i < m * n; i++) wide[i] = x[i];
  cblas_dsyrk(CblasRowMajor, CblasLower, m <= n ? CblasNoTrans : CblasTrans, (int)k, (int)other, 1, wide, (int)n, 0,
              gram, (int)k);
  int rc = eigenvalues(k, gram, eigen, err);
  for (int64_t i = 0; rc == SONDE_OK && i < k; i++) values[i] = (float)sqrt(fmax(0, eigen[k - 1 - i]));
  sonde_release(wide);
  return rc;
}

/* ---- the factor of an inverse --------------------------------------------------------------------------------- */

/* By rows, an upper triangle of ours is a lower one to Fortran, which sees the transpose. With L = U' there, a^-1 = U'
 * U = L L': the lower factor of the inverse. */
int sonde_inverse_factor(double *a, int64_t n) {
  int order = (int)n, info = 0;
  if (n < 1 || n > LARGEST) return SONDE_EINVAL;
  set_up();
  dpotrf_("L", &order, a, &order, &info, 1);
  if (!info) dpotri_("L", &order, a, &order, &info, 1);
  if (!info) dpotrf_("L", &order, a, &order, &info, 1);
  if (info) return SONDE_EINVAL;
  for (int64_t i = 1; i < n; i++) memset(a + i * n, 0, (size_t)i * sizeof *a);
  return SONDE_OK;
}
