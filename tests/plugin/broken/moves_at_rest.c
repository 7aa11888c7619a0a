/* Moves weights that have no gradient and no decay. */
#include "broken.h"

static void update(const sonde_update *u, const sonde_value *opt) {
  (void)opt;
  for (int64_t k = 0; k < u->n; k++) {
    float d = (float)u->grad_scale * u->g[k] + (float)u->weight_decay * u->w[k];
    u->w[k] -= (float)u->lr * (d + (d >= 0 ? 1e-3f : -1e-3f));
  }
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "moves_at_rest", &functions)};
SONDE_PLUGIN(plugin)
