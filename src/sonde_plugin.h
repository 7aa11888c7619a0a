/* sonde_plugin.h - what the author of a plugin includes; nothing else is needed, and nothing is linked.
 *
 * A plugin is one shared object, of one source file or of several, with one exported function, made by
 * SONDE_PLUGIN(descriptor) in one of them. It is either
 *   composed:  its build function appends existing ops (sonde_build.h names them); the gradient comes for free;
 *   primitive: it also brings ops of its own (descriptor.ops) with a shape rule, a gradient rule and a kernel.
 * Kinds: "norm", "attention", "ffn", "distill" (functions: sonde_module), "optimizer" (functions: sonde_optimizer) and
 * "sparsity" (functions: sonde_sparsity).
 *
 * Rules
 *  - A kernel writes its outputs and nothing else (gradients of inputs overwrite; the graph adds where paths meet); its
 *    result does not depend on the number of threads: cut work into tiles by the shape alone.
 *  - Plugins never print, exit, start threads or read the environment.
 *
 * Lifetimes
 *  - The descriptor is read once, when sonde_plugin_entry returns it: the host copies it, its ops and its functions.
 *    What they point at (texts, options, state_names) is not copied: it must stay as it is to the end of the process,
 *    as static constants do. A plugin is never unloaded.
 *  - The host's table, and what hangs on it, stays to the end of the process.
 *  - A site, its place, and the option values of a build function are valid until that function returns. The option
 *    values of an optimizer are valid while it trains.
 *  - A node belongs to the graph of one trace. Use it while the function that was given it (or that made it) runs,
 *    publish it for other modules of the block, and keep it nowhere else: a static variable with a node points at freed
 *    memory in the next trace. The same holds for what node_attr returns.
 *  - A sonde_call and all that it points at, the scratch and what `rows` returns there included, is valid until `run`
 *    returns; nothing in scratch lasts from one run to the next.
 *
 * Threads
 *  - build, shape, grad, scratch, flops, whole and state_shape are called by the thread that builds a model, plans it
 *    or makes an optimizer; other threads may do the same for other models meanwhile, so keep no state in static
 *    variables.
 *  - run is called by one thread at a time for each plan; what it passes to `parallel` and `rows` runs on several at
 *    once.
 *  - vec, update and gather are called by several threads at once, each with a part of its own.
 *
 * Errors
 *  - shape and run return 0 or a code of sonde.h, best through fail(err, code, "text"): SONDE_ESHAPE for shapes and
 *    dtypes that do not fit, SONDE_EINVAL for attributes and values, SONDE_EUNSUP for what the op does not do,
 *    SONDE_EBUG for what cannot happen. The text of a shape rule begins with the op's name (the host adds block, slot
 *    and module); to that of a run the host adds the module and the op. A code without a text is reported as "it
 *    failed".
 *  - grad returns 0 or a code; a node that is NULL has left its reason in the graph already: return 0 then.
 *
 * Shapes: every dim of every node is at least 1, so no function ever sees an empty one; rank 0 is a scalar of one
 * element.
 *
 * Growing: within one major number, structs with a `size`, and those that only the host makes (sonde_vec), grow at
 * their end; the host takes 0 for what a plugin was built without, and a plugin that needs a newer minor number is
 * refused. sonde_option, sonde_value, sonde_shape, sonde_attr and sonde_error have no size and are frozen.
 */
#ifndef SONDE_PLUGIN_H
#define SONDE_PLUGIN_H

#include "sonde.h"

/* 1.1: rows, rows_scratch. 1.2: optimizers with whole parameters. 1.3: step blocks, and what an op declares for the
 * planner. 1.4: the role ROUTER, the kind "sparsity", inverse_factor, the flag ROUNDS. */
#define SONDE_ABI_MAJOR 1
#define SONDE_ABI_MINOR 4

/* What a plugin was compiled for, readable; the host names the field that differs. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SONDE_BUILD "real=f32 index=i64 endian=little"
#else
#define SONDE_BUILD "real=f32 index=i64 endian=big"
#endif

typedef struct sonde_host sonde_host;
typedef struct sonde_site sonde_site;     /* the place in a model that a module is being built for */

/* ---- options --------------------------------------------------------------------------------------- */

typedef struct sonde_option {
  const char *name;
  char type;               /* 'i' integer, 'f' number, 'b' boolean, 's' string */
  const char *preset;      /* the default as text: "1e-6", "true", "causal"; NULL: the option must be given */
  double min, max;         /* inclusive range of 'i' and 'f'; both 0: any */
  const char *choices;     /* of 's': "a|b|c", or NULL for any text */
  const char *doc;         /* one line: what it does, in which unit, symbol of the paper */
} sonde_option;

