/* bias.h - the learned bias of a product, where a module has one. */
#ifndef SONDE_PLUGINS_BIAS_H
#define SONDE_PLUGINS_BIAS_H

#include "sonde_plugin.h"

/* y [.., n] + the parameter `name` [n], which starts at 0; y itself without a bias */
static inline sonde_node *with_bias(sonde_site *site, const char *name, int has, int64_t n, sonde_node *y) {
  return has ? sonde_add(y, sonde_vector(site, name, n, SONDE_ROLE_BIAS, 0)) : y;
}

#endif
