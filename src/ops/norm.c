/* norm.c - RMSNorm (Zhang and Sennrich 2019) and LayerNorm (Ba et al. 2016) over the last axis, and their
 * gradients. */
#include "config.h"
#include "ops/families.h"

#include <string.h>

#include "ops/rows.h"
#include "tensor/tensor.h"

enum { MAX_WIDTH = 16384 };

/* ---- shapes -------------------------------------------------------------------------------------- */

static int check(const char *op, const sonde_shape *in, int params, sonde_error *err) {
  char tx[96], tg[96];
  const char *what[2] = {"gain", "bias"};
  int64_t width = in[0].rank > 0 ? in[0].dim[in[0].rank - 1] : 0;
  if (in[0].rank < 1 || !sonde_is_real(&in[0]) || width < 1 || width > MAX_WIDTH)
    return sonde_fail(err, SONDE_ESHAPE, "%s of %s: needs real numbers [.., D] with D from 1 to %d", op,
                      sonde_shape_text(&in[0], tx, sizeof tx), MAX_WIDTH);
  for (int k = 0; k < params; k++)
    if (in[1 + k].rank != 1 || in[1 + k].dim[0] != width || in[1 + k].dtype != SONDE_F32)
      return sonde_fail(err, SONDE_ESHAPE, "%s of %s: its %s must be f32 [%lld], not %s", op,
                        sonde_shape_text(&in[0], tx, sizeof tx), what[k], (long long)width,
                        sonde_shape_text(&in[1 + k], tg, sizeof tg));
  return SONDE_OK;
}

static sonde_shape rows_of(const sonde_shape *x) {
  return sonde_shape_make(SONDE_F32, x->rank - 1, x->dim);
}

static sonde_shape real_like(const sonde_shape *x) {
  return sonde_shape_make(SONDE_F32, x->rank, x->dim);
}

static int rms_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                     sonde_error *err) {
  (void)n_in, (void)at;
  int rc = check("rmsnorm", in, 1, err);
  if (rc) return rc;
  out[0] = real_like(&in[0]);
  out[1] = rows_of(&in[0]);
  return SONDE_OK;
}

static int layer_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                       sonde_error *err) {
  (void)n_in, (void)at;
  int rc = check("layernorm", in, 2, err);
  if (rc) return rc;
  out[0] = real_like(&in[0]);
  out[1] = out[2] = rows_of(&in[0]);
  return SONDE_OK;
}

/* Inputs x, gain, the row statistics, dy. */
static int grad_shape(const char *op, const sonde_shape *in, int stats, sonde_shape *out, sonde_error *err) {
  char tx[96];
  int rc = check(op, in, 1, err);
  if (rc) return rc;
  sonde_shape rows = rows_of(&in[0]);
  for (int k = 0; k < stats; k++)
    if (!sonde_shape_equal(&in[2 + k], &rows) || in[2 + k].dtype != SONDE_F32)
      return sonde_fail(err, SONDE_ESHAPE, "%s of %s: the row statistics have another shape", op,
                        sonde_shape_text(&in[0], tx, sizeof tx));
  if (!sonde_shape_equal(&in[2 + stats], &in[0]) || !sonde_is_real(&in[2 + stats]))
    return sonde_fail(err, SONDE_ESHAPE, "%s of %s: the upstream gradient has another shape", op,
                      sonde_shape_text(&in[0], tx, sizeof tx));
  out[0] = real_like(&in[0]);
  out[1] = in[1];
  return SONDE_OK;
}

static int rms_grad_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                          sonde_error *err) {
  (void)n_in, (void)at;
  return grad_shape("rmsnorm_grad", in, 1, out, err);
}

static int layer_grad_shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out,
                            sonde_error *err) {
  (void)n_in, (void)at;
  int rc = grad_shape("layernorm_grad", in, 2, out, err);
  if (!rc) out[2] = out[1];
  return rc;
}

/* ---- forward ------------------------------------------------------------------------------------- */

typedef struct norm_run {
  const sonde_call *c;
  const sonde_simd_table *simd;
  int64_t rows, width;
  int layer;              /* LayerNorm, else RMSNorm */
} norm_run;

static norm_run prepare(const sonde_call *c, int layer) {
  const sonde_shape *x = &c->in_shape[0];
  return (norm_run){c, sonde_simd_get(), sonde_leading(x, 1), x->dim[x->rank - 1], layer};
}

