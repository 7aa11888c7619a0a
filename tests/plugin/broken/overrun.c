/* Works on whole vectors of eight and so writes past the end when the size is no multiple of eight. */
#include "broken.h"

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = in[0];
  return SONDE_OK;
}

static int run(const sonde_call *c) {
  int64_t n = c->in_shape[0].dim[0] * c->in_shape[0].dim[1] * c->in_shape[0].dim[2];
  const float *x = c->in[0];
  float *y = c->out[0];
  for (int64_t k = 0; k < (n + 7) / 8 * 8; k++) y[k] = k < n ? 2 * x[k] : 0;
  return SONDE_OK;
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = sonde_scale(dout[0], 2);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {{.size = sizeof ops[0], .name = "overrun.twice",
                                    .min_in = 1, .max_in = 1, .n_out = 1,
                                    .doc = "2 x", .shape = shape, .grad = grad, .run = run}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("overrun.twice", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "overrun", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
