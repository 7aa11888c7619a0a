/* A gain whose gradient is summed over all rows by the host, in scratch that its rule forgets. */
#include <string.h>

#include "broken.h"

/* in: x [B, T, D], dy [B, T, D]; out: the gain's gradient [D] */
static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = (sonde_shape){SONDE_F32, 1, {in[0].dim[2], 1, 1, 1, 1}};
  return SONDE_OK;
}

static void sum_rows(void *arg, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = arg;
  int64_t width = c->in_shape[0].dim[2];
  for (int64_t k = begin * width; k < end * width; k++)
    sums[k % width] += ((const float *)c->in[0])[k] * ((const float *)c->in[1])[k];
}

static int run(const sonde_call *c) {
  int64_t width = c->in_shape[0].dim[2], rows = c->in_shape[0].dim[0] * c->in_shape[0].dim[1];
  const float *sums = c->host->rows(c, rows, width, width, sum_rows, (void *)(uintptr_t)c);
  if (!sums) return SONDE_EBUG;
  memcpy(c->out[0], sums, (size_t)width * sizeof *sums);
  return SONDE_OK;
}

static void scale_vec(const sonde_vec *v) { sonde_the_host->simd->mul(v->out, v->in[0], v->in[1], v->n); }

static int scale_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  (void)g;
  sonde_the_host->node_inputs(self, in);
  din[0] = sonde_mul(dout[0], in[1]);
  din[1] = sonde_op2("little_scratch.gain_grad", in[0], dout[0]);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "little_scratch.scale", .min_in = 2, .max_in = 2, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "x gain", .grad = scale_grad, .vec = scale_vec},
    {.size = sizeof ops[0], .name = "little_scratch.gain_grad", .min_in = 2, .max_in = 2, .n_out = 1,
     .doc = "sum of x dy over all tokens", .shape = shape, .run = run},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  sonde_node *gain = sonde_vector(site, "weight", sonde_where(site)->width, SONDE_ROLE_GAIN, 1);
  return sonde_op2("little_scratch.scale", x, gain);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "little_scratch", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
