/* bhyt_ops.h - the op of both BHyT norms and its gradient; the including file sets BHYT to the plugin's name, under
 * which they are registered.
 *
 *   y = gain tanh(a x),  a = lambda r,  r = 1 / (kappa sqrt(v + eps))      v: one number a row
 *
 * v is the row's own mean square; or the mean square of an earlier stream, s, plus a number for all rows, extra: the
 * row is then read once and not twice. Gradients flow through all of them. */
#ifndef SONDE_BHYT_OPS_H
#define SONDE_BHYT_OPS_H

#include <math.h>
#include <stdio.h>

#include "gain.h"
#include "tanh_rows.h"

enum { X, GAIN, LAMBDA, GIVEN, EXTRA };            /* inputs; without GIVEN v is the row's own */
enum { G_V = 3, G_DY, G_DV };                      /* inputs of the gradient after these three; G_DV may be missing */
enum { G_DX, G_DGAIN, G_DLAMBDA, G_DGIVEN };       /* its outputs */

/* What is one number a row (v, r) is computed for a group of rows at a time, about as many numbers as the nearest cache
 * holds: divisions and roots then wait for each other once a group, not once a row. */
enum { GROUP = 32, GROUP_NUMBERS = 1024 };
static inline int64_t group_of(int64_t width, int64_t left) {
  int64_t n = GROUP_NUMBERS / width < 1 ? 1 : GROUP_NUMBERS / width < GROUP ? GROUP_NUMBERS / width : GROUP;
  return n < left ? n : left;
}

static inline void row_scales(const sonde_call *c, float *r, const float *v, int64_t n) {
  const double kappa = c->attr->f[0], eps = c->attr->f[1];
  for (int64_t k = 0; k < n; k++) r[k] = (float)(1.0 / (kappa * sqrt((double)v[k] + eps)));
}

static sonde_shape one_a_row(const sonde_shape *x) {
  sonde_shape s = *x;
  s.dtype = SONDE_F32;
  s.dim[--s.rank] = 1;
  return s;
}

static int is_one_a_row(const sonde_shape *x, const sonde_shape *v) {
  if (v->dtype != SONDE_F32 || v->rank != x->rank - 1) return 0;
  return !memcmp(v->dim, x->dim, (size_t)v->rank * sizeof v->dim[0]);
}

/* ---- forward ---------------------------------------------------------------------------------------------- */

static int forward_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  int rc = tanh_rows_check(BHYT ".forward", &in[X], &in[GAIN], &in[LAMBDA], err);
  if (rc) return rc;
  if (!(a->f[0] > 0) || !(a->f[1] > 0))
    return sonde_the_host->fail(err, SONDE_EINVAL, BHYT ".forward: kappa %g and eps %g must be positive", a->f[0],
                                a->f[1]);
  if (n_in > GIVEN && !is_one_a_row(&in[X], &in[GIVEN]))
    return sonde_the_host->fail(err, SONDE_ESHAPE, BHYT ".forward: a given mean square must be f32, one a row");
  if (n_in > EXTRA && (in[EXTRA].dtype != SONDE_F32 || in[EXTRA].rank != 1 || in[EXTRA].dim[0] != 1))
    return sonde_the_host->fail(err, SONDE_ESHAPE, BHYT ".forward: what is added to the mean square must be f32 [1]");
  out[0] = in[X];
  out[1] = one_a_row(&in[X]);
  return SONDE_OK;
}

static void forward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const float *x = c->in[X], *gain = c->in[GAIN], lambda = *(const float *)c->in[LAMBDA];
  const float *given = c->n_in > GIVEN ? c->in[GIVEN] : NULL;
  const float extra = c->n_in > EXTRA ? *(const float *)c->in[EXTRA] : 0;
  float *v_out = c->out[1], v[GROUP], r[GROUP];
  int64_t width = width_of(&c->in_shape[X]), n;
  int dtype = c->out_shape[0].dtype;
  (void)sums;
  for (int64_t i = begin; i < end; i += n) {
    const float *row = x + i * width;
    n = group_of(width, end - i);
    for (int64_t k = 0; k < n; k++)
      v[k] = given ? given[i + k] + extra : c->host->simd->dot(row + k * width, row + k * width, width) / (float)width;
    if (v_out) memcpy(v_out + i, v, (size_t)n * sizeof *v);
    row_scales(c, r, v, n);
    for (int64_t k = 0; c->out[0] && k < n; k++)
      tanh_row(row_at(c->out[0], dtype, (i + k) * width), dtype, row + k * width, gain, NULL, lambda * r[k],
               width);
  }
}

static int forward_run(const sonde_call *c) {
  const sonde_shape *x = &c->in_shape[X];
  c->host->rows(c, rows_of(x), width_of(x), 0, forward_rows, (void *)(uintptr_t)c);
  return SONDE_OK;
}

