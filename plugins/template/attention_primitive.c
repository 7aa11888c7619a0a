/* template.c - the simplest mixing of tokens with kernels of its own: each one sees the mean of all values so far.
 *
 * Primitive: it brings two ops. forward has a shape rule, a gradient rule and a kernel; its gradient is the other
 * op. */
#include "sonde_plugin.h"

enum { STRENGTH };

static const sonde_option options[] = {
    [STRENGTH] = {"strength", 'f', "1", 0.001, 1000, NULL, "factor of the mean"},
};

/* forward, v [B, T, D]: y_t = (v_0 + .. + v_t) / (t + 1); backward, dy: dv_s = sum over t >= s of dy_t / (t + 1) */
static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  if (in[0].rank != 3) return sonde_fail(err, SONDE_ESHAPE, "template needs v [B, T, D]");
  out[0] = in[0];
  return SONDE_OK;
}

/* A tile is one sequence. y takes the running sum first and is then divided, token by token. */
static void forward_tile(void *call, int64_t tile, int worker) {
  const sonde_call *c = call;
  const int64_t length = c->in_shape[0].dim[1], width = c->in_shape[0].dim[2];
  const float *v = (const float *)c->in[0] + tile * length * width;
  float *y = (float *)c->out[0] + tile * length * width;
  (void)worker;
  for (int64_t k = 0; k < width; k++) y[k] = v[k];
  for (int64_t t = 1; t < length; t++)
    for (int64_t k = 0; k < width; k++) y[t * width + k] = y[(t - 1) * width + k] + v[t * width + k];
  for (int64_t t = 1; t < length; t++)
    sonde_math->scale(y + t * width, y + t * width, 1 / (float)(t + 1), width);
}

static void backward_tile(void *call, int64_t tile, int worker) {
  const sonde_call *c = call;
  const int64_t length = c->in_shape[0].dim[1], width = c->in_shape[0].dim[2];
  const float *dy = (const float *)c->in[0] + tile * length * width;
  float *dv = (float *)c->out[0] + tile * length * width;
  (void)worker;
  for (int64_t t = length - 1; t >= 0; t--)
    for (int64_t k = 0; k < width; k++)
      dv[t * width + k] = dy[t * width + k] / (float)(t + 1) + (t + 1 < length ? dv[(t + 1) * width + k] : 0);
}

static int run_tiles(const sonde_call *c, sonde_tile tile) {
  sonde_parallel(c, c->in_shape[0].dim[0], tile, (void *)(uintptr_t)c);
  return SONDE_OK;
}
static int forward_run(const sonde_call *c) { return run_tiles(c, forward_tile); }
static int backward_run(const sonde_call *c) { return run_tiles(c, backward_tile); }

static int forward_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = sonde_op1("template.backward", dout[0]);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "template.forward", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "v [B, T, D]: the mean of v up to each token", .shape = shape, .grad = forward_grad, .run = forward_run},
    {.size = sizeof ops[0], .name = "template.backward", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "of forward: dy [B, T, D] -> dv", .shape = shape, .run = backward_run},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width;
  sonde_node *v = sonde_linear(x, sonde_matrix(site, "v_proj.weight", width, width, SONDE_ROLE_V));
  sonde_node *out = sonde_matrix(site, "o_proj.weight", width, width, SONDE_ROLE_ATTN_OUT);
  return sonde_linear(sonde_scale(sonde_op1("template.forward", v), opt[STRENGTH].f), out);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "attention",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "y = W_o strength mean of W_v x over the tokens so far",
    .citation = "",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
