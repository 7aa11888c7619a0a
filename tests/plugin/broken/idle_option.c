/* Declares an option that nothing reads. */
#include "broken.h"

static const sonde_option options[] = {{"strength", 'f', "1", 0.1, 10, NULL, "how strongly to normalise"}};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sound_norm(site, x);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "idle_option", &functions), OPTIONS(options)};
SONDE_PLUGIN(plugin)
