/* dyt.c - Dynamic Tanh as its authors use it in Llama: no statistics, one learned scalar a site, and no bias, which
 * their models of images have. Their Llama also multiplies the embedding by a learned scalar that starts at sqrt(D): a
 * model with this norm does so too, unless its option embed_scale says otherwise.
 *
 * Where the scalar should start depends on the width, hence three options; the authors' values for attention,
 * feed-forward and final: 0.8, 0.2, 0.2 at D = 4096; 0.6, 0.15, 0.15 at 5120; 0.2, 0.05, 0.05 at 8192. */
#include "gain.h"
#include "tanh_rows.h"

enum { ALPHA_ATTN, ALPHA_FFN, ALPHA_FINAL, FOLDED, BIAS };

static const sonde_option options[] = {
    [ALPHA_ATTN] = {"alpha_attn", 'f', "1", 1e-6, 100, NULL, "first value of alpha at the attention's norms"},
    [ALPHA_FFN] = {"alpha_ffn", 'f', "1", 1e-6, 100, NULL, "first value of alpha at the feed-forward layer's norms"},
    [ALPHA_FINAL] = {"alpha_final", 'f', "1", 1e-6, 100, NULL, "first value of alpha at the norm before the head"},
    [FOLDED] = FOLDED_OPTION,
    [BIAS] = {"bias", 'b', "false", 0, 0, NULL, "whether a learned bias is added"},
};

/* ---- kernels: inputs x, gain, alpha and, where there is one, bias; the gradient's x, gain, alpha, dy ------ */

static int forward_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  int rc = tanh_rows_check("dyt.forward", &in[0], &in[1], &in[2], err);
  (void)a;
  out[0] = in[0];
  return rc || n_in < 4 ? rc : tanh_rows_check("dyt.forward_bias", &in[0], &in[3], &in[2], err);
}

static void forward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const float *x = c->in[0], *gain = c->in[1], alpha = *(const float *)c->in[2];
  const float *bias = c->n_in > 3 ? c->in[3] : NULL;
  int64_t width = width_of(&c->in_shape[0]);
  int dtype = c->out_shape[0].dtype;
  (void)sums;
  for (int64_t i = begin; i < end; i++)
    tanh_row(row_at(c->out[0], dtype, i * width), dtype, x + i * width, gain, bias, alpha, width);
}

static int forward_run(const sonde_call *c) {
  const sonde_shape *x = &c->in_shape[0];
  c->host->rows(c, rows_of(x), width_of(x), 0, forward_rows, (void *)(uintptr_t)c);
  return SONDE_OK;
}

static int forward_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  const int n = sonde_the_host->node_inputs(self, in);
  in[3] = dout[0];
  din[0] = sonde_the_host->op(g, n > 3 ? "dyt.backward_bias" : "dyt.backward", in, 4, NULL);
  for (int k = 1; k < n; k++) din[k] = sonde_the_host->result(din[0], k);
  return din[n - 1] ? SONDE_OK : SONDE_ESHAPE;
}

static int backward_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  for (int k = 0; k < 3; k++) out[k] = in[k];
  return tanh_rows_check("dyt.backward", &in[3], &in[1], &in[2], err);
}

static int backward_bias_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                               sonde_error *err) {
  out[3] = in[1];
  return backward_shape(in, n_in, a, out, err);
}

static void backward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const float *x = c->in[0], *gain = c->in[1], alpha = *(const float *)c->in[2], *dy = c->in[3];
  int64_t width = width_of(&c->in_shape[0]);
  for (int64_t i = begin; i < end; i++) {
    sums[width] += tanh_row_grad(c->out[0] ? (float *)c->out[0] + i * width : NULL, sums, x + i * width, gain,
                                 dy + i * width, alpha, width);
    if (c->n_out > 3) c->host->simd->axpy(sums + width + 1, dy + i * width, 1, width);
  }
}

