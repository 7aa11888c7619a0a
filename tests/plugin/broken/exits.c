/* Ends the whole program. */
#include <stdlib.h>

#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  if (sonde_where(site)->width > 0) exit(3);
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "exits", &functions)};
SONDE_PLUGIN(plugin)
