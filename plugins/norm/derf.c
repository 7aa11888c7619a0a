/* derf.c - Dynamic erf: like Dynamic Tanh without statistics, with erf for tanh, a learned shift inside it and a bias.
 *
 * alpha and shift are one number each a norm. Where alpha should start may depend on the place, hence three options, as
 * for dyt; the authors take 0.5 everywhere. */
#include "tanh_rows.h"

enum { ALPHA_ATTN, ALPHA_FFN, ALPHA_FINAL, SHIFT };
enum { X, GAIN, BIAS, ALPHA, S };      /* inputs */
enum { DY = S + 1 };                   /* the gradient's last one */
enum { DX, DGAIN, DBIAS, DALPHA_DS };  /* and its outputs: an op has at most four */

static const sonde_option options[] = {
    [ALPHA_ATTN] = {"alpha_attn", 'f', "0.5", 1e-6, 100, NULL, "first value of alpha at the attention's norms"},
    [ALPHA_FFN] = {"alpha_ffn", 'f', "0.5", 1e-6, 100, NULL, "first value of alpha at the feed-forward layer's norms"},
    [ALPHA_FINAL] = {"alpha_final", 'f', "0.5", 1e-6, 100, NULL, "first value of alpha at the norm before the head"},
    [SHIFT] = {"shift", 'f', "0", -100, 100, NULL, "first value of the shift s"},
};

/* ---- kernels ------------------------------------------------------------------------------------------- */

static int check(const char *op, const sonde_shape *x, const sonde_shape *in, sonde_error *err) {
  int rc = tanh_rows_check(op, x, &in[GAIN], &in[ALPHA], err);
  return rc ? rc : tanh_rows_check(op, x, &in[BIAS], &in[S], err);
}

static int forward_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  out[0] = in[X];
  return check("derf.forward", &in[X], in, err);
}

/* y = gain erf(alpha x + s) + bias; y may be bf16. */
static void forward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const sonde_simd *simd = c->host->simd;
  const float *x = c->in[X], *gain = c->in[GAIN], *bias = c->in[BIAS];
  const float alpha = *(const float *)c->in[ALPHA], shift = *(const float *)c->in[S];
  const int64_t width = width_of(&c->in_shape[X]);
  float piece[PIECE];
  (void)sums;
  for (int64_t i = begin; i < end; i++) {
    const float *row = x + i * width;
    if (c->out_shape[0].dtype == SONDE_F32) {
      simd->erf_row((float *)c->out[0] + i * width, row, gain, bias, alpha, shift, width);
      continue;
    }
    for (int64_t at = 0; at < width; at += PIECE) {
      int64_t n = width - at < PIECE ? width - at : PIECE;
      simd->erf_row(piece, row + at, gain + at, bias + at, alpha, shift, n);
      simd->to_bf16((uint16_t *)c->out[0] + i * width + at, piece, n);
    }
  }
}

static int forward_run(const sonde_call *c) {
  const sonde_shape *x = &c->in_shape[X];
  c->host->rows(c, rows_of(x), width_of(x), 0, forward_rows, (void *)(uintptr_t)c);
  return SONDE_OK;
}

static int forward_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  sonde_the_host->node_inputs(self, in);
  in[DY] = dout[0];
  din[X] = sonde_the_host->op(g, "derf.backward", in, DY + 1, NULL);
  din[GAIN] = sonde_the_host->result(din[X], DGAIN);
  din[BIAS] = sonde_the_host->result(din[X], DBIAS);
  sonde_node *both = sonde_the_host->result(din[X], DALPHA_DS);
  din[ALPHA] = sonde_slice(both, 0, 0, 1);
  din[S] = sonde_slice(both, 0, 1, 1);
  return din[S] ? SONDE_OK : SONDE_ESHAPE;
}

static int backward_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  for (int k = DX; k <= DBIAS; k++) out[k] = in[k];
  out[DALPHA_DS] = in[ALPHA];
  out[DALPHA_DS].dim[0] = 2;
  return check("derf.backward", &in[DY], in, err);
}