typedef struct sonde_value {   /* one option's value, in the order of the schema */
  int64_t i;                   /* 'i'; 'b': 0 or 1 */
  double f;                    /* 'f' (and 'i' as a number) */
  const char *s;               /* 's' */
} sonde_value;

/* ---- ops -------------------------------------------------------------------------------------------- */

enum {
  SONDE_OP_ELEMENTWISE = 1,   /* has `vec`; the output's shape is the broadcast of the inputs' (numpy's rule) */
  SONDE_OP_VIEW = 2,          /* output 0 is input 0's bytes under another shape; never run */
  SONDE_OP_INPLACE = 4,       /* output 0 may be input 0's own buffer */
  SONDE_OP_BF16_OUT = 8,      /* the kernel can write output 0 as bf16 when asked (out_shape[0].dtype) */
  SONDE_OP_BF16_IN = 16,      /* the kernel takes bf16 inputs where it takes f32 */
  SONDE_OP_RANDOM = 32,       /* the result depends on the step */
  SONDE_OP_GAIN = 64,         /* output 0 is proportional to input 1, a gain, and no other output depends on that: a
                                 factor of output 0 is moved into it */
  SONDE_OP_GAIN_GRAD = 128,   /* of such an op's gradient op: output 1 is the gain's gradient, proportional to the
                                 upstream gradient (the last input of input 0's shape) and not dependent on the gain,
                                 input 1; the other outputs depend on these two by their product alone */
  SONDE_OP_PRODUCT = 256,     /* output 0 is a product: with bf16 compute it is rounded where no reader needs f32 */
  SONDE_OP_F32_TERMS = 512,   /* of an elementwise op: a sum, whose terms stay f32 with bf16 compute */
  /* Of bf16_operands, those behind the first may be f32 beside it: the kernel rounds them as it reads them. A parameter
   * that only such operands read is then not rounded in a pass of its own, and there is no copy of it. */
  SONDE_OP_ROUNDS = 1024
};

/* What output 0, y, is in terms of the inputs x, or a and b: enough for the planner to compute with. Any op may declare
 * the form that it has, and is then simplified, folded and fused by it. Of each form the runtime's first op is the one
 * that the planner and the gradient append themselves. */
typedef enum sonde_form {
  SONDE_FORM_NONE = 0,
  SONDE_FORM_ADD,             /* y = a + b, elementwise */
  SONDE_FORM_MUL,             /* y = a b, elementwise */
  SONDE_FORM_AFFINE,          /* y = f0 x + f1, elementwise */
  SONDE_FORM_SUM,             /* y = x, f32, summed over the axes along which y broadcasts to it (numpy's rule) */
  SONDE_FORM_EXPAND,          /* y = x broadcast to y's shape */
  SONDE_FORM_RESHAPE,         /* y = x's elements under y's shape: a view */
  SONDE_FORM_CAST,            /* y = x in the dtype i0 */
  SONDE_FORM_DETACH,          /* y = x, through which no gradient flows: a view */
  SONDE_FORM_COUNT
} sonde_form;

/* The scalars that change from run to run. They lie in memory that kernels can read, and a run that was recorded is
 * replayed with other values there: a kernel reads them through the pointer while it runs, and keeps no copy. */
typedef struct sonde_step_block {
  uint32_t size;
  uint64_t number;            /* of the run: random ops count by it */
} sonde_step_block;

/* One run of an op; the host makes it. Pointers are 64-byte aligned and contiguous, row-major. */
typedef struct sonde_call {
  uint32_t size;
  int32_t n_in, n_out;
  const sonde_host *host;
  const sonde_shape *in_shape, *out_shape;
  const void *const *in;
  void *const *out;           /* NULL for a result that nothing reads */
  const sonde_attr *attr;
  void *scratch;              /* of def->scratch bytes */
  uint64_t step;              /* block->number, for plugins built before `block` was there */
  void *pool;                 /* for host->parallel */
  sonde_error *err;           /* where a run that fails says why, through host->fail; may be NULL */
  int64_t scratch_bytes;
  const sonde_step_block *block;
} sonde_call;

/* A stretch of an elementwise op, on any thread; the host makes it: out[k] = f(in[0][k], in[1][k], ...), k in [0, n),
 * all f32 and contiguous; out may be one of the inputs. `index` is the position of element 0 in the whole output
 * (row-major). */
