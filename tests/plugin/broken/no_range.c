/* An option is a number, and nothing says which numbers make sense. */
#include "broken.h"

static const sonde_option options[] = {{"strength", 'f', "1", 0, 0, NULL, "factor of the result"}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  return sonde_scale(sound_norm(site, x), opt[0].f);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "no_range", &functions), OPTIONS(options)};
SONDE_PLUGIN(plugin)
