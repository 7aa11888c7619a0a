/* Brings an op under a name that is not its own. */
#include "broken.h"

static void vec(const sonde_vec *v) {
  for (int64_t k = 0; k < v->n; k++) v->out[k] = v->in[0][k];
}
static const sonde_op_def ops[] = {{.size = sizeof ops[0], .name = "silu",
                                    .min_in = 1, .max_in = 1, .n_out = 1,
                                    .flags = SONDE_OP_ELEMENTWISE, .doc = "x", .vec = vec}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "foreign_op", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
