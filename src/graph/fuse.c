/* fuse.c - groups elementwise nodes (and the sums that end them) and puts the steps in order.
 *
 * A node joins the group of a node it reads, or of a node that reads the same input, when both run over the same
 * index space and the group as one step would not have to wait for itself. */
#include <string.h>

#include "graph/fused.h"

typedef struct group {
  sonde_shape space;
  int32_t member[SONDE_PROGRAM_OPS];
  int n_member, n_input;           /* n_input: at most; counts repeated inputs */
  int32_t last;                    /* the youngest node */
} group;

typedef struct fusing {
  sonde_plan *p;
  group *group;
  int32_t n_group, *of;            /* node -> group, or -1 */
  int32_t *reader;                 /* value -> the last group that reads it, or -1 */
  uint32_t *seen, stamp;           /* by node (and by group, past the nodes): visited in this search */
  int32_t *stack;
  int32_t *number, *below;         /* by node: see number_nodes */
  uint8_t *done;                   /* by node: its step is out */
  sonde_error *err;
} fusing;

/* A tree in which each node is below the input to which the longest way leads: `number` counts its nodes so that those
 * below a node follow it, and `below` is how many they are, itself included. Through a deep network this tree runs by
 * way of every block, so that one look tells that the backward pass of a block depends on its forward pass, however
 * many blocks lie between. */
static int number_nodes(fusing *f) {
  const sonde_plan *p = f->p;
  int32_t n = p->count, *parent = sonde_alloc((size_t)n * sizeof *parent),
          *taken = sonde_alloc((size_t)n * sizeof *taken);
  int32_t *path = taken;           /* the longest way to each node, while the parents are chosen */
  int rc = parent && taken ? 0 : sonde_fail(f->err, SONDE_ENOMEM, "no memory to fuse the plan");
  for (int32_t k = 0; !rc && k < n; k++) {
    parent[k] = -1;
    for (int j = 0; j < p->node[k].n_in; j++) {
      int32_t x = value_node(p->node[k].in[j]);
      if (parent[k] < 0 || path[x] >= path[parent[k]]) parent[k] = x;
    }
    path[k] = parent[k] < 0 ? 0 : path[parent[k]] + 1;
  }
  for (int32_t k = 0; !rc && k < n; k++) f->below[k] = taken[k] = 1;
  for (int32_t k = n - 1; !rc && k >= 0; k--)
    if (parent[k] >= 0) f->below[parent[k]] += f->below[k];
  for (int32_t k = 0, roots = 0; !rc && k < n; k++) {
    int32_t *at = parent[k] < 0 ? &roots : &taken[parent[k]];
    f->number[k] = *at + (parent[k] < 0 ? 0 : f->number[parent[k]]);
    *at += f->below[k];
  }
  sonde_release(parent);
  sonde_release(taken);
  return rc;
}

static int is_below(const fusing *f, int32_t x, const group *g) {
  for (int j = 0; j < g->n_member; j++) {
    int32_t after = f->number[x] - f->number[g->member[j]];
    if (after >= 0 && after < f->below[g->member[j]]) return 1;
  }
  return 0;
}

/* Would any of n's inputs outside group `to` have to wait for the group? A group counts as one: all its inputs. */
static int waits(fusing *f, int32_t n, int32_t to) {
  const sonde_plan *p = f->p;
  int32_t top = 0, oldest = f->group[to].member[0];
  f->stamp++;
  for (int k = 0; k < p->node[n].n_in; k++) {
    int32_t x = value_node(p->node[n].in[k]);
    if (f->of[x] != to) f->stack[top++] = x;
  }
  while (top) {
    int32_t x = f->stack[--top], g = f->of[x];
    f->p->visits++;
    if (g == to || is_below(f, x, &f->group[to])) return 1;
    if (f->seen[x] == f->stamp || (g < 0 ? x : f->group[g].last) < oldest) continue;
    f->seen[x] = f->stamp;
    const int32_t *nodes = g < 0 ? &x : f->group[g].member;
    int count = g < 0 ? 1 : f->group[g].n_member;
    for (int j = 0; j < count; j++) {
      f->seen[nodes[j]] = f->stamp;
      for (int k = 0; k < p->node[nodes[j]].n_in; k++) {
        int32_t y = value_node(p->node[nodes[j]].in[k]);
        if (f->seen[y] != f->stamp) f->stack[top++] = y;
      }
    }
  }
  return 0;
}

