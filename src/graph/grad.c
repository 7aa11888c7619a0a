/* grad.c - reverse-mode differentiation as a graph transformation: walks the nodes from y back to the wrt nodes and
 * appends, for each op on the way, what its gradient rule says. Gradients are f32, also those of bf16 values. */
#include "graph/graph.h"

#include <string.h>

typedef struct walk {
  sonde_graph *g;
  int64_t n;                 /* nodes that existed before */
  uint8_t *needs;            /* depends on a wrt node */
  sonde_node **d;            /* gradient so far, by id */
} walk;

/* Where several paths meet, their gradients add up, in the order in which the walk comes by: always the same. */
static void flow(walk *w, sonde_node *to, sonde_node *dy) {
  if (!dy || !w->needs[to->id]) return;
  sonde_node *in[2] = {w->d[to->id], dy};
  w->d[to->id] = in[0] ? sonde_op_of_form(w->g, SONDE_FORM_ADD, in, 2, NULL) : dy;
}

static int step_back(walk *w, sonde_node *n, sonde_error *err) {
  sonde_node *dout[SONDE_MAX_OUT] = {0}, *din[SONDE_MAX_IN] = {0};
  char t1[160], t2[160];
  for (int k = 0; k < n->def->n_out; k++)
    if (n->result[k] && n->result[k]->id < w->n) dout[k] = w->d[n->result[k]->id];
  int some = 0;
  for (int k = 0; k < n->def->n_out; k++) some |= dout[k] != NULL;
  if (!some) return 0;
  if (!n->def->grad)
    return sonde_fail(err, SONDE_EUNSUP, "%s%sop '%s' has no gradient rule", sonde_node_scope(n),
                      n->scope >= 0 ? ": " : "", n->def->name);
  w->g->at_block = n->block;
  w->g->at_scope = n->scope;
  int rc = n->def->grad(w->g, n, dout, din), by = 0;
  while (by < n->def->n_out - 1 && (!by || !dout[by])) by++;      /* a result beside the first, if one is asked for */
  if (rc == SONDE_EUNSUP && !w->g->first.code)
    return sonde_fail(err, rc, "%s%sop '%s' has no gradient by its result %d of such inputs; 'sonde plugin ops %s' "
                      "says what it has", sonde_node_scope(n), n->scope >= 0 ? ": " : "", n->def->name,
                      dout[by] ? by + 1 : 1, n->def->name);
  if (rc && !w->g->first.code) return sonde_fail(err, rc, "the gradient rule of op '%s' failed", n->def->name);
  if (w->g->first.code) return sonde_graph_error(w->g, err);
  for (int k = 0; k < n->n_in; k++) {
    if (din[k] && !sonde_shape_equal(&din[k]->shape, &n->in[k]->shape))
      return sonde_fail(err, SONDE_EBUG, "the gradient rule of op '%s' gave input %d a gradient %s; the input is %s",
                        n->def->name, k, sonde_shape_text(&din[k]->shape, t1, sizeof t1),
                        sonde_shape_text(&n->in[k]->shape, t2, sizeof t2));
    flow(w, n->in[k], din[k]);
  }
  return 0;
}

static int walk_back(walk *w, sonde_node *y, sonde_node *dy, sonde_node *const *wrt, int n_wrt, sonde_node **out,
                     sonde_error *err) {
  int rc = 0;
  for (int k = 0; k < n_wrt; k++) w->needs[wrt[k]->id] = 1;
  for (int64_t id = 0; id < w->n; id++)
    for (int k = 0; k < w->g->node[id]->n_in; k++) w->needs[id] |= w->needs[w->g->node[id]->in[k]->id];
  flow(w, y, dy);
  for (int64_t id = y->id; id >= 0 && !rc; id--) {
    sonde_node *n = w->g->node[id];
    /* Results come after their op, so all of an op's results have been passed when the op itself is reached. */
    if (w->needs[id] && n->kind == SONDE_KIND_OP) rc = step_back(w, n, err);
  }
  for (int k = 0; k < n_wrt && !rc; k++) {
    out[k] = w->d[wrt[k]->id];
    sonde_shape shape = wrt[k]->shape;
    shape.dtype = SONDE_F32;
    if (!out[k]) out[k] = sonde_constant(w->g, &shape, 0);
    if (!out[k]) rc = sonde_graph_error(w->g, err);
  }
  return rc;
}

int sonde_grad(sonde_node *y, sonde_node *dy, sonde_node *const *wrt, int n_wrt, sonde_node **out, sonde_error *err) {
  if (!y) return sonde_fail(err, SONDE_EINVAL, "grad: no value to differentiate");
  sonde_graph *g = y->g;
  if (g->first.code) return sonde_graph_error(g, err);
  for (int k = 0; k < n_wrt; k++)
    if (!wrt[k] || wrt[k]->g != g)
      return sonde_fail(err, SONDE_EINVAL, "grad: wrt %d is not a node of the same graph", k + 1);
  sonde_shape shape = y->shape;
  shape.dtype = SONDE_F32;
  if (!dy) dy = sonde_constant(g, &shape, 1);
  if (!dy) return sonde_graph_error(g, err);
  if (dy->g != g || !sonde_shape_equal(&dy->shape, &y->shape))
    return sonde_fail(err, SONDE_ESHAPE, "grad: the upstream gradient must have the shape of the value");
  sonde_attr f32 = {{0}, {SONDE_F32}};
  if (dy->shape.dtype != SONDE_F32 && !(dy = sonde_op_of_form(g, SONDE_FORM_CAST, &dy, 1, &f32)))
    return sonde_graph_error(g, err);
  walk w = {g, g->count, NULL, NULL};
  int block = g->at_block, scope = g->at_scope, backward = g->at_backward;
  w.needs = sonde_alloc((size_t)w.n);
  w.d = sonde_alloc((size_t)w.n * sizeof *w.d);
  g->at_backward = 1;
  int rc = w.needs && w.d ? walk_back(&w, y, dy, wrt, n_wrt, out, err)
                          : sonde_fail(err, SONDE_ENOMEM, "no memory for the gradient");
  g->at_block = block;
  g->at_scope = scope;
  g->at_backward = backward;
  sonde_release(w.needs);
  sonde_release(w.d);
  return rc;
}
