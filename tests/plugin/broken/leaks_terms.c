/* A divergence that takes memory each time it is built and never gives it back. */
#include <stdlib.h>

#include "broken.h"

static void *volatile kept;

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  (void)opt;
  kept = malloc(512);
  return sonde_mul(sonde_lookup(site, "p"), sonde_sub(sonde_lookup(site, "log_p"), log_q));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("distill", "leaks_terms", &functions)};
SONDE_PLUGIN(plugin)
