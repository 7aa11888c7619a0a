/* magnitude.c - small weights go. */
#include <math.h>

#include "descriptor.h"

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) score[k] = fabsf(s->w[k]);
  return 0;
}

static const sonde_sparsity functions = {.size = sizeof functions, .scope = SONDE_SCOPE_MATRIX, .score = score};
static const sonde_plugin plugin = {
    SPARSITY("magnitude", "|W|, the size of a weight",
             "Han et al., Learning both Weights and Connections, 2015, section 3")};
SONDE_PLUGIN(plugin)
