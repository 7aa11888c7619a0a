/* kit_speed.c - how fast the plugin is beside the default of its kind: a figure for its author, never a verdict. */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "plugin/kit.h"

double kit_now_ms(void) { return 1e3 * sonde_clock_seconds(); }

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double kit_median(double *ms, int n) {
  qsort(ms, (size_t)n, sizeof *ms, by_size);
  return ms[n / 2];
}

int check_speed(kit *k) {
  const kit_kind *of = k->kind->kit;
  const char *other = k->kind->preset;
  double mine = of->ms(k), theirs = -1;
  sonde_error err = {0};
  if (mine < 0) return kit_skip(k, "it refuses %s", of->work);
  /* The default comes from a runtime of its own: the plugin under test may bear its name. */
  kit peer = *k;
  peer.values = NULL;
  peer.ctx = other ? sonde_ctx_new(1, &err) : NULL;
  peer.registry = peer.ctx ? sonde_registry_of(peer.ctx, &err) : NULL;
  peer.entry = peer.registry ? sonde_registry_find(peer.registry, k->kind->name, other, &err) : NULL;
  peer.values = peer.entry ? sonde_entry_values(peer.entry, NULL, &err) : NULL;
  if (peer.values) theirs = of->ms(&peer);
  kit_close(&peer);
  if (theirs <= 0) return kit_pass(k, "%.3f ms for %s on one thread", mine, of->work);
  return kit_pass(k, "%.3f ms for %s on one thread; %s: %.3f ms (%.2f times)", mine, of->work, other, theirs,
                  mine / theirs);
}
