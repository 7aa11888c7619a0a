/* host.h - the table of functions that plugins are handed: libsonde's own, behind the members of sonde_host. */
#ifndef SONDE_PLUGIN_HOST_H
#define SONDE_PLUGIN_HOST_H

#include "base/error.h"
#include "sonde_plugin.h"

/* One table for the process; constant after the first call. */
const sonde_host *sonde_host_table(void);

/* For the conformance kit: from now on kernels that ask for parallel tiles get them on the calling thread, handed to
 * `workers` pretended workers in turn, from the last tile to the first when `backwards`. 0 workers: real threads. */
void sonde_host_rehearse(int workers, int backwards);

#endif
