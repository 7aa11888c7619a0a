/* masked.c - products under a mask, as a plugin's ops: what they declare is all that the planner and generation need to
 * treat them as they treat Sonde's own products (tests/plugin/planning_test.c).
 *
 *   masked.product   y = (c +) x (w * mask)^T
 *   masked.mix       y_t = sum over s <= t of (q_t . k_s) v_s: (tril(q k^T)) v */
#include <string.h>

#include "sonde_plugin.h"

static float number(const void *x, int dtype, int64_t at) {
  float y;
  if (dtype == SONDE_F32) return ((const float *)x)[at];
  sonde_the_host->simd->from_bf16(&y, (const uint16_t *)x + at, 1);
  return y;
}

static int64_t rows(const sonde_shape *s) {
  int64_t n = 1;
  for (int k = 0; k < s->rank - 1; k++) n *= s->dim[k];
  return n;
}

/* ---- masked.product ------------------------------------------------------------------------------------- */

enum { X, W, MASK, C };

static int product_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  const sonde_shape *x = &in[X], *w = &in[W], *m = &in[MASK];
  (void)a;
  if (x->rank < 1 || w->rank != 2 || m->rank != 2 || x->dim[x->rank - 1] != w->dim[1] ||
      memcmp(w->dim, m->dim, sizeof w->dim) || x->dtype == SONDE_I32 || x->dtype != w->dtype || m->dtype != SONDE_F32)
    return sonde_the_host->fail(err, SONDE_ESHAPE,
                                "masked.product: needs x [.., K], w [N, K] of one dtype, a mask f32 [N, K]");
  out[0] = *x;
  out[0].dtype = SONDE_F32;
  out[0].dim[x->rank - 1] = w->dim[0];
  if (n_in > C && (in[C].dtype != SONDE_F32 || in[C].rank != x->rank || memcmp(in[C].dim, out->dim, sizeof out->dim)))
    return sonde_the_host->fail(err, SONDE_ESHAPE, "masked.product: what is added must be f32 of the product's shape");
  return 0;
}

static void product_row(void *arg, int64_t row, int worker) {
  const sonde_call *c = arg;
  const sonde_shape *w = &c->in_shape[W];
  (void)worker;
  for (int64_t n = 0; n < w->dim[0]; n++) {
    float sum = c->n_in > C ? ((const float *)c->in[C])[row * w->dim[0] + n] : 0;
    for (int64_t k = 0; k < w->dim[1]; k++)
      sum += number(c->in[X], c->in_shape[X].dtype, row * w->dim[1] + k) *
             number(c->in[W], w->dtype, n * w->dim[1] + k) * ((const float *)c->in[MASK])[n * w->dim[1] + k];
    if (c->out_shape[0].dtype == SONDE_F32) ((float *)c->out[0])[row * w->dim[0] + n] = sum;
    else c->host->simd->to_bf16((uint16_t *)c->out[0] + row * w->dim[0] + n, &sum, 1);
  }
}

static int product_run(const sonde_call *c) {
  c->host->parallel(c, rows(&c->in_shape[X]), product_row, (void *)(uintptr_t)c);
  return 0;
}

static int product_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  int n = sonde_the_host->node_inputs(self, in);
  sonde_shape x = sonde_the_host->node_shape(in[X]), y = sonde_the_host->node_shape(self);
  int64_t x_rows[2] = {rows(&x), x.dim[x.rank - 1]}, y_rows[2] = {rows(&y), y.dim[y.rank - 1]};
  (void)g;
  din[X] = sonde_matmul(dout[0], sonde_mul(in[W], in[MASK]), 0, 0);
  din[W] = sonde_mul(sonde_matmul(sonde_reshape(dout[0], y_rows, 2), sonde_reshape(in[X], x_rows, 2), 1, 0), in[MASK]);
  if (n > C) din[C] = dout[0];
  return din[X] && din[W] ? 0 : SONDE_ESHAPE;
}

/* ---- masked.mix ------------------------------------------------------------------------------------------- */

enum { Q, K, V, POSITION };

