/* movement.c - weights go that training moves towards 0. */
#include <string.h>

#include "descriptor.h"

static void gather(const sonde_sparse *s, const sonde_value *opt, const float *g, double scale, float *sum) {
  (void)opt;
  for (int64_t k = 0; k < s->out * s->in; k++) sum[k] -= s->w[k] * ((float)scale * g[k]);
}

static const sonde_sparsity functions = {
    .size = sizeof functions, .scope = SONDE_SCOPE_MATRIX, .score = gathered, .gather = gather};
static const sonde_plugin plugin = {
    SPARSITY("movement", "the sum of -W dL/dW over updates, or batches of a calibration",
             "Sanh et al., Movement Pruning, 2020, section 4")};
SONDE_PLUGIN(plugin)
