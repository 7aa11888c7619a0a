/* Knows of the last gradient alone: it writes over the sum. */
#include "broken.h"

static void gather(const sonde_sparse *s, const sonde_value *opt, const float *g, double scale, float *sum) {
  (void)opt;
  for (int64_t k = 0; k < s->out * s->in; k++) sum[k] = -s->w[k] * g[k] * (float)scale;
}
static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) score[k] = s->gathered[k];
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .score = score, .gather = gather};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "forgets_sums", &functions)};
SONDE_PLUGIN(plugin)