static int reads_a_sum_of(const fusing *f, int32_t n, int32_t to) {
  for (int k = 0; k < f->p->node[n].n_in; k++) {
    int32_t x = value_node(f->p->node[n].in[k]);
    if (f->of[x] == to && !fused_elementwise(&f->p->node[x])) return 1;
  }
  return 0;
}

/* What the device cannot have in a program is a group by itself, for the CPU. */
static int fusable(const fusing *f, int32_t n) {
  const sonde_device *d = f->p->ctx->device;
  return d->backend->fusable(d->state, f->p->node[n].def);
}

static int can_join(fusing *f, int32_t n, int32_t to) {
  const group *g = &f->group[to];
  return to >= 0 && fusable(f, n) && fusable(f, g->member[0]) && g->n_member < SONDE_PROGRAM_OPS &&
         g->n_input + f->p->node[n].n_in <= SONDE_PROGRAM_INPUTS &&
         sonde_shape_equal(&g->space, &f->p->node[n].shape[0]) && !reads_a_sum_of(f, n, to) && !waits(f, n, to);
}

static void join(fusing *f, int32_t n, int32_t to) {
  group *g = &f->group[to];
  g->member[g->n_member++] = n;
  g->last = n;
  f->of[n] = to;
  for (int k = 0; k < f->p->node[n].n_in; k++) {
    if (f->of[value_node(f->p->node[n].in[k])] != to) g->n_input++;
    f->reader[f->p->node[n].in[k]] = to;
  }
}

static void new_group(fusing *f, int32_t n, const sonde_shape *space) {
  f->group[f->n_group] = (group){.space = *space};
  join(f, n, f->n_group++);
}

static void group_node(fusing *f, int32_t n) {
  const pnode *q = &f->p->node[n];
  if (fused_elementwise(q)) {
    for (int k = 0; k < q->n_in && !f->p->opts.no_fuse; k++)
      if (can_join(f, n, f->of[value_node(q->in[k])])) {
        join(f, n, f->of[value_node(q->in[k])]);
        return;
      }
    for (int k = 0; k < q->n_in && !f->p->opts.no_fuse; k++)
      if (can_join(f, n, f->reader[q->in[k]])) {
        join(f, n, f->reader[q->in[k]]);
        return;
      }
    new_group(f, n, &q->shape[0]);
    return;
  }
  if (!plan_is(q, SONDE_FORM_SUM) || f->p->opts.no_fuse) return;
  /* A sum ends the group that makes what it sums; otherwise its own kernel does it. */
  int32_t to = f->of[value_node(q->in[0])];
  if (to >= 0 && fusable(f, n) && fusable(f, f->group[to].member[0]) &&
      fused_elementwise(&f->p->node[value_node(q->in[0])]) && f->group[to].n_member < SONDE_PROGRAM_OPS &&
      fused_reduction(q, &f->group[to].space) != SONDE_REDUCE_NONE)
    join(f, n, to);
}

/* ---- steps ------------------------------------------------------------------------------------------- */

static int emit(fusing *f, int32_t n);

static int emit_inputs(fusing *f, int32_t n, int32_t group) {
  const pnode *q = &f->p->node[n];
  for (int k = 0; k < q->n_in; k++) {
    int32_t x = value_node(q->in[k]);
    if (f->done[x] || (group >= 0 && f->of[x] == group)) continue;
    int rc = emit(f, x);
    if (rc) return rc;
  }
  return 0;
}

