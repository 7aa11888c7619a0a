/* Tells no weight from another. */
#include "broken.h"

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) score[k] = 1;
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .score = score};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "all_alike", &functions)};
SONDE_PLUGIN(plugin)
