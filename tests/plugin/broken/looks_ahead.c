/* Mixes all tokens of a sequence, later ones too: a language model with it reads the answer. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t one[3] = {at->batch, 1, at->width};
  sonde_node *mean = sonde_scale(sonde_sum_to(x, one, 3), 1.0 / (double)at->context);
  (void)opt;
  return sonde_linear(sonde_add(x, mean),
                      sonde_matrix(site, "o_proj.weight", at->width, at->width, SONDE_ROLE_ATTN_OUT));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("attention", "looks_ahead", &functions)};
SONDE_PLUGIN(plugin)
