/* lower.c - copies the part of the graph that a plan's outputs need, and orders it. */
#include <string.h>

#include "graph/plan.h"

pnode *plan_append(sonde_plan *p, const pnode *like, sonde_error *err) {
  pnode copy = *like;             /* `like` may stand in the array that is about to move */
  if (p->count == p->cap) {
    int32_t cap = p->cap ? 2 * p->cap : 512;
    pnode *bigger = sonde_grow(p->node, (size_t)p->cap * sizeof *bigger, (size_t)cap * sizeof *bigger);
    if (!bigger) {
      sonde_fail(err, SONDE_ENOMEM, "no memory for the plan's nodes");
      return NULL;
    }
    p->node = bigger;
    p->cap = cap;
  }
  p->node[p->count] = copy;
  return &p->node[p->count++];
}

typedef struct lowering {
  sonde_plan *p;
  int32_t *at;                    /* graph id -> pnode, or -1 */
  const sonde_node **stack;
  sonde_error *err;
} lowering;

static value map_value(const lowering *l, const sonde_node *n) {
  return n->kind == SONDE_KIND_RESULT ? value_of(l->at[n->in[0]->id], n->index) : value_of(l->at[n->id], 0);
}

static int lower_one(lowering *l, const sonde_node *n) {
  pnode q = {.def = n->kind == SONDE_KIND_OP ? n->def : NULL, .src = n, .kind = n->kind, .backward = n->backward,
             .n_in = n->n_in, .n_out = 1, .block = n->block, .attr = n->attr, .constant = n->value};
  q.shape[0] = n->shape;
  if (q.def) {
    q.n_out = (int16_t)q.def->n_out;
    memcpy(q.shape, n->out_shape, sizeof q.shape);
  }
  for (int k = 0; k < n->n_in; k++) q.in[k] = map_value(l, n->in[k]);
  if (!plan_append(l->p, &q, l->err)) return SONDE_ENOMEM;
  l->at[n->id] = l->p->count - 1;
  return 0;
}

/* Depth first from one output, without recursion: a node is lowered when all of its inputs have been. */
static int lower_from(lowering *l, const sonde_node *from, int64_t room) {
  int64_t top = 0;
  l->stack[top++] = from;
  while (top) {
    const sonde_node *n = l->stack[top - 1];
    if (n->kind == SONDE_KIND_RESULT) n = n->in[0];
    if (l->at[n->id] >= 0) {
      top--;
      continue;
    }
    int ready = 1;
    for (int k = n->n_in - 1; k >= 0; k--) {
      const sonde_node *x = n->in[k];
      if (x->kind == SONDE_KIND_RESULT) x = x->in[0];
      if (l->at[x->id] >= 0) continue;
      if (top == room) return sonde_fail(l->err, SONDE_EBUG, "the graph is deeper than it has nodes");
      l->stack[top++] = x;
      ready = 0;
    }
    if (!ready) continue;
    int rc = lower_one(l, n);
    if (rc) return rc;
    top--;
  }
  return 0;
}

static int order_by_src(sonde_plan *p, sonde_error *err);

int plan_lower(sonde_plan *p, sonde_node *const *out, int n_out, sonde_error *err) {
  int64_t n = p->g->count, room = n * SONDE_MAX_IN + 16;
  lowering l = {p, sonde_alloc((size_t)n * sizeof *l.at), sonde_alloc((size_t)room * sizeof *l.stack), err};
  int rc = l.at && l.stack ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory to lower the graph");
  for (int64_t k = 0; !rc && k < n; k++) l.at[k] = -1;
  for (int k = 0; !rc && k < n_out; k++) rc = lower_from(&l, out[k], room);
  for (int k = 0; !rc && k < n_out; k++) p->out[k] = map_value(&l, out[k]);
  sonde_release(l.at);
  sonde_release(l.stack);
  return rc ? rc : order_by_src(p, err);
}

/* ---- ordering ---------------------------------------------------------------------------------------- */

typedef struct ordering {
  sonde_plan *p;
  pnode *node;                    /* the new array */
  int32_t count;
  int32_t *to;                    /* old -> new; -1 not yet */
  uint8_t *live;
  int32_t *stack;
} ordering;

static void mark_live(ordering *o, int32_t from) {
  int32_t top = 0;
  if (o->live[from]) return;
  o->live[from] = 1;
  o->stack[top++] = from;
  while (top) {
    const pnode *n = &o->p->node[o->stack[--top]];
    for (int k = 0; k < n->n_in; k++) {
      int32_t x = value_node(n->in[k]);
      if (o->live[x]) continue;
      o->live[x] = 1;
      o->stack[top++] = x;
    }
  }
}

