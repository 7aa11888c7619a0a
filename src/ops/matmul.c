/* matmul.c - matrix products of nodes: shapes and gradients. The product itself is src/cpu/gemm.c. */
#include "config.h"
#include "ops/families.h"

#include <stdio.h>
#include <string.h>

#include "cpu/gemm.h"
#include "ops/rows.h"
#include "tensor/tensor.h"

enum { TA = 0, TB = 1, OUT_TYPE = 2 };

static int refuse(sonde_error *err, const sonde_shape *a, const sonde_shape *b, const char *why) {
  char ta[96], tb[96];
  return sonde_fail(err, SONDE_ESHAPE, "matmul of %s and %s: %s", sonde_shape_text(a, ta, sizeof ta),
                    sonde_shape_text(b, tb, sizeof tb), why);
}

/* The second is rounded to bf16 as it is read. */
static int is_mixed(const sonde_shape *a, const sonde_shape *b) {
  return a->dtype == SONDE_BF16 && b->dtype == SONDE_F32;
}

static int shape(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  const sonde_shape *a = &in[0], *b = &in[1];
  if (!sonde_is_real(a) || (a->dtype != b->dtype && !is_mixed(a, b)))
    return refuse(err, a, b, "both must be f32 or both bf16, or the second f32 beside a bf16 one");
  if (a->rank < 2 || b->rank < 2)
    return refuse(err, a, b, "both need at least two axes; reshape a vector to [1, n] or [n, 1]");
  if (b->rank != 2 && b->rank != a->rank)
    return refuse(err, a, b, "the second must have two axes or as many as the first");
  if (at->i[TA] && b->rank != a->rank)
    return refuse(err, a, b, "with the first transposed both need the same number of axes");
  for (int k = 0; k < b->rank - 2; k++)
    if (a->dim[k] != b->dim[k]) return refuse(err, a, b, "the leading axes must be equal");
  int64_t k_a = a->dim[a->rank - (at->i[TA] ? 2 : 1)], k_b = b->dim[b->rank - (at->i[TB] ? 1 : 2)];
  if (k_a != k_b) {
    char why[120];
    snprintf(why, sizeof why, "the inner sizes are %lld and %lld%s", (long long)k_a, (long long)k_b,
             at->i[TA] || at->i[TB] ? " (as transposed)" : "");
    return refuse(err, a, b, why);
  }
  if (at->i[OUT_TYPE] != SONDE_F32 && at->i[OUT_TYPE] != SONDE_BF16)
    return sonde_fail(err, SONDE_EINVAL, "matmul: the result's dtype must be f32 (0) or bf16 (1), not %lld",
                      (long long)at->i[OUT_TYPE]);
  *out = *a;
  out->dtype = (int32_t)at->i[OUT_TYPE];
  out->dim[a->rank - 2] = a->dim[a->rank - (at->i[TA] ? 1 : 2)];
  out->dim[a->rank - 1] = b->dim[b->rank - (at->i[TB] ? 2 : 1)];
  if (n_in == 3 && (!sonde_shape_equal(&in[2], out) || in[2].dtype != SONDE_F32 || out->dtype != SONDE_F32))
    return refuse(err, a, b,
                  "the third input (added to the product) and the result must be f32 of the product's shape");
  return SONDE_OK;
}

static int shape_f32(const sonde_shape *in, int n_in, const sonde_attr *at, sonde_shape *out, sonde_error *err) {
  char ta[96], tb[96];
  if (in[0].dtype == SONDE_F32 && in[1].dtype == SONDE_F32 && at->i[OUT_TYPE] == SONDE_F32)
    return shape(in, n_in, at, out, err);
  return sonde_fail(err, SONDE_ESHAPE, "matmul_f32 of %s and %s: operands and result must be f32",
                    sonde_shape_text(&in[0], ta, sizeof ta), sonde_shape_text(&in[1], tb, sizeof tb));
}

/* The product as sonde_gemm takes it. A shared right-hand side makes one product of all leading axes. */
static sonde_gemm describe(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  const sonde_shape *a = &in[0], *b = &in[1];
  int64_t m = out->dim[out->rank - 2], n = out->dim[out->rank - 1], batch = sonde_leading(a, 2);
  int64_t k = a->dim[a->rank - (at->i[TA] ? 2 : 1)];
  if (b->rank == 2 && a->rank > 2) {
    m *= batch;
    batch = 1;
  }
  return (sonde_gemm){.m = m, .n = n, .k = k, .batch = batch, .ta = at->i[TA] != 0, .tb = at->i[TB] != 0,
                      .in_type = a->dtype, .out_type = out->dtype, .lda = at->i[TA] ? m : k,
                      .ldb = at->i[TB] ? k : n, .ldc = n, .stride_a = m * k, .stride_b = k * n,
                      .stride_c = m * n, .beta = n_in == 3 ? 1.0f : 0.0f, .wide_b = is_mixed(a, b)};
}

