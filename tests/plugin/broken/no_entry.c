/* Forgot SONDE_PLUGIN at its end; another function is exported instead. */
#include "broken.h"

SONDE_API int no_entry_plugin_version(void);
int no_entry_plugin_version(void) { return 1; }
