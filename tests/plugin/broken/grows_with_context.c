/* What a token gets depends on how long its context is, not only on what stands before it. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  (void)opt;
  return sonde_linear(sonde_scale(x, 1.0 / (double)at->context),
                      sonde_matrix(site, "o_proj.weight", at->width, at->width, SONDE_ROLE_ATTN_OUT));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("attention", "grows_with_context", &functions)};
SONDE_PLUGIN(plugin)
