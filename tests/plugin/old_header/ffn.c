/* W_down act(W_up x) with elementwise ops of its own: act(x) = x^2 above zero, slope x below. */
#include "old.h"

static const sonde_option options[] = {{"slope", 'f', "0.1", 0, 1, NULL, "slope below zero"}};

static void act_vec(const sonde_vec *v) {
  const float slope = (float)v->attr->f[0], *x = v->in[0];
  for (int64_t k = 0; k < v->n; k++) v->out[k] = x[k] > 0 ? x[k] * x[k] : slope * x[k];
}

static void act_grad_vec(const sonde_vec *v) {
  const float slope = (float)v->attr->f[0], *x = v->in[0], *dy = v->in[1];
  for (int64_t k = 0; k < v->n; k++) v->out[k] = dy[k] * (x[k] > 0 ? 2 * x[k] : slope);
}

static int act_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  sonde_the_host->node_inputs(self, in);
  in[1] = dout[0];
  din[0] = sonde_the_host->op(g, "old_ffn.act_grad", in, 2, sonde_the_host->node_attr(self));
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "old_ffn.act", .min_in = 1, .max_in = 1, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "x^2 above zero, f0 x below", .grad = act_grad, .vec = act_vec},
    {.size = sizeof ops[0], .name = "old_ffn.act_grad", .min_in = 2, .max_in = 2, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "x, dy: dy times the derivative of old_ffn.act", .vec = act_grad_vec},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width;
  sonde_node *up = sonde_linear(x, sonde_matrix(site, "up_proj.weight", 4 * width, width, SONDE_ROLE_FFN_IN));
  sonde_node *down = sonde_matrix(site, "down_proj.weight", width, 4 * width, SONDE_ROLE_FFN_OUT);
  return sonde_linear(sonde_opf("old_ffn.act", up, opt[0].f, 0), down);
}

WITH_NONSENSE(sonde_module, functions, {sizeof functions.is, build});
WITH_NONSENSE(sonde_plugin, plugin, {DESCRIPTOR("ffn", "old_ffn", functions), .options = options, .n_options = 1,
                                     .ops = ops, .n_ops = 2});
SONDE_PLUGIN(plugin.is)
