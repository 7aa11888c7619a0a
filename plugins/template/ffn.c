/* template.c - a feed-forward layer with squared ReLU.
 *
 * Composed: build appends ops of the core for one call of the module, once for each shape; the gradient follows from
 * theirs. The ops are in sonde_build.h, everything else in sonde_plugin.h. */
#include "sonde_plugin.h"

enum { HIDDEN };

static const sonde_option options[] = {
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL, "inner width; 0: 4 times the width"},
};

/* x is [B, T, D]; so is the result. */
static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width, hidden = opt[HIDDEN].i ? opt[HIDDEN].i : 4 * width;
  sonde_node *up = sonde_linear(x, sonde_matrix(site, "up_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  return sonde_linear(sonde_relu2(up), sonde_matrix(site, "down_proj.weight", width, hidden, SONDE_ROLE_FFN_OUT));
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "ffn",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "y = W_down relu(W_up x)^2",
    .citation = "So et al., Primer, 2021, section 3",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