static int stored_outside(const fusing *f, int32_t n, int32_t group) {
  /* Every use inside the group is one fewer; what is left is read elsewhere (or is an output). */
  int uses = f->p->uses[value_of(n, 0)];
  for (int j = 0; j < f->group[group].n_member; j++) {
    const pnode *m = &f->p->node[f->group[group].member[j]];
    for (int k = 0; k < m->n_in; k++) uses -= m->in[k] == value_of(n, 0);
  }
  return uses > 0;
}

static int emit_group(fusing *f, int32_t at) {
  group *g = &f->group[at];
  sonde_plan *p = f->p;
  uint8_t stored[SONDE_PROGRAM_OPS];
  for (int k = 0; k < g->n_member; k++) {
    int rc = emit_inputs(f, g->member[k], at);
    if (rc) return rc;
  }
  for (int k = 0; k < g->n_member; k++) {
    stored[k] = (uint8_t)(!fused_elementwise(&p->node[g->member[k]]) || stored_outside(f, g->member[k], at));
    f->done[g->member[k]] = 1;
  }
  fused *made = fused_new(p, g->member, g->n_member, stored, f->err);
  if (!made) return SONDE_ENOMEM;
  step *s = &p->step[p->n_step++];
  *s = (step){.kind = STEP_FUSED, .node = g->member[0], .f = made};
  return plan_find_kernel(p, s, f->err);
}

static int emit(fusing *f, int32_t n) {
  sonde_plan *p = f->p;
  if (f->done[n]) return 0;
  if (f->of[n] >= 0) return emit_group(f, f->of[n]);
  int rc = emit_inputs(f, n, -1);
  if (rc) return rc;
  f->done[n] = 1;
  if (!p->node[n].def || plan_is_view(&p->node[n])) return 0;
  step *s = &p->step[p->n_step++];
  *s = (step){.kind = STEP_OP, .node = n};
  return plan_find_kernel(p, s, f->err);
}

static int emit_all(fusing *f) {
  sonde_plan *p = f->p;
  int rc = plan_count_uses(p, f->err);
  p->step = sonde_alloc((size_t)(p->count + p->n_out + 1) * sizeof *p->step);
  if (!p->step) return sonde_fail(f->err, SONDE_ENOMEM, "no memory for the schedule");
  for (int32_t n = 0; n < p->count && !rc && !(rc = plan_stopped(p, f->err)); n++)
    if (f->of[n] < 0 || f->group[f->of[n]].last == n) rc = emit(f, n);
  return rc;
}

int plan_fuse(sonde_plan *p, sonde_error *err) {
  size_t n = (size_t)p->count, values = n * SONDE_MAX_OUT;
  fusing f = {.p = p, .err = err, .group = sonde_alloc(n * sizeof(group)), .of = sonde_alloc(n * sizeof(int32_t)),
              .reader = sonde_alloc(values * sizeof(int32_t)), .seen = sonde_alloc(n * sizeof(uint32_t)),
              .stack = sonde_alloc((n * SONDE_MAX_IN + 16) * sizeof(int32_t)), .done = sonde_alloc(n),
              .number = sonde_alloc(n * sizeof(int32_t)), .below = sonde_alloc(n * sizeof(int32_t))};
  int rc = f.group && f.of && f.reader && f.seen && f.stack && f.done && f.number && f.below ? number_nodes(&f)
           : sonde_fail(err, SONDE_ENOMEM, "no memory to fuse the plan");
  for (size_t k = 0; !rc && k < n; k++) f.of[k] = -1;
  for (size_t k = 0; !rc && k < values; k++) f.reader[k] = -1;
  for (int32_t k = 0; !rc && k < p->count && !(rc = plan_stopped(p, err)); k++) group_node(&f, k);
  if (!rc) rc = emit_all(&f);
  sonde_release(f.group);
  sonde_release(f.of);
  sonde_release(f.reader);
  sonde_release(f.seen);
  sonde_release(f.stack);
  sonde_release(f.number);
  sonde_release(f.below);
  sonde_release(f.done);
  return rc;
}
