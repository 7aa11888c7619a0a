/* dropout.c - dropout whose mask is a function of (seed, step, element): the same at any thread count and
 * after resuming, and the same again in the backward pass, which therefore stores no mask. The inner loop,
 * with the function, is in src/cpu, like that of every elementwise op. */
#include "ops/common.h"

#include "ops/families.h"

static int dropout_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                         sonde_error *err) {
  (void)n_in;
  *out = in[0];
  if (!(a->f[0] >= 0 && a->f[0] < 1))
    return sonde_fail(err, SONDE_EINVAL, "dropout: p is %g; it must be at least 0 and below 1", a->f[0]);
  return sonde_need_dtype("dropout", "x", &in[0], SONDE_F32, err);
}

static int dropout_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  din[0] = sonde_op_attr("dropout", dout[0], sonde_node_attr(self));
  return sonde_rule_end(g);
}

const sonde_op_def sonde_ops_dropout[] = {
    {.size = sizeof(sonde_op_def), .name = "dropout", .min_in = 1, .max_in = 1, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE | SONDE_OP_INPLACE | SONDE_OP_RANDOM,
     .doc = "y = x/(1 - p), or 0 with probability p = f0 (0 <= p < 1); i0 = seed; another mask each step",
     .shape = dropout_shape, .grad = dropout_grad},
    {0},
};
