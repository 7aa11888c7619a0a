/* Has a descriptor but no functions behind it. */
#include "broken.h"

static const sonde_module functions = {sizeof functions, 0};
static const sonde_plugin plugin = {DESCRIPTOR("ffn", "no_functions", &functions)};
SONDE_PLUGIN(plugin)
