/* gelu.c - the plain two-layer feed-forward network with GELU, without biases. The exact form uses the core's op; the
 * tanh form of GPT-2 is an op of this plugin: its stretch function, its gradient rule, and the gradient's op. */
#include "sonde_plugin.h"

enum { HIDDEN, APPROXIMATE };
enum { STRETCH = 256 };

static const sonde_option options[] = {
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL, "inner width F; 0: 4 times the width"},
    [APPROXIMATE] = {"approximate", 's', "none", 0, 0, "none|tanh", "none: x Phi(x) by erf; tanh: the approximation of GPT-2"},
};

static const float SLOPE = 0.7978845608f /* sqrt(2/pi) */, CUBIC = 0.044715f;

/* t = tanh(SLOPE (x + CUBIC x^3)) for up to STRETCH elements */
static void tanh_part(float *t, const float *x, int64_t n) {
  for (int64_t k = 0; k < n; k++) t[k] = SLOPE * (x[k] + CUBIC * x[k] * x[k] * x[k]);
  sonde_the_host->simd->tanh(t, t, n);
}

static void tanh_vec(const sonde_vec *v) {
  float t[STRETCH];
  for (int64_t at = 0; at < v->n; at += STRETCH) {
    int64_t n = v->n - at < STRETCH ? v->n - at : STRETCH;
    const float *x = v->in[0] + at;
    tanh_part(t, x, n);
    for (int64_t k = 0; k < n; k++) v->out[at + k] = 0.5f * x[k] * (1 + t[k]);
  }
}

/* dy y'(x), y' = (1 + t)/2 + x (1 - t^2) SLOPE (1 + 3 CUBIC x^2)/2 */
static void tanh_grad_vec(const sonde_vec *v) {
  float t[STRETCH];
  for (int64_t at = 0; at < v->n; at += STRETCH) {
    int64_t n = v->n - at < STRETCH ? v->n - at : STRETCH;
    const float *x = v->in[0] + at, *dy = v->in[1] + at;
    tanh_part(t, x, n);
    for (int64_t k = 0; k < n; k++)
      v->out[at + k] = dy[k] * 0.5f * (1 + t[k] + x[k] * (1 - t[k] * t[k]) * SLOPE * (1 + 3 * CUBIC * x[k] * x[k]));
  }
}

static int tanh_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *x[SONDE_MAX_IN];
  (void)g;
  sonde_the_host->node_inputs(self, x);
  din[0] = sonde_op2("gelu.tanh_grad", x[0], dout[0]);
  return 0;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "gelu.tanh", .min_in = 1, .max_in = 1, .n_out = 1, .flags = SONDE_OP_ELEMENTWISE,
     .doc = "x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2", .grad = tanh_grad, .vec = tanh_vec},
    {.size = sizeof ops[0], .name = "gelu.tanh_grad", .min_in = 2, .max_in = 2, .n_out = 1, .flags = SONDE_OP_ELEMENTWISE,
     .doc = "(x, dy): dy times the derivative of gelu.tanh", .vec = tanh_grad_vec},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width, hidden = opt[HIDDEN].i ? opt[HIDDEN].i : 4 * width;
  sonde_node *h = sonde_linear(x, sonde_matrix(site, "up_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  h = opt[APPROXIMATE].s[0] == 't' ? sonde_op1("gelu.tanh", h) : sonde_gelu(h);
  return sonde_linear(h, sonde_matrix(site, "down_proj.weight", width, hidden, SONDE_ROLE_FFN_OUT));
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "gelu",
    .kind = "ffn",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = W_down gelu(W_up x)",
    .citation = "Hendrycks and Gimpel, Gaussian Error Linear Units, 2016",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