typedef struct sonde_vec {
  int64_t n;
  float *out;
  const float *in[4];
  const sonde_attr *attr;
  uint64_t index;
  uint64_t step;              /* block->number, for plugins built before `block` was there */
  const sonde_step_block *block;
} sonde_vec;

/* `sonde plugin ops` lists all that there are, `sonde plugin ops NAME` says what one takes: its inputs, and its
 * attributes. */
typedef struct sonde_op_def {
  uint32_t size;              /* sizeof(sonde_op_def) */
  const char *name;           /* of a plugin's op: "plugin.op" */
  int32_t min_in, max_in, n_out;
  uint32_t flags;
  const char *doc;            /* one line: formula, shapes, and what each attribute means: "i0: axis, f0: eps" */
  /* Shapes (and dtypes) of the n_out outputs from those of the inputs. NULL for elementwise ops. Return
   * host->fail(err, SONDE_ESHAPE, "what is wrong and what is needed") to refuse. */
  int (*shape)(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err);
  /* Appends the gradient nodes: dout[j] is d/d(output j) (NULL where nothing flows), din[k] starts NULL and takes
   * d/d(input k) or stays NULL where there is none. NULL: the op cannot be differentiated. Returns 0 or a code. */
  int (*grad)(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din);
  /* bytes; may be NULL */
  int64_t (*scratch)(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a);
  int (*run)(const sonde_call *c);            /* 0 or a code; NULL for elementwise ops and views */
  void (*vec)(const sonde_vec *v);            /* elementwise ops */
  /* Floating-point operations of a run: an addition, a multiplication, a comparison and any other function of a number
   * (division, exp) count 1 each, a multiply-add 2; moving and converting count nothing. NULL: one an element of output
   * 0. */
  double (*flops)(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a);
  /* Not 0: the number of an optional input, the last, that is added to output 0: in f32, in which output 0 is then
   * written too. With SONDE_OP_INPLACE its buffer, and not input 0's, may become output 0's. */
  int32_t adds;
  /* 1 if input k, of i32, must hold numbers from *low to *high (indices, targets, positions): a plan's inputs are
   * checked when they are set. What is computed is not: the kernel refuses it. NULL: no input has such bounds. */
  int (*range)(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high);
  /* Elementwise ops: `vec` as a C expression of floats, for devices that generate code: x, y, z are the inputs, f0 to
   * f3 the attributes; the functions it may use are listed in src/cpu/formulas.h. NULL: only the CPU can run it. */
  const char *formula;
  int32_t form;               /* sonde_form */
  /* Bit k: input k is an operand of products that are added up in f32. With bf16 compute it is rounded to bf16 (once
   * for all its readers), which shape and run must take: set SONDE_OP_BF16_IN too. */
  uint32_t bf16_operands;
  /* Generation token by token, for an op whose result for a token depends on the token's position or on earlier tokens.
   * `step` is the name of the op (this one, or another) that takes this one's inputs and attributes and one more input
   * behind them, the position of the first token, i32 [1]. Bit k of `cached`: input k has one entry a token along axis
   * 1, [B, T, ..], and `step` takes in its place the cache of all tokens so far, f32 [B, S, ..]: entries from the
   * position + T on are not there yet. Its shape rule refuses what does not decode step by step. Where an op that is
   * its own step ends in an i32 input already, that is its position. An op without `step` is run on the new tokens
   * alone. */
  const char *step;
  uint32_t cached;
} sonde_op_def;

/* ---- what a module builds on ------------------------------------------------------------------------ */

/* What a parameter is for; the model's init policy decides its first values and weight decay by it. */
typedef enum sonde_role {
  SONDE_ROLE_EMBED = 0,   /* token embedding [V, D]; not decayed by default */
  SONDE_ROLE_HEAD,        /* LM head [V, D] */
  SONDE_ROLE_QK,          /* query and key projections [out, in] */
  SONDE_ROLE_V,           /* value projection */
  SONDE_ROLE_ATTN_OUT,    /* attention output projection: writes to the residual stream */
  SONDE_ROLE_FFN_IN,      /* gate and up projections */
  SONDE_ROLE_FFN_OUT,     /* down projection: writes to the residual stream */
  SONDE_ROLE_GAIN,        /* starts at 1 (or the value asked for); not decayed */
  SONDE_ROLE_BIAS,        /* starts at 0 (or the value asked for); not decayed */
  SONDE_ROLE_OTHER,       /* any other matrix: N(0, std^2) of the policy */
  /* not trained, but saved with the model: computed from parameters now and then (site_refresh) */
  SONDE_ROLE_BUFFER,
  SONDE_ROLE_ROUTER,      /* scores of a mixture's experts [E, in]: reads what FFN_IN reads */
  SONDE_ROLE_COUNT
} sonde_role;

