/* broken.h - a descriptor for plugins that are whole but for one thing; each file of this folder breaks one. */
#ifndef TESTS_PLUGIN_BROKEN_H
#define TESTS_PLUGIN_BROKEN_H

#include "sonde_plugin.h"

#define DESCRIPTOR(KIND, NAME, FUNCTIONS)                                                                              \
  .abi_major = SONDE_ABI_MAJOR, .abi_minor = SONDE_ABI_MINOR, .size = sizeof(sonde_plugin), .name = NAME,              \
  .kind = KIND, .version = "1.0", .build = SONDE_BUILD, .summary = "broken on purpose", .citation = "",                \
  .functions = FUNCTIONS

#define OPTIONS(LIST) .options = LIST, .n_options = sizeof(LIST) / sizeof(LIST)[0]
#define OPS(LIST) .ops = LIST, .n_ops = sizeof(LIST) / sizeof(LIST)[0]

/* x / sqrt(mean(x^2) + 1e-6), with a learned gain: right as it stands. */
SONDE_INLINE sonde_node *sound_norm(sonde_site *site, sonde_node *x) {
  return sonde_rmsnorm(x, sonde_vector(site, "weight", sonde_where(site)->width, SONDE_ROLE_GAIN, 1), 1e-6);
}

#endif
