/* Its kernel needs more stack than a thread has, in every tile. */
#include "broken.h"

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = in[0];
  return SONDE_OK;
}

static void tile(void *arg, int64_t k, int worker) {
  volatile char room[64 << 20];
  (void)arg, (void)worker;
  for (int64_t at = sizeof room; at > 0; at -= 4096) room[at - 1] = (char)k;
}
static int run(const sonde_call *c) {
  sonde_parallel(c, 64, tile, NULL);
  return SONDE_OK;
}
static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = dout[0];
  return SONDE_OK;
}
static const sonde_op_def ops[] = {{.size = sizeof ops[0], .name = "deep_stack.run", .min_in = 1, .max_in = 1,
                                    .n_out = 1, .doc = "nothing", .shape = shape, .grad = grad, .run = run}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("deep_stack.run", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "deep_stack", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
