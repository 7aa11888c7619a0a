/* loader.h - opens one plugin file and checks everything that can be checked before it is trusted with a model. */
#ifndef SONDE_PLUGIN_LOADER_H
#define SONDE_PLUGIN_LOADER_H

#include "base/error.h"
#include "sonde_plugin.h"

/* The descriptor of the plugin at `path`; NULL with the reason: the file cannot be opened, is cut short or lacks a symbol, it does
 * not export sonde_plugin_entry, its interface differs (major, newer minor, size, a field of the build string; EABI),
 * or the descriptor is not complete. The file stays open to the end of the process: code and constants of a plugin
 * are in use by models, and an unloaded plugin could not be told from a corrupted one in a crash. */
const sonde_plugin *sonde_load_plugin(const char *path, sonde_error *err);

/* The k-th op that it brings; steps by the size that the plugin was built with. */
const sonde_op_def *sonde_plugin_op(const sonde_plugin *p, int k);

/* The kinds that exist: "norm", "attention", "ffn", "optimizer"; NULL after the last. */
const char *sonde_plugin_kind(int k);
/* 1 for kinds whose functions are a sonde_module; 0 for "optimizer" and for a kind that is none. */
int sonde_kind_is_module(const char *kind);

#endif
