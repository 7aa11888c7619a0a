/* The default of an option lies outside its own range. */
#include "broken.h"

static const sonde_option options[] = {{"eps", 'f', "2", 0, 1, NULL, "added under the root"}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "bad_default", &functions), OPTIONS(options)};
SONDE_PLUGIN(plugin)
