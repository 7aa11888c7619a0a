/* softmax.c - softmax, log-softmax and cross-entropy over the last axis of logits that are there in full.
 * (The loss over an LM head that never forms all its logits is lm_loss.) A tile is a group of rows. */
#include "ops/common.h"

#include <math.h>
#include <string.h>

#include "cpu/simd.h"
#include "ops/families.h"

typedef struct rows {
  const sonde_call *c;
  int64_t n, width, group;
  void (*row)(const sonde_call *c, int64_t k, int64_t width);
} rows;

static void rows_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const rows *r = arg;
  for (int64_t k = tile * r->group; k < (tile + 1) * r->group && k < r->n; k++) r->row(r->c, k, r->width);
}

static int run_rows(const sonde_call *c, void (*row)(const sonde_call *c, int64_t k, int64_t width)) {
  const sonde_shape *x = &c->in_shape[0];
  int64_t width = x->dim[x->rank - 1], n = sonde_shape_count(x);
  rows r = {c, n / width, width, sonde_row_tile(width), row};
  sonde_pool_run(c->pool, sonde_parts(r.n, r.group), rows_tile, &r);
  return SONDE_OK;
}

static double exp_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 4 * (double)sonde_shape_count(&in[0]);
}

static int need_last_axis(const char *op, const sonde_shape *x, sonde_error *err) {
  int rc = sonde_need_dtype(op, "x", x, SONDE_F32, err);
  if (rc || x->rank >= 1) return rc;
  return sonde_fail(err, SONDE_ESHAPE, "%s: x is a scalar; at least one axis is needed", op);
}

static int pair_shape(const char *op, const sonde_shape *in, sonde_shape *out, sonde_error *err) {
  int rc = need_last_axis(op, &in[0], err);
  if (!rc) rc = sonde_need_dtype(op, "dy", &in[1], SONDE_F32, err);
  if (rc) return rc;
  if (!sonde_shape_equal(&in[0], &in[1]))
    return sonde_fail(err, SONDE_ESHAPE, "%s: y is %s and dy %s; they must be equal", op,
                      sonde_shown(&in[0]).text, sonde_shown(&in[1]).text);
  *out = in[0];
  return SONDE_OK;
}

/* ---- softmax ----------------------------------------------------------------------------------------- */

static int softmax_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                         sonde_error *err) {
  (void)n_in, (void)a;
  *out = in[0];
  return need_last_axis("softmax", &in[0], err);
}

static void softmax_row(const sonde_call *c, int64_t k, int64_t width) {
  const sonde_simd_table *simd = sonde_simd_get();
  const float *x = (const float *)c->in[0] + k * width;
  float *y = (float *)c->out[0] + k * width;
  float total = simd->exp_sum(y, x, simd->common.max(x, width), width);
  simd->common.scale(y, y, 1 / total, width);
}

static int softmax_run(const sonde_call *c) { return run_rows(c, softmax_row); }

static int softmax_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  din[0] = sonde_op2("softmax_grad", self, dout[0]);
  return sonde_rule_end(g);
}

static int softmax_grad_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                              sonde_error *err) {
  (void)n_in, (void)a;
  return pair_shape("softmax_grad", in, out, err);
}

/* dx = y (dy - y.dy) */
static void softmax_grad_row(const sonde_call *c, int64_t k, int64_t width) {
  const sonde_simd *simd = &sonde_simd_get()->common;
  const float *y = (const float *)c->in[0] + k * width, *dy = (const float *)c->in[1] + k * width;
  float *dx = (float *)c->out[0] + k * width;
  float dot = simd->dot(y, dy, width);
  simd->mul(dx, y, dy, width);
  simd->axpy(dx, y, -dot, width);
}

static int softmax_grad_run(const sonde_call *c) { return run_rows(c, softmax_grad_row); }

/* With e the gradient of dx: d/dy = e (dy - y.dy) - dy (y.e), d/d dy = y (e - y.e) */
static int softmax_grad_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  sonde_node *y = x.in[0], *dy = x.in[1], *e = dout[0];
  sonde_node *centred = sonde_sub(dy, sonde_sum_last(sonde_mul(y, dy)));
  din[0] = sonde_sub(sonde_mul(e, centred), sonde_mul(dy, sonde_sum_last(sonde_mul(y, e))));
  din[1] = sonde_op2("softmax_grad", y, e);
  return sonde_rule_end(g);
}

/* ---- log_softmax ------------------------------------------------------------------------------------- */

static int log_softmax_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                             sonde_error *err) {
  (void)n_in, (void)a;
  *out = in[0];
  return need_last_axis("log_softmax", &in[0], err);
}

