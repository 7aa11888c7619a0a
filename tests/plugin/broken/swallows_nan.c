/* Turns what is not a number into zero, so that a diverged run looks healthy. */
#include <math.h>

#include "broken.h"

static void vec(const sonde_vec *v) {
  for (int64_t k = 0; k < v->n; k++) v->out[k] = isnan(v->in[0][k]) ? 0 : v->in[0][k];
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = dout[0];
  return SONDE_OK;
}

static const sonde_op_def ops[] = {{.size = sizeof ops[0],
                                    .name = "swallows_nan.clean",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .n_out = 1,
                                    .flags = SONDE_OP_ELEMENTWISE,
                                    .doc = "x, or 0 where x is no number",
                                    .grad = grad,
                                    .vec = vec}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("swallows_nan.clean", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "swallows_nan", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
