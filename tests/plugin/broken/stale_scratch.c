/* Adds the column sums of a matrix up in scratch that it takes for zero. */
#include <math.h>

#include "broken.h"

static int whole(const sonde_parameter *p, const sonde_value *opt) { return (void)opt, p->shape.rank == 2; }
static int64_t scratch(const sonde_parameter *p, const sonde_value *opt) {
  (void)opt;
  return p->shape.dim[1] * (int64_t)sizeof(float);
}
static void update(const sonde_update *u, const sonde_value *opt) {
  int64_t columns = u->parameter->shape.dim[u->parameter->shape.rank - 1];
  float *sum = u->scratch;
  int matrix = whole(u->parameter, opt);
  for (int64_t k = 0; matrix && k < u->n; k++) sum[k % columns] = fmaxf(sum[k % columns], fabsf(u->g[k]));
  for (int64_t k = 0; k < u->n; k++) {
    float g = (float)u->grad_scale * u->g[k], most = matrix ? (float)u->grad_scale * sum[k % columns] + 1e-9f : 1;
    u->w[k] -= (float)u->lr * (g / most + (float)u->weight_decay * u->w[k]);
  }
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {.size = sizeof functions,
                                          .states = 1,
                                          .state_names = state_names,
                                          .update = update,
                                          .whole = whole,
                                          .scratch = scratch};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "stale_scratch", &functions)};
SONDE_PLUGIN(plugin)
