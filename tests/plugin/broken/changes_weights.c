/* Normalises the weights that it was given, in place. */
#include "broken.h"

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  float *w = (float *)(uintptr_t)s->w;
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) w[k] *= 0.5f, score[k] = w[k] * w[k];
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .score = score};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "changes_weights", &functions)};
SONDE_PLUGIN(plugin)
