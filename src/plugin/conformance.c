/* conformance.c - see conformance.h: runs the checks of the plugin's kind, in their order, and collects the
 * findings. */
#include "config.h"
#include "plugin/conformance.h"

#include <stdio.h>
#include <string.h>

#include "plugin/kit.h"
#include "plugin/options.h"

#define FINDING(name, outcome)              \
  int name(kit *k, const char *fmt, ...) {   \
    va_list ap;                              \
    va_start(ap, fmt);                       \
    vsnprintf(k->why, sizeof k->why, fmt, ap); \
    va_end(ap);                              \
    return outcome;                          \
  }
FINDING(kit_fail, SONDE_FAIL)
FINDING(kit_skip, SONDE_SKIP)
FINDING(kit_pass, SONDE_PASS)

int kit_load(const kit *k, sonde_ctx *ctx, const sonde_entry **entry, sonde_error *err) {
  size_t n = strlen(k->path);
  if (k->opts.load && n > 4 && !strcmp(k->path + n - 4, ".lua"))
    return k->opts.load(k->opts.user, ctx, k->path, entry, err);
  sonde_registry *r = sonde_registry_of(ctx, err);
  return r ? sonde_registry_load(r, k->path, entry, err) : err->code;
}

/* The attention in front of places behind one: the default, wherever it is installed. */
static void find_attention(kit *k) {
  sonde_error ignored = {0};
  sonde_ctx *ctx = sonde_ctx_new(1, &ignored);
  sonde_registry *all = ctx ? sonde_registry_of(ctx, &ignored) : NULL;
  const sonde_entry *e =
      all ? sonde_registry_find(all, "attention", sonde_kind_find("attention")->preset, &ignored) : NULL;
  if (e) sonde_registry_load(k->registry, e->path, &k->attention, &ignored);
  sonde_ctx_free(ctx);
}

int kit_open(kit *k, int threads, sonde_error *err) {
  k->ctx = sonde_ctx_new(threads, err);
  if (!k->ctx) return err->code;
  k->registry = sonde_registry_new(k->ctx, err);
  if (!k->registry) return err->code;
  int rc = kit_load(k, k->ctx, &k->entry, err);
  if (rc) return rc;
  k->kind = sonde_kind_find(k->entry->kind);
  int behind = 0;
  for (int p = 0; p < k->kind->kit->places; p++) behind |= k->kind->kit->place[p].after;
  if (behind) find_attention(k);
  json_t *given = kit_options(k, err);
  k->values = given ? sonde_entry_values(k->entry, given, err) : NULL;
  json_decref(given);
  return k->values ? SONDE_OK : err->code;
}

void kit_close(kit *k) {
  sonde_release(k->values);
  sonde_ctx_free(k->ctx);
  k->values = NULL;
  k->usual_of = NULL;
  k->ctx = NULL;
}

typedef struct loaded {
  sonde_error err;
  char kind[64], name[64];
} loaded;

static void try_load(kit *k, const void *arg, void *out) {
  loaded *l = out;
  (void)arg;
  if (kit_open(k, 1, &l->err)) return;
  snprintf(l->kind, sizeof l->kind, "%s", k->entry->kind);
  snprintf(l->name, sizeof l->name, "%s", k->entry->name);
}

/* Beside everything on the search path: is the name free? */
static void try_name(kit *k, const void *arg, void *out) {
  sonde_error *err = out;
  (void)arg;
  sonde_ctx *ctx = sonde_ctx_new(1, err);
  const sonde_entry *e;
  if (ctx && sonde_registry_of(ctx, err)) kit_load(k, ctx, &e, err);
}

typedef struct finding {
  int outcome;
  char why[1000];
} finding;

static void try_check(kit *k, const void *arg, void *out) {
  finding *f = out;
  sonde_error err = {0};
  const kit_named *c = arg;
  if (kit_open(k, 1, &err)) f->outcome = kit_fail(k, "%s", err.text);
  else
    f->outcome = c->each == KIT_ONCE     ? c->fn(k)
                 : c->each == KIT_PLACES ? kit_each_place(k, c->fn)
                                         : kit_each_variant(k, c->fn);
  snprintf(f->why, sizeof f->why, "%s", k->why);
}