static void forward_rows(void *arg, int64_t begin, int64_t end, float *sums) {
  (void)sums;
  const norm_run *r = arg;
  const sonde_call *c = r->c;
  const float *gain = c->in[1], eps = (float)c->attr->f[0];
  float in_buf[MAX_WIDTH], out_buf[MAX_WIDTH], mean, scale;
  float *stat = c->out[1], *stat2 = r->layer ? c->out[2] : NULL;
  for (int64_t i = begin; i < end; i++) {
    const float *x = sonde_row_in(r->simd, c->in[0], c->in_shape[0].dtype, i * r->width, r->width, in_buf);
    float *y = c->out[0] ? sonde_row_out(c->out[0], c->out_shape[0].dtype, i * r->width, out_buf) : out_buf;
    if (r->layer) {
      r->simd->layer_row(y, x, gain, c->in[2], eps, r->width, &mean, &scale);
      if (stat) stat[i] = mean;
      if (stat2) stat2[i] = scale;
    } else {
      scale = r->simd->rms_row(y, x, gain, eps, r->width);
      if (stat) stat[i] = scale;
    }
    if (c->out[0]) sonde_row_done(r->simd, c->out[0], c->out_shape[0].dtype, i * r->width, r->width, y);
  }
}

static int run_forward(const sonde_call *c, int layer) {
  norm_run r = prepare(c, layer);
  sonde_rows_run(c, sonde_on_pool, r.rows, r.width, 0, forward_rows, &r);
  return SONDE_OK;
}

static int rms_run(const sonde_call *c) { return run_forward(c, 0); }
static int layer_run(const sonde_call *c) { return run_forward(c, 1); }

/* ---- backward ------------------------------------------------------------------------------------ */

/* The sums over rows: the gain's gradient [width], then the bias's. */
static void backward_rows(void *arg, int64_t begin, int64_t end, float *sums) {
  const norm_run *r = arg;
  const sonde_call *c = r->c;
  const int dy_at = r->layer ? 4 : 3;
  const float *gain = c->in[1], *stat = c->in[2], *stat2 = r->layer ? c->in[3] : NULL;
  float x_buf[MAX_WIDTH], dy_buf[MAX_WIDTH], dx_buf[MAX_WIDTH];
  for (int64_t i = begin; i < end; i++) {
    int64_t at = i * r->width;
    const float *x = sonde_row_in(r->simd, c->in[0], c->in_shape[0].dtype, at, r->width, x_buf);
    const float *dy = sonde_row_in(r->simd, c->in[dy_at], c->in_shape[dy_at].dtype, at, r->width, dy_buf);
    float *dx = c->out[0] ? sonde_row_out(c->out[0], c->out_shape[0].dtype, at, dx_buf) : dx_buf;
    if (r->layer) r->simd->layer_row_grad(dx, sums, sums + r->width, x, gain, dy, stat[i], stat2[i], r->width);
    else r->simd->rms_row_grad(dx, sums, x, gain, dy, stat[i], r->width);
    if (c->out[0]) sonde_row_done(r->simd, c->out[0], c->out_shape[0].dtype, at, r->width, dx);
  }
}

static int run_backward(const sonde_call *c, int layer) {
  norm_run r = prepare(c, layer);
  const float *sums = sonde_rows_run(c, sonde_on_pool, r.rows, r.width, (layer + 1) * r.width, backward_rows, &r);
  for (int k = 0; k <= layer; k++)
    if (c->out[1 + k]) memcpy(c->out[1 + k], sums + k * r.width, (size_t)r.width * sizeof *sums);
  return SONDE_OK;
}

static int rms_grad_run(const sonde_call *c) { return run_backward(c, 0); }
static int layer_grad_run(const sonde_call *c) { return run_backward(c, 1); }

static int64_t grad_scratch(const sonde_shape *x, int params) {
  int64_t width = x->dim[x->rank - 1];
  return sonde_rows_scratch(sonde_leading(x, 1), width, params * width);
}

static int64_t rms_grad_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return grad_scratch(&in[0], 1);
}

static int64_t layer_grad_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return grad_scratch(&in[0], 2);
}

static double elements(const sonde_shape *in) { return (double)sonde_leading(&in[0], 0); }

static double rms_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return 4 * elements(in);
}
static double layer_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return 8 * elements(in);
}
static double rms_grad_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return 9 * elements(in);
}
static double layer_grad_flops(const sonde_shape *in, int n_in, const sonde_shape *out,
                               const sonde_attr *at) {
  (void)n_in, (void)out, (void)at;
  return 15 * elements(in);
}

/* ---- gradient rules ------------------------------------------------------------------------------ */

/* A value per row, [..], as [.., 1], to be broadcast along the row. */
static sonde_node *column(sonde_node *per_row, sonde_node *x) {
  sonde_shape s = sonde_node_shape(x);
  s.dim[s.rank - 1] = 1;
  return sonde_reshape(per_row, s.dim, s.rank);
}

