/* gain.h - the gain of a norm, which may have gone into the weights behind it (model:fold, for inference). */
#ifndef SONDE_NORM_GAIN_H
#define SONDE_NORM_GAIN_H

#include <string.h>

#include "sonde_plugin.h"

#define FOLDED_OPTION \
  {"folded", 'b', "false", 0, 0, NULL, "no gain in front of a branch: model:fold() put it into the weights there"}

/* [D], starts at 1; ones where `folded` and the place is in front of a branch. With `offset` the parameter is the gain
 * less 1. */
static inline sonde_node *norm_gain(sonde_site *site, int64_t folded, int64_t offset, const sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  sonde_shape shape = {SONDE_F32, 1, {at->width, 1, 1, 1, 1}};
  int branch = !strcmp(at->slot, "attn") || !strcmp(at->slot, "ffn");
  if (folded && branch) return sonde_the_host->constant(sonde_the_host->node_graph(x), &shape, 1);
  if (offset) return sonde_affine(sonde_vector(site, "weight", at->width, SONDE_ROLE_GAIN, 0), 1, 1);
  return sonde_vector(site, "weight", at->width, SONDE_ROLE_GAIN, 1);
}

#endif
