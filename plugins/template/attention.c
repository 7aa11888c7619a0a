/* template.c - causal softmax attention without positions (NoPE).
 *
 * Composed: build appends ops of the core for one call of the module, once for each shape; the gradient follows from
 * theirs. The ops are in sonde_build.h, everything else in sonde_plugin.h. */
#include "sonde_plugin.h"

enum { HEADS, WINDOW };

static const sonde_option options[] = {
    [HEADS] = {"heads", 'i', "1", 1, 1024, NULL, "number of heads; the width must be a multiple of it"},
    [WINDOW] = {"window", 'i', "0", 0, 1e9, NULL, "how many tokens back a token sees, itself included; 0: all"},
};

/* x [B, T, D] through a weight [D, D], cut into heads: [B, T, H, D/H] */
static sonde_node *project(sonde_site *site, sonde_node *x, const char *name, sonde_role role, int64_t heads) {
  const sonde_place *at = sonde_where(site);
  int64_t dim[4] = {at->batch, at->context, heads, at->width / heads};
  return sonde_reshape(sonde_linear(x, sonde_matrix(site, name, at->width, at->width, role)), dim, 4);
}

/* x is [B, T, D]; so is the result. */
static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t heads = opt[HEADS].i, flat[3] = {at->batch, at->context, at->width};
  if (at->width % heads)
    return sonde_refuse(site, "the width %lld is no multiple of heads %lld", (long long)at->width, (long long)heads);
  sonde_node *q = project(site, x, "q_proj.weight", SONDE_ROLE_QK, heads);
  sonde_node *k = project(site, x, "k_proj.weight", SONDE_ROLE_QK, heads);
  sonde_node *v = project(site, x, "v_proj.weight", SONDE_ROLE_V, heads);
  sonde_node *y = sonde_reshape(sonde_attention(q, k, v, 0, opt[WINDOW].i), flat, 3);
  return sonde_linear(y, sonde_matrix(site, "o_proj.weight", at->width, at->width, SONDE_ROLE_ATTN_OUT));
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "attention",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "softmax(Q K' / sqrt(Dh)) V over earlier tokens, without positions",
    .citation = "Haviv et al., Transformer Language Models without Positional Encodings, 2022",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
