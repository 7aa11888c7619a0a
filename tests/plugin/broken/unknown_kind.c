/* Its kind is misspelt. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("nrom", "unknown_kind", &functions)};
SONDE_PLUGIN(plugin)