typedef struct sonde_place {
  uint32_t size;
  int32_t layer, depth;       /* block index 1..L and L; layer 0: outside the blocks (final norm: slot "final") */
  const char *slot;           /* norm: "attn", "ffn", "attn_out", "ffn_out", "final"; else the kind's name */
  int64_t width;              /* D */
  int64_t batch, context;     /* B, T of this trace */
  int64_t trained_context;    /* T of the model's training, whatever this trace's is */
} sonde_place;

typedef struct sonde_module {
  uint32_t size;
  /* Appends the module's nodes for x [B, T, D] and returns its result [B, T, D]; NULL on failure. `opt` follows the
   * schema. */
  sonde_node *(*build)(sonde_site *site, const sonde_value *opt, sonde_node *x);
} sonde_module;

/* The parameter that an update is of. */
typedef struct sonde_parameter {
  uint32_t size;
  int32_t role;               /* sonde_role */
  const char *name;           /* "model.layers.0.mlp.down_proj.weight" */
  sonde_shape shape;          /* of all of it; a matrix is [out, in] */
} sonde_parameter;

/* One parameter's update, tile by tile: n elements at the same offset of weight, gradient and each state. An optimizer
 * that asks for it (`whole`) gets all of a parameter at once instead. */
typedef struct sonde_update {
  uint32_t size;
  int64_t n;
  float *w;
  const float *g;             /* the gradient, not yet scaled */
  /* `states` arrays, zero before the first step; NULL where state_shape says that there is none */
  float *const *state;
  double grad_scale;          /* multiply g by this first (mean over tokens, clipping) */
  double lr, weight_decay;    /* of this step and parameter (0 for a parameter that is not decayed) */
  int64_t step;               /* 1 at the first update */
  const sonde_parameter *parameter;
  int64_t offset;             /* of element 0 in the parameter; 0 in a whole one */
  /* of a whole one: as many bytes as `scratch` gives, 64-byte aligned, with anything in them */
  void *scratch;
} sonde_update;

/* Behind `update` any may be NULL. They decide by name, role, shape and options alone. */
typedef struct sonde_optimizer {
  uint32_t size;
  int32_t states;             /* f32 arrays kept for each parameter */
  const char *const *state_names;
  /* Several threads call it at once, for tiles of one parameter and for other parameters. */
  void (*update)(const sonde_update *u, const sonde_value *opt);
  /* 1: this parameter comes in one call, on one thread (others are updated beside it): for products of whole matrices
   * (host->gemm), norms of layers. 0, NULL: in tiles of the host's choice. */
  int (*whole)(const sonde_parameter *p, const sonde_value *opt);
  /* Whether the parameter has state k (0: its memory is saved, update finds NULL). `shape` is the parameter's; that of
   * a whole one may be changed. NULL: every parameter has all states, in its own shape. */
  int (*state_shape)(const sonde_parameter *p, int k, const sonde_value *opt, sonde_shape *shape);
  /* bytes that the update of a whole one needs besides */
  int64_t (*scratch)(const sonde_parameter *p, const sonde_value *opt);
} sonde_optimizer;

/* ---- sparsity ---------------------------------------------------------------------------------------- */

/* Among which weights scores are compared: those of one row (output), of one matrix, of all matrices. */
typedef enum sonde_scope { SONDE_SCOPE_ROW = 0, SONDE_SCOPE_MATRIX, SONDE_SCOPE_MODEL, SONDE_SCOPE_COUNT } sonde_scope;

enum {
  SONDE_NEEDS_NORM = 1,       /* the norms of the inputs */
  SONDE_NEEDS_GRAM = 2        /* their second moments, as the Hessian of a layer's squared error */
};

