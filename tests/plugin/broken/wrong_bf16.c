/* Says that it can give bf16, and gives f32 whatever it is asked for. */
#include "broken.h"

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = in[0];
  return SONDE_OK;
}

static int run(const sonde_call *c) {
  int64_t n = c->in_shape[0].dim[0] * c->in_shape[0].dim[1] * c->in_shape[0].dim[2];
  sonde_math->scale(c->out[0], c->in[0], 2, n);
  return SONDE_OK;
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = sonde_scale(dout[0], 2);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {{.size = sizeof ops[0],
                                    .name = "wrong_bf16.twice",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .n_out = 1,
                                    .flags = SONDE_OP_BF16_OUT,
                                    .doc = "2 x",
                                    .shape = shape,
                                    .grad = grad,
                                    .run = run}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("wrong_bf16.twice", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "wrong_bf16", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
