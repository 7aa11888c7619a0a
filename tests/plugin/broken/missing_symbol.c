/* Calls a function of libsonde directly; plugins are not linked with it. */
#include "broken.h"

sonde_node *sonde_silu_of_the_library(sonde_node *x);

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_silu_of_the_library(sound_norm(site, x));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "missing_symbol", &functions)};
SONDE_PLUGIN(plugin)
