/* Was compiled for f64 numbers. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR, .abi_minor = SONDE_ABI_MINOR, .size = sizeof plugin, .name = "other_build",
    .kind = "norm", .version = "1.0", .build = "real=f64 index=i64 endian=little", .summary = "broken on purpose",
    .citation = "", .functions = &functions};
SONDE_PLUGIN(plugin)
