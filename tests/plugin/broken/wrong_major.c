/* Speaks the next major version of the interface. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR + 1, .abi_minor = 0, .size = sizeof plugin, .name = "wrong_major", .kind = "norm",
    .version = "1.0", .build = SONDE_BUILD, .summary = "broken on purpose", .citation = "", .functions = &functions};
SONDE_PLUGIN(plugin)
