/* Never gives its descriptor. */
#include "broken.h"

static volatile int done;

const sonde_host *sonde_the_host;
SONDE_API const sonde_plugin *sonde_plugin_entry(const sonde_host *host);
const sonde_plugin *sonde_plugin_entry(const sonde_host *host) {
  sonde_the_host = host;
  while (!done) continue;
  return NULL;
}
