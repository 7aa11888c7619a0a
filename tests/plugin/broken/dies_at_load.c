/* Reads through a null pointer while it is being opened. */
#include "broken.h"

static const sonde_plugin *volatile nowhere;

const sonde_host *sonde_the_host;
SONDE_API const sonde_plugin *sonde_plugin_entry(const sonde_host *host);
const sonde_plugin *sonde_plugin_entry(const sonde_host *host) {
  sonde_the_host = host;
  return nowhere->size ? nowhere : NULL;
}
