/* Does not train the head. */
#include "broken.h"

static void update(const sonde_update *u, const sonde_value *opt) {
  float rate = (float)u->lr;
  int64_t n = u->parameter->role == SONDE_ROLE_HEAD ? 0 : u->n;
  (void)opt;
  for (int64_t k = 0; k < n; k++) u->w[k] -= rate * (u->g[k] * (float)u->grad_scale + (float)u->weight_decay * u->w[k]);
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "skips_head", &functions)};
SONDE_PLUGIN(plugin)
