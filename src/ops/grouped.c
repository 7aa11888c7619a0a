/* grouped.c - products of rows that lie in groups, each group with a matrix of its own: the layers of a mixture of
 * experts over tokens in the order of their experts. The work is that of the rows that there are; a group without rows
 * costs nothing but the zeros of its gradient.
 *
 * Where the groups begin is data. Scratch and tiles follow from the shapes and from it, never from the number of
 * threads. */
#include "ops/common.h"

#include <string.h>

#include "cpu/gemm.h"
#include "ops/families.h"

enum { A = 0, B = 1, OFFSETS = 2, ADDED = 3, TB = 0 };   /* inputs, and the place of the flag in attr.i */

static int need_offsets(const char *op, const sonde_shape *offsets, sonde_error *err) {
  int rc = sonde_need_dtype(op, "the offsets", offsets, SONDE_I32, err);
  if (rc || (offsets->rank == 1 && offsets->dim[0] >= 2)) return rc;
  return sonde_fail(err, SONDE_ESHAPE, "%s: offsets %s; needed is [E + 1], where each of E groups begins and the end",
                    op, sonde_shown(offsets).text);
}

/* The second is rounded to bf16 as it is read. */
static int is_mixed(const sonde_shape *in) { return in[A].dtype == SONDE_BF16 && in[B].dtype == SONDE_F32; }

static int need_operands(const char *op, const sonde_shape *in, sonde_error *err) {
  if (sonde_is_real(&in[A]) && in[A].dtype == in[B].dtype) return need_offsets(op, &in[OFFSETS], err);
  return sonde_fail(err, SONDE_ESHAPE, "%s of %s and %s: both must be f32 or both bf16", op, sonde_shown(&in[A]).text,
                    sonde_shown(&in[B]).text);
}

/* What no shape rule can see: that the groups lie one behind the other and hold all rows. */
static int check_offsets(const sonde_call *c, int64_t rows) {
  const int32_t *at = c->in[OFFSETS];
  const int64_t groups = c->in_shape[OFFSETS].dim[0] - 1;
  for (int64_t e = 0; e < groups; e++)
    if (at[e] > at[e + 1])
      return sonde_fail(c->err, SONDE_EINVAL, "group %lld begins at row %d and ends at %d", (long long)e, (int)at[e],
                        (int)at[e + 1]);
  if (at[0] == 0 && at[groups] == rows) return SONDE_OK;
  return sonde_fail(c->err, SONDE_EINVAL, "the groups hold the rows %d to %d; they must hold all %lld", (int)at[0],
                    (int)at[groups], (long long)rows);
}

/* ---- grouped_matmul ---------------------------------------------------------------------------------- */

static int product_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  int rc = is_mixed(in) ? need_offsets("grouped_matmul", &in[OFFSETS], err) : need_operands("grouped_matmul", in, err),
      tb = a->i[TB] != 0;
  if (rc) return rc;
  if (in[A].rank != 2 || in[B].rank != 3 || in[B].dim[tb ? 2 : 1] != in[A].dim[1] ||
      in[B].dim[0] != in[OFFSETS].dim[0] - 1)
    return sonde_fail(err, SONDE_ESHAPE,
                      "grouped_matmul of %s and %s with offsets %s; needed are [R, K], %s and [E + 1]",
                      sonde_shown(&in[A]).text, sonde_shown(&in[B]).text, sonde_shown(&in[OFFSETS]).text,
                      tb ? "[E, N, K]" : "[E, K, N]");
  *out = sonde_shape_make(SONDE_F32, 2, (int64_t[]){in[A].dim[0], in[B].dim[tb ? 1 : 2]});
  if (sonde_shape_count(out) < 0)
    return sonde_fail(err, SONDE_ESHAPE, "grouped_matmul: the result has too many elements");
  if (n_in > ADDED && (in[ADDED].dtype != SONDE_F32 || !sonde_shape_equal(&in[ADDED], out)))
    return sonde_fail(err, SONDE_ESHAPE, "grouped_matmul: what is added is %s and the result %s; they must be equal",
                      sonde_shown(&in[ADDED]).text, sonde_shown(out).text);
  return SONDE_OK;
}

static sonde_gemm product_of(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  int64_t k = in[A].dim[1], n = out->dim[1];
  int tb = a->i[TB] != 0;
  return (sonde_gemm){.m = in[A].dim[0], .n = n, .k = k, .batch = in[B].dim[0], .tb = tb, .in_type = in[A].dtype,
                      .out_type = out->dtype, .lda = k, .ldb = tb ? k : n, .ldc = n, .stride_b = k * n,
                      .beta = n_in > ADDED ? 1.0f : 0.0f, .wide_b = is_mixed(in)};
}

static int64_t product_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  sonde_gemm g = product_of(in, n_in, out, a);
  return sonde_gemm_groups_scratch(&g);
}

static int product_run(const sonde_call *c) {
  const sonde_gemm g = product_of(c->in_shape, c->n_in, c->out_shape, c->attr);
  int rc = check_offsets(c, g.m);
  if (rc) return rc;
  if (c->n_in > ADDED && c->in[ADDED] != c->out[0])
    memcpy(c->out[0], c->in[ADDED], (size_t)(g.m * g.n) * sizeof(float));
  sonde_gemm_groups_run(&g, c->in[OFFSETS], c->in[A], c->in[B], c->out[0], c->scratch, c->pool);
  return SONDE_OK;
}

