/* Takes the gradient as it stands, so clipping and averaging over tokens have no effect. */
#include "broken.h"

static void update(const sonde_update *u, const sonde_value *opt) {
  (void)opt;
  for (int64_t k = 0; k < u->n; k++) u->w[k] -= (float)u->lr * (u->g[k] + (float)u->weight_decay * u->w[k]);
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "ignores_scale", &functions)};
SONDE_PLUGIN(plugin)
