/* Gives up on odd widths without a word. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_where(site)->width % 2 ? NULL : sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("ffn", "no_reason", &functions)};
SONDE_PLUGIN(plugin)
