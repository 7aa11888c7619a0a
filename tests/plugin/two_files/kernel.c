/* kernel.c - the ops of the plugin two_files; they call the host from a file without its descriptor. */
#include "two_files.h"

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  if (in[0].rank != 3) return sonde_fail(err, SONDE_ESHAPE, "two_files.double needs x [B, T, D]");
  out[0] = in[0];
  return SONDE_OK;
}

static void rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  int64_t width = c->in_shape[0].dim[2];
  (void)sums;
  sonde_math->scale((float *)c->out[0] + begin * width, (const float *)c->in[0] + begin * width, 2,
                    (end - begin) * width);
}

static int run(const sonde_call *c) {
  sonde_over_rows(c, c->in_shape[0].dim[0] * c->in_shape[0].dim[1], c->in_shape[0].dim[2], 0, rows,
                  (void *)(uintptr_t)c);
  return SONDE_OK;
}

static int grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  (void)self;
  din[0] = sonde_op(g, "two_files.double_grad", dout, 1, NULL);
  return SONDE_OK;
}

const sonde_op_def two_files_ops[2] = {
    {.size = sizeof two_files_ops[0],
     .name = "two_files.double",
     .min_in = 1,
     .max_in = 1,
     .n_out = 1,
     .doc = "y = 2 x",
     .shape = shape,
     .grad = grad,
     .run = run},
    {.size = sizeof two_files_ops[0],
     .name = "two_files.double_grad",
     .min_in = 1,
     .max_in = 1,
     .n_out = 1,
     .doc = "dx = 2 dy",
     .shape = shape,
     .run = run},
};