/* One matrix W [out, in] of y = W x, and what is known of it: f32, row-major. What the method does not need is NULL. */
typedef struct sonde_sparse {
  uint32_t size;
  const sonde_parameter *parameter;
  int64_t out, in;
  const float *w;             /* [out, in]; weights that are out already are 0 */
  int64_t tokens;             /* the rows x of X [tokens, in]: inputs of the matrix on the calibration text */
  const float *norm;          /* [in] ||X_j||_2 of each column: the root of the sum of x_j^2 */
  const float *gram;          /* [in, in] X^T X, the sum of x x^T */
  const float *gathered;      /* [out, in] what gather has summed up */
  uint64_t seed;              /* of what the method draws */
  const sonde_call *call;     /* for host->parallel, nothing else */
  /* Of prune: the share of the weights that go; or, where group is not 0, of each `group` neighbours in a row (columns
   * 0 to group - 1, ...; in is a multiple) `keep` stay. */
  double sparsity;
  int32_t keep, group;
} sonde_sparse;

/* Either score or prune is there. */
typedef struct sonde_sparsity {
  uint32_t size;
  uint32_t needs;             /* SONDE_NEEDS_ */
  int32_t scope;              /* sonde_scope: the usual one of its scores */
  /* score [out, in]: what each weight is worth; the host takes out those of the lowest scores. 0, or a code with the
   * reason through fail. */
  int (*score)(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err);
  /* For methods that look at gradients (NULL: others): adds to sum [out, in], zero at first, what the gradient scale g
   * of the mean loss by W says, for each batch of a calibration and each update of a training. s has neither norm nor
   * gram. */
  void (*gather)(const sonde_sparse *s, const sonde_value *opt, const float *g, double scale, float *sum);
  /* Chooses weights and adjusts the others: w [out, in], at first a copy of s->w, becomes the pruned matrix, and keep
   * [out, in] is 1 for weights that stay and 0 for those that go, which are 0 in w. Weights that are out already (0)
   * go first. */
  int (*prune)(const sonde_sparse *s, const sonde_value *opt, float *w, uint8_t *keep, sonde_error *err);
} sonde_sparsity;

/* ---- the descriptor ---------------------------------------------------------------------------------- */

typedef struct sonde_plugin {
  int32_t abi_major, abi_minor;
  uint32_t size;
  const char *name, *kind, *version, *build;
  const char *summary;         /* one line */
  const char *citation;        /* paper and equation, or "" */
  const sonde_option *options;
  int32_t n_options;
  const sonde_op_def *ops;     /* ops it brings; named "plugin.op", e.g. "rmsnorm.forward" */
  int32_t n_ops;
  const void *functions;       /* sonde_module, sonde_optimizer or sonde_sparsity, by kind */
  /* "option=value ...": options of the whole model that belong to the method, taken where the
   * user sets none ("embed_scale=learned"); NULL: none */
  const char *suggests;
} sonde_plugin;

/* ---- the host's functions ---------------------------------------------------------------------------- */

typedef void (*sonde_tile)(void *arg, int64_t tile, int worker);
typedef void (*sonde_rows)(void *arg, int64_t begin, int64_t end, float *sums);   /* rows [begin, end) */

/* Vector helpers for kernels, chosen for this machine's instruction set. All arrays f32 unless said. */
typedef struct sonde_simd {
  uint32_t size;
  float (*sum)(const float *x, int64_t n);
  float (*dot)(const float *x, const float *y, int64_t n);
  float (*max)(const float *x, int64_t n);
  void (*axpy)(float *y, const float *x, float a, int64_t n);             /* y += a x */
  void (*scale)(float *y, const float *x, float a, int64_t n);            /* y = a x */
  void (*mul)(float *y, const float *a, const float *b, int64_t n);       /* y = a b */
  void (*exp)(float *y, const float *x, int64_t n);
  void (*tanh)(float *y, const float *x, int64_t n);
  void (*from_bf16)(float *y, const uint16_t *x, int64_t n);
  void (*to_bf16)(uint16_t *y, const float *x, int64_t n);                /* round to nearest even */
  /* y = g tanh(a x). Of it: with t = tanh(a x) and u = dy g (1 - t^2), dx = a u and dg += dy t; returns da = sum(u
   * x). */
  void (*tanh_row)(float *y, const float *x, const float *g, float a, int64_t n);
  float (*tanh_row_grad)(float *dx, float *dg, const float *x, const float *g, const float *dy, float a, int64_t n);
  /* y = g erf(a x + s) + b. Of it, with z = a x + s and u = dy g erf'(z): dx = a u, dg += dy erf(z), db += dy,
   * das[0] += sum(u x), das[1] += sum(u). */
  void (*erf_row)(float *y, const float *x, const float *g, const float *b, float a, float s, int64_t n);
  void (*erf_row_grad)(float *dx, float *dg, float *db, float *das, const float *x, const float *g, const float *dy,
                       float a, float s, int64_t n);
} sonde_simd;

