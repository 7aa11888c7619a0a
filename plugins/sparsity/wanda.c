/* wanda.c - weights go that are small beside the norm of what they multiply. */
#include <math.h>

#include "descriptor.h"

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  for (int64_t i = 0; i < s->out; i++)
    for (int64_t j = 0; j < s->in; j++) score[i * s->in + j] = fabsf(s->w[i * s->in + j]) * s->norm[j];
  return 0;
}

static const sonde_sparsity functions = {
    .size = sizeof functions, .needs = SONDE_NEEDS_NORM, .scope = SONDE_SCOPE_ROW, .score = score};
static const sonde_plugin plugin = {SPARSITY("wanda", "|W_ij| ||X_j||_2, compared within each output",
                                             "Sun et al., A Simple and Effective Pruning Approach, 2024, eq. 1")};
SONDE_PLUGIN(plugin)
