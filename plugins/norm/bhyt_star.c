/* bhyt_star.c - BHyT with the exact mean square at every site ("BHyT*"): beside bhyt, it shows what the estimate at
 * the second site of a block costs in quality and gains in speed. */
#define BHYT "bhyt_star"
#include "bhyt_ops.h"

static const sonde_option options[] = {BHYT_OPTIONS};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  return norm(site, opt, x, (sonde_node *[2]){NULL, NULL});
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = BHYT,
    .kind = "norm",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = weight tanh(lambda x / (kappa sqrt(mean(x^2) + eps)))",
    .citation = "Bounded Hyperbolic Tanh (BHyT), 2025, with exact statistics",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .ops = ops,
    .n_ops = sizeof ops / sizeof ops[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