static int mix_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)a;
  int fits = in[Q].rank == 3 && in[K].rank == 3 && !memcmp(in[K].dim, in[V].dim, sizeof in->dim) &&
             in[Q].dim[0] == in[K].dim[0] && in[Q].dim[2] == in[K].dim[2] &&
             (n_in > POSITION || in[Q].dim[1] == in[K].dim[1]);
  for (int k = 0; k < 3; k++) fits = fits && in[k].dtype == SONDE_F32;
  if (!fits)
    return sonde_the_host->fail(err, SONDE_ESHAPE, "masked.mix: needs q [B, T, D], k and v [B, S, D], all f32");
  out[0] = in[Q];
  return 0;
}

static void mix_token(void *arg, int64_t token, int worker) {
  const sonde_call *c = arg;
  int64_t width = c->in_shape[Q].dim[2], tokens = c->in_shape[Q].dim[1], all = c->in_shape[K].dim[1],
          b = token / tokens;
  int64_t at = token % tokens + (c->n_in > POSITION ? *(const int32_t *)c->in[POSITION] : 0);
  const float *q = (const float *)c->in[Q] + token * width, *k = (const float *)c->in[K] + b * all * width,
              *v = (const float *)c->in[V] + b * all * width;
  float *y = (float *)c->out[0] + token * width;
  (void)worker;
  memset(y, 0, (size_t)width * sizeof *y);
  for (int64_t s = 0; s <= at && s < all; s++)
    c->host->simd->axpy(y, v + s * width, c->host->simd->dot(q, k + s * width, width), width);
}

static int mix_run(const sonde_call *c) {
  c->host->parallel(c, rows(&c->in_shape[Q]), mix_token, (void *)(uintptr_t)c);
  return 0;
}

static const sonde_op_def ops[] = {
    {.size = sizeof(sonde_op_def),
     .name = "masked.product",
     .min_in = 3,
     .max_in = 4,
     .n_out = 1,
     .flags = SONDE_OP_INPLACE | SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT | SONDE_OP_PRODUCT,
     .doc = "(c +) x (w * mask)^T: x [.., K], w [N, K], mask [N, K], c [.., N]",
     .shape = product_shape,
     .grad = product_grad,
     .run = product_run,
     .adds = C,
     .bf16_operands = 1 << X | 1 << W},
    {.size = sizeof(sonde_op_def),
     .name = "masked.mix",
     .min_in = 3,
     .max_in = 4,
     .n_out = 1,
     .doc = "y_t = sum over s <= t of (q_t . k_s) v_s: q [B, T, D], k and v [B, S, D]; a fourth input, i32 [1]: the "
            "position of q's "
            "first token; no gradient",
     .shape = mix_shape,
     .run = mix_run,
     .step = "masked.mix",
     .cached = 1 << K | 1 << V},
};

/* ---- the module: x's heads are mixed, then projected ------------------------------------------------------- */

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t d = sonde_where(site)->width, dim[2] = {d, d};
  sonde_node *in[3] = {x, x, x};
  (void)opt;
  sonde_node *mixed = sonde_the_host->op(sonde_the_host->node_graph(x), "masked.mix", in, 3, NULL);
  in[X] = mixed;
  in[W] = sonde_matrix(site, "weight", d, d, SONDE_ROLE_ATTN_OUT);
  in[MASK] = sonde_the_host->site_param(site, "mask", dim, 2, SONDE_ROLE_BUFFER, 1);
  return mixed && in[W] && in[MASK] ? sonde_the_host->op(sonde_the_host->node_graph(x), "masked.product", in, 3, NULL)
                                    : NULL;
}

static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {.abi_major = SONDE_ABI_MAJOR,
                                    .abi_minor = SONDE_ABI_MINOR,
                                    .size = sizeof plugin,
                                    .name = "masked",
                                    .kind = "attention",
                                    .version = "1.0",
                                    .build = SONDE_BUILD,
                                    .summary = "products under masks",
                                    .citation = "",
                                    .ops = ops,
                                    .n_ops = sizeof ops / sizeof ops[0],
                                    .functions = &functions};
SONDE_PLUGIN(plugin)
