/* plan.h - a plan's insides. A plan is made by passes over its own copy of the graph:
 *
 *   lower -> simplify -> recompute (if the budget requires it) -> autocast (bf16) -> accumulate (add into matmul)
 *   -> fuse -> memory
 *
 * The copy is an array of pnodes in the order of the schedule; a value is an output of one, written as a number. */
#ifndef SONDE_GRAPH_PLAN_H
#define SONDE_GRAPH_PLAN_H

#include "graph/graph.h"

typedef int32_t value;                                    /* node * SONDE_MAX_OUT + output; -1: none */
static inline value value_of(int64_t node, int out) { return (value)(node * SONDE_MAX_OUT + out); }
static inline int32_t value_node(value v) { return v / SONDE_MAX_OUT; }
static inline int value_out(value v) { return v % SONDE_MAX_OUT; }

typedef struct pnode {
  const sonde_op_def *def;        /* NULL: input, leaf or constant */
  const sonde_node *src;          /* the graph's node (of a clone or a cast: the one it stands for) */
  uint8_t kind, backward;
  uint8_t lazy;                   /* scheduled only when something asks for it: clones and casts */
  int16_t n_in, n_out;
  int32_t block;
  value in[SONDE_MAX_IN];
  sonde_shape shape[SONDE_MAX_OUT];
  sonde_attr attr;
  double constant;
} pnode;

/* One step of the schedule: an op with a kernel, a fused group of elementwise ops, or a copy to an output tensor. */
typedef enum step_kind { STEP_OP, STEP_FUSED, STEP_COPY } step_kind;

typedef struct fused fused;       /* fused.h */

typedef struct step {
  step_kind kind;
  int32_t node;                   /* OP: the pnode */
  fused *f;                       /* FUSED */
  sonde_kernel kernel;            /* OP, FUSED */
  const sonde_device *by;         /* whose kernel that is */
  value from;                     /* COPY */
  int32_t output;                 /* COPY: which plan output */
  int64_t scratch_at;             /* of kernel.scratch bytes */
  int held;                       /* runs once: its results stay (opts.hold) */
  int64_t ns;                     /* time spent, when the plan is profiled */
} step;

/* Where a value's bytes are. Views and values computed in place share one storage. */
/* a storage's last step where it is kept from run to run: never free, never taken over */
enum { HELD = INT32_MAX };
typedef enum storage_place { IN_ARENA, IN_TENSOR, IN_INPUT, IN_CONST, NOWHERE } storage_place;
typedef struct storage {
  storage_place place;
  int64_t bytes, at;              /* at: offset in the arena, the inputs or the constants */
  int32_t first, last;            /* steps */
  sonde_tensor *tensor;
  uint8_t written;                /* IN_TENSOR: an output is written there */
} storage;

/* An input of the plan: a slot of fixed place, which set_input copies into. */
typedef struct plan_input {
  const char *name;
  int64_t bytes, at;              /* at: offset in `inputs` */
  int64_t low, high;              /* of i32: what the ops that read it allow */
  const char *bound_by;           /* the op that says so */
  int set;
} plan_input;

typedef struct arena_memory { int refs; int64_t bytes, taken; char *data; const sonde_device *device; } arena_memory;

struct sonde_plan {
  sonde_graph *g;
  sonde_ctx *ctx;
  sonde_plan_opts opts;
  pnode *node;
  int32_t count, cap;
  value *out;
  sonde_tensor **out_tensor;
  int32_t n_out;
  step *step;
  int32_t n_step;
  int32_t *uses;                  /* how often each value is read (outputs count) */
  value *root;                    /* value -> the value that owns its bytes */
  storage *store;                 /* by root value */
  void **ptr;                     /* value -> pointer, of this run */
  plan_input *input;
  int32_t n_input;
  int64_t arena_bytes, const_bytes, input_bytes;
  arena_memory *arena;
  char *constants, *inputs;
  sonde_step_block block;         /* of the run */
  sonde_plan_info info;
  double model_flops;             /* arithmetic of one run without what is computed again: info.flops has that too */
  int profile, prepared, held;    /* held: the steps that run once have run */
  int pointed;                    /* ptr is as pointed_into, the arena's place, says */
  const char *pointed_into;
  struct remote *remote;          /* remote.c; NULL where the device's memory is the host's */
  int watched;                    /* watch.c */
  int64_t visits; /* nodes and buffers that the passes looked at to find others: for tests of how it grows */
  void (*after)(void *arg, int32_t step);   /* called when a step has run or is queued; NULL: nobody asks */
  void *after_arg;
};

