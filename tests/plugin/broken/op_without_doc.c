/* Nothing says what its op takes. */
#include "broken.h"

static void vec(const sonde_vec *v) { sonde_math->scale(v->out, v->in[0], 2, v->n); }

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = sonde_scale(dout[0], 2);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {{.size = sizeof ops[0],
                                    .name = "op_without_doc.twice",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .n_out = 1,
                                    .flags = SONDE_OP_ELEMENTWISE,
                                    .grad = grad,
                                    .vec = vec}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("op_without_doc.twice", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "op_without_doc", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