static double product_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)a;
  return (double)out->dim[0] * (double)out->dim[1] * (2.0 * (double)in[A].dim[1] + (n_in > ADDED ? 1.0 : 0.0));
}

/* Gradients are f32, and so are the products of them. */
static sonde_node *wide(sonde_node *x) {
  sonde_attr f32 = {{0}, {SONDE_F32}};
  return sonde_node_shape(x).dtype == SONDE_F32 ? x : sonde_op(sonde_node_graph(x), "cast", &x, 1, &f32);
}

static sonde_node *product(sonde_node *a, sonde_node *b, sonde_node *offsets, int tb) {
  sonde_node *in[3] = {a, b, offsets};
  sonde_attr flag = {{0}, {tb}};
  return sonde_op(sonde_node_graph(offsets), "grouped_matmul", in, 3, &flag);
}

static sonde_node *outer(sonde_node *a, sonde_node *b, sonde_node *offsets) {
  sonde_node *in[3] = {a, b, offsets};
  return sonde_op(sonde_node_graph(offsets), "grouped_outer", in, 3, NULL);
}

/* Y = A op(B) group by group: dA = dY op(B)^T, dB = A^T dY or its transpose. */
static int product_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  int tb = sonde_node_attr(self)->i[TB] != 0;
  sonde_node *a = wide(x.in[A]), *b = wide(x.in[B]), *dy = dout[0];
  din[A] = product(dy, b, x.in[OFFSETS], !tb);
  din[B] = tb ? outer(dy, a, x.in[OFFSETS]) : outer(a, dy, x.in[OFFSETS]);
  if (x.n > ADDED) din[ADDED] = dy;
  return sonde_rule_end(g);
}

/* ---- grouped_outer ----------------------------------------------------------------------------------- */

static int outer_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  int rc = need_operands("grouped_outer", in, err);
  if (rc) return rc;
  if (in[A].rank != 2 || in[B].rank != 2 || in[A].dim[0] != in[B].dim[0])
    return sonde_fail(err, SONDE_ESHAPE, "grouped_outer of %s and %s; needed are [R, M] and [R, N]",
                      sonde_shown(&in[A]).text, sonde_shown(&in[B]).text);
  *out = sonde_shape_make(SONDE_F32, 3, (int64_t[]){in[OFFSETS].dim[0] - 1, in[A].dim[1], in[B].dim[1]});
  return sonde_shape_count(out) >= 0
             ? SONDE_OK
             : sonde_fail(err, SONDE_ESHAPE, "grouped_outer: the result has too many elements");
}

static sonde_gemm outer_of(const sonde_shape *in) {
  int64_t m = in[A].dim[1], n = in[B].dim[1];
  return (sonde_gemm){.m = m, .n = n, .k = in[A].dim[0], .batch = in[OFFSETS].dim[0] - 1, .ta = 1,
                      .in_type = in[A].dtype, .out_type = SONDE_F32, .lda = m, .ldb = n, .ldc = n, .stride_c = m * n};
}

static int64_t outer_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  sonde_gemm g = outer_of(in);
  return sonde_gemm_groups_scratch(&g);
}

static int outer_run(const sonde_call *c) {
  const sonde_gemm g = outer_of(c->in_shape);
  int rc = check_offsets(c, g.k);
  if (!rc) sonde_gemm_groups_run(&g, c->in[OFFSETS], c->in[A], c->in[B], c->out[0], c->scratch, c->pool);
  return rc;
}

static double outer_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 2.0 * (double)in[A].dim[0] * (double)in[A].dim[1] * (double)in[B].dim[1];
}

/* Y = A^T B group by group: dA = B dY^T, dB = A dY. */
static int outer_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  din[A] = product(wide(x.in[B]), dout[0], x.in[OFFSETS], 1);
  din[B] = product(wide(x.in[A]), dout[0], x.in[OFFSETS], 0);
  return sonde_rule_end(g);
}

const sonde_op_def sonde_ops_grouped[] = {
    {.size = sizeof(sonde_op_def), .name = "grouped_matmul", .min_in = 3, .max_in = 4, .n_out = 1,
     .flags = SONDE_OP_INPLACE | SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT | SONDE_OP_PRODUCT | SONDE_OP_ROUNDS,
     .doc = "rows [R, K] in E groups, b [E, K, N] (i0 1: [E, N, K]), offsets i32 [E + 1] -> [R, N]: the rows from "
            "offsets[e] to offsets[e + 1] times b[e] (added to a fourth input). A run refuses offsets that do not hold "
            "all rows in order",
     .shape = product_shape, .grad = product_grad, .scratch = product_scratch, .run = product_run,
     .flops = product_flops, .adds = ADDED, .bf16_operands = 1 << A | 1 << B},
    {.size = sizeof(sonde_op_def), .name = "grouped_outer", .min_in = 3, .max_in = 3, .n_out = 1,
     .flags = SONDE_OP_BF16_IN,
     .doc = "a [R, M] and b [R, N] in E groups, offsets i32 [E + 1] -> [E, M, N]: of each group a^T b, 0 of one "
            "without rows",
     .shape = outer_shape, .grad = outer_grad, .scratch = outer_scratch, .run = outer_run, .flops = outer_flops,
     .bf16_operands = 1 << A | 1 << B},
    {0}};
