/* registry.h - every module and optimizer that a runtime knows, by kind and name: those of plugin files and those
 * that a script has registered stand side by side. */
#ifndef SONDE_PLUGIN_REGISTRY_H
#define SONDE_PLUGIN_REGISTRY_H

#include <jansson.h>

#include "base/error.h"
#include "plugin/site.h"

typedef struct sonde_entry {
  const char *kind, *name, *version, *summary, *citation;
  const char *path;              /* of the shared object, or where the script registered it */
  const char *language;          /* "c" or "lua" */
  const sonde_option *options;
  int n_options;
  const sonde_plugin *plugin;    /* NULL for a script's module and for a skipped file */
  int64_t handle;                /* a script's module: what the script side knows it by */
  const char *suggests;          /* as in sonde_plugin; may be NULL */
  const char *skipped;           /* why a file cannot be used (kind is "" then, name the file's); NULL: usable */
} sonde_entry;

typedef struct sonde_registry sonde_registry;

/* The registry of this runtime. The first call looks through the search path ($SONDE_PLUGIN_PATH, the build tree or
 * the folder beside the program, the installed plugins; never the current folder); a file there that cannot be used
 * becomes an entry with its reason. It lives as long as the runtime. NULL: out of memory. */
sonde_registry *sonde_registry_of(sonde_ctx *ctx, sonde_error *err);

/* The same without a search: an empty one, for a runtime that has none yet. */
sonde_registry *sonde_registry_new(sonde_ctx *ctx, sonde_error *err);

/* Loads one file, or all of a folder's *.so in the order of their names. Loading a file again gives its entry. A
 * second module of the same kind and name is refused, with both paths in the message. */
int sonde_registry_load(sonde_registry *r, const char *path, const sonde_entry **entry, sonde_error *err);
int sonde_registry_load_folder(sonde_registry *r, const char *folder, sonde_error *err);

/* Registers a script's module; `e` and all it points at are copied; plugin and skipped are ignored. Messages do not
 * name e->path: the caller knows its place. */
int sonde_registry_add(sonde_registry *r, const sonde_entry *e, const sonde_entry **entry, sonde_error *err);

int64_t sonde_registry_count(const sonde_registry *r);
const sonde_entry *sonde_registry_at(const sonde_registry *r, int64_t i);   /* in the order of kind and name */

/* The usable entry of that kind and name (kind NULL: of any, when the name stands for one only). NULL with a reason
 * that names near names, or why the file of that name was skipped. */
const sonde_entry *sonde_registry_find(const sonde_registry *r, const char *kind, const char *name, sonde_error *err);

/* "norm 'rmsnorm'": the `what` of options.h. Returns buf. */
char *sonde_entry_text(const sonde_entry *e, char *buf, size_t size);

/* Options in the order of the schema, for sonde_release; NULL on failure (options.h). */
sonde_value *sonde_entry_values(const sonde_entry *e, const json_t *given, sonde_error *err);

/* Appends the module's nodes for x [B, T, D] and gives the result, checked to be [B, T, D]. NULL: the reason, with the
 * site in front, is the graph's error (EBUG: the module broke its contract, else it refused). For a script's module
 * the caller runs the script between begin and end. */
sonde_node *sonde_entry_build(const sonde_entry *e, sonde_site *site, const sonde_value *values, sonde_node *x);
int sonde_entry_begin(const sonde_entry *e, sonde_site *site, sonde_node *x);   /* 0 or a code */
sonde_node *sonde_entry_end(sonde_site *site, sonde_node *x, sonde_node *y);

/* The functions of a plugin of that kind (a sonde_optimizer of "optimizer"), all members there: NULL in those that
 * the plugin was built without. They live as long as the registry. NULL with a reason for another kind or a script's
 * module. */
const void *sonde_entry_functions(const sonde_entry *e, const char *kind, sonde_error *err);

/* Everything above about an entry, as a JSON object (`sonde plugin list --json`, `info`). */
json_t *sonde_entry_json(const sonde_entry *e);

#endif
