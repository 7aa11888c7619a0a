/* kit.h - the inside of the conformance kit: what its checks share. A check runs in a child process; it leaves its
 * finding in kit->why and returns an outcome. */
#ifndef SONDE_PLUGIN_KIT_H
#define SONDE_PLUGIN_KIT_H

#include "graph/graph.h"
#include "plugin/conformance.h"
#include "plugin/kind.h"

/* One of the situations that the plugins of a kind are tried in. */
typedef struct kit_place {
  const char *text;              /* for messages, where it is not the first: "slot = final" */
  /* of modules */
  const char *slot;
  int layer;                     /* of 6; 0: outside the blocks */
  /* 1: behind the first half of a block, x + attention(norm(x)), whose modules it may ask for what they published; for
   * norms. */
  int after;
} kit_place;

typedef struct kit {
  const char *path;
  sonde_conform_opts opts;
  sonde_ctx *ctx;                /* with one thread */
  sonde_registry *registry;      /* holds the plugin under test alone */
  const sonde_entry *entry;
  const sonde_kind *kind;        /* its row */
  const sonde_entry *attention;  /* for places behind one; NULL: there is none */
  sonde_value *values;           /* its defaults with opts.pair over them */
  int place;                     /* among its kind's places: where checks try it now */
  /* What rig_usual found for these values at this place; NULL: nothing yet. Whoever frees them sets it to NULL. */
  const sonde_value *usual_of;
  int usual_place;
  int64_t usual_width;
  char why[1000];                 /* of a failure or a skip; a figure of a pass */
} kit;

typedef int (*kit_check)(kit *k);

/* A check, and how often it is made. The first one that crashes, or that is marked `ends` and fails, ends the test. */
typedef struct kit_named {
  const char *name;
  kit_check fn;
  enum { KIT_ONCE, KIT_PLACES, KIT_VARIANTS } each;   /* at the first place; at each; there with other options as
                                                         well */
  int ends;
} kit_named;

/* What the kit does with plugins of one kind. */
typedef struct kit_kind {
  const kit_named *checks;       /* from what everything else stands on to what needs the most; ends in a NULL name */
  const kit_place *place;
  int places;
  /* Whether the plugin accepts k->place with k->values (or breaks its contract there, for a check to report). NULL: it
   * has no choice. */
  int (*is_taken)(kit *k);
  /* Mixes into *bits all that options may change at k->place; for the check of options. 0 or a code. */
  int (*bits)(kit *k, const sonde_value *values, uint64_t *bits, sonde_error *err);
  double (*ms)(const kit *k);    /* of the work that speed is measured by; negative: it cannot be done. NULL: not
                                    measured */
  const char *work;              /* "an update of 2^20 numbers" */
} kit_kind;

extern const kit_kind kit_optimizer, kit_distill, kit_sparsity;
/* The members that modules of all kinds share: a row adds its places. (kit_module.c) */
#define KIT_MODULE                                                                                                     \
  .checks = kit_module_checks, .is_taken = kit_module_taken, .bits = kit_module_bits, .ms = kit_module_ms,             \
  .work = "forward and backward of [2, 128, 256]"
extern const kit_named kit_module_checks[];
int kit_module_taken(kit *k);
int kit_module_bits(kit *k, const sonde_value *values, uint64_t *bits, sonde_error *err);
double kit_module_ms(const kit *k);

