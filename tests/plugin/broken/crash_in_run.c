/* Its kernel reads through a null pointer. */
#include "broken.h"

static const float *volatile nowhere;

static void vec(const sonde_vec *v) {
  for (int64_t k = 0; k < v->n; k++) v->out[k] = nowhere[k];
}
static const sonde_op_def ops[] = {{.size = sizeof ops[0], .name = "crash_in_run.read",
                                    .min_in = 1, .max_in = 1, .n_out = 1,
                                    .flags = SONDE_OP_ELEMENTWISE, .doc = "nothing", .vec = vec}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("crash_in_run.read", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "crash_in_run", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
