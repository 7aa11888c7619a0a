/* A divergence whose op adds a little for each call before: its bits depend on what was computed before. */
#include "broken.h"

static float calls;

static void add_calls(const sonde_vec *v) {
  calls += 1e-7f;
  for (int64_t k = 0; k < v->n; k++) v->out[k] = v->in[0][k] * (1 + calls);
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g, (void)self;
  din[0] = dout[0];
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "counts_terms.same", .min_in = 1, .max_in = 1, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "x", .grad = grad, .vec = add_calls},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  (void)opt;
  sonde_node *term = sonde_mul(sonde_lookup(site, "p"), sonde_sub(sonde_lookup(site, "log_p"), log_q));
  return sonde_op1("counts_terms.same", term);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("distill", "counts_terms", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
