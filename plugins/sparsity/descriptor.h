/* descriptor.h - what the descriptors of Sonde's sparsity methods have in common. */
#ifndef SONDE_SPARSITY_DESCRIPTOR_H
#define SONDE_SPARSITY_DESCRIPTOR_H

#include "sonde_plugin.h"

#define SPARSITY(NAME, SUMMARY, CITATION)                                                                   \
  .abi_major = SONDE_ABI_MAJOR, .abi_minor = SONDE_ABI_MINOR, .size = sizeof(sonde_plugin), .name = NAME,   \
  .kind = "sparsity", .version = "1.0", .build = SONDE_BUILD, .summary = SUMMARY, .citation = CITATION,     \
  .functions = &functions

#endif
