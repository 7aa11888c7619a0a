/* plugin.c - a plugin of two source files: a gain on 2 x. */
#include "two_files.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_mul(sonde_op1("two_files.double", x),
                   sonde_vector(site, "weight", sonde_where(site)->width, SONDE_ROLE_GAIN, 1));
}

static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "two_files",
    .kind = "norm",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = 2 weight x, for tests",
    .citation = "",
    .ops = two_files_ops,
    .n_ops = 2,
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
