/* Gradient descent with momentum. */
#include "old.h"

static const sonde_option options[] = {{"momentum", 'f', "0.9", 0, 0.9999, NULL, "share of the mean that is kept"}};

static void update(const sonde_update *u, const sonde_value *opt) {
  const float b = (float)opt[0].f, scale = (float)u->grad_scale, lr = (float)u->lr;
  const float keep = (float)(1 - u->lr * u->weight_decay);
  float *m = u->state[0];
  for (int64_t k = 0; k < u->n; k++) {
    m[k] = b * m[k] + u->g[k] * scale;
    u->w[k] = u->w[k] * keep - lr * m[k];
  }
}

static const char *const state_names[] = {"momentum"};
WITH_NONSENSE(sonde_optimizer, functions,
              {.size = sizeof functions.is, .states = 1, .state_names = state_names, .update = update});
WITH_NONSENSE(sonde_plugin, plugin,
              {DESCRIPTOR("optimizer", "old_optimizer", functions), .options = options, .n_options = 1});
SONDE_PLUGIN(plugin.is)
