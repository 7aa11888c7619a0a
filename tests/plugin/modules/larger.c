/* Built with a header that had more members at the end of each struct: the host takes those that it knows. */
#include "../broken/broken.h"

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = in[0];
  return SONDE_OK;
}

static int run(const sonde_call *c) {
  const int64_t *dim = c->in_shape[0].dim;
  sonde_math->scale(c->out[0], c->in[0], 2, dim[0] * dim[1] * dim[2]);
  return SONDE_OK;
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)self;
  din[0] = sonde_op(g, "larger.grad", dout, 1, NULL);
  return SONDE_OK;
}

static const struct { sonde_op_def is; uint64_t more[5];
} ops[] = {
    {{.size = sizeof ops[0],
      .name = "larger.double",
      .min_in = 1,
      .max_in = 1,
      .n_out = 1,
      .doc = "y = 2 x",
      .shape = shape,
      .grad = grad,
      .run = run},
     {1, 2, 3, 4, 5}},
    {{.size = sizeof ops[0],
      .name = "larger.grad",
      .min_in = 1,
      .max_in = 1,
      .n_out = 1,
      .doc = "dx = 2 dy",
      .shape = shape,
      .run = run},
     {1, 2, 3, 4, 5}},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, sonde_op1("larger.double", x));
}

static const struct { sonde_module is; uint64_t more[3]; } functions = {{sizeof functions, build}, {1, 2, 3}};
static const struct { sonde_plugin is; uint64_t more[7];
} plugin = {{.abi_major = SONDE_ABI_MAJOR,
             .abi_minor = SONDE_ABI_MINOR,
             .size = sizeof plugin,
             .name = "larger",
             .kind = "norm",
             .version = "1.0",
             .build = SONDE_BUILD,
             .summary = "built with larger structs",
             .citation = "",
             .ops = &ops[0].is,
             .n_ops = 2,
             .functions = &functions},
            {1, 2, 3, 4, 5, 6, 7}};
SONDE_PLUGIN(plugin.is)
