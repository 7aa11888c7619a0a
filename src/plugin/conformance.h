/* conformance.h - the conformance kit: what a plugin file (or a script with one module) must be able to do, tried out,
 * each check in a process of its own. `sonde plugin test` is its face; doc/plugins.md says what the checks look for. */
#ifndef SONDE_PLUGIN_CONFORMANCE_H
#define SONDE_PLUGIN_CONFORMANCE_H

#include "plugin/registry.h"

enum { SONDE_CHECKS_MAX = 24 };
typedef enum sonde_outcome { SONDE_PASS, SONDE_FAIL, SONDE_SKIP } sonde_outcome;

typedef struct sonde_check {
  const char *name;          /* "gradient" */
  int32_t outcome;           /* sonde_outcome */
  char text[1000];            /* fail: what is wrong, in one line; skip: why; pass: a figure, or "" */
} sonde_check;

typedef struct sonde_conformance {
  char kind[64], name[64];   /* of the plugin; "" when it could not be loaded */
  int n;
  sonde_check check[SONDE_CHECKS_MAX];
  char speed[200];           /* beside the default module of its kind: reported, never judged; "" if there is none */
} sonde_conformance;

typedef struct sonde_conform_opts {
  const char *const *pair;   /* options of the plugin under test, "key=value" */
  int n_pair;
  int seconds;               /* a check that takes more processor time, or none for so long, counts as hanging; 0: 60 */
  const char *only;          /* name of one check to run; NULL: all */
  /* For scripts. load runs the file at `path`, which registers one module with the runtime; build calls that module
   * between sonde_entry_begin and _end, score a sparsity method (as sonde_sparsity's). All are called in the processes
   * of the checks. NULL: shared objects only. */
  int (*load)(void *user, sonde_ctx *ctx, const char *path, const sonde_entry **entry, sonde_error *err);
  sonde_node *(*build)(void *user, const sonde_entry *e, sonde_site *site, const sonde_value *values, sonde_node *x);
  int (*score)(void *user, const sonde_entry *e, const sonde_sparse *s, const sonde_value *values, float *score,
               sonde_error *err);
  void *user;
} sonde_conform_opts;

/* Runs the checks over the plugin at `path`. 0 when they were run, whatever they found; else the kit itself failed
 * (no process, no memory, `only` names no check). opts may be NULL. */
int sonde_conform(const char *path, const sonde_conform_opts *opts, sonde_conformance *out, sonde_error *err);

#endif
