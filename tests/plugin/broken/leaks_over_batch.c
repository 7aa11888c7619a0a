/* Mixes the samples of a batch: what one sample gets depends on which others are beside it. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t one[3] = {1, at->context, at->width};
  sonde_node *mean = sonde_scale(sonde_sum_to(x, one, 3), 1.0 / (double)at->batch);
  (void)opt;
  return sonde_linear(sonde_sub(x, mean),
                      sonde_matrix(site, "o_proj.weight", at->width, at->width, SONDE_ROLE_ATTN_OUT));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("attention", "leaks_over_batch", &functions)};
SONDE_PLUGIN(plugin)
