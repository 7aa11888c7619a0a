/* paths.h - where the Lua files and the plugins are: named by the environment, beside the program (in the build tree,
 * or in an installation that may have been moved), or where `make install` puts them. Never the current folder. */
#ifndef SONDE_BASE_PATHS_H
#define SONDE_BASE_PATHS_H

#include "base/error.h"

/* The folder that holds sonde/init.lua and its kin: $SONDE_LUA_PATH (one folder), else beside the program, else the
 * installed one. To be given to sonde_release; NULL when out of memory. The folder need not exist. */
char *sonde_path_lua(sonde_error *err);

/* The folders to look for plugins in, first one first: those of $SONDE_PLUGIN_PATH (separated by colons), those beside
 * the program, the installed one (not when the program stands in its build tree). One block, for sonde_release; *n is
 * their number; NULL with *err set when out of memory, or when a build tree's own list cannot be read. */
char **sonde_path_plugins(int *n, sonde_error *err);

/* What is at `to` seen from `from`, where `from` stands at `here` instead: ("/usr/bin", "/usr/lib/x", "/opt/bin")
 * gives "/opt/lib/x". The compiled-in relation of program and data survives a moved tree. NULL when out of memory. */
char *sonde_path_moved(const char *from, const char *to, const char *here);

#endif