static void log_softmax_row(const sonde_call *c, int64_t k, int64_t width) {
  const sonde_simd_table *simd = sonde_simd_get();
  const float *x = (const float *)c->in[0] + k * width;
  float *y = (float *)c->out[0] + k * width;
  float top = simd->common.max(x, width), log_sum = logf(simd->exp_sum(y, x, top, width));
  for (int64_t v = 0; v < width; v++) y[v] = (x[v] - top) - log_sum;
}

static int log_softmax_run(const sonde_call *c) { return run_rows(c, log_softmax_row); }

static int log_softmax_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  din[0] = sonde_op2("log_softmax_grad", self, dout[0]);
  return sonde_rule_end(g);
}

static int log_softmax_grad_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                                  sonde_error *err) {
  (void)n_in, (void)a;
  return pair_shape("log_softmax_grad", in, out, err);
}

/* dx = dy - e^y sum(dy) */
static void log_softmax_grad_row(const sonde_call *c, int64_t k, int64_t width) {
  const sonde_simd *simd = &sonde_simd_get()->common;
  const float *y = (const float *)c->in[0] + k * width, *dy = (const float *)c->in[1] + k * width;
  float *dx = (float *)c->out[0] + k * width;
  simd->exp(dx, y, width);
  simd->scale(dx, dx, -simd->sum(dy, width), width);
  simd->axpy(dx, dy, 1, width);
}

static int log_softmax_grad_run(const sonde_call *c) { return run_rows(c, log_softmax_grad_row); }

/* With e the gradient of dx: d/dy = -e e^y sum(dy), d/d dy = e - sum(e e^y) */
static int log_softmax_grad_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout,
                                 sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  sonde_node *weighted = sonde_mul(dout[0], sonde_exp(x.in[0]));
  din[0] = sonde_scale(sonde_mul(weighted, sonde_sum_last(x.in[1])), -1);
  din[1] = sonde_sub(dout[0], sonde_sum_last(weighted));
  return sonde_rule_end(g);
}

/* ---- cross_entropy ----------------------------------------------------------------------------------- */

static int targets_shape(const char *op, const sonde_shape *in, sonde_shape *per_row, sonde_error *err) {
  int rc = need_last_axis(op, &in[0], err);
  if (!rc) rc = sonde_need_dtype(op, "targets", &in[1], SONDE_I32, err);
  if (rc) return rc;
  *per_row = in[0];
  per_row->dim[--per_row->rank] = 1;
  if (!sonde_shape_equal(per_row, &in[1]))
    return sonde_fail(err, SONDE_ESHAPE, "%s: logits %s and targets %s; needed are [.., V] and [..]", op,
                      sonde_shown(&in[0]).text, sonde_shown(&in[1]).text);
  return SONDE_OK;
}

static int cross_entropy_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                               sonde_error *err) {
  (void)n_in, (void)a;
  int rc = targets_shape("cross_entropy", in, &out[0], err);
  out[1] = out[0];
  return rc;
}

static int targets_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)n_in, (void)a;
  *low = -1, *high = in[0].dim[in[0].rank - 1] - 1;
  return k == 1;
}

static int check_targets(const sonde_call *c) {
  const int32_t *target = c->in[1];
  int64_t n = sonde_shape_count(&c->in_shape[1]), classes = c->in_shape[0].dim[c->in_shape[0].rank - 1];
  for (int64_t k = 0; k < n; k++)
    if (target[k] < -1 || target[k] >= classes)
      return sonde_fail(c->err, SONDE_EINVAL, "target %d at position %lld; it must be 0 to %lld, or -1 to ignore",
                        (int)target[k], (long long)k, (long long)classes - 1);
  return SONDE_OK;
}

/* The exponentials go nowhere, so a piece of them at a time is kept. */
static float exp_sum_of(const float *x, float top, int64_t n) {
  enum { PIECE = 512 };
  const sonde_simd_table *simd = sonde_simd_get();
  float piece[PIECE], total = 0;
  for (int64_t k = 0; k < n; k += PIECE)
    total += simd->exp_sum(piece, x + k, top, n - k < PIECE ? n - k : PIECE);
  return total;
}

/* The loss is not lse less the logit: of large logits lse has lost what the sum adds to the largest of them. */
static void cross_entropy_row(const sonde_call *c, int64_t k, int64_t width) {
  const float *x = (const float *)c->in[0] + k * width;
  int32_t target = ((const int32_t *)c->in[1])[k];
  float top = sonde_simd_get()->common.max(x, width), log_sum = logf(exp_sum_of(x, top, width));
  if (c->out[0]) ((float *)c->out[0])[k] = target < 0 ? 0 : top - x[target] + log_sum;
  if (c->out[1]) ((float *)c->out[1])[k] = top + log_sum;
}

static int cross_entropy_run(const sonde_call *c) {
  int rc = check_targets(c);
  return rc ? rc : run_rows(c, cross_entropy_row);
}

