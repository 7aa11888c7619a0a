/* A gain whose gradient is summed in one partial sum for each worker, so its bits depend on who took which tile. */
#include "broken.h"

enum { WORKERS = 64, MAX_WIDTH = 1024 };

/* in: x [B, T, D], dy [B, T, D]; out: the gain's gradient [D] */
static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  if (in[0].dim[2] > MAX_WIDTH)
    return sonde_fail(err, SONDE_ESHAPE, "the width must be at most %d", MAX_WIDTH);
  out[0] = (sonde_shape){SONDE_F32, 1, {in[0].dim[2], 1, 1, 1, 1}};
  return SONDE_OK;
}

static int64_t scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return WORKERS * in[0].dim[2] * (int64_t)sizeof(float);
}

static void sum_row(void *arg, int64_t row, int worker) {
  const sonde_call *c = arg;
  int64_t width = c->in_shape[0].dim[2];
  const float *x = (const float *)c->in[0] + row * width, *dy = (const float *)c->in[1] + row * width;
  float *partial = (float *)c->scratch + worker * width;
  for (int64_t k = 0; k < width; k++) partial[k] += x[k] * dy[k];
}

static int run(const sonde_call *c) {
  int64_t width = c->in_shape[0].dim[2], rows = c->in_shape[0].dim[0] * c->in_shape[0].dim[1];
  float *partial = c->scratch, *out = c->out[0];
  for (int64_t k = 0; k < WORKERS * width; k++) partial[k] = 0;
  sonde_parallel(c, rows, sum_row, (void *)(uintptr_t)c);
  for (int64_t k = 0; k < width; k++) out[k] = 0;
  for (int w = 0; w < WORKERS; w++) sonde_math->axpy(out, partial + w * width, 1, width);
  return SONDE_OK;
}

static void scale_vec(const sonde_vec *v) { sonde_math->mul(v->out, v->in[0], v->in[1], v->n); }

static int scale_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[SONDE_MAX_IN];
  (void)g;
  sonde_node_inputs(self, in);
  din[0] = sonde_mul(dout[0], in[1]);
  din[1] = sonde_op2("thread_dependent.gain_grad", in[0], dout[0]);
  return SONDE_OK;
}

static const sonde_op_def ops[] = {
    {.size = sizeof ops[0], .name = "thread_dependent.scale", .min_in = 2, .max_in = 2, .n_out = 1,
     .flags = SONDE_OP_ELEMENTWISE, .doc = "x gain", .grad = scale_grad, .vec = scale_vec},
    {.size = sizeof ops[0], .name = "thread_dependent.gain_grad", .min_in = 2, .max_in = 2, .n_out = 1,
     .doc = "sum of x dy over all tokens", .shape = shape, .scratch = scratch, .run = run},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  sonde_node *gain = sonde_vector(site, "weight", sonde_where(site)->width, SONDE_ROLE_GAIN, 1);
  return sonde_op2("thread_dependent.scale", x, gain);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "thread_dependent", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
