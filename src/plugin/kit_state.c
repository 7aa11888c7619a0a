/* kit_state.c - checks that a result follows from parameters and input alone: not from the threads, not from what was
 * built before, not from how the parameters came by their values. */
#include "config.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin/host.h"
#include "plugin/kit.h"

/* ---- threads ------------------------------------------------------------------------------------------------ */

/* Large enough for several tiles; built and run anew. */
static int bits_with(kit *k, int threads, uint64_t *bits) {
  sonde_error err = {0};
  sonde_ctx *ctx = sonde_ctx_new(threads, &err);
  rig_spec spec = rig_usual(k);
  rig r;
  if (!ctx) return kit_fail(k, "%s", err.text), SONDE_ENOMEM;
  /* The ops of the plugin belong to a runtime: this one needs them too. */
  const sonde_entry *ignored;
  int rc = sonde_registry_new(ctx, &err) ? kit_load(k, ctx, &ignored, &err) : err.code;
  if (rc) kit_fail(k, "%s", err.text);
  else {
    spec.batch = 3, spec.context = 67, spec.grad = 1;
    rc = rig_make(k, ctx, &spec, &r);
    if (!rc) rc = rig_run(&r);
    if (!rc) *bits = rig_bits(&r);
    else kit_fail(k, "%.600s", r.err.text);
    rig_drop(&r);
  }
  sonde_ctx_free(ctx);
  return rc;
}

int check_threads(kit *k) {
  static const int threads[] = {1, 2, 3, 7};
  uint64_t first = 0, bits = 0;
  if (bits_with(k, 1, &first)) return SONDE_FAIL;
  for (int t = 0; t < 4; t++) {
    if (bits_with(k, threads[t], &bits)) return SONDE_FAIL;
    if (bits != first)
      return kit_fail(k, t ? "other bits with %d threads than with one" : "other bits in a second run (%d thread)",
                      threads[t]);
  }
  /* Real threads may by luck take their tiles in turn; these schedules do not depend on luck. */
  for (int t = 0; t < 4; t++)
    for (int backwards = 0; backwards < 2; backwards++) {
      sonde_host_rehearse(threads[t], backwards);
      int rc = bits_with(k, 1, &bits);
      sonde_host_rehearse(0, 0);
      if (rc) return SONDE_FAIL;
      if (bits != first)
        return kit_fail(k, "the bits depend on which thread takes which tile (schedule of %d, tiles %s)", threads[t],
                        backwards ? "from the last to the first" : "in order");
    }
  return SONDE_PASS;
}

/* ---- building and loading ------------------------------------------------------------------------------------ */

enum { FRESH, AFTER_ANOTHER_BLOCK, AGAIN, OTHER_FIRST_VALUES, WAYS };
static const char *const way_text[] = {
    "in a fresh process",
    "after another block was built",
    "after the model was made anew in the same process",
    "with parameters loaded over other first values",
};

typedef struct way_spec {
  int way, place;
  int64_t width;
} way_spec;

typedef struct state_bits {
  int rc;
  uint64_t first, loaded;        /* bits with the first values; with values that follow from the names */
  char why[600];
} state_bits;

static int one_bits(kit *k, const rig_spec *spec, uint64_t *bits, state_bits *out) {
  rig r;
  out->rc = rig_make(k, k->ctx, spec, &r);
  if (!out->rc) out->rc = rig_run(&r);
  if (!out->rc) *bits = rig_bits(&r);
  else snprintf(out->why, sizeof out->why, "%.599s", r.err.text);
  rig_drop(&r);
  return out->rc;
}

static void build_in(kit *k, const void *arg, void *result) {
  const way_spec *w = arg;
  state_bits *out = result;
  sonde_error err = {0};
  uint64_t ignored;
  if (kit_open(k, 1, &err)) {
    out->rc = err.code;
    snprintf(out->why, sizeof out->why, "%.599s", err.text);
    return;
  }
  rig_spec spec = {.batch = 2,
                   .context = 5,
                   .width = w->width,
                   .place = w->place,
                   .layer = k->kind->kit->place[w->place].layer,
                   .depth = 6,
                   .seed = 7,
                   .first_values = 1,
                   .grad = 1};
  rig_spec before = spec;
  before.layer = 1;
  if (w->way == AFTER_ANOTHER_BLOCK && one_bits(k, &before, &ignored, out)) return;
  if (w->way == AGAIN && one_bits(k, &spec, &ignored, out)) return;
  if (w->way == OTHER_FIRST_VALUES) {
    before = spec;
    before.seed = 99;
    if (one_bits(k, &before, &ignored, out)) return;
  }
  if (one_bits(k, &spec, &out->first, out)) return;
  spec.first_values = 0;
  one_bits(k, &spec, &out->loaded, out);
}

