/* kind.h - the kinds of plugins, one row each: what the loader, the conformance kit and `sonde plugin` know of a kind.
 *
 * A new kind is a file kind_NAME.c with its row, a line in the list of kind.c (or a call of sonde_kind_add by the layer
 * above that uses the kind), the struct of its functions in sonde_plugin.h, and the files NAME.c (NAME_primitive.c,
 * NAME.lua) in plugins/template. */
#ifndef SONDE_PLUGIN_KIND_H
#define SONDE_PLUGIN_KIND_H

#include "base/error.h"
#include "sonde_plugin.h"

/* Bytes of a struct up to and with a member: what it had when that was its last one. */
#define SONDE_SIZE_WITH(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

enum {
  SONDE_KIND_MODULE = 1,   /* functions are a sonde_module: x [B, T, D] -> [B, T, D]; scripts may register one too */
  SONDE_KIND_OPS = 2,      /* its plugins usually bring ops: there is a template with one */
  SONDE_KIND_SCRIPT = 4    /* scripts may register one, though it is no module */
};

typedef struct sonde_kind {
  const char *name;              /* "norm" */
  const char *doc;               /* one line: what a plugin of it does */
  uint32_t flags;
  const char *preset;            /* the installed plugin that the kit measures others beside; NULL: none */
  const char *functions;         /* the type of its functions: "sonde_module" */
  size_t size, least;            /* of that type: now, and when a release first had it */
  /* What must be there besides. `functions` has `size` bytes, of which those that the plugin was not built with are 0.
   * 0, or EINVAL with the reason (the caller adds file, kind and name). NULL: nothing to check. */
  int (*check)(const void *functions, sonde_error *err);
  const struct kit_kind *kit;    /* its part of the conformance kit (kit.h) */
} sonde_kind;

const sonde_kind *sonde_kind_at(int k);                /* in the order of documentation; NULL after the last */
const sonde_kind *sonde_kind_find(const char *name);   /* NULL: there is none of that name, or name is NULL */
int sonde_kind_is_module(const char *name);            /* 1: it has SONDE_KIND_MODULE */
int sonde_kind_is_scripted(const sonde_kind *kind);    /* 1: scripts may register one */

/* "norm, attention, ffn and optimizer": the kinds that have all of these flags. Returns buf. */
char *sonde_kind_names(uint32_t flags, char *buf, size_t size);

/* For kinds that a layer above uses: before the first plugin is loaded, by one thread. The row is borrowed for the
 * life of the process. EINVAL: there is a kind of that name, or the row lacks something; ELIMIT: too many. */
int sonde_kind_add(const sonde_kind *kind, sonde_error *err);

/* 1 for what plugins, ops and states may be called: a-z, 0-9 and _, a letter first, at most 60. */
int sonde_is_name(const char *s);

int sonde_module_check(const void *functions, sonde_error *err);   /* check of all kinds with SONDE_KIND_MODULE */

#endif
