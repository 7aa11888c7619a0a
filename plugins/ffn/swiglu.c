/* swiglu.c - the gated feed-forward layer of Llama, under Hugging Face's names: SwiGLU, or with another activation
 * GEGLU, ReGLU and the others of its paper. */
#include "activation.h"
#include "../bias.h"

enum { HIDDEN, ACTIVATION, BIAS, TOP_K };

static const sonde_option options[] = {
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL,
                "inner width F; 0: 8/3 of the width, rounded up to a multiple of 8"},
    [ACTIVATION] = {"activation", 's', "silu", 0, 0, ACTIVATIONS, "of the gate: " ACTIVATIONS_DOC},
    [BIAS] = {"bias", 'b', "false", 0, 0, NULL, "whether the three products have a learned bias each"},
    [TOP_K] = TOP_K_OPTION,
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  int64_t width = sonde_where(site)->width, third = (8 * width + 2) / 3;
  int64_t hidden = opt[HIDDEN].i ? opt[HIDDEN].i : (third + 7) / 8 * 8;
  int bias = (int)opt[BIAS].i;
  sonde_node *gate = sonde_linear(x, sonde_matrix(site, "gate_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  sonde_node *up = sonde_linear(x, sonde_matrix(site, "up_proj.weight", hidden, width, SONDE_ROLE_FFN_IN));
  gate = with_bias(site, "gate_proj.bias", bias, hidden, gate);
  up = with_bias(site, "up_proj.bias", bias, hidden, up);
  sonde_node *h = hidden_of(site, gated(gate, up, opt[ACTIVATION].s), opt[TOP_K].i);
  sonde_node *y = sonde_linear(h, sonde_matrix(site, "down_proj.weight", width, hidden, SONDE_ROLE_FFN_OUT));
  return with_bias(site, "down_proj.bias", bias, width, y);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "swiglu",
    .kind = "ffn",
    .version = "1.1",
    .build = SONDE_BUILD,
    .summary = "y = W_down (act(W_gate x) * W_up x), act = silu or another",
    .citation = "Shazeer, GLU Variants Improve Transformer, 2020, eq. 6",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