/* [..] as [.., 1], to meet [.., V] */
static sonde_node *as_column(sonde_node *n) {
  if (!n) return NULL;
  sonde_shape s = sonde_node_shape(n);
  s.dim[s.rank++] = 1;
  return sonde_reshape(n, s.dim, s.rank);
}

static int cross_entropy_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  sonde_node *by_lse = NULL;
  if (dout[1])
    din[0] = by_lse = sonde_mul(as_column(dout[1]), sonde_exp(sonde_sub(x.in[0], as_column(sonde_result(self, 1)))));
  if (dout[0]) {
    sonde_node *in[3] = {x.in[0], x.in[1], dout[0]};
    din[0] = sonde_op(g, "cross_entropy_grad", in, 3, NULL);
  }
  if (dout[0] && dout[1]) din[0] = sonde_add(din[0], by_lse);
  return sonde_rule_end(g);
}

static int cross_entropy_grad_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                                    sonde_error *err) {
  (void)n_in, (void)a;
  sonde_shape per_row;
  int rc = targets_shape("cross_entropy_grad", in, &per_row, err);
  if (!rc) rc = sonde_need_dtype("cross_entropy_grad", "dloss", &in[2], SONDE_F32, err);
  if (!rc && !sonde_shape_equal(&in[2], &per_row))
    rc = sonde_fail(err, SONDE_ESHAPE, "cross_entropy_grad: dloss is %s; needed is %s", sonde_shown(&in[2]).text,
                    sonde_shown(&per_row).text);
  *out = in[0];
  return rc;
}

/* dx = dloss (softmax(x) - onehot(target)) */
static void cross_entropy_grad_row(const sonde_call *c, int64_t k, int64_t width) {
  const sonde_simd_table *simd = sonde_simd_get();
  const float *x = (const float *)c->in[0] + k * width;
  int32_t target = ((const int32_t *)c->in[1])[k];
  float *dx = (float *)c->out[0] + k * width;
  if (target < 0) {
    memset(dx, 0, (size_t)width * sizeof *dx);
    return;
  }
  float total = simd->exp_sum(dx, x, simd->common.max(x, width), width);
  dx[target] -= total;      /* total (softmax - onehot) */
  simd->common.scale(dx, dx, ((const float *)c->in[2])[k] / total, width);
}

static int cross_entropy_grad_run(const sonde_call *c) {
  int rc = check_targets(c);
  return rc ? rc : run_rows(c, cross_entropy_grad_row);
}

const sonde_op_def sonde_ops_softmax[] = {
    {.size = sizeof(sonde_op_def), .name = "softmax", .min_in = 1, .max_in = 1, .n_out = 1,
     .flags = SONDE_OP_INPLACE,
     .doc = "y = e^x / sum(e^x) over the last axis: [.., C] -> [.., C]",
     .shape = softmax_shape, .grad = softmax_grad, .run = softmax_run, .flops = exp_flops},
    {.size = sizeof(sonde_op_def), .name = "softmax_grad", .min_in = 2, .max_in = 2, .n_out = 1,
     .doc = "dx = y (dy - sum(y dy)) over the last axis: softmax_grad(y, dy)",
     .shape = softmax_grad_shape, .grad = softmax_grad_grad, .run = softmax_grad_run, .flops = exp_flops},
    {.size = sizeof(sonde_op_def), .name = "log_softmax", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "y = x - ln sum(e^x) over the last axis: [.., C] -> [.., C]",
     .shape = log_softmax_shape, .grad = log_softmax_grad, .run = log_softmax_run, .flops = exp_flops},
    {.size = sizeof(sonde_op_def), .name = "log_softmax_grad", .min_in = 2, .max_in = 2, .n_out = 1,
     .doc = "dx = dy - e^y sum(dy) over the last axis: log_softmax_grad(y, dy)",
     .shape = log_softmax_grad_shape, .grad = log_softmax_grad_grad, .run = log_softmax_grad_run,
     .flops = exp_flops},
    {.size = sizeof(sonde_op_def), .name = "cross_entropy", .min_in = 2, .max_in = 2, .n_out = 2,
     .doc = "logits [.., V], targets i32 [..] -> loss = lse - logit of the target (0 where that is -1), "
            "lse = ln sum(e^logits), both [..]",
     .shape = cross_entropy_shape, .grad = cross_entropy_grad, .run = cross_entropy_run, .flops = exp_flops,
     .range = targets_range},
    {.size = sizeof(sonde_op_def), .name = "cross_entropy_grad", .min_in = 3, .max_in = 3, .n_out = 1,
     .doc = "dx = dloss (softmax(logits) - onehot(target)), 0 where the target is -1: "
            "cross_entropy_grad(logits, targets, dloss)",
     .shape = cross_entropy_grad_shape, .run = cross_entropy_grad_run, .flops = exp_flops,
     .range = targets_range},
    {0},
};
