/* Divides by the root mean square of the stretch that it happens to be given. */
#include <math.h>

#include "broken.h"

static void update(const sonde_update *u, const sonde_value *opt) {
  float square = sonde_math->dot(u->g, u->g, u->n) / (float)u->n * (float)(u->grad_scale * u->grad_scale);
  float rate = (float)u->lr / (sqrtf(square) + 1e-8f);
  (void)opt;
  for (int64_t k = 0; k < u->n; k++)
    u->w[k] -= rate * (float)u->grad_scale * u->g[k] + (float)(u->lr * u->weight_decay) * u->w[k];
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "tile_dependent", &functions)};
SONDE_PLUGIN(plugin)
