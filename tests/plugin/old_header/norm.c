/* A norm with kernels of its own, y = gain x / sqrt(mean(x^2) + eps), as 1.0 could write it. */
#include <math.h>

#include "old.h"

static const sonde_option options[] = {{"eps", 'f', "1e-6", 1e-12, 1, NULL, "added to the mean square"}};

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)a;
  if (in[0].rank != 3) return sonde_the_host->fail(err, SONDE_ESHAPE, "old_norm needs x [B, T, D]");
  out[0] = in[0];
  if (n_in == 1) out[1] = in[0], out[1].dim[2] = 1;
  return SONDE_OK;
}

static void forward_row(void *call, int64_t row, int worker) {
  const sonde_call *c = call;
  int64_t width = c->in_shape[0].dim[2];
  const float *x = (const float *)c->in[0] + row * width;
  float r = 1 / sqrtf(sonde_the_host->simd->dot(x, x, width) / (float)width + (float)c->attr->f[0]);
  (void)worker;
  if (c->out[0]) sonde_the_host->simd->scale((float *)c->out[0] + row * width, x, r, width);
  if (c->out[1]) ((float *)c->out[1])[row] = r;
}

/* y, r, dy: dx = r (dy - y mean(y dy)) */
static void backward_row(void *call, int64_t row, int worker) {
  const sonde_call *c = call;
  int64_t width = c->in_shape[0].dim[2];
  const float *y = (const float *)c->in[0] + row * width, *dy = (const float *)c->in[2] + row * width;
  float r = ((const float *)c->in[1])[row], mean = sonde_the_host->simd->dot(y, dy, width) / (float)width;
  (void)worker;
  for (int64_t k = 0; k < width; k++) ((float *)c->out[0])[row * width + k] = r * (dy[k] - y[k] * mean);
}

static int run(const sonde_call *c, sonde_tile fn) {
  sonde_the_host->parallel(c, c->in_shape[0].dim[0] * c->in_shape[0].dim[1], fn, (void *)(uintptr_t)c);
  return SONDE_OK;
}
static int forward_run(const sonde_call *c) { return run(c, forward_row); }
static int backward_run(const sonde_call *c) { return run(c, backward_row); }

static int forward_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[3] = {self, sonde_the_host->result(self, 1), dout[0]};
  if (dout[0]) din[0] = sonde_the_host->op(g, "old_norm.backward", in, 3, NULL);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "old_norm.forward", .min_in = 1, .max_in = 1, .n_out = 2,
     .doc = "y = r x, r = 1/sqrt(mean(x^2) + f0)", .shape = shape, .grad = forward_grad, .run = forward_run},
    {.size = sizeof ops[0], .name = "old_norm.backward", .min_in = 3, .max_in = 3, .n_out = 1,
     .doc = "of forward: y, r, dy -> dx", .shape = shape, .run = backward_run},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  sonde_node *gain = sonde_vector(site, "weight", sonde_where(site)->width, SONDE_ROLE_GAIN, 1);
  return sonde_mul(sonde_opf("old_norm.forward", x, opt[0].f, 0), gain);
}

WITH_NONSENSE(sonde_module, functions, {sizeof functions.is, build});
WITH_NONSENSE(sonde_plugin, plugin, {DESCRIPTOR("norm", "old_norm", functions), .options = options, .n_options = 1,
                                     .ops = ops, .n_ops = 2});
SONDE_PLUGIN(plugin.is)
