/* Divides by the norm of the inputs, which is 0 where an input is. */
#include "broken.h"

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) score[k] = s->w[k] * s->w[k] / s->norm[k % s->in];
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .needs = SONDE_NEEDS_NORM, .score = score};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "dead_inputs", &functions)};
SONDE_PLUGIN(plugin)
