/* registry.c - see registry.h. */
#include "plugin/registry.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/mem.h"
#include "base/paths.h"
#include "graph/graph.h"
#include "plugin/host.h"
#include "plugin/kind.h"
#include "plugin/loader.h"
#include "plugin/options.h"

struct sonde_registry {
  sonde_ctx *ctx;
  sonde_arena *arena;            /* entries and what they point at */
  sonde_entry **entry;           /* sorted */
  int64_t count, cap;
};

/* Usable entries by kind and name, then the skipped files by path. */
static int before(const sonde_entry *a, const sonde_entry *b) {
  if (!a->skipped != !b->skipped) return !a->skipped;
  int order = a->skipped ? strcmp(a->path, b->path) : strcmp(a->kind, b->kind);
  return order < 0 || (!order && !a->skipped && strcmp(a->name, b->name) < 0);
}

static sonde_entry *insert(sonde_registry *r, const sonde_entry *e, sonde_error *err) {
  if (r->count == r->cap) {
    int64_t cap = r->cap ? 2 * r->cap : 32;
    sonde_entry **bigger = sonde_grow(r->entry, (size_t)r->cap * sizeof *bigger, (size_t)cap * sizeof *bigger);
    if (bigger) r->entry = bigger, r->cap = cap;
  }
  sonde_entry *copy = r->count < r->cap ? sonde_arena_alloc(r->arena, sizeof *copy) : NULL;
  if (!copy) {
    sonde_fail(err, SONDE_ENOMEM, "%s: no memory to register it", e->path);
    return NULL;
  }
  *copy = *e;
  int64_t at = r->count++;
  for (; at > 0 && before(copy, r->entry[at - 1]); at--) r->entry[at] = r->entry[at - 1];
  return r->entry[at] = copy;
}

static const sonde_entry *exact(const sonde_registry *r, const char *kind, const char *name) {
  for (int64_t k = 0; k < r->count; k++) {
    const sonde_entry *e = r->entry[k];
    if (!e->skipped && !strcmp(e->kind, kind) && !strcmp(e->name, name)) return e;
  }
  return NULL;
}

static int refuse_twin(const sonde_registry *r, const char *kind, const char *name, sonde_error *err) {
  const sonde_entry *twin = exact(r, kind, name);
  return twin ? sonde_fail(err, SONDE_EINVAL, "%s '%s' is there already, from %s; give one of them another name", kind,
                           name, twin->path)
              : 0;
}

int sonde_registry_load(sonde_registry *r, const char *path, const sonde_entry **entry, sonde_error *err) {
  char *whole = realpath(path, NULL);
  const sonde_entry *there = NULL;
  if (!whole) return sonde_fail_errno(err, errno == ENOMEM ? SONDE_ENOMEM : SONDE_ENOENT, "%s: cannot be opened", path);
  for (int64_t k = 0; k < r->count && !there; k++)
    if (!strcmp(r->entry[k]->path, whole) && !r->entry[k]->skipped) there = r->entry[k];
  if (entry && there) *entry = there;
  if (there) {
    free(whole);
    return 0;
  }
  const sonde_plugin *p = sonde_load_plugin(path, r->arena, err);
  if (!p) {
    free(whole);
    return err->code;
  }
  int rc = refuse_twin(r, p->kind, p->name, err);
  for (int k = 0; !rc && k < p->n_ops; k++) rc = sonde_ops_add(r->ctx, &p->ops[k], err);
  if (rc) sonde_wrap(err, "%s", path);
  if (!rc) {
    const char *kept = sonde_arena_strdup(r->arena, whole);
    sonde_entry e = {p->kind,    p->name,      p->version, p->summary, p->citation, kept, "c",
                     p->options, p->n_options, p,          0,          p->suggests, NULL};
    const sonde_entry *made = kept ? insert(r, &e, err) : NULL;
    if (!made) rc = sonde_fail(err, SONDE_ENOMEM, "%s: no memory to register it", path);
    if (entry) *entry = made;
  }
  free(whole);
  return rc;
}

