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
static const double ENOUGH_MS = 500;   /* of an optimizer's updates */

static double median(double *ms, int n) {
  qsort(ms, (size_t)n, sizeof *ms, by_size);
  return ms[n / 2];
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
  return rc ? -1 : median(ms, RUNS);
}

static double optimizer_ms(const kit *k) {
  enum { N = 1 << 20 };
  static const sonde_parameter is = {sizeof is, SONDE_ROLE_FFN_IN, "model.layers.0.mlp.up_proj.weight",
                                     {SONDE_F32, 2, {1024, 1024, 1, 1, 1}}};
  const sonde_optimizer f = sonde_optimizer_read(k->entry->plugin->functions);
  int whole = f.whole && f.whole(&is, k->values), room = 1;
  float *data = sonde_alloc(2 * N * sizeof *data), *state[8] = {NULL};
  void *scratch = sonde_alloc(whole && f.scratch ? (size_t)f.scratch(&is, k->values) + 1 : 1);
  double ms[RUNS], all = 0;
  int n = 0;
  for (int i = 0; i < f.states; i++) {
    int64_t count = kit_state_count(k, &is, i);
    if (count > 0) room = (state[i] = sonde_alloc((size_t)count * sizeof *data)) && room;
  }
  if (data && scratch && room) {
    for (int j = 0; j < N; j++) data[j] = data[N + j] = (float)(j % 17) - 8;
    for (; n < RUNS && all < ENOUGH_MS; n++) {
      sonde_update u = {.size = sizeof u, .n = N, .w = data, .g = data + N, .state = state, .grad_scale = 1, .lr = 1e-3,
                        .weight_decay = 0.1, .step = n + 1, .parameter = &is, .scratch = scratch};
      double start = now_ms();
      f.update(&u, k->values);
      all += ms[n] = now_ms() - start;
    }
  }
  for (int i = 0; i < f.states; i++) sonde_release(state[i]);
  sonde_release(scratch);
  sonde_release(data);
  return n ? median(ms, n) : -1;
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
