/* fused.c - from member nodes to a program: collapsed index space, operands, registers. */
#include "graph/fused.h"

#include <string.h>

reduce_kind fused_reduce_kind(const pnode *n, const sonde_shape *s) {
  const sonde_shape *t = &n->shape[0];
  if (!n->def || strcmp(n->def->name, "sum") || !s->rank) return REDUCE_NONE;
  if (sonde_shape_count(t) == 1) return REDUCE_ALL;
  int lead = s->rank - t->rank, same = 1, ones = 1;
  if (lead < 0) return REDUCE_NONE;
  for (int k = 0; k < s->rank - 1; k++) {
    int64_t d = k < lead ? 1 : t->dim[k - lead];
    same &= d == s->dim[k];
    ones &= d == 1;
  }
  int64_t last = t->rank ? t->dim[t->rank - 1] : 1;
  if (same && last == 1 && lead == 0) return REDUCE_ROWS;
  return ones && last == s->dim[s->rank - 1] ? REDUCE_COLUMNS : REDUCE_NONE;
}

int fused_elementwise(const pnode *n) {
  return n->def && ((n->def->flags & SONDE_OP_ELEMENTWISE) || (!strcmp(n->def->name, "cast") && n->shape[0].dtype != SONDE_I32));
}

/* A cast to f32: unpacking the input has done it. */
static void copy(const sonde_vec *v) { memcpy(v->out, v->in[0], (size_t)v->n * sizeof(float)); }

/* Strides of a value over the index space s: 0 where it is broadcast. */
static void strides(const sonde_shape *v, const sonde_shape *s, int64_t *stride) {
  int64_t step = 1;
  for (int k = s->rank - 1; k >= 0; k--) {
    int j = k - (s->rank - v->rank);
    int64_t d = j >= 0 ? v->dim[j] : 1;
    stride[k] = d == 1 ? 0 : step;
    step *= d;
  }
}

/* Joins neighbouring dims that every operand walks through as one. */
static void collapse(fused *f, const sonde_shape *s, int keep_last) {
  int64_t dim[SONDE_MAX_RANK];
  int rank = s->rank, r = 0, from[SONDE_MAX_RANK];
  memcpy(dim, s->dim, sizeof dim);
  for (int k = 0; k < rank; k++) {
    if (dim[k] == 1 && !(keep_last && k == rank - 1)) continue;
    int join = r > 0 && !(keep_last && k == rank - 1);
    for (int i = 0; join && i < f->n_in; i++)
      join = f->in[i].stride[from[r - 1]] == f->in[i].stride[k] * dim[k];
    if (join) {
      f->dim[r - 1] *= dim[k];
      from[r - 1] = k;
    } else {
      f->dim[r] = dim[k];
      from[r++] = k;
    }
  }
  if (!r) {
    f->dim[0] = 1;
    from[0] = rank ? rank - 1 : 0;
    r = 1;
  }
  f->rank = r;
  for (int i = 0; i < f->n_in; i++)
    for (int k = 0; k < r; k++) f->in[i].stride[k] = rank ? f->in[i].stride[from[k]] : 0;
}

static int find_input(fused *f, const sonde_plan *p, value v) {
  for (int k = 0; k < f->n_in; k++)
    if (f->in[k].v == v) return k;
  fused_input *in = &f->in[f->n_in];
  const pnode *n = &p->node[value_node(v)];
  *in = (fused_input){.v = v, .dtype = n->shape[value_out(v)].dtype, .reg = -1, .last_use = -1};
  if (n->kind == SONDE_KIND_CONST) {
    in->constant = 1;
    in->fill = (float)n->constant;
  }
  return f->n_in++;
}

static void cut(fused *f, const sonde_shape *s, int by_rows, int by_columns) {
  f->count = sonde_shape_count(s);
  collapse(f, s, by_rows || by_columns);
  f->cols = f->dim[f->rank - 1];
  f->rows = f->count / f->cols;
  if (f->rank == 1 && !by_rows && !by_columns) {       /* flat: any cut will do */
    f->chunk = FUSED_STRETCH;
    f->rows = (f->count + f->chunk - 1) / f->chunk;
    f->cols = f->chunk;
  }
  int64_t row_work = f->cols > 0 ? f->cols : 1;
  f->task_rows = (16384 + row_work - 1) / row_work;
  if (by_columns && f->task_rows * 32 < f->rows) f->task_rows = (f->rows + 31) / 32;   /* few partial sums */
  if (f->task_rows > f->rows) f->task_rows = f->rows;
  f->tasks = (f->rows + f->task_rows - 1) / f->task_rows;
}

