/* divergence.h - a module of the kind "distill" as the function that kernels evaluate (ops/pointwise.h). */
#ifndef SONDE_PLUGIN_DIVERGENCE_H
#define SONDE_PLUGIN_DIVERGENCE_H

#include "plugin/registry.h"

/* Calls a script's module between sonde_entry_begin and _end. */
typedef sonde_node *(*sonde_script_build)(void *user, const sonde_entry *e, sonde_site *site, const sonde_value *values,
                                          sonde_node *x);

/* The number of the function that the module is with these options: of log p, p, log q and q, with the slope by log q.
 * `script` and `user` are for a script's module. A negative code: it refused, or is no divergence, with the reason. */
int64_t sonde_divergence_of(sonde_ctx *ctx, const sonde_entry *e, const sonde_value *values, sonde_script_build script,
                            void *user, sonde_error *err);

#endif
