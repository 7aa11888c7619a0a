/* Gives back what it got. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)site, (void)opt;
  return x;
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("ffn", "identity", &functions)};
SONDE_PLUGIN(plugin)
