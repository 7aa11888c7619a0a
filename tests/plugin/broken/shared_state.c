/* LayerNorm Scaling whose scale is kept in a variable of the file: the first block's serves all the others. */
#include <math.h>

#include "broken.h"

static double scale;

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int layer = sonde_where(site)->layer;
  (void)opt;
  if (scale == 0) scale = 1 / sqrt(layer > 0 ? layer : 1);
  return sonde_scale(sound_norm(site, x), scale);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "shared_state", &functions)};
SONDE_PLUGIN(plugin)
