/* fused.h - a fused group: elementwise ops over one index space, run stretch by stretch so that what passes between
 * them stays in the L1 cache, with sums over rows or columns at the end. No code is generated: a group is a short
 * program of stretch functions (sonde_vec), and a stretch is long enough to hide the calls. */
#ifndef SONDE_GRAPH_FUSED_H
#define SONDE_GRAPH_FUSED_H

#include "graph/plan.h"

enum { FUSED_STRETCH = 1024, FUSED_MAX_MEMBERS = 32, FUSED_MAX_INPUTS = 20, FUSED_MAX_REGISTERS = 48 };

/* How the group reads a value from outside: its strides over the collapsed index space (0: broadcast). */
typedef struct fused_input {
  value v;
  int dtype;
  int full, scalar;               /* same elements in the same order; one element for all */
  int constant;                   /* a constant of the graph: `fill` */
  float fill;
  int64_t stride[SONDE_MAX_RANK];
  int reg;                        /* where it is unpacked; -1: read in place */
  int fixed;                      /* does not change from row to row: unpacked once per task */
  int last_use;                   /* the last instruction that reads it */
} fused_input;

typedef enum reduce_kind { REDUCE_NONE, REDUCE_ROWS, REDUCE_COLUMNS, REDUCE_ALL } reduce_kind;

typedef struct fused_op {
  void (*vec)(const sonde_vec *v);
  const sonde_attr *attr;
  reduce_kind reduce;             /* a sum: of each row, of each column, of everything */
  int round;                      /* cast to bf16 */
  int n_in;
  int in[4];                      /* >= 0: register; < 0: input -1-k */
  int reg;                        /* where the result goes; -1: straight into `out` */
  value out;                      /* stored there; -1: used inside only */
  int out_dtype;
  int32_t node;
} fused_op;

struct fused {
  int rank;                       /* of the collapsed index space */
  int64_t dim[SONDE_MAX_RANK];
  int64_t count, cols, rows;      /* cols: the innermost dim, or the whole when flat */
  int64_t task_rows, tasks;       /* rows of one task; fixed by the shape */
  int64_t chunk;                  /* flat groups are cut into rows of this many columns */
  int n_in, n_op, n_reg, has_columns, n_partial;
  int32_t told;                   /* the node that names the group when it crashes: a plugin's op before all others */
  fused_input in[FUSED_MAX_INPUTS];
  fused_op op[FUSED_MAX_MEMBERS];
};

/* Makes the program of a group from its member nodes (in order). NULL with *err: out of memory. */
fused *fused_new(const sonde_plan *p, const int32_t *member, int n_member, const uint8_t *stored, sonde_error *err);
int64_t fused_scratch(const fused *f);       /* bytes for partial sums */
void fused_run(const sonde_plan *p, const fused *f, void *scratch);

/* An elementwise op, or a cast between f32 and bf16. */
int fused_elementwise(const pnode *n);

/* What a node would be as the end of a group over the index space `s`. */
reduce_kind fused_reduce_kind(const pnode *n, const sonde_shape *s);

#endif