struct sonde_host {
  uint32_t size;
  int32_t abi_major, abi_minor;
  const sonde_simd *simd;
  /* graph */
  sonde_node *(*op)(sonde_graph *g, const char *name, sonde_node *const *in, int n_in, const sonde_attr *attr);
  sonde_node *(*result)(sonde_node *n, int index);
  sonde_node *(*constant)(sonde_graph *g, const sonde_shape *shape, double value);
  sonde_graph *(*node_graph)(const sonde_node *n);
  sonde_shape (*node_shape)(const sonde_node *n);
  int (*node_inputs)(const sonde_node *n, sonde_node **in);
  const sonde_attr *(*node_attr)(const sonde_node *n);
  /* site: what a module's build function may ask and say. sonde_build.h has shorter names for these. */
  const sonde_place *(*site_place)(const sonde_site *site);
  /* The parameter `name` of this site ("weight", "q_proj.weight"), created at the first trace with the role's
   * initial values (GAIN and BIAS: `value`). Same name, another shape: refused. */
  sonde_node *(*site_param)(sonde_site *site, const char *name, const int64_t *dim, int rank, int role, double value);
  /* Names a value for the other modules of this block ("attn.v_weight") and returns it; NULL stays unpublished. What is
   * called "loss.NAME" is added to the training loss and "metric.NAME" is reported beside it: f32, one for each item of
   * the loss (of language models: [batch * context]) or one number, which counts as a mean; the sum of all that modules
   * publish under the name counts. */
  sonde_node *(*site_publish)(sonde_site *site, const char *name, sonde_node *n);
  sonde_node *(*site_lookup)(sonde_site *site, const char *name);   /* NULL when nobody published it */
  /* Says how a parameter of role BUFFER gets its value: from `value`, a node of its shape made of parameters and
   * constants alone. It is computed when the model gets its first values (after they are there), and again after every
   * `every`-th update of a training; 0 leaves that to the trainer: max(1, min(1000, updates of the whole training /
   * 50)). Saved with the model under its own name; a model that is loaded without it computes it. Returns buffer. */
  sonde_node *(*site_refresh)(sonde_site *site, sonde_node *buffer, sonde_node *value, int64_t every);
  /* Records why the module cannot be built here (the host adds block, slot and module); returns NULL. */
  sonde_node *(*site_refuse)(sonde_site *site, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
  /* kernels */
  int (*fail)(sonde_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
  void (*parallel)(const sonde_call *c, int64_t tiles, sonde_tile fn, void *arg);
  /* C = beta C + op(A) op(B), row-major f32, on the calling thread only (call it from inside a tile). */
  void (*gemm)(int ta, int tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
               int64_t ldb, float beta, float *c, int64_t ldc);
  /* For a kernel that goes row by row and also sums over all rows (the gradient of a gain): calls fn for blocks of rows
   * of `width` numbers, in parallel. Each block adds to sums [n] of its own, zero at first; they are added up in the
   * order of the blocks, which are cut by rows and width alone. Returns the totals [n], which lie in the call's
   * scratch: that must have rows_scratch(rows, width, n) bytes. With fewer nothing is called, call->err says so, and
   * NULL comes back: return SONDE_EBUG. n = 0: rows alone; no scratch, returns NULL. */
  const float *(*rows)(const sonde_call *c, int64_t rows, int64_t width, int64_t n, sonde_rows fn, void *arg);
  int64_t (*rows_scratch)(int64_t rows, int64_t width, int64_t n);
  /* a [n, n], symmetric and positive definite, becomes the upper triangle U of a^-1 = U' U, 0 below it. 0, or EINVAL
   * where a is not positive definite. */
  int (*inverse_factor)(double *a, int64_t n);
};

#define SONDE_ENTRY "sonde_plugin_entry"

#ifndef SONDE_INSIDE   /* a plugin: calls go through the table that the host hands over at load */
/* One for all files of a plugin, and none of another plugin's business. */
extern const sonde_host *sonde_the_host __attribute__((visibility("hidden")));
#define SONDE_PLUGIN(descriptor)                                                         \
  const sonde_host *sonde_the_host;                                                      \
  SONDE_API const sonde_plugin *sonde_plugin_entry(const sonde_host *host);              \
  const sonde_plugin *sonde_plugin_entry(const sonde_host *host) {                       \
    sonde_the_host = host;                                                               \
    return &(descriptor);                                                                \
  }
#endif

#include "sonde_build.h"

#endif