/* What flows back through v alone: dx = 2/D x dv. */
static sonde_node *through_mean_square(sonde_node *x, sonde_node *dv) {
  sonde_shape s = sonde_the_host->node_shape(x);
  double factor = 2.0 / (double)s.dim[s.rank - 1];
  s.dim[s.rank - 1] = 1;
  return sonde_mul(x, sonde_scale(sonde_reshape(dv, s.dim, s.rank), factor));
}

static int forward_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN], *args[6], *dv = dout[1];
  int n = sonde_the_host->node_inputs(self, in), own = n <= GIVEN;
  sonde_attr attr = *sonde_the_host->node_attr(self);
  attr.i[0] = own;
  if (dout[0]) {
    memcpy(args, in, G_V * sizeof *args);
    args[G_V] = sonde_the_host->result(self, 1);
    args[G_DY] = dout[0];
    args[G_DV] = dv;
    din[X] = sonde_the_host->op(g, BHYT ".backward", args, own && dv ? 6 : 5, &attr);
    din[GAIN] = sonde_the_host->result(din[X], G_DGAIN);
    din[LAMBDA] = sonde_the_host->result(din[X], G_DLAMBDA);
    sonde_node *through = own ? NULL : sonde_the_host->result(din[X], G_DGIVEN);
    if (!din[LAMBDA] || (!own && !through)) return SONDE_ESHAPE;
    if (!own) dv = dv ? sonde_add(dv, through) : through;
  } else if (own) {
    din[X] = through_mean_square(in[X], dv);
  }
  if (own) return din[X] ? SONDE_OK : SONDE_ESHAPE;
  din[GIVEN] = dv;
  if (n > EXTRA) din[EXTRA] = sonde_reshape(sonde_sum_all(dv), (int64_t[]){1}, 1);
  return dv ? SONDE_OK : SONDE_ESHAPE;
}

/* ---- backward --------------------------------------------------------------------------------------------- */

static int backward_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  int rc = tanh_rows_check(BHYT ".backward", &in[G_DY], &in[GAIN], &in[LAMBDA], err);
  if (rc) return rc;
  for (int k = G_V; k < n_in; k += 2)
    if (!is_one_a_row(&in[X], &in[k]))
      return sonde_the_host->fail(err, SONDE_ESHAPE, BHYT ".backward: input %d must be f32, one a row", k);
  (void)a;
  for (int k = 0; k < 3; k++) out[k] = in[k];
  out[G_DGIVEN] = one_a_row(&in[X]);
  return SONDE_OK;
}

static void backward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const float *x = c->in[X], *gain = c->in[GAIN], *v = c->in[G_V], *dy = c->in[G_DY];
  const float lambda = *(const float *)c->in[LAMBDA], *dv_in = c->n_in > G_DV ? c->in[G_DV] : NULL;
  float *dx = c->out[G_DX], *dv_out = c->out[G_DGIVEN], r[GROUP], da[GROUP], dv[GROUP];
  int64_t width = width_of(&c->in_shape[X]), n;
  for (int64_t i = begin; i < end; i += n) {
    n = group_of(width, end - i);
    row_scales(c, r, v + i, n);
    for (int64_t k = 0, at = i * width; k < n; k++, at += width)
      da[k] = tanh_row_grad(dx ? dx + at : NULL, sums, x + at, gain, dy + at, lambda * r[k], width);
    for (int64_t k = 0; k < n; k++) {
      sums[width] += da[k] * r[k];
      dv[k] = (float)(-0.5 * (double)(da[k] * lambda * r[k]) / ((double)v[i + k] + c->attr->f[1]));
      if (dv_in) dv[k] += dv_in[i + k];
    }
    if (dv_out) memcpy(dv_out + i, dv, (size_t)n * sizeof *dv);
    for (int64_t k = 0, at = i * width; dx && c->attr->i[0] && k < n; k++, at += width)
      c->host->simd->axpy(dx + at, x + at, 2 * dv[k] / (float)width, width);
  }
}

static int backward_run(const sonde_call *c) {
  return tanh_grad_run(c, backward_rows, 0, c->out[G_DGAIN], c->out[G_DLAMBDA], NULL);
}

static int64_t backward_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return tanh_grad_scratch(&in[X], 0);
}

/* tanh counts as ten. */
static double forward_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)out, (void)a;
  return (n_in > GIVEN ? 12.0 : 14.0) * (double)rows_of(&in[X]) * (double)width_of(&in[X]);
}
static double backward_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out;
  return (a->i[0] ? 22.0 : 20.0) * (double)rows_of(&in[X]) * (double)width_of(&in[X]);
}

static const sonde_op_def ops[] = {
    {.size = sizeof(sonde_op_def), .name = BHYT ".forward", .min_in = 3, .max_in = 5, .n_out = 2,
     .flags = SONDE_OP_BF16_OUT | SONDE_OP_GAIN,
     .doc = "y = gain tanh(lambda x / (kappa sqrt(v + eps))): x [.., D], gain [D], lambda [1] -> y [.., D], v [..]; "
            "v = mean(x^2) a row, or s + extra with s [..] and extra [1] given. f0 kappa, f1 eps",
     .shape = forward_shape, .grad = forward_grad, .run = forward_run, .flops = forward_flops},
    {.size = sizeof(sonde_op_def), .name = BHYT ".backward", .min_in = 5, .max_in = 6, .n_out = 4,
     .flags = SONDE_OP_GAIN_GRAD,
     .doc = "of the forward op: x, gain, lambda, v, dy, and dv of its second result if any -> dx, dgain, dlambda, dv; "
            "i0 = 1 where v is mean(x^2): dx then holds what flows through it",
     .shape = backward_shape, .scratch = backward_scratch, .run = backward_run, .flops = backward_flops},
};

