/* layernorm.c - LayerNorm: each token's vector less its mean, over its standard deviation, times a learned gain, plus
 * a learned bias. Without gain or bias (gain=false, bias=false) ones or zeros that are no parameter take its place. */
#include "sonde_plugin.h"

enum { EPS, BIAS, GAIN };

static const sonde_option options[] = {
    [EPS] = {"eps", 'f', "1e-5", 1e-12, 1, NULL, "added to the variance, under the root"},
    [BIAS] = {"bias", 'b', "true", 0, 0, NULL, "whether there is a learned bias"},
    [GAIN] = {"gain", 'b', "true", 0, 0, NULL, "whether there is a learned gain"},
};

/* The parameter of that name and role, which starts at `value`, or as many constants of that value. */
static sonde_node *vector(sonde_site *site, const sonde_node *x, int64_t learned, const char *name, sonde_role role,
                          double value) {
  int64_t width = sonde_where(site)->width;
  sonde_shape shape = {SONDE_F32, 1, {width, 1, 1, 1, 1}};
  return learned ? sonde_vector(site, name, width, role, value) : sonde_constant(sonde_node_graph(x), &shape, value);
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  sonde_node *gain = vector(site, x, opt[GAIN].i, "weight", SONDE_ROLE_GAIN, 1);
  sonde_node *bias = vector(site, x, opt[BIAS].i, "bias", SONDE_ROLE_BIAS, 0);
  return sonde_layernorm(x, gain, bias, opt[EPS].f);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "layernorm",
    .kind = "norm",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = weight (x - mean(x)) / sqrt(var(x) + eps) + bias",
    .citation = "Ba, Kiros and Hinton, Layer Normalization, 2016, eq. 4",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