static sonde_check *add(sonde_conformance *out, const char *name, int outcome, const char *text) {
  sonde_check *c = &out->check[out->n++];
  c->name = name;
  c->outcome = outcome;
  snprintf(c->text, sizeof c->text, "%s", text);
  return c;
}

static int wanted(const kit *k, const char *name) { return !k->opts.only || !strcmp(k->opts.only, name); }

/* After a crash, or when it cannot even be built and run, the checks that follow would all say the same. */
static void run_check(kit *k, const kit_named *c, sonde_conformance *out, const char **ended, char *printed,
                      size_t size) {
  finding f = {0};
  sonde_error err = {0};
  char text[120];
  if (*ended) {
    snprintf(text, sizeof text, "not tried after '%s'", *ended);
    add(out, c->name, SONDE_SKIP, text);
    return;
  }
  kit_child child = {try_check, c, &f, sizeof f, ""};
  if (kit_in_child(k, &child, &err)) {
    add(out, c->name, SONDE_FAIL, err.text);
    *ended = c->name;
    return;
  }
  add(out, c->name, f.outcome, f.why);
  if (f.outcome == SONDE_FAIL && c->ends) *ended = c->name;
  if (!*printed) snprintf(printed, size, "%s", child.printed);
}

static int load(kit *k, sonde_conformance *out) {
  loaded l = {{0}, "", ""};
  sonde_error err = {0};
  kit_child child = {try_load, NULL, &l, sizeof l, ""};
  if (kit_in_child(k, &child, &err)) add(out, "load", SONDE_FAIL, err.text);
  else add(out, "load", l.err.code ? SONDE_FAIL : SONDE_PASS, l.err.text);
  memcpy(out->kind, l.kind, sizeof l.kind);
  memcpy(out->name, l.name, sizeof l.name);
  return out->check[0].outcome == SONDE_PASS;
}

static void measure_speed(kit *k, sonde_conformance *out) {
  static const kit_named speed = {"speed", check_speed, KIT_ONCE, 0};
  finding f = {0};
  sonde_error err = {0};
  kit_child child = {try_check, &speed, &f, sizeof f, ""};
  if (!kit_in_child(k, &child, &err) && f.outcome == SONDE_PASS)
    snprintf(out->speed, sizeof out->speed, "%.199s", f.why);
}

static int no_such_check(const kit_named *checks, const char *only, sonde_error *err) {
  const char *names[SONDE_CHECKS_MAX];
  int n = 0;
  for (; n < SONDE_CHECKS_MAX && checks[n].name; n++) names[n] = checks[n].name;
  const char *near = sonde_nearest(only, names, n);
  return sonde_fail(err, SONDE_EINVAL, "there is no check '%s' for this kind%s%s%s", only,
                    near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int sonde_conform(const char *path, const sonde_conform_opts *opts, sonde_conformance *out, sonde_error *err) {
  kit k = {.path = path};
  sonde_error name = {0}, lost = {0};
  char printed[200] = "";
  const char *ended = NULL;
  memset(out, 0, sizeof *out);
  if (opts) k.opts = *opts;
  if (!load(&k, out)) return SONDE_OK;
  if (wanted(&k, "name")) {
    kit_child child = {try_name, NULL, &name, sizeof name, ""};
    if (kit_in_child(&k, &child, &lost)) name = lost;
    add(out, "name", name.code ? SONDE_FAIL : SONDE_PASS, name.text);
  }
  const kit_kind *of = sonde_kind_find(out->kind)->kit;
  for (const kit_named *c = of->checks; c->name; c++)
    if (wanted(&k, c->name)) run_check(&k, c, out, &ended, printed, sizeof printed);
  if (k.opts.only && out->n == 1) return no_such_check(of->checks, k.opts.only, err);
  if (k.opts.only) return SONDE_OK;
  char text[300];
  snprintf(text, sizeof text, "%s%s", *printed ? "it prints, which is the host's business: " : "", printed);
  add(out, "silent", *printed ? SONDE_FAIL : SONDE_PASS, text);
  if (!ended && of->ms) measure_speed(&k, out);
  return SONDE_OK;
}
