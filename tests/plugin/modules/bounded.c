/* bounded.c - a norm whose two sites in a block talk to each other and to the attention between them, through names
 * alone; modelled on BHyT's second site, whose variance follows from the first one's and the attention's weights:
 *
 *   site "attn":  s = mean(x^2),                       y = tanh(strength x / sqrt(s + eps))
 *   site "ffn":   v = s + |W_o W_v|^2 / (T D),         y = tanh(strength x / sqrt(v + eps)) */
#include "sonde_plugin.h"

enum { STRENGTH };
static const sonde_option options[] = {[STRENGTH] = {"strength", 'f', "0.1", 0.001, 10, NULL, "slope at the origin"}};

static sonde_node *bounded(sonde_node *x, sonde_node *v, double strength) {
  return sonde_tanh(sonde_scale(sonde_mul(x, sonde_rsqrt(sonde_affine(v, 1, 1e-6))), strength));
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  if (at->slot[0] == 'a')
    return bounded(x, sonde_publish(site, "bounded.s", sonde_mean_last(sonde_square(x))), opt[STRENGTH].f);
  sonde_node *s = sonde_lookup(site, "bounded.s");
  sonde_node *wv = sonde_lookup(site, "attn.v_weight"), *wo = sonde_lookup(site, "attn.o_weight");
  if (!s || !wv || !wo)
    return sonde_refuse(
        site,
        "it needs itself in front of the attention, and an attention that publishes attn.v_weight and attn.o_weight");
  sonde_node *c = sonde_scale(sonde_sum_all(sonde_square(sonde_matmul(wo, wv, 0, 0))),
                              1.0 / (double)(at->trained_context * at->width));
  return bounded(x, sonde_add(s, c), opt[STRENGTH].f);
}

static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {.abi_major = SONDE_ABI_MAJOR,
                                    .abi_minor = SONDE_ABI_MINOR,
                                    .size = sizeof plugin,
                                    .name = "bounded",
                                    .kind = "norm",
                                    .version = "1.0",
                                    .build = SONDE_BUILD,
                                    .summary = "tanh of x over a variance that its block knows",
                                    .citation = "",
                                    .options = options,
                                    .n_options = 1,
                                    .functions = &functions};
SONDE_PLUGIN(plugin)
