/* template.c - a norm: each token's vector over its root mean square, times one learned number.
 *
 * Composed: build appends ops of the core for one call of the module, once for each shape; the gradient follows from
 * theirs. The ops are in sonde_build.h, everything else in sonde_plugin.h. */
#include "sonde_plugin.h"

enum { EPS };

static const sonde_option options[] = {
    [EPS] = {"eps", 'f', "1e-6", 1e-12, 1, NULL, "added to the mean square, under the root"},
};

/* x is [B, T, D]; so is the result. */
static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  sonde_node *gain = sonde_vector(site, "weight", 1, SONDE_ROLE_GAIN, 1);
  sonde_node *r = sonde_rsqrt(sonde_affine(sonde_mean_last(sonde_square(x)), 1, opt[EPS].f));   /* [B, T, 1] */
  return sonde_mul(sonde_mul(x, r), gain);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "norm",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "y = weight x / sqrt(mean(x^2) + eps), one weight for all",
    .citation = "Nguyen and Salazar, Transformers without Tears, 2019, eq. 5",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