typedef struct found_width {
  int64_t width;                 /* 0: the module does not accept the place */
  sonde_error err;               /* why it was not found out */
} found_width;

static void find_width(kit *k, const void *arg, void *result) {
  found_width *f = result;
  if (kit_open(k, 1, &f->err)) return;
  k->place = *(const int *)arg;
  if (kit_is_taken(k)) f->width = rig_usual(k).width;
}

static int reload_at(kit *k, way_spec *w) {
  static const char *const say = "something is kept outside the parameters";
  state_bits fresh = {0};
  sonde_error err = {0};
  for (w->way = 0; w->way < WAYS; w->way++) {
    state_bits now = {0};
    kit_child child = {build_in, w, &now, sizeof now, ""};
    const char *text = way_text[w->way];
    if (kit_in_child(k, &child, &err)) return kit_fail(k, "%s: %.500s", text, err.text);
    if (now.rc) return kit_fail(k, "%s: %.500s", text, now.why);
    if (!w->way) fresh = now;
    if (now.first != fresh.first)
      return kit_fail(k, "built %s, the module starts differently from one %s: %s", text, way_text[FRESH], say);
    if (now.loaded != fresh.loaded)
      return kit_fail(k, "built %s, the same parameters give another result than %s: %s", text, way_text[FRESH], say);
  }
  return SONDE_PASS;
}

/* The plugin is in this process already, but has built nothing yet: each way is a fork of that state. */
int check_reload(kit *k) {
  kit inner = {.path = k->path, .opts = k->opts};
  int outcome = SONDE_PASS;
  for (int place = 0; place < k->kind->kit->places && outcome == SONDE_PASS; place++) {
    found_width found = {0, {0}};
    sonde_error err = {0};
    kit_child child = {find_width, &place, &found, sizeof found, ""};
    if (kit_in_child(&inner, &child, &err)) return kit_fail(k, "%.600s", err.text);
    if (found.err.code) return kit_fail(k, "%.600s", found.err.text);
    if (!found.width) continue;
    way_spec w = {0, place, found.width};
    outcome = reload_at(&inner, &w);
    if (outcome == SONDE_FAIL) kit_fail(k, "%.900s", inner.why);
  }
  return outcome;
}

/* ---- memory --------------------------------------------------------------------------------------------------- */

/* The C library keeps up to seven freed blocks of each small size at hand and counts them as used: fill that store,
 * so that it does not look like a leak while it fills by itself. */
static void fill_free_lists(void) {
  enum { SIZES = 64, KEPT = 7 };
  void *block[SIZES][KEPT];
  for (int s = 0; s < SIZES; s++)
    for (int j = 0; j < KEPT; j++) block[s][j] = malloc((size_t)(16 * s + 24));
  for (int s = 0; s < SIZES; s++)
    for (int j = 0; j < KEPT; j++) free(block[s][j]);
}

void kit_memory_look(kit_memory *m, int round) {
  if (round == 0) fill_free_lists();
  if ((round + 1) % KIT_STRETCH == 0) m->at[(round + 1) / KIT_STRETCH - 1] = mallinfo2().uordblks;
}

int64_t kit_memory_lost(const kit_memory *m) {
  const int64_t smallest = 4 * sizeof(void *);   /* that malloc hands out */
  int64_t least = INT64_MAX;
  for (int k = 0; k < KIT_STRETCHES; k++) {
    int64_t grown = (int64_t)m->at[k + 1] - (int64_t)m->at[k];
    if (grown < least) least = grown;
  }
  return least >= KIT_STRETCH * smallest ? least / KIT_STRETCH : 0;
}
