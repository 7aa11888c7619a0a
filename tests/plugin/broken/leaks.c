/* Takes memory each time it is built and never gives it back. */
#include <stdlib.h>

#include "broken.h"

static void *volatile kept;

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  kept = malloc(512);
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "leaks", &functions)};
SONDE_PLUGIN(plugin)