/* What sonde_plan_dump writes, for free(); NULL with *err set. */
char *sonde_plan_text(const sonde_plan *p, int dot, sonde_error *err);

/* passes; each returns 0 or a code with *err filled */
int plan_lower(sonde_plan *p, sonde_node *const *out, int n_out, sonde_error *err);
int plan_simplify(sonde_plan *p, sonde_error *err);
int plan_save_leaves(sonde_plan *p, sonde_error *err);
/* drops what is not needed, puts lazy nodes where first asked for */
int plan_reorder(sonde_plan *p, sonde_error *err);
/* the first `blocks` blocks are computed again in the backward */
int plan_recompute(sonde_plan *p, int blocks, sonde_error *err);
int plan_autocast(sonde_plan *p, sonde_error *err);
int plan_accumulate(sonde_plan *p, sonde_error *err);
int plan_fuse(sonde_plan *p, sonde_error *err);             /* makes the steps */
int plan_memory(sonde_plan *p, sonde_error *err);           /* places every storage */

/* Copies `data` into the slot of input k. EINVAL for a number that an op of the plan cannot take. */
int plan_set_input(sonde_plan *p, int32_t k, const void *data, sonde_error *err);

/* What the device gives (device.c). The kernel of an OP's or FUSED's step, the CPU's where the device has none. */
int plan_find_kernel(sonde_plan *p, step *s, sonde_error *err);
void plan_drop_kernel(step *s);
/* of the op's kernel for the node's shapes as they are; 0: none */
uint32_t plan_kernel_flags(const sonde_plan *p, int32_t node);
int64_t plan_aligned(const sonde_plan *p, int64_t bytes);
int plan_take(const sonde_plan *p, int64_t bytes, int use, void **at, sonde_error *err);
void plan_give(const sonde_device *d, void *at, int64_t bytes, int use);

/* EINTR where somebody has asked to stop: for loops that may take long. */
int plan_stopped(const sonde_plan *p, sonde_error *err);
int plan_count_uses(sonde_plan *p, sonde_error *err);
pnode *plan_append(sonde_plan *p, const pnode *like, sonde_error *err);  /* a copy at the end; may move the array */
static inline sonde_shape *plan_shape(const sonde_plan *p, value v) {
  return &p->node[value_node(v)].shape[value_out(v)];
}
static inline int plan_is_view(const pnode *n) { return n->def && (n->def->flags & SONDE_OP_VIEW); }
static inline int plan_is(const pnode *n, sonde_form form) { return n->def && n->def->form == (int32_t)form; }
/* The input that the node adds to its result; 0: none. */
static inline int plan_adds(const pnode *n) { return n->def && n->n_in > n->def->adds ? n->def->adds : 0; }
/* For tests: set p->watched before the first run of a plan that shares no arena, and each run calls these (watch.c). */
void plan_watch_run(sonde_plan *p);
void plan_watch_before(sonde_plan *p, int32_t step);
void plan_watch_after(sonde_plan *p, int32_t step);
void plan_watch_end(sonde_plan *p);
/* The values that a step reads and stores outside itself: calls fn for each. */
void plan_step_values(const sonde_plan *p, const step *s, void (*fn)(void *arg, value v, int stored), void *arg);
#endif
