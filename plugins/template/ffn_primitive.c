/* template.c - a feed-forward layer with an activation of its own: x^2 above zero, slope x below.
 *
 * Primitive: it brings two elementwise ops. The host calls vec on stretches of the values, in parallel and fused with
 * its neighbours; the gradient rule of the first op appends the second. */
#include "sonde_plugin.h"

enum { HIDDEN, SLOPE };

static const sonde_option options[] = {
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL, "inner width; 0: 4 times the width"},
    [SLOPE] = {"slope", 'f', "0.1", 0, 1, NULL, "slope below zero"},
};

/* out may be one of the inputs, so each element is read before it is written. */
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
  sonde_node_inputs(self, in);
  in[1] = dout[0];
  din[0] = sonde_op(g, "template.act_grad", in, 2, sonde_node_attr(self));
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "template.act", .min_in = 1, .max_in = 1, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "y = x^2 above zero, f0 x below", .grad = act_grad, .vec = act_vec},
    {.size = sizeof ops[0], .name = "template.act_grad", .min_in = 2, .max_in = 2, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "x, dy: dy times the derivative of template.act, f0 as there",
     .vec = act_grad_vec},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width, hidden = opt[HIDDEN].i ? opt[HIDDEN].i : 4 * width;
  sonde_node *up = sonde_linear(x, sonde_matrix(site, "up_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  sonde_node *down = sonde_matrix(site, "down_proj.weight", width, hidden, SONDE_ROLE_FFN_OUT);
  return sonde_linear(sonde_opf("template.act", up, opt[SLOPE].f, 0), down);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "ffn",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "y = W_down act(W_up x), act(x) = x^2 above zero, slope x below",
    .citation = "",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