/* ---- the module's common part ------------------------------------------------------------------------------ */

enum { KAPPA, LAMBDA_ATTN, LAMBDA_FFN, LAMBDA_FINAL, LEARN, EPS, FOLDED, SCHEDULE, COMMON_OPTIONS };

#define BHYT_OPTIONS                                                                                                   \
  [KAPPA] = {"kappa", 'f', "10", 1e-3, 1e6, NULL, "by Chebyshev, at most 1/kappa^2 of values exceed kappa sigmas"}, \
  [LAMBDA_ATTN] = {"lambda_attn", 'f', "1", 1e-6, 1e3, NULL, "first value of lambda at the attention's norms"},        \
  [LAMBDA_FFN] = {"lambda_ffn", 'f', "1", 1e-6, 1e3, NULL, "first value of lambda at the feed-forward layer's norms"}, \
  [LAMBDA_FINAL] = {"lambda_final", 'f', "0", 0, 1e3, NULL, "of lambda before the head; 0: RMSNorm is there"},         \
  [LEARN] = {"learn_lambda", 'b', "true", 0, 0, NULL, "whether the lambdas are learned"},                              \
  [EPS] = {"eps", 'f', "1e-6", 1e-12, 1, NULL, "added to the variance, under the root"},                               \
  [FOLDED] = FOLDED_OPTION,                                                                                            \
  [SCHEDULE] = {"kappa_schedule", 's', "none", 0, 0, "none|decay|grow|mild_grow",                                      \
                "kappa of block l: kappa, kappa / sqrt(l), kappa sqrt(l), kappa l^(1/4); before the head l = L + 1"}

/* kappa of a place. */
static double kappa_at(const sonde_place *at, const sonde_value *opt) {
  const double l = at->layer ? at->layer : at->depth + 1, kappa = opt[KAPPA].f;
  switch (opt[SCHEDULE].s[0]) {
    case 'd': return kappa / sqrt(l);
    case 'g': return kappa * sqrt(l);
    case 'm': return kappa * sqrt(sqrt(l));
    default: return kappa;
  }
}

/* Publishes a value under "<slot>.<what>". */
static void publish(sonde_site *site, const char *what, sonde_node *n) {
  char name[64];
  snprintf(name, sizeof name, "%s.%s", sonde_where(site)->slot, what);
  sonde_publish(site, name, n);
}

static sonde_node *lambda_of(sonde_site *site, const sonde_value *opt, double first, sonde_node *x) {
  static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
  if (opt[LEARN].i) return sonde_vector(site, "lambda", 1, SONDE_ROLE_GAIN, first);
  return sonde_the_host->constant(sonde_the_host->node_graph(x), &one, first);
}

/* The norm with v from given[0] + given[1] (either may be NULL), or exact. */
static sonde_node *norm(sonde_site *site, const sonde_value *opt, sonde_node *x, sonde_node *const given[2]) {
  const sonde_place *at = sonde_where(site);
  int which = !strcmp(at->slot, "final") ? LAMBDA_FINAL : !strncmp(at->slot, "ffn", 3) ? LAMBDA_FFN : LAMBDA_ATTN;
  sonde_node *gain = norm_gain(site, opt[FOLDED].i, 0, x);
  if (opt[which].f == 0) return sonde_rmsnorm(x, gain, opt[EPS].f);
  sonde_node *in[5] = {x, gain, lambda_of(site, opt, opt[which].f, x), given[0], given[1]};
  const double kappa = kappa_at(at, opt);
  sonde_attr attr = {{kappa, opt[EPS].f, 0, 0}, {0}};
  if (!in[GAIN] || !in[LAMBDA]) return NULL;
  int n = given[1] ? 5 : given[0] ? 4 : 3;
  sonde_node *y = sonde_the_host->op(sonde_the_host->node_graph(x), BHYT ".forward", in, n, &attr);
  publish(site, "norm_input", x);
  publish(site, "norm_mean_square", y ? sonde_the_host->result(y, 1) : NULL);
  publish(site, "norm_lambda", in[LAMBDA]);
  if (y) {
    int64_t column[3] = {at->batch, at->context, 1};
    sonde_node *v = sonde_reshape(sonde_the_host->result(y, 1), column, 3);
    sonde_node *r = sonde_scale(sonde_rsqrt(sonde_affine(v, 1, opt[EPS].f)), 1 / kappa);
    publish_argument(site, "tanh", sonde_mul(x, sonde_mul(r, in[LAMBDA])));
  }
  return y;
}

#endif