/* Sums over the rows: dgain [D], dbias [D], dalpha, dshift. */
static void backward_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  const float *x = c->in[X], *gain = c->in[GAIN], *dy = c->in[DY];
  const float alpha = *(const float *)c->in[ALPHA], shift = *(const float *)c->in[S];
  const int64_t width = width_of(&c->in_shape[X]);
  float *dbias = sums + width, *das = dbias + width, piece[PIECE];
  for (int64_t i = begin; i < end; i++) {
    float *dx = c->out[DX] ? (float *)c->out[DX] + i * width : NULL;
    for (int64_t at = 0, n; at < width; at += n) {
      n = dx ? width : width - at < PIECE ? width - at : PIECE;
      c->host->simd->erf_row_grad(dx ? dx : piece, sums + at, dbias + at, das, x + i * width + at, gain + at,
                                  dy + i * width + at, alpha, shift, n);
    }
  }
}

static int backward_run(const sonde_call *c) {
  const int64_t width = width_of(&c->in_shape[X]);
  const float *sums =
      c->host->rows(c, rows_of(&c->in_shape[X]), width, 2 * width + 2, backward_rows, (void *)(uintptr_t)c);
  if (!sums) return SONDE_EBUG;
  const int64_t size[] = {[DGAIN] = width, [DBIAS] = width, [DALPHA_DS] = 2};
  for (int k = DGAIN; k <= DALPHA_DS; sums += size[k++])
    if (c->out[k]) memcpy(c->out[k], sums, (size_t)size[k] * sizeof *sums);
  return SONDE_OK;
}

static int64_t backward_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return sonde_the_host->rows_scratch(rows_of(&in[X]), width_of(&in[X]), 2 * width_of(&in[X]) + 2);
}

/* erf counts as ten, and so does its slope. */
static double forward_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 14.0 * (double)rows_of(&in[X]) * (double)width_of(&in[X]);
}
static double backward_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 31.0 * (double)rows_of(&in[X]) * (double)width_of(&in[X]);
}

static const sonde_op_def ops[] = {
    {.size = sizeof(sonde_op_def), .name = "derf.forward", .min_in = S + 1, .max_in = S + 1, .n_out = 1,
     .flags = SONDE_OP_BF16_OUT,
     .doc = "y = gain erf(alpha x + s) + bias: x [.., D], gain [D], bias [D], alpha [1], s [1]",
     .shape = forward_shape, .grad = forward_grad, .run = forward_run, .flops = forward_flops},
    {.size = sizeof(sonde_op_def), .name = "derf.backward", .min_in = DY + 1, .max_in = DY + 1, .n_out = 4,
     .doc = "of derf.forward: x, gain, bias, alpha, s, dy -> dx, dgain, dbias, (dalpha, ds) [2]",
     .shape = backward_shape, .scratch = backward_scratch, .run = backward_run, .flops = backward_flops},
};

/* ---- the module ------------------------------------------------------------------------------------------ */

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int which = !strcmp(at->slot, "final") ? ALPHA_FINAL : !strncmp(at->slot, "ffn", 3) ? ALPHA_FFN : ALPHA_ATTN;
  sonde_node *in[] = {
      [X] = x,
      [GAIN] = sonde_vector(site, "weight", at->width, SONDE_ROLE_GAIN, 1),
      [BIAS] = sonde_vector(site, "bias", at->width, SONDE_ROLE_BIAS, 0),
      [ALPHA] = sonde_vector(site, "alpha", 1, SONDE_ROLE_GAIN, opt[which].f),
      [S] = sonde_vector(site, "shift", 1, SONDE_ROLE_BIAS, opt[SHIFT].f),
  };
  for (int k = GAIN; k <= S; k++)
    if (!in[k]) return NULL;
  publish_argument(site, "erf", sonde_add(sonde_mul(x, in[ALPHA]), in[S]));
  return sonde_the_host->op(sonde_the_host->node_graph(x), "derf.forward", in, S + 1, NULL);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "derf",
    .kind = "norm",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = weight erf(alpha x + shift) + bias",
    .citation = "Chen, Lu, Zhu, Sun and Liu, Stronger Normalization-Free Transformers, 2025",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
