/* Scores beside a mean over the matrices that it has seen. */
#include "broken.h"

static float mean;

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) mean = 0.99f * mean + 0.01f * s->w[k] * s->w[k];
  for (int64_t k = 0; k < s->out * s->in; k++) score[k] = s->w[k] * s->w[k] / (mean + 1e-6f);
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .score = score};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "moving_average", &functions)};
SONDE_PLUGIN(plugin)
