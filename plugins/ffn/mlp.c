/* mlp.c - the plain feed-forward layer of two products with an activation between them, as in GPT-2, GPT-NeoX and OPT,
 * with biases or without. */
#include "activation.h"
#include "../bias.h"

enum { HIDDEN, ACTIVATION, BIAS, TOP_K };

static const sonde_option options[] = {
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL, "inner width F; 0: 4 times the width"},
    [ACTIVATION] = {"activation", 's', "gelu", 0, 0, ACTIVATIONS, ACTIVATIONS_DOC},
    [BIAS] = {"bias", 'b', "false", 0, 0, NULL, "whether the two products have a learned bias each"},
    [TOP_K] = TOP_K_OPTION,
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width, hidden = opt[HIDDEN].i ? opt[HIDDEN].i : 4 * width;
  int bias = (int)opt[BIAS].i;
  sonde_node *h = sonde_linear(x, sonde_matrix(site, "up_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  h = activation(with_bias(site, "up_proj.bias", bias, hidden, h), opt[ACTIVATION].s);
  h = hidden_of(site, h, opt[TOP_K].i);
  h = sonde_linear(h, sonde_matrix(site, "down_proj.weight", width, hidden, SONDE_ROLE_FFN_OUT));
  return with_bias(site, "down_proj.bias", bias, width, h);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "mlp",
    .kind = "ffn",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = W_down act(W_up x), act = gelu or another",
    .citation = "Vaswani et al., Attention Is All You Need, 2017, eq. 2; Hendrycks and Gimpel, GELUs, 2016",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
