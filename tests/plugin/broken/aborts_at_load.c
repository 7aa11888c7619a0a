/* Calls abort as soon as it is loaded. */
#include <stdlib.h>

#include "broken.h"

__attribute__((constructor)) static void early(void) { abort(); }

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "aborts_at_load", &functions)};
SONDE_PLUGIN(plugin)
