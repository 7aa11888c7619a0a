/* An optimizer whose update writes through a null pointer. */
#include "broken.h"

static float *volatile nowhere;

static void update(const sonde_update *u, const sonde_value *opt) {
  (void)opt;
  nowhere[u->n] = 1;
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "crash_in_update", &functions)};
SONDE_PLUGIN(plugin)