/* An entry that says why the file is not there; one a path. */
static int skip(sonde_registry *r, const char *path, const sonde_error *why, sonde_error *err) {
  const char *base = strrchr(path, '/');
  base = base ? base + 1 : path;
  sonde_entry e = {.kind = "", .version = "", .summary = "", .citation = "", .language = "c"};
  for (int64_t k = 0; k < r->count; k++)
    if (r->entry[k]->skipped && !strcmp(r->entry[k]->path, path)) return 0;
  char *name = sonde_arena_strdup(r->arena, base);
  if (name) name[strcspn(name, ".")] = '\0';
  e.name = name;
  e.path = sonde_arena_strdup(r->arena, path);
  e.skipped = sonde_arena_strdup(r->arena, why->text);
  if (!e.name || !e.path || !e.skipped) return sonde_fail(err, SONDE_ENOMEM, "%s: no memory to list it", path);
  return insert(r, &e, err) ? 0 : err->code;
}

static int is_so(const struct dirent *d) {
  size_t n = strlen(d->d_name);
  return n > 3 && d->d_name[0] != '.' && !strcmp(d->d_name + n - 3, ".so");
}

static int by_bytes(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

int sonde_registry_load_folder(sonde_registry *r, const char *folder, sonde_error *err) {
  struct dirent **file = NULL;
  int n = scandir(folder, &file, is_so, by_bytes), rc = 0;
  if (n < 0) return sonde_fail_errno(err, errno == ENOENT ? SONDE_ENOENT : SONDE_EIO, "%s: cannot be listed", folder);
  for (int k = 0; k < n; k++) {
    char path[4200];
    sonde_error why = {0};
    snprintf(path, sizeof path, "%s/%s", folder, file[k]->d_name);
    if (!rc && sonde_registry_load(r, path, NULL, &why)) rc = skip(r, path, &why, err);
    free(file[k]);
  }
  free(file);
  return rc;
}

static void registry_free(void *p) {
  sonde_registry *r = p;
  sonde_arena_free(r->arena);
  sonde_release(r->entry);
  sonde_release(r);
}

static int scan(sonde_registry *r, sonde_error *err) {
  int n = 0, rc = 0;
  if (sonde_load_seconds(err) < 0) return err->code;   /* no plugin's fault */
  char **folder = sonde_path_plugins(&n, err);
  if (!folder) return err->code;
  for (int k = 0; k < n && rc != SONDE_ENOMEM; k++) {
    sonde_error why = {0};   /* a folder of the path that is not there is no failure */
    rc = sonde_registry_load_folder(r, folder[k], &why);
    if (rc == SONDE_ENOMEM) *err = why;
  }
  sonde_release(folder);
  return rc == SONDE_ENOMEM ? rc : 0;
}

sonde_registry *sonde_registry_new(sonde_ctx *ctx, sonde_error *err) {
  sonde_registry *r = sonde_alloc(sizeof *r);
  if (!r || !(r->arena = sonde_arena_new())) {
    sonde_release(r);
    sonde_fail(err, SONDE_ENOMEM, "no memory for the plugin registry");
    return NULL;
  }
  r->ctx = ctx;
  ctx->host = sonde_host_table();
  ctx->slot[SONDE_CTX_PLUGINS] = r;
  ctx->slot_free[SONDE_CTX_PLUGINS] = registry_free;
  return r;
}

sonde_registry *sonde_registry_of(sonde_ctx *ctx, sonde_error *err) {
  sonde_registry *r = ctx->slot[SONDE_CTX_PLUGINS];
  if (r || !(r = sonde_registry_new(ctx, err)) || !scan(r, err)) return r;
  registry_free(r);
  ctx->slot[SONDE_CTX_PLUGINS] = NULL;
  return NULL;
}

static int copy_text(sonde_arena *a, const char **s) {
  if (!*s) return 0;
  *s = sonde_arena_strdup(a, *s);
  return *s ? 0 : SONDE_ENOMEM;
}

static int copy_entry(sonde_arena *a, const sonde_entry *from, sonde_entry *to) {
  *to = *from;
  to->plugin = NULL;
  to->skipped = NULL;
  int rc = copy_text(a, &to->kind) | copy_text(a, &to->name) | copy_text(a, &to->version) |
           copy_text(a, &to->summary) | copy_text(a, &to->citation) | copy_text(a, &to->path) |
           copy_text(a, &to->language) | copy_text(a, &to->suggests);
  sonde_option *o = sonde_arena_alloc(a, (size_t)(from->n_options ? from->n_options : 1) * sizeof *o);
  if (rc || !o) return SONDE_ENOMEM;
  to->options = o;
  for (int k = 0; k < from->n_options; k++) {
    o[k] = from->options[k];
    rc |=
        copy_text(a, &o[k].name) | copy_text(a, &o[k].preset) | copy_text(a, &o[k].choices) | copy_text(a, &o[k].doc);
  }
  return rc ? SONDE_ENOMEM : 0;
}

int sonde_registry_add(sonde_registry *r, const sonde_entry *e, const sonde_entry **entry, sonde_error *err) {
  char what[200];
  sonde_entry copy;
  snprintf(what, sizeof what, "%s '%s'", e->kind, e->name);
  const sonde_kind *kind = sonde_kind_find(e->kind);
  if (!kind || !sonde_kind_is_scripted(kind))
    return sonde_fail(err, SONDE_EINVAL, "'%s' is no kind of module; kinds are %s", e->kind,
                      sonde_kind_names(SONDE_KIND_MODULE, what, sizeof what));
  int rc = refuse_twin(r, e->kind, e->name, err);
  if (!rc) rc = sonde_options_check(what, e->options, e->n_options, err);
  if (rc) return rc;
  const sonde_entry *made = copy_entry(r->arena, e, &copy) ? NULL : insert(r, &copy, err);
  if (!made) return sonde_fail(err, SONDE_ENOMEM, "%s: no memory to register it", what);
  if (entry) *entry = made;
  return 0;
}

int64_t sonde_registry_count(const sonde_registry *r) { return r->count; }
const sonde_entry *sonde_registry_at(const sonde_registry *r, int64_t i) { return r->entry[i]; }

static const sonde_entry *unknown(const sonde_registry *r, const char *kind, const char *name, sonde_error *err) {
  enum { MOST = 256 };
  const char *names[MOST] = {NULL}, *near, *noun = kind ? kind : "plugin";
  char list[600] = "";
  size_t at = 0;
  int n = 0;
  for (int64_t k = 0; k < r->count && n < MOST; k++) {
    const sonde_entry *e = r->entry[k];
    if (e->skipped && !strcmp(e->name, name)) {
      sonde_fail(err, SONDE_ENOENT, "there is no %s '%s'; a file of that name was skipped: %s", noun, name,
                 e->skipped);
      return NULL;
    }
    if (e->skipped || (kind && strcmp(e->kind, kind))) continue;
    if (at < sizeof list) at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", n ? ", " : "", e->name);
    names[n++] = e->name;
  }
  if ((near = sonde_nearest(name, names, n)))
    sonde_fail(err, SONDE_ENOENT, "unknown %s '%s'; did you mean '%s'?", noun, name, near);
  else sonde_fail(err, SONDE_ENOENT, "unknown %s '%s'; there %s: %s", noun, name, n == 1 ? "is" : "are",
                  n ? list : "none (see `sonde plugin list`)");
  return NULL;
}

const sonde_entry *sonde_registry_find(const sonde_registry *r, const char *kind, const char *name,
                                       sonde_error *err) {
  const sonde_entry *found = NULL;
  if (kind) return (found = exact(r, kind, name)) ? found : unknown(r, kind, name, err);
  for (int64_t k = 0; k < r->count; k++) {
    const sonde_entry *e = r->entry[k];
    if (e->skipped || strcmp(e->name, name)) continue;
    if (found) {
      sonde_fail(err, SONDE_EINVAL, "'%s' is a name of more than one plugin; say %s/%s or %s/%s", name, found->kind,
                 name, e->kind, name);
      return NULL;
    }
    found = e;
  }
  return found ? found : unknown(r, kind, name, err);
}
