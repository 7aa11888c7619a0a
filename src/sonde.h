/* sonde.h - the public C interface of libsonde: trace, differentiate, plan, run.
 *
 * LuaJIT's ffi.cdef parses the header (after `cpp -P`), so it has only opaque handles, plain C types and functions: no
 * callbacks, no inline code, no macro in a prototype but SONDE_API.
 *
 * Conventions:
 *  - Functions that can fail return 0 (SONDE_OK) or a negative code, or NULL; the reason is in *err
 *    (never NULL unless a function says so): one line with what, where and what to do.
 *  - `_new` and `_open` return an owned handle, to be freed with `_free`; `_free(NULL)` does nothing. Every other
 *    pointer is borrowed and valid as long as the handle it came from.
 *  - Shapes are listed slowest dimension first (row-major); sizes and counts are int64_t.
 *  - Letters: B batch, T sequence length, D hidden size, H heads, V vocabulary, N = B*T tokens.
 */
#ifndef SONDE_H
#define SONDE_H

#include <stdint.h>
#include <stddef.h>

#ifndef SONDE_API
#define SONDE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ------------------------------------------------------------------------------------- */

enum {
  SONDE_OK = 0,
  SONDE_EINVAL = -1,    /* an argument, option or key is wrong */
  SONDE_ENOMEM = -2,    /* out of memory */
  SONDE_EIO = -3,       /* reading or writing failed */
  SONDE_EFORMAT = -4,   /* a file is damaged or of another format */
  SONDE_ENOENT = -5,    /* a file, plugin or name does not exist */
  SONDE_ESHAPE = -6,    /* shapes or dtypes do not fit */
  SONDE_EUNSUP = -7,    /* not applicable here (no gradient rule, no such backend) */
  SONDE_ELIMIT = -8,    /* over a budget the user set (memory) */
  SONDE_ELOCK = -9,     /* another process has the lock of the run */
  SONDE_EABI = -10,     /* a plugin was built for another interface */
  SONDE_EDIVERGED = -11,/* the loss is NaN, infinite or over its bound */
  SONDE_EINTR = -12,    /* the user asked to stop */
  SONDE_EBUG = -13      /* an internal invariant is violated: a bug in Sonde */
};

typedef struct sonde_error {
  int code;
  char text[1000];
} sonde_error;

SONDE_API const char *sonde_version(void);
SONDE_API const char *sonde_code_name(int code);   /* "EINVAL"; "unknown" for any other number */

/* ---- dtypes and shapes ---------------------------------------------------------------------------- */

typedef enum sonde_dtype { SONDE_F32 = 0, SONDE_BF16 = 1, SONDE_I32 = 2 } sonde_dtype;

enum { SONDE_MAX_RANK = 5, SONDE_MAX_IN = 8, SONDE_MAX_OUT = 4 };

typedef struct sonde_shape {
  int32_t dtype;                 /* sonde_dtype */
  int32_t rank;                  /* 0 is a scalar */
  int64_t dim[5];                /* SONDE_MAX_RANK entries; the unused ones are 1 */
} sonde_shape;

/* Attributes of an op; the op's definition in src/ops documents their meaning. Unused ones are zero. */
typedef struct sonde_attr {
  double f[4];
  int64_t i[8];
} sonde_attr;

typedef struct sonde_ctx sonde_ctx;         /* one runtime: threads, op and plugin registry */
typedef struct sonde_tensor sonde_tensor;   /* a buffer with a shape, reference counted */
typedef struct sonde_params sonde_params;   /* named parameters of one model */
typedef struct sonde_graph sonde_graph;     /* a traced computation */
typedef struct sonde_node sonde_node;       /* one value of a graph; belongs to it */
typedef struct sonde_plan sonde_plan;       /* a schedule with one memory arena, ready to run */

/* ---- runtime -------------------------------------------------------------------------------------- */

/* threads: 0 takes the number of cores the process may use. */
SONDE_API sonde_ctx *sonde_ctx_new(int threads, sonde_error *err);
/* Graphs and plans that are left go on; what holds the runtime goes with the last of them. */
SONDE_API void sonde_ctx_free(sonde_ctx *ctx);
SONDE_API int sonde_ctx_threads(const sonde_ctx *ctx);

