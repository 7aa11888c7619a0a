/* Has a parameter that no gradient reaches. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  sonde_node *scale = sonde_vector(site, "scale", sonde_where(site)->width, SONDE_ROLE_GAIN, 1);
  (void)opt;
  return sonde_mul(sound_norm(site, x), sonde_detach(scale));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "untrained_gain", &functions)};
SONDE_PLUGIN(plugin)
