/* Loses a copy of each matrix. */
#include <stdlib.h>

#include "broken.h"

static void *volatile kept;

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  float *copy = malloc((size_t)(s->out * s->in) * sizeof *copy);
  (void)opt, (void)err;
  kept = copy;
  for (int64_t k = 0; copy && k < s->out * s->in; k++) copy[k] = s->w[k], score[k] = copy[k] * copy[k];
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .score = score};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "leaks_scores", &functions)};
SONDE_PLUGIN(plugin)
