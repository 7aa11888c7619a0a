/* gelu.c - the plain two-layer feed-forward network with GELU, without biases. The exact form and the tanh form are ops
 * of the core; the sigmoid form is an op of this plugin: a stretch function, a gradient rule, and the gradient's op. */
#include "sonde_plugin.h"

enum { HIDDEN, APPROXIMATE };
enum { STRETCH = 256 };

static const sonde_option options[] = {
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL, "inner width F; 0: 4 times the width"},
    [APPROXIMATE] = {"approximate", 's', "none", 0, 0, "none|tanh|sigmoid",
                     "none: x Phi(x) by erf; tanh: as in GPT-2; sigmoid: x sigmoid(1.702 x)"},
};

static const float SLOPE = 1.702f;

/* s = sigmoid(SLOPE x) for up to STRETCH elements */
static void sigmoid(float *s, const float *x, int64_t n) {
  sonde_math->scale(s, x, -SLOPE, n);
  sonde_math->exp(s, s, n);
  for (int64_t k = 0; k < n; k++) s[k] = 1 / (1 + s[k]);
}

static void sigmoid_vec(const sonde_vec *v) {
  float s[STRETCH];
  for (int64_t at = 0; at < v->n; at += STRETCH) {
    int64_t n = v->n - at < STRETCH ? v->n - at : STRETCH;
    const float *x = v->in[0] + at;
    sigmoid(s, x, n);
    for (int64_t k = 0; k < n; k++) v->out[at + k] = x[k] * s[k];
  }
}

/* dy y'(x), y' = s + SLOPE x s (1 - s) */
static void sigmoid_grad_vec(const sonde_vec *v) {
  float s[STRETCH];
  for (int64_t at = 0; at < v->n; at += STRETCH) {
    int64_t n = v->n - at < STRETCH ? v->n - at : STRETCH;
    const float *x = v->in[0] + at, *dy = v->in[1] + at;
    sigmoid(s, x, n);
    for (int64_t k = 0; k < n; k++) v->out[at + k] = dy[k] * s[k] * (1 + SLOPE * x[k] * (1 - s[k]));
  }
}

static int sigmoid_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *x[SONDE_MAX_IN];
  (void)g;
  sonde_node_inputs(self, x);
  din[0] = sonde_op2("gelu.sigmoid_grad", x[0], dout[0]);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "gelu.sigmoid", .min_in = 1, .max_in = 1, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "x sigmoid(1.702 x)", .grad = sigmoid_grad, .vec = sigmoid_vec},
    {.size = sizeof ops[0], .name = "gelu.sigmoid_grad", .min_in = 2, .max_in = 2, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "(x, dy): dy times the derivative of gelu.sigmoid", .vec = sigmoid_grad_vec},
};

static sonde_node *activate(sonde_node *h, const char *approximate) {
  if (approximate[0] == 'n') return sonde_gelu(h);
  return approximate[0] == 't' ? sonde_gelu_tanh(h) : sonde_op1("gelu.sigmoid", h);
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width, hidden = opt[HIDDEN].i ? opt[HIDDEN].i : 4 * width;
  sonde_node *h = sonde_linear(x, sonde_matrix(site, "up_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  return sonde_linear(activate(h, opt[APPROXIMATE].s),
                      sonde_matrix(site, "down_proj.weight", width, hidden, SONDE_ROLE_FFN_OUT));
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