/* ---- tensors -------------------------------------------------------------------------------------- */

/* Zero-filled, 64-byte aligned. Reference counted: _new gives one reference, _ref another, _free drops one. */
SONDE_API sonde_tensor *sonde_tensor_new(const sonde_shape *shape, sonde_error *err);
SONDE_API sonde_tensor *sonde_tensor_ref(sonde_tensor *t);
SONDE_API void sonde_tensor_free(sonde_tensor *t);
SONDE_API sonde_shape sonde_tensor_shape(const sonde_tensor *t);
/* The tensor's numbers for the host, from wherever the newest are: to be read, or to be read and written. The pointer
 * is good until the next run of a plan that writes the tensor (_read), or reads or writes it (_write): ask again
 * after it. NULL if they cannot be had from the device; err may be NULL. */
SONDE_API const void *sonde_tensor_read(const sonde_tensor *t, sonde_error *err);
SONDE_API void *sonde_tensor_write(sonde_tensor *t, sonde_error *err);
SONDE_API int64_t sonde_tensor_bytes(const sonde_tensor *t);
SONDE_API int64_t sonde_shape_count(const sonde_shape *s);  /* elements; -1 if it overflows or a dim is < 0 */

/* ---- graph: trace --------------------------------------------------------------------------------- */

/* A graph is append-only. An op that cannot be built returns NULL, and any op given a NULL input returns
 * NULL too; the graph keeps the first error, so a builder may chain calls and check once at its end. */
SONDE_API sonde_graph *sonde_graph_new(sonde_ctx *ctx, sonde_error *err);
SONDE_API void sonde_graph_free(sonde_graph *g);
SONDE_API int sonde_graph_error(const sonde_graph *g, sonde_error *err); /* the first failure; SONDE_OK if none */

/* Leaves. An input is copied in before a run; a leaf reads (and a store writes) a tensor, of which
 * the graph takes a reference; a constant fills a shape with one value. `name` is copied. */
SONDE_API sonde_node *sonde_input(sonde_graph *g, const char *name, const sonde_shape *shape);
SONDE_API sonde_node *sonde_leaf(sonde_graph *g, const char *name, sonde_tensor *t);
SONDE_API sonde_node *sonde_constant(sonde_graph *g, const sonde_shape *shape, double value);

/* Appends op `name` on the inputs. `attr` may be NULL (all zero). An op with several results returns the
 * first; sonde_result fetches the others. */
SONDE_API sonde_node *sonde_op(sonde_graph *g, const char *name, sonde_node *const *in, int n_in,
                               const sonde_attr *attr);
SONDE_API sonde_node *sonde_result(sonde_node *n, int index);

SONDE_API sonde_graph *sonde_node_graph(const sonde_node *n);
SONDE_API sonde_shape sonde_node_shape(const sonde_node *n);
SONDE_API const char *sonde_node_op(const sonde_node *n);
SONDE_API int sonde_node_inputs(const sonde_node *n, sonde_node **in /* SONDE_MAX_IN */);
SONDE_API const sonde_attr *sonde_node_attr(const sonde_node *n);
SONDE_API int64_t sonde_node_id(const sonde_node *n);

/* Names: a scope is a path such as "blocks.3.attn" that the nodes made while it is set carry; `block` is the
 * block's number (0-based) for recomputation and reports, or -1 outside any block. */
SONDE_API void sonde_graph_scope(sonde_graph *g, const char *path, int block);
SONDE_API sonde_node *sonde_name(sonde_node *n, const char *name);   /* names a value (a tap); returns n */
SONDE_API sonde_node *sonde_find(sonde_graph *g, const char *name);  /* the value of that name, or NULL */

/* ---- graph: differentiate -------------------------------------------------------------------------- */

/* Appends the nodes of d(sum(y * dy))/d(wrt[k]) to the graph and stores them in out[k]; dy NULL stands for
 * ones. Gradients are f32, also of bf16 values. A wrt that y does not depend on gets a constant zero. Fails with EUNSUP
 * naming the op that has no gradient rule. */
