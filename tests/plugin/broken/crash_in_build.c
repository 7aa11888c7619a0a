/* Reads through a null pointer while it is built. */
#include "broken.h"

static const int *volatile nowhere;

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return *nowhere ? x : sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "crash_in_build", &functions)};
SONDE_PLUGIN(plugin)
