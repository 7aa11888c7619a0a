/* loader.h - opens one plugin file and checks everything that can be checked before it is trusted with a model. */
#ifndef SONDE_PLUGIN_LOADER_H
#define SONDE_PLUGIN_LOADER_H

#include "base/mem.h"
#include "sonde_plugin.h"

/* What the plugin at `path` brings, in structs as this host has them: descriptor, ops and functions are copies in
 * `arena`, with zeros in the members that the plugin was built without; texts and options are the plugin's own. NULL
 * with the reason: the file cannot be opened, is cut short or lacks a symbol, it does not export sonde_plugin_entry,
 * its interface differs (major, newer minor, less than the first release had, a field of the build string; EABI), or
 * the descriptor is not complete. The file stays open to the end of the process: code and constants of a plugin are
 * in use by models, and an unloaded plugin could not be told from a corrupted one in a crash. */
const sonde_plugin *sonde_load_plugin(const char *path, sonde_arena *arena, sonde_error *err);

#endif