static void classify_inputs(fused *f) {
  for (int k = 0; k < f->n_in; k++) {
    fused_input *in = &f->in[k];
    int64_t step = 1;
    in->full = in->scalar = in->fixed = 1;
    for (int d = f->rank - 1; d >= 0; d--) {
      in->full &= in->stride[d] == step || f->dim[d] == 1;
      in->scalar &= in->stride[d] == 0;
      if (d < f->rank - 1) in->fixed &= in->stride[d] == 0;
      step *= f->dim[d];
    }
    if (in->constant) in->full = 0, in->scalar = in->fixed = 1;
    if (in->scalar) in->full = 0;
    if (in->full) in->fixed = 0;
    /* A row vector under rows longer than a stretch is read where it lies. */
  }
}

typedef struct registers { int free[FUSED_MAX_REGISTERS], n_free, n; } registers;
static int take(registers *r) { return r->n_free ? r->free[--r->n_free] : r->n++; }
static void give(registers *r, int reg) { r->free[r->n_free++] = reg; }

/* Inputs that must be unpacked keep a register throughout; results give theirs back after their last reader. */
static void assign_registers(fused *f, const int *last_read) {
  registers r = {{0}, 0, 0};
  for (int k = 0; k < f->n_in; k++)
    if (!f->in[k].full || f->in[k].dtype != SONDE_F32) f->in[k].reg = take(&r);
  for (int k = 0; k < f->n_op; k++) {
    fused_op *o = &f->op[k];
    int direct = o->out >= 0 && o->out_dtype == SONDE_F32;
    if (o->reduce == REDUCE_NONE) o->reg = direct ? -1 : take(&r);
    for (int j = 0; j < k; j++)
      if (last_read[j] == k && f->op[j].reg >= 0 && f->op[j].reduce == REDUCE_NONE) give(&r, f->op[j].reg);
    if (o->reduce == REDUCE_NONE && last_read[k] < 0 && o->reg >= 0) give(&r, o->reg);
  }
  f->n_reg = r.n;
}

static void make_op(fused *f, const sonde_plan *p, const int32_t *member, int at, const uint8_t *stored, int *last_read,
                    const sonde_shape *s) {
  const pnode *n = &p->node[member[at]];
  fused_op *o = &f->op[at];
  *o = (fused_op){.vec = n->def->vec ? n->def->vec : copy, .attr = &n->attr, .n_in = n->n_in, .reg = -1, .node = member[at],
                  .out = stored[at] ? value_of(member[at], 0) : -1, .out_dtype = n->shape[0].dtype};
  o->reduce = fused_elementwise(n) ? REDUCE_NONE : fused_reduce_kind(n, s);
  o->round = !strcmp(n->def->name, "cast") && n->shape[0].dtype == SONDE_BF16;
  last_read[at] = -1;
  for (int j = 0; j < n->n_in; j++) {
    int k = 0;
    while (k < at && !(value_node(n->in[j]) == member[k])) k++;
    if (k < at) {
      o->in[j] = k;                                     /* the member's number for now */
      last_read[k] = at;
    } else {
      int in = find_input(f, p, n->in[j]);
      o->in[j] = -1 - in;
      f->in[in].last_use = at;
    }
  }
}

fused *fused_new(const sonde_plan *p, const int32_t *member, int n_member, const uint8_t *stored, sonde_error *err) {
  fused *f = sonde_alloc(sizeof *f);
  int last_read[FUSED_MAX_MEMBERS] = {0}, rows = 0, columns = 0;
  if (!f) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for a fused group");
    return NULL;
  }
  const pnode *first = &p->node[member[0]];
  sonde_shape s = fused_elementwise(first) ? first->shape[0] : *plan_shape(p, first->in[0]);
  f->n_op = n_member;
  for (int k = 0; k < n_member; k++) {
    make_op(f, p, member, k, stored, last_read, &s);
    if (!k || (strchr(p->node[member[k]].def->name, '.') && !strchr(p->node[f->told].def->name, '.'))) f->told = member[k];
    rows |= f->op[k].reduce == REDUCE_ROWS;
    columns |= f->op[k].reduce == REDUCE_COLUMNS;
    f->n_partial += f->op[k].reduce == REDUCE_COLUMNS || f->op[k].reduce == REDUCE_ALL;
  }
  for (int k = 0; k < f->n_in; k++) strides(plan_shape(p, f->in[k].v), &s, f->in[k].stride);
  f->has_columns = columns;
  cut(f, &s, rows, columns);
  classify_inputs(f);
  assign_registers(f, last_read);
  return f;
}

int64_t fused_scratch(const fused *f) {
  int64_t n = 0;
  for (int k = 0; k < f->n_op; k++)
    if (f->op[k].reduce == REDUCE_COLUMNS) n += f->tasks * f->cols;
    else if (f->op[k].reduce == REDUCE_ALL) n += f->tasks;
  return n * (int64_t)sizeof(float);
}
