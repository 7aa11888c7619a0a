/* Counts its calls in a variable of the file instead of reading the step: a resumed run goes on differently. */
#include "broken.h"

static int64_t calls;

static void update(const sonde_update *u, const sonde_value *opt) {
  float rate = (float)(u->lr / (double)(1 + calls++ / 8));
  (void)opt;
  for (int64_t k = 0; k < u->n; k++)
    u->w[k] -= rate * ((float)u->grad_scale * u->g[k] + (float)u->weight_decay * u->w[k]);
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "hidden_state", &functions)};
SONDE_PLUGIN(plugin)
