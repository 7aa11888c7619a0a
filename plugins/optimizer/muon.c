/* muon.c - Muon: momentum whose matrices are made (nearly) orthogonal by five steps of a Newton-Schulz iteration; AdamW
 * for all that is no matrix of a block: embedding, head, gains, biases. Several matrices in one parameter [.., m, n],
 * the experts of a mixture, are each made orthogonal by itself.
 *
 * How long a step of an orthogonal matrix [m, n] should be is said in two ways. `rms`: 0.2 sqrt(max(m, n)), by which
 * its numbers have the size of AdamW's, so that the rates that suit AdamW serve both (Liu et al., 2025). `shape`:
 * sqrt(max(1, m / n)), as in the author's code, where lr is 0.02 and AdamW's rate 3e-4: adam_lr = 0.015. */
#include <math.h>
#include <string.h>

#include "sonde_plugin.h"

enum { MOMENTUM, NESTEROV, STEPS, SCALE, ADAM_LR, BETA1, BETA2, EPS };
enum { MEAN, SQUARE };

static const sonde_option options[] = {
    [MOMENTUM] = {"momentum", 'f', "0.95", 0, 0.99999, NULL, "of the matrices' mean gradient"},
    [NESTEROV] = {"nesterov", 'b', "true", 0, 0, NULL, "look one momentum step ahead"},
    [STEPS] = {"ns_steps", 'i', "5", 1, 20, NULL, "steps of the Newton-Schulz iteration"},
    [SCALE] = {"scale", 's', "rms", 0, 0, "rms|shape", "length of a step: 0.2 sqrt(max(m, n)) or sqrt(max(1, m / n))"},
    [ADAM_LR] = {"adam_lr", 'f', "1", 0, 1e3, NULL, "what AdamW trains has this times the learning rate"},
    [BETA1] = {"beta1", 'f', "0.9", 0, 0.99999, NULL, "of AdamW: decay rate of the mean of the gradients"},
    [BETA2] = {"beta2", 'f', "0.95", 0, 0.999999, NULL, "of AdamW: decay rate of the mean of their squares"},
    [EPS] = {"eps", 'f', "1e-8", 1e-20, 1, NULL, "of AdamW: added to the root of the squares"},
};

/* ---- matrices --------------------------------------------------------------------------------------------------- */

static int whole(const sonde_parameter *p, const sonde_value *opt) {
  (void)opt;
  return p->shape.rank >= 2 && p->role != SONDE_ROLE_EMBED && p->role != SONDE_ROLE_HEAD;
}

static int64_t rows(const sonde_parameter *p) { return p->shape.dim[p->shape.rank - 2]; }
static int64_t columns(const sonde_parameter *p) { return p->shape.dim[p->shape.rank - 1]; }

/* Two matrices of the size of one and two squares of its shorter side. */
static int64_t scratch(const sonde_parameter *p, const sonde_value *opt) {
  if (!whole(p, opt)) return 0;
  int64_t m = rows(p), n = columns(p), side = m < n ? m : n;
  return 2 * (m * n + side * side) * (int64_t)sizeof(float);
}

/* y [columns, rows] = x [rows, columns] transposed */
static void transpose(float *y, const float *x, int64_t m, int64_t n) {
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) y[j * m + i] = x[i * n + j];
}

/* Takes x [m, n], m <= n, near the orthogonal matrix next to it: x' = a x + (b A + c A^2) x with A = x x^T brings
 * singular values up to 1 to between 0.7 and 1.2. y is of x's size, square and product are [m, m]; returns x or y,
 * whichever holds the result. */
static float *orthogonal(float *x, float *y, float *square, float *product, int64_t m, int64_t n, int64_t steps) {
  const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
  for (int64_t s = 0; s < steps; s++) {
    sonde_gemm(0, 1, m, m, n, x, n, x, n, 0, square, m);
    sonde_gemm(0, 0, m, m, m, square, m, square, m, 0, product, m);
    for (int64_t k = 0; k < m * m; k++) square[k] = b * square[k] + c * product[k];
    sonde_math->scale(y, x, a, m * n);
    sonde_gemm(0, 0, m, n, m, square, m, x, n, 1, y, n);
    float *next = x;
    x = y, y = next;
  }
  return x;
}

