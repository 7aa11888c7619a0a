/* doubled.h - a norm, doubled by an op with kernels of its own: right but where WRONG(rows, width, row, column) says
 * that the gradient is not doubled. The file that includes it defines NAME and WRONG. */
#include "broken.h"

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = in[0];
  return SONDE_OK;
}

static int forward(const sonde_call *c) {
  const int64_t *dim = c->in_shape[0].dim;
  sonde_math->scale(c->out[0], c->in[0], 2, dim[0] * dim[1] * dim[2]);
  return SONDE_OK;
}

static int backward(const sonde_call *c) {
  const int64_t *dim = c->in_shape[0].dim, rows = dim[0] * dim[1], width = dim[2];
  const float *dy = c->in[0];
  float *dx = c->out[0];
  for (int64_t i = 0; i < rows; i++)
    for (int64_t k = 0; k < width; k++) dx[i * width + k] = (WRONG(rows, width, i, k) ? 1 : 2) * dy[i * width + k];
  return SONDE_OK;
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = sonde_op1(NAME ".back", dout[0]);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = NAME ".twice", .min_in = 1, .max_in = 1, .n_out = 1, .doc = "2 x", .shape = shape,
     .grad = grad, .run = forward},
    {.size = sizeof ops[0], .name = NAME ".back", .min_in = 1, .max_in = 1, .n_out = 1, .doc = "its gradient",
     .shape = shape, .run = backward},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1(NAME ".twice", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", NAME, &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