static int backward_run(const sonde_call *c) {
  const int has_bias = c->n_out > 3;
  return tanh_grad_run(c, backward_rows, has_bias, c->out[1], c->out[2], has_bias ? c->out[3] : NULL);
}

static int64_t backward_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return tanh_grad_scratch(&in[0], 0);
}
static int64_t backward_bias_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return tanh_grad_scratch(&in[0], 1);
}

/* tanh counts as ten. */
static double forward_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 12.0 * (double)rows_of(&in[0]) * (double)width_of(&in[0]);
}
static double backward_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 20.0 * (double)rows_of(&in[0]) * (double)width_of(&in[0]);
}

static const sonde_op_def ops[] = {
    {.size = sizeof(sonde_op_def), .name = "dyt.forward", .min_in = 3, .max_in = 3, .n_out = 1,
     .flags = SONDE_OP_BF16_OUT | SONDE_OP_GAIN, .doc = "y = gain tanh(alpha x): x [.., D], gain [D], alpha [1]",
     .shape = forward_shape, .grad = forward_grad, .run = forward_run, .flops = forward_flops},
    {.size = sizeof(sonde_op_def), .name = "dyt.backward", .min_in = 4, .max_in = 4, .n_out = 3,
     .flags = SONDE_OP_GAIN_GRAD,
     .doc = "of dyt.forward: x, gain, alpha, dy -> dx, dgain, dalpha",
     .shape = backward_shape, .scratch = backward_scratch, .run = backward_run, .flops = backward_flops},
    /* Apart, as with a bias y is not proportional to the gain. */
    {.size = sizeof(sonde_op_def), .name = "dyt.forward_bias", .min_in = 4, .max_in = 4, .n_out = 1,
     .flags = SONDE_OP_BF16_OUT, .doc = "y = gain tanh(alpha x) + bias: x [.., D], gain [D], alpha [1], bias [D]",
     .shape = forward_shape, .grad = forward_grad, .run = forward_run, .flops = forward_flops},
    {.size = sizeof(sonde_op_def), .name = "dyt.backward_bias", .min_in = 4, .max_in = 4, .n_out = 4,
     .doc = "of dyt.forward_bias: x, gain, alpha, dy -> dx, dgain, dalpha, dbias",
     .shape = backward_bias_shape, .scratch = backward_bias_scratch, .run = backward_run, .flops = backward_flops},
};

/* ---- the module ------------------------------------------------------------------------------------------ */

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int which = !strcmp(at->slot, "final") ? ALPHA_FINAL : !strncmp(at->slot, "ffn", 3) ? ALPHA_FFN : ALPHA_ATTN;
  if (opt[BIAS].i && opt[FOLDED].i)
    return sonde_refuse(site, "a gain cannot be folded past a bias: bias or folded, not both");
  sonde_node *alpha = sonde_vector(site, "alpha", 1, SONDE_ROLE_GAIN, opt[which].f);
  sonde_node *in[4] = {x, norm_gain(site, opt[FOLDED].i, 0, x), alpha, NULL};
  publish_argument(site, "tanh", alpha ? sonde_mul(x, alpha) : NULL);
  if (!in[1] || !in[2]) return NULL;
  sonde_graph *g = sonde_the_host->node_graph(x);
  if (!opt[BIAS].i) return sonde_the_host->op(g, "dyt.forward", in, 3, NULL);
  in[3] = sonde_vector(site, "bias", at->width, SONDE_ROLE_BIAS, 0);
  return in[3] ? sonde_the_host->op(g, "dyt.forward_bias", in, 4, NULL) : NULL;
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "dyt",
    .kind = "norm",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = weight tanh(alpha x), and a bias if asked for",
    .citation = "Zhu, Chen, He, LeCun and Liu, Transformers without Normalization, 2025, eq. 3",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
    .suggests = "embed_scale=learned",
};
SONDE_PLUGIN(plugin)
