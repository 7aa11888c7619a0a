/* paths.h - where the Lua files and the plugins are: named by the environment, beside the program (in the build tree,
 * or in an installation that may have been moved), or where `make install` puts them. Never the current folder. */
#ifndef SONDE_BASE_PATHS_H
#define SONDE_BASE_PATHS_H

#include "base/error.h"

/* The folder of the Lua library (sonde/init.lua): $SONDE_LUA_PATH (one folder), else beside the program, else the
 * installed one. Free with sonde_release; NULL if out of memory. The folder need not exist. */
char *sonde_path_lua(sonde_error *err);

/* The folders to search for plugins, in order: those of $SONDE_PLUGIN_PATH (separated by colons), those beside the
 * program, the installed one (not for a program in its build tree). One block, free with sonde_release; *n is their
 * number; NULL with *err set if out of memory, or if a build tree's own list cannot be read. */
char **sonde_path_plugins(int *n, sonde_error *err);

/* The path of `to` after `from` was moved to `here`: ("/usr/bin", "/usr/lib/x", "/opt/bin") gives "/opt/lib/x". So an
 * installation can be moved as a whole. Free with sonde_release; NULL if out of memory. */
char *sonde_path_moved(const char *from, const char *to, const char *here);

#endif
