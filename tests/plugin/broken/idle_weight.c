/* Makes a parameter that has no part in the result. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  sonde_vector(site, "bias", sonde_where(site)->width, SONDE_ROLE_BIAS, 0);
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "idle_weight", &functions)};
SONDE_PLUGIN(plugin)
