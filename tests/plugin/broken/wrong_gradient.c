/* A mean-square norm whose gradient is right only while the upstream gradient is the same number everywhere: the
 * projection term takes dy's mean for dy. */
#include <math.h>

#include "broken.h"

/* in: x; out: y = x / rms(x), r = 1 / rms(x) */
static int forward_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = out[1] = in[0];
  out[1].dim[in[0].rank - 1] = 1;
  return SONDE_OK;
}

static int forward_run(const sonde_call *c) {
  int64_t width = c->in_shape[0].dim[2], rows = c->in_shape[0].dim[0] * c->in_shape[0].dim[1];
  for (int64_t i = 0; i < rows; i++) {
    const float *x = (const float *)c->in[0] + i * width;
    float r = 1 / sqrtf(sonde_math->dot(x, x, width) / (float)width + 1e-6f);
    if (c->out[0]) sonde_math->scale((float *)c->out[0] + i * width, x, r, width);
    if (c->out[1]) ((float *)c->out[1])[i] = r;
  }
  return SONDE_OK;
}

static int forward_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *x[SONDE_MAX_IN], *r = sonde_result(self, 1);
  (void)g;
  sonde_node_inputs(self, x);
  sonde_node *mean = sonde_mul(sonde_mean_last(x[0]), sonde_mean_last(dout[0]));   /* should be mean(x dy) */
  sonde_node *cube = sonde_mul(r, sonde_square(r));
  din[0] = sonde_sub(sonde_mul(dout[0], r), sonde_mul(x[0], sonde_mul(cube, mean)));
  return SONDE_OK;
}

static const sonde_op_def ops[] = {{.size = sizeof ops[0], .name = "wrong_gradient.forward", .min_in = 1, .max_in = 1,
                                    .n_out = 2, .doc = "x / rms(x)", .shape = forward_shape, .grad = forward_grad,
                                    .run = forward_run}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)site, (void)opt;
  return sonde_op1("wrong_gradient.forward", x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "wrong_gradient", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
