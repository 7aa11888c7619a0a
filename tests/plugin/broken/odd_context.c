/* The shape of a weight follows from the context, so a model trained with one cannot be used with another. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t hidden = at->width + at->context;
  (void)opt;
  sonde_node *up = sonde_matrix(site, "up.weight", hidden, at->width, SONDE_ROLE_FFN_IN);
  sonde_node *down = sonde_matrix(site, "down.weight", at->width, hidden, SONDE_ROLE_FFN_OUT);
  return sonde_linear(sonde_silu(sonde_linear(x, up)), down);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("ffn", "odd_context", &functions)};
SONDE_PLUGIN(plugin)
