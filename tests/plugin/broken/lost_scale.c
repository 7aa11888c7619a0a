/* LayerNorm Scaling whose scale is written only when the module is made for the first time; re-initialising the
 * model leaves every scale at 1. */
#include <math.h>

#include "broken.h"

static int made[1000];

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int layer = sonde_where(site)->layer % 1000;
  double scale = made[layer]++ ? 1 : 1 / sqrt(layer > 0 ? layer : 1);
  (void)opt;
  return sonde_mul(sound_norm(site, x), sonde_vector(site, "scale", 1, SONDE_ROLE_GAIN, scale));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "lost_scale", &functions)};
SONDE_PLUGIN(plugin)
