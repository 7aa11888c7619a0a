/* template.c - a norm with kernels of its own: each token's vector over its root mean square, times a learned gain.
 *
 * Primitive: it brings two ops. forward has a shape rule, a gradient rule and a kernel; its gradient is the other
 * op. */
#include <math.h>

#include "sonde_plugin.h"

enum { EPS };

static const sonde_option options[] = {
    [EPS] = {"eps", 'f', "1e-6", 1e-12, 1, NULL, "added to the mean square, under the root"},
};

static int64_t width_of(const sonde_call *c) { return c->in_shape[0].dim[2]; }
static int64_t rows_of(const sonde_call *c) { return c->in_shape[0].dim[0] * c->in_shape[0].dim[1]; }

/* forward, x [B, T, D]: y = r x [B, T, D] and r = 1 / sqrt(mean(x^2) + eps) [B, T, 1]
 * backward, y, r and dy: dx = r (dy - y mean(y dy)) [B, T, D] */
static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)a;
  if (in[0].rank != 3) return sonde_fail(err, SONDE_ESHAPE, "template needs x [B, T, D]");
  out[0] = in[0];
  if (n_in == 1) out[1] = in[0], out[1].dim[2] = 1;
  return SONDE_OK;
}

/* Tokens [begin, end); nothing is summed over all of them. */
static void forward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const int64_t width = width_of(c);
  float *y = c->out[0], *r = c->out[1];
  (void)sums;
  for (int64_t i = begin; i < end; i++) {
    const float *x = (const float *)c->in[0] + i * width;
    float scale = 1 / sqrtf(sonde_math->dot(x, x, width) / (float)width + (float)c->attr->f[0]);
    if (y) sonde_math->scale(y + i * width, x, scale, width);
    if (r) r[i] = scale;
  }
}

static void backward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const int64_t width = width_of(c);
  (void)sums;
  for (int64_t i = begin; i < end; i++) {
    const float *y = (const float *)c->in[0] + i * width, *dy = (const float *)c->in[2] + i * width;
    float r = ((const float *)c->in[1])[i], mean = sonde_math->dot(y, dy, width) / (float)width;
    float *dx = (float *)c->out[0] + i * width;
    for (int64_t k = 0; k < width; k++) dx[k] = r * (dy[k] - y[k] * mean);
  }
}

/* Any number of threads, the same bits: the host cuts by the shape alone. */
static int run(const sonde_call *c, sonde_rows fn) {
  sonde_over_rows(c, rows_of(c), width_of(c), 0, fn, (void *)(uintptr_t)c);
  return SONDE_OK;
}
static int forward_run(const sonde_call *c) { return run(c, forward_rows); }
static int backward_run(const sonde_call *c) { return run(c, backward_rows); }

static int forward_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[3] = {self, sonde_result(self, 1), dout[0]};
  if (dout[0]) din[0] = sonde_op(g, "template.backward", in, 3, NULL);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "template.forward", .min_in = 1, .max_in = 1, .n_out = 2,
     .doc = "y = r x, r = 1/sqrt(mean(x^2) + f0): x [B, T, D] -> y [B, T, D], r [B, T, 1]", .shape = shape,
     .grad = forward_grad, .run = forward_run},
    {.size = sizeof ops[0], .name = "template.backward", .min_in = 3, .max_in = 3, .n_out = 1,
     .doc = "of forward: y, r, dy -> dx", .shape = shape, .run = backward_run},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  sonde_node *gain = sonde_vector(site, "weight", sonde_where(site)->width, SONDE_ROLE_GAIN, 1);
  return sonde_mul(sonde_opf("template.forward", x, opt[EPS].f, 0), gain);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "norm",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "y = weight x / sqrt(mean(x^2) + eps)",
    .citation = "Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, eq. 4",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
