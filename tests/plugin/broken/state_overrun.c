/* Keeps one number more of its state than there is room for. */
#include "broken.h"

static void update(const sonde_update *u, const sonde_value *opt) {
  (void)opt;
  for (int64_t k = 0; k < u->n; k++) {
    u->state[0][k] = 0.5f * u->state[0][k] + (float)u->grad_scale * u->g[k] + (float)u->weight_decay * u->w[k];
    u->w[k] -= (float)u->lr * u->state[0][k];
  }
  u->state[0][u->n] = (float)u->step;
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "state_overrun", &functions)};
SONDE_PLUGIN(plugin)
