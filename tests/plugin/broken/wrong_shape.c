/* Drops the batch axis when there is one sequence only. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  (void)opt;
  return at->batch > 1 ? sound_norm(site, x)
                       : sonde_reshape(sound_norm(site, x), (int64_t[]){at->context, at->width}, 2);
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("ffn", "wrong_shape", &functions)};
SONDE_PLUGIN(plugin)