static sonde_node *plus(sonde_node *a, sonde_node *b) { return a && b ? sonde_add(a, b) : a ? a : b; }

/* What flows back through r = (mean((x - m)^2) + eps)^(-1/2) itself: dx = -r^3 / D (x - m) dr; m is NULL in
 * RMSNorm. */
static sonde_node *through_scale(sonde_node *x, sonde_node *m, sonde_node *r, sonde_node *dr) {
  sonde_shape s = sonde_node_shape(x);
  sonde_node *weight =
      sonde_scale(sonde_mul(sonde_mul(sonde_square(r), r), dr), -1.0 / (double)s.dim[s.rank - 1]);
  return sonde_mul(m ? sonde_sub(x, column(m, x)) : x, column(weight, x));
}

static int rms_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  sonde_node_inputs(self, in);
  sonde_node *r = sonde_result(self, 1);
  if (dout[0]) {
    sonde_node *args[4] = {in[0], in[1], r, dout[0]};
    din[0] = sonde_op(g, "rmsnorm_grad", args, 4, sonde_node_attr(self));
    din[1] = sonde_result(din[0], 1);
    if (!din[0] || !din[1]) return SONDE_ESHAPE;
  }
  if (dout[1]) din[0] = plus(din[0], through_scale(in[0], NULL, r, dout[1]));
  return din[0] || !dout[1] ? SONDE_OK : SONDE_ESHAPE;
}

static int layer_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  sonde_node_inputs(self, in);
  sonde_node *m = sonde_result(self, 1), *r = sonde_result(self, 2);
  if (dout[0]) {
    sonde_node *args[5] = {in[0], in[1], m, r, dout[0]};
    din[0] = sonde_op(g, "layernorm_grad", args, 5, sonde_node_attr(self));
    din[1] = sonde_result(din[0], 1);
    din[2] = sonde_result(din[0], 2);
    if (!din[0] || !din[1] || !din[2]) return SONDE_ESHAPE;
  }
  if (dout[1]) {
    sonde_shape s = sonde_node_shape(in[0]);
    sonde_node *even = sonde_scale(column(dout[1], in[0]), 1.0 / (double)s.dim[s.rank - 1]);
    din[0] = plus(din[0], sonde_expand(even, s.dim, s.rank));
  }
  if (dout[2]) din[0] = plus(din[0], through_scale(in[0], m, r, dout[2]));
  return din[0] || !(dout[1] || dout[2]) ? SONDE_OK : SONDE_ESHAPE;
}

const sonde_op_def sonde_ops_norm[] = {
    {.size = sizeof(sonde_op_def), .name = "rmsnorm", .min_in = 2, .max_in = 2, .n_out = 2,
     .flags = SONDE_OP_BF16_OUT | SONDE_OP_GAIN,
     .doc = "y = x r gain with r = 1/sqrt(mean(x^2) + eps) over the last axis: x [.., D], gain [D] -> y [.., "
            "D], r [..]. f0: eps",
     .shape = rms_shape, .grad = rms_grad, .run = rms_run, .flops = rms_flops},
    {.size = sizeof(sonde_op_def), .name = "rmsnorm_grad", .min_in = 4, .max_in = 4, .n_out = 2,
     .flags = SONDE_OP_GAIN_GRAD,
     .doc = "of rmsnorm: x [.., D], gain [D], r [..], dy [.., D] (f32 or bf16) -> dx [.., D], dgain [D]",
     .shape = rms_grad_shape, .scratch = rms_grad_scratch, .run = rms_grad_run, .flops = rms_grad_flops},
    {.size = sizeof(sonde_op_def), .name = "layernorm", .min_in = 3, .max_in = 3, .n_out = 3,
     .flags = SONDE_OP_BF16_OUT,
     .doc = "y = (x - m) r gain + bias with m = mean(x), r = 1/sqrt(var(x) + eps) over the last axis: x [.., "
            "D], gain [D], bias [D] -> y [.., D], m [..], r [..]. f0: eps",
     .shape = layer_shape, .grad = layer_grad, .run = layer_run, .flops = layer_flops},
    {.size = sizeof(sonde_op_def), .name = "layernorm_grad", .min_in = 5, .max_in = 5, .n_out = 3,
     .doc = "of layernorm: x [.., D], gain [D], m [..], r [..], dy [.., D] (f32 or bf16) -> dx [.., D], "
            "dgain [D], dbias [D]",
     .shape = layer_grad_shape, .scratch = layer_grad_scratch, .run = layer_grad_run,
     .flops = layer_grad_flops},
    {0}};