SONDE_API int sonde_grad(sonde_node *y, sonde_node *dy, sonde_node *const *wrt, int n_wrt, sonde_node **out,
                         sonde_error *err);

/* ---- plan and run ---------------------------------------------------------------------------------- */

typedef struct sonde_plan_opts {
  int64_t memory_budget;   /* bytes for the arena; 0 = no bound */
  int32_t recompute;       /* 0 never, 1 if the budget requires it, 2 every block */
  int32_t compute;         /* SONDE_F32, or SONDE_BF16: matmul and attention inputs are rounded to bf16 */
  int32_t no_fuse;         /* 1: every node is a step of its own (for debugging) */
  /* Another plan that never runs at the same time, with which this one shares its arena, or NULL. A run of either then
   * overwrites the other's outputs that have no tensor of their own. */
  sonde_plan *share;
  /* 1: leaves that no output is written to keep their values between runs (generation), so values that depend only on
   * them (weights in bf16) are computed once and kept. Such a plan cannot share its arena. */
  int32_t hold;
} sonde_plan_opts;

/* Plans what the outputs need. out_tensor[i], if out_tensor and the entry are not NULL, is where output i is
 * written (same shape; the plan takes a reference); other outputs live in the arena until the next run.
 * Fails with ELIMIT before any memory is taken when the budget cannot be met. opts may be NULL. */
SONDE_API sonde_plan *sonde_plan_new(sonde_graph *g, sonde_node *const *out, sonde_tensor *const *out_tensor,
                                     int n_out, const sonde_plan_opts *opts, sonde_error *err);
SONDE_API void sonde_plan_free(sonde_plan *p);

/* Copies `data` into the input's place, where it stays until it is set again. EINVAL if the plan has no such input, or
 * for an index, target or position that the op which reads it cannot take. */
SONDE_API int sonde_plan_set_input(sonde_plan *p, const char *name, const void *data, sonde_error *err);
SONDE_API int sonde_plan_run(sonde_plan *p, sonde_error *err);
/* Computes what opts.hold keeps, as the first run does otherwise, so that all runs take the same time; or again, where
 * the leaves have other values since. */
SONDE_API int sonde_plan_hold(sonde_plan *p, sonde_error *err);
/* Output i as the host can read it: valid until the next run or free; NULL before the first run, or where there is no
 * memory. */
SONDE_API const void *sonde_plan_output(sonde_plan *p, int i);

/* `step` counts runs for counter-based random ops (dropout); the same step gives the same bits. */
SONDE_API void sonde_plan_set_step(sonde_plan *p, uint64_t step);

typedef struct sonde_plan_info {
  int64_t nodes, steps;          /* live nodes; schedule steps after fusion */
  int64_t arena_bytes;           /* peak of activations and scratch */
  int64_t leaf_bytes;            /* tensors the plan reads or writes outside the arena */
  double flops, bytes;           /* arithmetic and memory traffic of one run */
  int32_t recomputed_blocks;
} sonde_plan_info;
SONDE_API void sonde_plan_get_info(const sonde_plan *p, sonde_plan_info *info);

/* From now on (`on` 1) each run adds up the time of every step; the dump shows it. */
SONDE_API void sonde_plan_profile(sonde_plan *p, int on);
/* What step k (from 0, to info.steps - 1) does, an op's name, "fused" or "copy", and the seconds added up for it so
 * far; NULL where there is no such step. */
SONDE_API const char *sonde_plan_step_time(const sonde_plan *p, int64_t k, double *seconds);
/* The module that step k belongs to, by the scope in which its node (of a fused step: its last one) was traced, such as
 * "blocks.3.attn_norm"; a gradient belongs to the module that it is of. "" outside all scopes, NULL where there is no
 * such step. */
SONDE_API const char *sonde_plan_step_module(const sonde_plan *p, int64_t k);

/* Writes the schedule as text (`dot` 0) or the graph as Graphviz DOT (`dot` 1) to a file. */
SONDE_API int sonde_plan_dump(const sonde_plan *p, const char *path, int dot, sonde_error *err);

#ifdef __cplusplus
}
#endif
#endif
