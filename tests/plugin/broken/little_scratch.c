/* Its kernel has the host sum over all rows, in scratch that its rule forgets. */
#include <string.h>

#include "broken.h"

static int shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a, (void)err;
  out[0] = in[0];
  return SONDE_OK;
}

static void copy_rows(void *call, int64_t begin, int64_t end, float *sums) {
  const sonde_call *c = call;
  int64_t width = c->in_shape[0].dim[2];
  memcpy((float *)c->out[0] + begin * width, (const float *)c->in[0] + begin * width,
         (size_t)((end - begin) * width) * 4);
  sums[0] += (float)(end - begin);
}

static int run(const sonde_call *c) {
  const int64_t *dim = c->in_shape[0].dim;
  return sonde_over_rows(c, dim[0] * dim[1], dim[2], 1, copy_rows, (void *)(uintptr_t)c) ? SONDE_OK : SONDE_EBUG;
}

static const sonde_op_def ops[] = {{.size = sizeof ops[0],
                                    .name = "little_scratch.copy",
                                    .min_in = 1,
                                    .max_in = 1,
                                    .n_out = 1,
                                    .doc = "x",
                                    .shape = shape,
                                    .run = run}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_op1("little_scratch.copy", sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "little_scratch", &functions), OPS(ops)};
SONDE_PLUGIN(plugin)
