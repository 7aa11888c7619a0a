/* Scores and prunes, so that nobody knows which counts. */
#include "broken.h"

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) score[k] = s->w[k] * s->w[k];
  return 0;
}
static int prune(const sonde_sparse *s, const sonde_value *opt, float *w, uint8_t *keep, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) keep[k] = 0, w[k] = 0;
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .score = score, .prune = prune};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "score_and_prune", &functions)};
SONDE_PLUGIN(plugin)
