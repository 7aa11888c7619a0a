/* sparsegpt.c - the Optimal Brain Surgeon's update in one pass over the columns: what a weight that goes contributed to
 * the output is made up by the weights behind it in its row.
 *
 * With H = X^T X + damp mean(diag X^T X) I and H^-1 = U' U (U upper), a weight w_j that goes costs w_j^2 / U_jj^2, and
 * the row loses w_j / U_jj U_j,j.. . Which weights go is chosen for `block` columns at a time over all rows, as in the
 * authors' code; of N:M for each group when its first column is reached. Its threshold takes one weight a block more
 * out than the share; here the count is exact. */
#include <stdlib.h>
#include <string.h>

#include "descriptor.h"

enum { DAMP, BLOCK };
enum { ROWS = 16 };               /* of a tile */

static const sonde_option options[] = {
    [DAMP] = {"damp", 'f', "0.01", 1e-6, 1, NULL, "damping of the Hessian over the mean of its diagonal"},
    [BLOCK] = {"block", 'i', "128", 1, 4096, NULL, "columns whose weights are chosen together"},
};

typedef struct work {
  const sonde_sparse *s;
  float *u;                       /* [in, in] */
  float *w, *error;               /* [out, in]; [out, block], minus w_j / U_jj of those that went */
  float *cost, *sorted;           /* [out, block] of w_j^2 / U_jj^2; -2: out already */
  uint8_t *keep;
  int64_t first, n, block;        /* the columns of this pass */
} work;

static int is_out(const sonde_sparse *s, int64_t row, int64_t column) { return s->w[row * s->in + column] == 0; }

/* Weights of an input that is always 0 go first; no more of them than the share, unlike in the authors' code. */
static float cost_of(const work *k, int64_t row, int64_t column) {
  float d = k->w[row * k->s->in + column] / k->u[column * k->s->in + column];
  return is_out(k->s, row, column) ? -2 : k->s->gram[column * k->s->in + column] == 0 ? -1 : d * d;
}

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

/* keep of the columns of this pass, by their cost among all rows; of equal ones the first go. */
static void choose_share(work *k) {
  const int64_t all = k->s->out * k->n, count = (int64_t)(k->s->sparsity * (double)all + 1e-6);
  int64_t equal = count;
  for (int64_t r = 0; r < k->s->out; r++)
    for (int64_t j = 0; j < k->n; j++) k->cost[r * k->n + j] = cost_of(k, r, k->first + j);
  memcpy(k->sorted, k->cost, (size_t)all * sizeof *k->sorted);
  qsort(k->sorted, (size_t)all, sizeof *k->sorted, by_size);
  const float least = count ? k->sorted[count - 1] : -2;
  for (int64_t i = 0; i < all; i++) equal -= k->cost[i] < least;
  for (int64_t i = 0; i < all; i++) {
    int goes = k->cost[i] < least || k->cost[i] < -1 || (k->cost[i] == least && equal-- > 0);
    k->keep[i / k->n * k->s->in + k->first + i % k->n] = !goes;
  }
}

/* keep of the group of a row that begins at a column. */
static void choose_group(work *k, int64_t row, int64_t column) {
  uint8_t *keep = k->keep + row * k->s->in + column;
  for (int j = 0; j < k->s->group; j++) keep[j] = !is_out(k->s, row, column + j);
  for (int gone = 0; gone < k->s->group - k->s->keep; gone++) {
    int least = -1, left = 0;
    for (int j = 0; j < k->s->group; j++) {
      left += keep[j];
      if (keep[j] && (least < 0 || cost_of(k, row, column + j) < cost_of(k, row, column + least))) least = j;
    }
    if (left > k->s->keep) keep[least] = 0;
  }
}

static void prune_row(work *k, int64_t row) {
  const int64_t in = k->s->in;
  float *w = k->w + row * in, *error = k->error + row * k->block;
  for (int64_t i = 0; i < k->n; i++) {
    const int64_t j = k->first + i;
    if (k->s->group && j % k->s->group == 0) choose_group(k, row, j);
    error[i] = k->keep[row * in + j] ? 0 : -w[j] / k->u[j * in + j];
    if (error[i] != 0) sonde_math->axpy(w + j, k->u + j * in + j, error[i], k->n - i);
    if (!k->keep[row * in + j]) w[j] = 0;
  }
}

static void prune_tile(void *arg, int64_t tile, int worker) {
  work *k = arg;
  const int64_t in = k->s->in, next = k->first + k->n, begin = tile * ROWS;
  const int64_t end = begin + ROWS < k->s->out ? begin + ROWS : k->s->out;
  (void)worker;
  for (int64_t r = begin; r < end; r++) prune_row(k, r);
  if (next < in)
    sonde_gemm(0, 0, end - begin, in - next, k->n, k->error + begin * k->block, k->block,
               k->u + k->first * in + next, in, 1, k->w + begin * in + next, in);
}

/* U of the damped Hessian, into u. 0 or a code. */
static int factor(const sonde_sparse *s, double damp, float *u, sonde_error *err) {
  const int64_t n = s->in;
  double *h = malloc((size_t)(n * n) * sizeof *h), mean = 0;
  if (!h) return sonde_fail(err, SONDE_ENOMEM, "no memory for a Hessian of %lld inputs", (long long)n);
  for (int64_t k = 0; k < n * n; k++) h[k] = s->gram[k];
  for (int64_t j = 0; j < n; j++) {
    if (h[j * n + j] == 0) h[j * n + j] = 1;      /* an input that is always 0 */
    mean += h[j * n + j] / (double)n;
  }
  for (int64_t j = 0; j < n; j++) h[j * n + j] += damp * mean;
  int code = sonde_inverse_factor(h, n);
  for (int64_t k = 0; k < n * n && !code; k++) u[k] = (float)h[k];
  free(h);
  return code ? sonde_fail(err, code, "the Hessian of %lld inputs over %lld tokens is not positive definite; raise the "
                           "option 'damp', or take more text", (long long)n, (long long)s->tokens)
              : 0;
}

static int prune(const sonde_sparse *s, const sonde_value *opt, float *w, uint8_t *keep, sonde_error *err) {
  const int64_t group = s->group ? s->group : 1, block = (opt[BLOCK].i + group - 1) / group * group;
  const size_t pass = (size_t)(s->out * block);
  float *room = malloc(((size_t)(s->in * s->in) + 3 * pass) * sizeof *room);
  if (!room) return sonde_fail(err, SONDE_ENOMEM, "no memory to prune a matrix of %lld inputs", (long long)s->in);
  float *error = room + s->in * s->in;
  work k = {s, room, w, error, error + pass, error + 2 * pass, keep, 0, 0, block};
  int code = factor(s, opt[DAMP].f, k.u, err);
  for (; k.first < s->in && !code; k.first += block) {
    k.n = s->in - k.first < block ? s->in - k.first : block;
    if (!s->group) choose_share(&k);
    sonde_parallel(s->call, (s->out + ROWS - 1) / ROWS, prune_tile, &k);
  }
  free(room);
  return code;
}

static const sonde_sparsity functions = {
    .size = sizeof functions, .needs = SONDE_NEEDS_GRAM, .scope = SONDE_SCOPE_MATRIX, .prune = prune};
static const sonde_plugin plugin = {
    SPARSITY("sparsegpt", "w_j^2 / [H^-1]_jj by columns, and the weights behind make up for what goes",
             "Frantar and Alistarh, SparseGPT, 2023, algorithm 1"),
    .options = options,
    .n_options = sizeof options / sizeof options[0],
};
SONDE_PLUGIN(plugin)
