/* Calls itself without end while it is built. */
#include "broken.h"

static volatile int enough;

static int deeper(int level) {
  volatile char room[1024];
  room[level % 1024] = 1;
  return enough ? level : deeper(level + 1) + room[level % 1024];
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  (void)opt;
  return sonde_scale(sound_norm(site, x), deeper(0));
}
static const sonde_module functions = {sizeof functions, build};
static const sonde_plugin plugin = {DESCRIPTOR("norm", "endless", &functions)};
SONDE_PLUGIN(plugin)
