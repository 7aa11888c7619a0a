/* Has weight decay in its tiles, and none where it takes a matrix whole. */
#include "broken.h"

static int whole(const sonde_parameter *p, const sonde_value *opt) { return (void)opt, p->shape.rank == 2; }
static void update(const sonde_update *u, const sonde_value *opt) {
  float decay = whole(u->parameter, opt) ? 0 : (float)u->weight_decay;
  for (int64_t k = 0; k < u->n; k++) u->w[k] -= (float)u->lr * ((float)u->grad_scale * u->g[k] + decay * u->w[k]);
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update, .whole = whole};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "ignores_decay_whole", &functions)};
SONDE_PLUGIN(plugin)
