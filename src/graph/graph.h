/* graph.h - the graph's insides: for src/graph, and for ops whose gradient needs more than the public calls. */
#ifndef SONDE_GRAPH_GRAPH_H
#define SONDE_GRAPH_GRAPH_H

#include "base/mem.h"
#include "base/pool.h"
#include "graph/ops.h"
#include "sonde_backend.h"
#include "tensor/tensor.h"

/* Things that upper layers hang on a runtime (the plugin registry): freed with it. */
enum { SONDE_CTX_SLOTS = 4, SONDE_CTX_PLUGINS = 0 };

/* An open device of a backend. */
typedef struct sonde_device { const sonde_backend *backend; void *state; } sonde_device;

struct sonde_ctx {
  int refs;                                     /* the user's, and one of each graph: plans outlive sonde_ctx_free */
  sonde_pool *pool;
  sonde_device cpu;
  const sonde_device *device;                   /* where plans run: &cpu, or `other` */
  sonde_device other;
  sonde_map *ops;                               /* name -> const sonde_op_def * */
  const sonde_op_def *form[SONDE_FORM_COUNT];   /* the first op of each form */
  sonde_op_def *filled[128];                    /* elementwise defs copied to take this machine's stretch function */
  int n_filled;
  const volatile int *stop;                     /* not 0: planning ends with EINTR; NULL: nobody asks */
  const sonde_host *host;                       /* the functions that plugins call; set when plugins are opened */
  void *slot[SONDE_CTX_SLOTS];
  void (*slot_free[SONDE_CTX_SLOTS])(void *);
};

/* A runtime without ops, to which src/ops adds Sonde's (sonde_ctx_new). */
sonde_ctx *sonde_ctx_bare(int threads, sonde_error *err);
/* Opens a second device, on which plans run from then on. */
int sonde_ctx_open(sonde_ctx *ctx, const sonde_backend *backend, int number, sonde_error *err);
/* sonde_pool_resize for a runtime, between runs of its plans. EUNSUP: its plans run on a device, of which a copy of the
 * process would have no use. */
int sonde_ctx_resize(sonde_ctx *ctx, int threads, int processes, sonde_error *err);

typedef enum sonde_node_kind { SONDE_KIND_OP, SONDE_KIND_RESULT, SONDE_KIND_INPUT, SONDE_KIND_LEAF, SONDE_KIND_CONST }
    sonde_node_kind;

struct sonde_node {
  sonde_graph *g;
  int64_t id;                   /* position in the graph; inputs have smaller ids */
  uint8_t kind, backward;       /* backward: made by sonde_grad */
  int16_t n_in, index;          /* index: which result of in[0] (RESULT) */
  int32_t block, scope;
  const sonde_op_def *def;      /* OP */
  sonde_node *in[SONDE_MAX_IN];
  sonde_node *result[SONDE_MAX_OUT];  /* OP: the nodes of its further results, made when asked for; [0] is itself */
  sonde_shape shape, out_shape[SONDE_MAX_OUT];
  sonde_attr attr;
  const char *name;
  sonde_tensor *tensor;         /* LEAF */
  double value;                 /* CONST */
  sonde_node *also;             /* RESULT: this older node has the same value */
};

/* An edit made while tracing: sees every op before it is appended, and may append something else in its place: then
 * it sets *taken and returns that. The ops it appends itself are not shown to it again. */
typedef sonde_node *(*sonde_rewrite)(void *arg, sonde_graph *g, const sonde_op_def *op, sonde_node *const *in, int n_in,
                                     const sonde_attr *attr, int *taken);

struct sonde_graph {
  sonde_ctx *ctx;
  sonde_rewrite rewrite;        /* NULL: ops are appended as they are */
  void *rewrite_arg;
  sonde_arena *arena;
  sonde_node **node;
  int64_t count, cap;
  sonde_map *names;             /* name -> node */
  const char *prefix;           /* of the names of leaves and scopes that are traced now; NULL: none */
  const char **scope;           /* scope paths, by number */
  sonde_map *scopes;            /* path -> its number, from 1 */
  int n_scope, cap_scope, at_scope, at_block, at_backward;
  struct declared_refresh *refresh;   /* refresh.c */
  int n_refresh, cap_refresh;
  int refs;
  sonde_error first;            /* the first failure */
};

sonde_graph *sonde_graph_ref(sonde_graph *g);

/* While a second model is traced into a graph (a teacher): its leaves and scopes have `prefix` in front of their names,
 * its nodes belong to no block, and its buffers stay what they are. NULL: no longer. */
void sonde_graph_prefix(sonde_graph *g, const char *prefix);

/* Records a failure (the first one stays) with the current scope in front; returns NULL. */
sonde_node *sonde_graph_fail(sonde_graph *g, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Says that `now`, a result of a gradient op, is the value of `old`, had along the way: a plan that needs that op
 * anyway takes it from there. */
void sonde_graph_also(sonde_node *now, sonde_node *old);

/* Turns a computed node into a leaf of this tensor, which has its shape: gradients that were traced stay as they are.
 * For checks that must hold a value still. */
void sonde_graph_freeze(sonde_node *n, sonde_tensor *value);

/* Appends the runtime's op of that form, as sonde_op does one by its name. */
sonde_node *sonde_op_of_form(sonde_graph *g, sonde_form form, sonde_node *const *in, int n_in, const sonde_attr *attr);

const char *sonde_node_scope(const sonde_node *n);

/* A runtime whose plans run on device `number` of that backend (borrowed), and on the CPU what it has no kernel for. */
sonde_ctx *sonde_ctx_new_on(const sonde_backend *backend, int number, int threads, sonde_error *err);

#endif
