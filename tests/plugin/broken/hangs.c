/* Never comes back from building. */
#include "broken.h"

static volatile int done;

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  while (!done) continue;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "hangs", &functions)};
SONDE_PLUGIN(plugin)
