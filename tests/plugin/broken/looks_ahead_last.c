/* Mixes all tokens of a sequence, but only as the norm before the head. */
#include "broken.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t one[3] = {at->batch, 1, at->width};
  (void)opt;
  if (at->layer > 0) return sound_norm(site, x);
  return sonde_sub(sound_norm(site, x), sonde_scale(sonde_sum_to(x, one, 3), 1.0 / (double)at->context));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "looks_ahead_last", &functions)};
SONDE_PLUGIN(plugin)
