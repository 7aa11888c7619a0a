/* Its op has no gradient rule: it runs, but nothing can be trained through it. */
#include "broken.h"

static void vec(const sonde_vec *v) { sonde_math->scale(v->out, v->in[0], 2, v->n); }
static const sonde_op_def ops[] = {{.size = sizeof ops[0], .name = "no_gradient.twice",
                                    .min_in = 1, .max_in = 1, .n_out = 1,
                                    .flags = SONDE_OP_ELEMENTWISE, .doc = "2 x", .vec = vec}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("no_gradient.twice", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "no_gradient", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