static int64_t scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  sonde_gemm g = describe(in, n_in, out, at);
  return sonde_gemm_scratch(&g);
}

static int run(const sonde_call *c) {
  sonde_gemm g = describe(c->in_shape, c->n_in, c->out_shape, c->attr);
  if (c->n_in == 3 && c->in[2] != c->out[0])
    memcpy(c->out[0], c->in[2], (size_t)(g.batch * g.m * g.n) * sizeof(float));
  sonde_gemm_run(&g, c->in[0], c->in[1], c->out[0], c->scratch, c->pool);
  return SONDE_OK;
}

static double flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *at) {
  sonde_gemm g = describe(in, n_in, out, at);
  return (double)g.batch * (double)g.m * (double)g.n * (2.0 * (double)g.k + (n_in == 3 ? 1.0 : 0.0));
}

/* [.., r, c] as [.. * r, c] */
static sonde_node *flat(sonde_node *x) {
  sonde_shape s = sonde_node_shape(x);
  int64_t dim[2] = {sonde_leading(&s, 1), s.dim[s.rank - 1]};
  return sonde_reshape(x, dim, 2);
}

/* Products are of two operands of one dtype, and gradients are f32. */
static sonde_node *wide(sonde_node *x) {
  sonde_attr f32 = {{0}, {SONDE_F32}};
  return sonde_node_shape(x).dtype == SONDE_F32 ? x : sonde_op(sonde_node_graph(x), "cast", &x, 1, &f32);
}

static sonde_node *product(const char *op, sonde_node *a, sonde_node *b, int ta, int tb) {
  sonde_node *in[2] = {a, b};
  sonde_attr at = {{0}, {ta, tb}};
  return a && b ? sonde_op(sonde_node_graph(a), op, in, 2, &at) : NULL;
}

/* Y = A B with A = op(a), B = op(b):  dA = dY B^T, dB = A^T dY, each written so that no operand is copied. */
static int grad_by(const char *op, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN], *dy = dout[0];
  const sonde_attr *at = sonde_node_attr(self);
  int n_in = sonde_node_inputs(self, in), ta = at->i[TA] != 0, tb = at->i[TB] != 0;
  if (!dy) return SONDE_OK;
  sonde_node *a = wide(in[0]), *b = wide(in[1]);
  if (!a || !b) return SONDE_ESHAPE;
  int shared = sonde_node_shape(b).rank == 2 && sonde_node_shape(a).rank > 2;
  din[0] = ta ? product(op, b, dy, tb, 1) : product(op, dy, b, 0, !tb);
  sonde_node *rows = shared ? flat(a) : a, *up = shared ? flat(dy) : dy;
  din[1] = tb ? product(op, up, rows, 1, ta) : product(op, rows, up, !ta, 0);
  if (n_in == 3) din[2] = dy;
  return din[0] && din[1] ? SONDE_OK : SONDE_ESHAPE;
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g;
  return grad_by("matmul", self, dout, din);
}

static int grad_f32(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)g;
  return grad_by("matmul_f32", self, dout, din);
}

const sonde_op_def sonde_ops_matmul[] = {
    {.size = sizeof(sonde_op_def), .name = "matmul", .min_in = 2, .max_in = 3, .n_out = 1,
     .flags = SONDE_OP_INPLACE | SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT | SONDE_OP_PRODUCT | SONDE_OP_ROUNDS,
     .doc = "(c +) op(a) op(b) over the last two axes; b [k,n] is shared by a's leading axes. i0: transpose "
            "a, i1: transpose b, i2: dtype of the result (0 f32, 1 bf16). In place: the result may be c's buffer",
     .shape = shape, .grad = grad, .scratch = scratch, .run = run, .flops = flops, .adds = 2, .bf16_operands = 1 | 2},
    {.size = sizeof(sonde_op_def), .name = "matmul_f32", .min_in = 2, .max_in = 3, .n_out = 1,
     .flags = SONDE_OP_INPLACE,
     .doc = "matmul, whose operands and result stay f32 with bf16 compute",
     .shape = shape_f32, .grad = grad_f32, .scratch = scratch, .run = run, .flops = flops, .adds = 2},
    {0}};