/* Writes k->why and gives the outcome. */
int kit_fail(kit *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int kit_skip(kit *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int kit_pass(kit *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Runs fn(k, arg, out) in a child process; the `size` bytes at out come back. SONDE_OK, or a code with a text in err:
 * EBUG when the child crashed or ended early, EINTR when it took too long, ENOMEM when there was no process. The
 * first line that it printed is left in `printed`, "" if none. (kit_child.c) */
typedef struct kit_child {
  void (*fn)(kit *k, const void *arg, void *out);
  const void *arg;
  void *out;
  size_t size;
  char printed[200];
} kit_child;
int kit_in_child(kit *k, kit_child *c, sonde_error *err);

/* Opens runtime, registry and plugin in this process: k->ctx, registry, entry, values. */
int kit_open(kit *k, int threads, sonde_error *err);
/* Loads the plugin or script into that runtime's registry. */
int kit_load(const kit *k, sonde_ctx *ctx, const sonde_entry **entry, sonde_error *err);
void kit_close(kit *k);

/* The options as JSON: the schema's defaults, a value for what must be given, opts.pair over both. */
json_t *kit_options(const kit *k, sonde_error *err);
/* Runs the check at each place, with k->values as they are, then with other values of each option, one at a time; what
 * the module refuses is left out. The first failure names the option and the place; a skip is one only if all skip. */
int kit_each_variant(kit *k, kit_check fn);
/* The same with k->values alone. */
int kit_each_place(kit *k, kit_check fn);
int kit_is_taken(kit *k);        /* the kind's is_taken, 1 where that has none */
double kit_now_ms(void);
double kit_median(double *ms, int n);   /* sorts them */
uint64_t kit_mix(uint64_t a, uint64_t b);

/* ---- one module, built and ready to run (kit_rig.c) ----------------------------------------------------- */

typedef struct rig_spec {
  int64_t batch, context, width;
  int64_t trained_context;       /* 0: context */
  int place;                     /* among the places of the kind */
  int layer, depth;
  uint64_t seed;                 /* of the parameters' first values */
  const sonde_value *values;     /* NULL: the kit's */
  int grad;                      /* also d(sum(y u))/d(x and each parameter), if the ops have gradient rules */
  int first_values;              /* keep the first values; else every parameter gets values that follow from its name;
                                    buffers are computed from the parameters either way */
} rig_spec;

enum { RIG_PARAMS = 64, RIG_LOSSES = 8 };

typedef struct rig {
  sonde_ctx *ctx;
  sonde_params *params;
  sonde_graph *g;
  sonde_site *site[3];           /* the last one made is the plugin's own */
  sonde_block *block;
  sonde_node *y;
  sonde_tensor *x, *u;           /* input and upstream gradient, both N(0, 1) and the same for equal shapes */
  const char *name[1 + RIG_PARAMS];     /* "x" and the parameters that the module asked for */
  sonde_tensor *leaf[1 + RIG_PARAMS];
  int is_buffer[1 + RIG_PARAMS];
  sonde_node *grad[1 + RIG_PARAMS];
  int n;                         /* leaves */
  sonde_node *loss[RIG_LOSSES];  /* what it adds to the training's loss ("loss.NAME") */
  int losses;
  int has_grad;                  /* the gradients are outputs too; else err says why, if they were asked for */
  sonde_plan *plan;              /* outputs: y, then the gradients, then the losses */
  sonde_plan *forward;           /* output: y; NULL before the first rig_forward */
  sonde_error err;               /* why there is no rig */
} rig;

/* SONDE_OK; EINVAL, ESHAPE or another code when the module refused; EBUG when it broke its contract. */
int rig_make(const kit *k, sonde_ctx *ctx, const rig_spec *spec, rig *r);
void rig_drop(rig *r);
/* From now on values behind `detach` stay what they are now, as the gradient takes them to be. */
int rig_freeze_detached(rig *r);
/* Runs it. Output 0 is y, output 1 + i the gradient of leaf i. */
int rig_run(rig *r);
/* The result alone, without what its gradients take: *y, until the next call. */
int rig_forward(rig *r, const float **y);
const float *rig_output(const rig *r, int i);
int64_t rig_count(const rig *r, int i);
/* FNV-1a over the bits of all outputs. */
uint64_t rig_bits(const rig *r);
/* The spec that checks use unless they need another: the first of a few shapes that the module accepts. */
rig_spec rig_usual(kit *k);

/* Does moving leaf i change the result? 1, 0, or -1: no memory or a run that failed. (kit_module.c) */
int kit_leaf_counts(rig *r, int i);
/* Slopes along random directions of each leaf against its gradient. *leaf: the first that is wrong, by *off of its
 * size; NULL: none. 0, or a code with r->err. (kit_gradient.c) */
int kit_slopes(rig *r, const char **leaf, double *off);

/* sum(a b), a and b of n elements, in f64. */
double kit_dot(const float *a, const float *b, int64_t n);

/* Memory of malloc over the rounds of a leak check. The heap settles by jumps, so a leak is what grows in each of
 * several stretches of rounds. (kit_state.c) */
enum { KIT_STRETCH = 32, KIT_STRETCHES = 5, KIT_ROUNDS = KIT_STRETCH * (1 + KIT_STRETCHES) };
typedef struct kit_memory {
  size_t at[1 + KIT_STRETCHES];
} kit_memory;
void kit_memory_look(kit_memory *m, int round);       /* after each round */
int64_t kit_memory_lost(const kit_memory *m);         /* bytes a round; 0: none */

/* ---- the checks ------------------------------------------------------------------------------------------ */

int check_schema(kit *k);        /* kit_options.c */
int check_options(kit *k);
int check_threads(kit *k);       /* kit_state.c */
int check_reload(kit *k);
int check_gradient(kit *k);      /* kit_gradient.c */
int check_guards(kit *k);        /* kit_guards.c */
int check_bf16(kit *k);
int check_speed(kit *k);         /* kit_speed.c: a figure, never a verdict; no part of the list */

#endif
