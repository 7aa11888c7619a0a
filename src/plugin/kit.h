/* kit.h - the inside of the conformance kit: what its checks share. A check runs in a child process; it leaves its
 * finding in kit->why and returns an outcome. */
#ifndef SONDE_PLUGIN_KIT_H
#define SONDE_PLUGIN_KIT_H

#include "graph/graph.h"
#include "plugin/conformance.h"

/* Where in a block a norm stands; other kinds have one place. The second comes after the first and an attention, which
 * it may ask for what they published. */
typedef enum kit_place { AT_ATTENTION, AT_FFN, AT_FINAL, KIT_PLACES } kit_place;
enum { KIT_PARAMETERS = 6 };   /* kinds of parameters that an optimizer is tried with: its places */

typedef struct kit {
  const char *path;
  sonde_conform_opts opts;
  sonde_ctx *ctx;                /* with one thread */
  sonde_registry *registry;      /* holds the plugin under test alone */
  const sonde_entry *entry;
  const sonde_entry *attention;  /* for a norm's second place; NULL: there is none */
  sonde_value *values;           /* its defaults with opts.pair over them */
  int place;                     /* kit_place of the rigs that checks make; of an optimizer, which parameter */
  char why[1000];                 /* of a failure or a skip; a figure of a pass */
} kit;

typedef int (*kit_check)(kit *k);

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
/* The j-th other value worth trying for an option that is `now`; NULL when there are no more. */
json_t *kit_other_value(const sonde_option *o, const sonde_value *now, int j);
/* Runs the check at each place, with k->values as they are, then with other values of each option, one at a time; what
 * the module refuses is left out. The first failure names the option and the place; a skip is one only if all skip. */
int kit_each_variant(kit *k, kit_check fn);
/* The same with k->values alone. */
int kit_each_place(kit *k, kit_check fn);
/* Whether the plugin can be built at k->place with k->values at all (or breaks its contract, for the check to report). */
int kit_is_taken(const kit *k);

/* ---- one module, built and ready to run (kit_rig.c) ----------------------------------------------------- */

typedef struct rig_spec {
  int64_t batch, context, width;
  int64_t trained_context;       /* 0: context */
  int place;                     /* kit_place */
  int layer, depth;
  uint64_t seed;                 /* of the parameters' first values */
  const sonde_value *values;     /* NULL: the kit's */
  int grad;                      /* also d(sum(y u))/d(x and each parameter), if the ops have gradient rules */
  int first_values;              /* keep the first values; else every parameter gets values that follow from its name;
                                    buffers are computed from the parameters either way */
} rig_spec;

enum { RIG_PARAMS = 64 };

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
  int has_grad;                  /* the gradients are outputs too; else err says why, if they were asked for */
  sonde_plan *plan;              /* outputs: y, then the gradients */
  sonde_error err;               /* why there is no rig */
} rig;

/* SONDE_OK; EINVAL, ESHAPE or another code when the module refused; EBUG when it broke its contract. */
int rig_make(const kit *k, sonde_ctx *ctx, const rig_spec *spec, rig *r);
void rig_drop(rig *r);
/* From now on values behind `detach` stay what they are now, as the gradient takes them to be. */
int rig_freeze_detached(rig *r);
/* Runs it. Output 0 is y, output 1 + i the gradient of leaf i. */
int rig_run(rig *r);
const float *rig_output(const rig *r, int i);
int64_t rig_count(const rig *r, int i);
/* FNV-1a over the bits of all outputs. */
uint64_t rig_bits(const rig *r);
/* The spec that checks use unless they need another: the first of a few shapes that the module accepts. */
rig_spec rig_usual(const kit *k);

/* Does moving leaf i change the result? 1, 0, or -1: no memory or a run that failed. (kit_module.c) */
int kit_leaf_counts(rig *r, int i);
/* Slopes along random directions of each leaf against its gradient. *leaf: the first that is wrong, by *off of its size; NULL:
 * none. 0, or a code with r->err. (kit_gradient.c) */
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
int check_build(kit *k);         /* kit_module.c */
int check_run(kit *k);
int check_shapes(kit *k);
int check_effect(kit *k);
int check_causal(kit *k);
int check_batch(kit *k);
int check_nan(kit *k);
int check_leaks(kit *k);
int check_threads(kit *k);       /* kit_state.c */
int check_reload(kit *k);
int check_gradient(kit *k);      /* kit_gradient.c */
int check_guards(kit *k);        /* kit_guards.c */
int check_bf16(kit *k);
int check_update(kit *k);        /* kit_optimizer.c */
int check_descent(kit *k);
int check_rest(kit *k);
int check_scale(kit *k);
int check_decay(kit *k);
int check_tiles(kit *k);
int check_state(kit *k);
int check_update_guards(kit *k);
int check_update_nan(kit *k);
int check_update_leaks(kit *k);
int check_speed(kit *k);         /* kit_speed.c */

/* Mixes into bits what the optimizer does to the parameter k->place; for check_options. SONDE_OK, or EBUG with k->why. */
int kit_update_bits(kit *k, const sonde_value *values, uint64_t *bits);
const char *kit_parameter_name(int place);
/* Numbers of a parameter's state under k->values; 0: it has none. */
int64_t kit_state_count(const kit *k, const sonde_parameter *p, int state);

#endif
