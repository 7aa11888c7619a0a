/* descriptor.h - what the descriptors of Sonde's sparsity methods have in common. */
#ifndef SONDE_SPARSITY_DESCRIPTOR_H
#define SONDE_SPARSITY_DESCRIPTOR_H

#include <string.h>

#include "sonde_plugin.h"

/* The score of methods that are what they gather. */
static inline int gathered(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)opt, (void)err;
  memcpy(score, s->gathered, (size_t)(s->out * s->in) * sizeof *score);
  return 0;
}

#define SPARSITY(NAME, SUMMARY, CITATION)                                                                   \
  .abi_major = SONDE_ABI_MAJOR, .abi_minor = SONDE_ABI_MINOR, .size = sizeof(sonde_plugin), .name = NAME,   \
  .kind = "sparsity", .version = "1.0", .build = SONDE_BUILD, .summary = SUMMARY, .citation = CITATION,     \
  .functions = &functions

#endif
