/* swiglu.c - the gated feed-forward layer of Llama, without biases, under Hugging Face's names. */
#include "sonde_plugin.h"

enum { HIDDEN };

static const sonde_option options[] = {
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL,
                "inner width F; 0: 8/3 of the width, rounded up to a multiple of 8"},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width, third = (8 * width + 2) / 3;
  int64_t hidden = opt[HIDDEN].i ? opt[HIDDEN].i : (third + 7) / 8 * 8;
  sonde_node *gate = sonde_linear(x, sonde_matrix(site, "gate_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  sonde_node *up = sonde_linear(x, sonde_matrix(site, "up_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  return sonde_linear(sonde_swiglu(gate, up),
                      sonde_matrix(site, "down_proj.weight", width, hidden, SONDE_ROLE_FFN_OUT));
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "swiglu",
    .kind = "ffn",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = W_down (silu(W_gate x) * W_up x)",
    .citation = "Shazeer, GLU Variants Improve Transformer, 2020, eq. 6",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
