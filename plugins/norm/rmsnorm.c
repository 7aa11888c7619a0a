/* rmsnorm.c - RMSNorm: each token's vector over its root mean square, times a learned gain; no mean, no bias. */
#include "gain.h"

enum { EPS, FOLDED, UNIT_OFFSET };

static const sonde_option options[] = {
    [EPS] = {"eps", 'f', "1e-6", 1e-12, 1, NULL, "added to the mean square, under the root"},
    [FOLDED] = FOLDED_OPTION,
    [UNIT_OFFSET] = {"unit_offset", 'b', "false", 0, 0, NULL,
                     "the gain is 1 + weight, and the weight starts at 0 (Gemma)"},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  return sonde_rmsnorm(x, norm_gain(site, opt[FOLDED].i, opt[UNIT_OFFSET].i, x), opt[EPS].f);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "rmsnorm",
    .kind = "norm",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = weight x / sqrt(mean(x^2) + eps)",
    .citation = "Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, eq. 4",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
