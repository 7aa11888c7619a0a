/* fused.c - from member nodes to a program: collapsed index space, operands, results. */
#include "graph/fused.h"

#include <string.h>

sonde_reduction fused_reduction(const pnode *n, const sonde_shape *s) {
  const sonde_shape *t = &n->shape[0];
  if (!plan_is(n, SONDE_FORM_SUM) || !s->rank) return SONDE_REDUCE_NONE;
  if (sonde_shape_count(t) == 1) return SONDE_REDUCE_ALL;
  int lead = s->rank - t->rank, same = 1, ones = 1;
  if (lead < 0) return SONDE_REDUCE_NONE;
  for (int k = 0; k < s->rank - 1; k++) {
    int64_t d = k < lead ? 1 : t->dim[k - lead];
    same &= d == s->dim[k];
    ones &= d == 1;
  }
  int64_t last = t->rank ? t->dim[t->rank - 1] : 1;
  if (same && last == 1 && lead == 0) return SONDE_REDUCE_ROWS;
  return ones && last == s->dim[s->rank - 1] ? SONDE_REDUCE_COLUMNS : SONDE_REDUCE_NONE;
}

int fused_elementwise(const pnode *n) {
  return n->def &&
         ((n->def->flags & SONDE_OP_ELEMENTWISE) || (plan_is(n, SONDE_FORM_CAST) && n->shape[0].dtype != SONDE_I32));
}

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
static void collapse(sonde_program *f, const sonde_shape *s, int keep_last) {
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
  sonde_program *q = &f->program;
  for (int k = 0; k < q->n_in; k++)
    if (f->in[k] == v) return k;
  const pnode *n = &p->node[value_node(v)];
  f->in[q->n_in] = v;
  q->in[q->n_in] = (sonde_program_input){.dtype = n->shape[value_out(v)].dtype, .constant = n->kind == SONDE_KIND_CONST,
                                         .fill = n->kind == SONDE_KIND_CONST ? (float)n->constant : 0, .last_use = -1};
  return q->n_in++;
}

static void make_op(fused *f, const sonde_plan *p, const int32_t *member, int at, int stored, const sonde_shape *s) {
  const pnode *n = &p->node[member[at]];
  sonde_program_op *o = &f->program.op[at];
  *o = (sonde_program_op){.def = n->def, .attr = &n->attr, .n_in = n->n_in, .out = -1, .out_dtype = n->shape[0].dtype};
  o->reduce = fused_elementwise(n) ? SONDE_REDUCE_NONE : fused_reduction(n, s);
  o->round = plan_is(n, SONDE_FORM_CAST) && n->shape[0].dtype == SONDE_BF16;
  f->member[at] = member[at];
  if (stored) {
    o->out = f->program.n_out++;
    f->out[o->out] = value_of(member[at], 0);
    f->made_by[o->out] = at;
  }
  for (int j = 0; j < n->n_in; j++) {
    int k = 0;
    while (k < at && value_node(n->in[j]) != member[k]) k++;
    o->in[j] = k;                                       /* the member's number */
    if (k < at) continue;
    int in = find_input(f, p, n->in[j]);
    o->in[j] = -1 - in;
    f->program.in[in].last_use = at;
  }
}

fused *fused_new(const sonde_plan *p, const int32_t *member, int n_member, const uint8_t *stored, sonde_error *err) {
  fused *f = sonde_alloc(sizeof *f);
  int by_rows = 0;
  if (!f) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for a fused group");
    return NULL;
  }
  const pnode *first = &p->node[member[0]];
  sonde_shape s = fused_elementwise(first) ? first->shape[0] : *plan_shape(p, first->in[0]);
  f->program.size = sizeof f->program;
  f->program.n_op = n_member;
  for (int k = 0; k < n_member; k++) {
    make_op(f, p, member, k, stored[k], &s);
    if (!k || (strchr(p->node[member[k]].def->name, '.') && !strchr(p->node[f->told].def->name, '.')))
      f->told = member[k];
    by_rows |= f->program.op[k].reduce == SONDE_REDUCE_ROWS || f->program.op[k].reduce == SONDE_REDUCE_COLUMNS;
  }
  for (int k = 0; k < f->program.n_in; k++) strides(plan_shape(p, f->in[k]), &s, f->program.in[k].stride);
  collapse(&f->program, &s, by_rows);
  return f;
}
