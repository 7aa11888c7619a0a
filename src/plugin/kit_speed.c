/* kit_speed.c - how fast the plugin is beside the default of its kind: a figure for its author, never a verdict. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plugin/kit.h"
#include "plugin/loader.h"

static const char *default_of(const char *kind) {
  if (!strcmp(kind, "norm")) return "rmsnorm";
  if (!strcmp(kind, "attention")) return "causal";
  return strcmp(kind, "ffn") ? "adamw" : "swiglu";
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

enum { RUNS = 9 };

static double median(double *ms) {
  qsort(ms, RUNS, sizeof *ms, by_size);
  return ms[RUNS / 2];
}

/* Forward and, where there is one, backward over [2, 128, 256]; negative when it cannot be had. */
static double module_ms(const kit *k) {
  rig_spec spec = {.batch = 2, .context = 128, .width = 256, .layer = 1, .depth = 2, .seed = 7, .grad = 1};
  double ms[RUNS];
  rig r;
  int rc = rig_make(k, k->ctx, &spec, &r);
  if (!rc) rc = rig_run(&r);
  for (int j = 0; j < RUNS && !rc; j++) {
    double start = now_ms();
    rc = rig_run(&r);
    ms[j] = now_ms() - start;
  }
  rig_drop(&r);
  return rc ? -1 : median(ms);
}

static double optimizer_ms(const kit *k) {
  enum { N = 1 << 20 };
  const sonde_optimizer *f = k->entry->plugin->functions;
  float *data = sonde_alloc((size_t)(2 + f->states) * N * sizeof *data), *state[8];
  double ms[RUNS];
  if (!data) return -1;
  for (int i = 0; i < f->states; i++) state[i] = data + (size_t)(2 + i) * N;
  for (int j = 0; j < N; j++) data[j] = data[N + j] = (float)(j % 17) - 8;
  for (int j = 0; j < RUNS; j++) {
    sonde_update u = {.size = sizeof u, .n = N, .w = data, .g = data + N, .state = state, .grad_scale = 1, .lr = 1e-3,
                      .weight_decay = 0.1, .step = j + 1};
    double start = now_ms();
    f->update(&u, k->values);
    ms[j] = now_ms() - start;
  }
  sonde_release(data);
  return median(ms);
}

int check_speed(kit *k) {
  int module = sonde_kind_is_module(k->entry->kind);
  const char *other = default_of(k->entry->kind),
             *what = module ? "forward and backward of [2, 128, 256]" : "an update of 2^20 numbers";
  double mine = module ? module_ms(k) : optimizer_ms(k), theirs = -1;
  sonde_error err = {0};
  if (mine < 0) return kit_skip(k, "it refuses [2, 128, 256]");
  /* The default comes from a runtime of its own: the plugin under test may bear its name. */
  kit peer = *k;
  peer.values = NULL;
  peer.ctx = sonde_ctx_new(1, &err);
  peer.registry = peer.ctx ? sonde_registry_of(peer.ctx, &err) : NULL;
  peer.entry = peer.registry ? sonde_registry_find(peer.registry, k->entry->kind, other, &err) : NULL;
  peer.values = peer.entry ? sonde_entry_values(peer.entry, NULL, &err) : NULL;
  if (peer.values) theirs = module ? module_ms(&peer) : optimizer_ms(&peer);
  kit_close(&peer);
  if (theirs <= 0) return kit_pass(k, "%.3f ms for %s on one thread", mine, what);
  return kit_pass(k, "%.3f ms for %s on one thread; %s: %.3f ms (%.2f times)", mine, what, other, theirs,
                  mine / theirs);
}