/* 1 / (|x| + 1e-7), summed in f64 in the order of the numbers. */
static float to_unit(const float *x, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < n; k++) sum += (double)x[k] * (double)x[k];
  return (float)(1 / (sqrt(sum) + 1e-7));
}

/* The matrix that begins at element `at`. */
static void update_matrix(const sonde_update *u, const sonde_value *opt, int64_t at) {
  const float momentum = (float)opt[MOMENTUM].f, scale = (float)u->grad_scale;
  const int64_t m = rows(u->parameter), n = columns(u->parameter), side = m < n ? m : n;
  const double step =
      opt[SCALE].s[0] == 'r' ? 0.2 * sqrt((double)(m > n ? m : n)) : sqrt(m > n ? (double)m / (double)n : 1);
  const float keep = (float)(1 - u->lr * u->weight_decay), rate = (float)(u->lr * step);
  float *x = u->scratch, *y = x + m * n, *square = y + m * n, *mean = u->state[MEAN] + at, *w = u->w + at;
  for (int64_t k = 0; k < m * n; k++) {
    float g = u->g[at + k] * scale;
    mean[k] = momentum * mean[k] + (1 - momentum) * g;
    x[k] = opt[NESTEROV].i ? momentum * mean[k] + (1 - momentum) * g : mean[k];
  }
  sonde_math->scale(x, x, to_unit(x, m * n), m * n);
  if (m > n) {
    transpose(y, x, m, n);
    float *other = x;
    x = y, y = other;
  }
  float *o = orthogonal(x, y, square, square + side * side, side, m > n ? m : n, opt[STEPS].i);
  if (m > n) {
    float *free_one = o == x ? y : x;
    transpose(free_one, o, n, m);
    o = free_one;
  }
  for (int64_t k = 0; k < m * n; k++) w[k] = w[k] * keep - rate * o[k];
}

/* ---- the rest: AdamW ----------------------------------------------------------------------------------------- */

static void update_rest(const sonde_update *u, const sonde_value *opt) {
  const float b1 = (float)opt[BETA1].f, b2 = (float)opt[BETA2].f, eps = (float)opt[EPS].f, scale = (float)u->grad_scale;
  const double lr = u->lr * opt[ADAM_LR].f;
  const float keep = (float)(1 - lr * u->weight_decay), rate = (float)(lr / (1 - pow(opt[BETA1].f, (double)u->step)));
  const float root = (float)(1 / sqrt(1 - pow(opt[BETA2].f, (double)u->step)));
  float *restrict w = u->w, *restrict mean = u->state[MEAN], *restrict square = u->state[SQUARE];
  const float *restrict grad = u->g;
  for (int64_t k = 0; k < u->n; k++) {
    float g = grad[k] * scale;
    mean[k] = b1 * mean[k] + (1 - b1) * g;
    square[k] = b2 * square[k] + (1 - b2) * g * g;
    w[k] = w[k] * keep - rate * mean[k] / (sqrtf(square[k]) * root + eps);
  }
}

static void update(const sonde_update *u, const sonde_value *opt) {
  if (!whole(u->parameter, opt)) {
    update_rest(u, opt);
    return;
  }
  const int64_t one = rows(u->parameter) * columns(u->parameter);
  for (int64_t at = 0; at < u->n; at += one) update_matrix(u, opt, at);
}

static int state_shape(const sonde_parameter *p, int k, const sonde_value *opt, sonde_shape *shape) {
  (void)shape;
  return k == MEAN || !whole(p, opt);
}

static const char *const state_names[] = {[MEAN] = "exp_avg", [SQUARE] = "exp_avg_sq"};
static const sonde_optimizer functions = {.size = sizeof functions,
                                          .states = 2,
                                          .state_names = state_names,
                                          .update = update,
                                          .whole = whole,
                                          .state_shape = state_shape,
                                          .scratch = scratch};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "muon",
    .kind = "optimizer",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "of matrices, w -= lr s (orthogonal part of their momentum); AdamW for the rest",
    .citation = "Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; scale rms: Liu et al., "
                "Muon is Scalable for LLM Training, 2025",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
