/* Takes the gradient as it stands where it looks ahead, and only there. */
#include "broken.h"

static const sonde_option options[] = {{"nesterov", 'b', "false", 0, 0, NULL, "look one momentum step ahead"}};

static void update(const sonde_update *u, const sonde_value *opt) {
  for (int64_t k = 0; k < u->n; k++) {
    float g = (float)u->grad_scale * u->g[k] + (float)u->weight_decay * u->w[k];
    float m = u->state[0][k] = 0.9f * u->state[0][k] + g;
    u->w[k] -= (float)u->lr * (opt[0].i ? u->g[k] + 0.9f * m : m);
  }
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "ignores_scale_ahead", &functions), OPTIONS(options)};
SONDE_PLUGIN(plugin)