static void place(ordering *o, int32_t from) {
  int32_t top = 0;
  o->stack[top++] = from;
  while (top) {
    int32_t at = o->stack[top - 1], before = top;
    const pnode *n = &o->p->node[at];
    if (o->to[at] >= 0) {
      top--;
      continue;
    }
    for (int k = n->n_in - 1; k >= 0; k--)
      if (o->to[value_node(n->in[k])] < 0) o->stack[top++] = value_node(n->in[k]);
    if (top > before) continue;
    pnode *q = &o->node[o->count];
    *q = *n;
    for (int k = 0; k < n->n_in; k++) q->in[k] = value_of(o->to[value_node(n->in[k])], value_out(n->in[k]));
    o->to[at] = o->count++;
    top--;
  }
}

static int reorder(sonde_plan *p, const int32_t *sequence, sonde_error *err) {
  size_t n = (size_t)p->count;
  ordering o = {p, sonde_alloc(n * sizeof *o.node), 0, sonde_alloc(n * sizeof *o.to), sonde_alloc(n),
                sonde_alloc((n * SONDE_MAX_IN + 16) * sizeof *o.stack)};
  int rc = o.node && o.to && o.live && o.stack ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory to order the plan");
  if (!rc) {
    for (size_t k = 0; k < n; k++) o.to[k] = -1;
    for (int k = 0; k < p->n_out; k++) mark_live(&o, value_node(p->out[k]));
    for (size_t k = 0; k < n; k++) {
      int32_t at = sequence ? sequence[k] : (int32_t)k;
      if (o.live[at] && !p->node[at].lazy) place(&o, at);
    }
    for (int k = 0; k < p->n_out; k++) {
      place(&o, value_node(p->out[k]));
      p->out[k] = value_of(o.to[value_node(p->out[k])], value_out(p->out[k]));
    }
    sonde_release(p->node);
    p->node = o.node;
    p->cap = p->count;
    p->count = o.count;
    o.node = NULL;
  }
  sonde_release(o.node);
  sonde_release(o.to);
  sonde_release(o.live);
  sonde_release(o.stack);
  return rc;
}

int plan_reorder(sonde_plan *p, sonde_error *err) { return reorder(p, NULL, err); }

/* The order of tracing is a good order for memory (a weight's gradient right beside its layer's), so keep it. */
static int order_by_src(sonde_plan *p, sonde_error *err) {
  int32_t *sequence = sonde_alloc((size_t)p->count * sizeof *sequence);
  int32_t *at = sonde_alloc((size_t)p->g->count * sizeof *at);
  int rc = sequence && at ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory to order the plan");
  if (!rc) {
    int32_t n = 0;
    for (int32_t k = 0; k < p->count; k++) at[p->node[k].src->id] = k + 1;
    for (int64_t id = 0; id < p->g->count; id++)
      if (at[id]) sequence[n++] = at[id] - 1;
    rc = reorder(p, sequence, err);
  }
  sonde_release(sequence);
  sonde_release(at);
  return rc;
}

/* An output that is a leaf as it stands is that leaf's value before the run. Where another output is written over it,
 * the value is copied away first. */
int plan_save_leaves(sonde_plan *p, sonde_error *err) {
  const sonde_op_def *copy = NULL;
  for (int k = 0; k < p->n_out; k++) {
    value root = p->out[k];
    while (plan_is_view(&p->node[value_node(root)])) root = p->node[value_node(root)].in[0];
    const pnode *leaf = &p->node[value_node(root)];
    int written = 0;
    for (int j = 0; j < p->n_out && leaf->kind == SONDE_KIND_LEAF; j++)
      written |= j != k && p->out_tensor[j] == leaf->src->tensor;
    if (!written) continue;
    if (!copy && !(copy = sonde_ops_of_form(p->ctx, SONDE_FORM_CAST, err))) return SONDE_EUNSUP;
    pnode q = p->node[value_node(p->out[k])];
    q.shape[0] = *plan_shape(p, p->out[k]);
    q.def = copy;
    q.kind = SONDE_KIND_OP;
    q.n_in = q.n_out = 1;
    q.in[0] = p->out[k];
    q.attr = (sonde_attr){{0}, {q.shape[0].dtype}};
    if (!plan_append(p, &q, err)) return SONDE_ENOMEM;
    p->out[k] = value_of(p->count - 1, 0);
  }
  return copy ? plan_reorder(p, err) : 0;
}

int plan_count_uses(sonde_plan *p, sonde_error *err) {
  sonde_release(p->uses);
  p->uses = sonde_alloc((size_t)p->count * SONDE_MAX_OUT * sizeof *p->uses);
  if (!p->uses) return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  for (int32_t k = 0; k < p->count; k++)
    for (int j = 0; j < p->node[k].n_in; j++) p->uses[p->node[k].in[j]]++;
  for (int k = 0; k < p->n_out; k++) p->uses[p->out[k]]++;
  return 0;
}
