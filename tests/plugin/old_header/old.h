/* old.h - for plugins that are built with each released header: what lies behind their structs is no struct's member, so a
 * host that reads further than the plugin was built with finds pointers to nowhere. */
#ifndef TESTS_PLUGIN_OLD_HEADER_H
#define TESTS_PLUGIN_OLD_HEADER_H

#include "sonde_plugin.h"

#define WITH_NONSENSE(TYPE, NAME, ...)                                    \
  static const struct { TYPE is; uint64_t nonsense[16]; } NAME = {        \
      __VA_ARGS__, {0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, \
                    0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, \
                    0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, \
                    0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu, 0x0bad0bad0bad0badu}}

#define DESCRIPTOR(KIND, NAME, FUNCTIONS)                                                                                    \
  .abi_major = SONDE_ABI_MAJOR, .abi_minor = SONDE_ABI_MINOR, .size = sizeof(sonde_plugin), .name = NAME, .kind = KIND,      \
  .version = "1.0", .build = SONDE_BUILD, .summary = "built with an older header", .citation = "", .functions = &(FUNCTIONS)

#endif
