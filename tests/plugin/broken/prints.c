/* Prints while it is built. */
#include <stdio.h>

#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  fprintf(stderr, "building for width %d\n", (int)sonde_where(site)->width);
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("ffn", "prints", &functions)};
SONDE_PLUGIN(plugin)
