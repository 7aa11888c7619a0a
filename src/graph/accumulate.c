/* accumulate.c - c + a b in one product: an add whose one side is a matmul that nothing else reads becomes the
 * matmul's third input, so that residual sums and gradient sums need no pass of their own. */
#include <string.h>

#include "graph/plan.h"

static int is_op(const pnode *n, const char *name) { return n->def && !strcmp(n->def->name, name); }

/* The matmul behind v, through views, if v and all between are read once; -1 otherwise. */
static int32_t lone_matmul(const sonde_plan *p, value v) {
  while (p->uses[v] == 1 && plan_is_view(&p->node[value_node(v)])) v = p->node[value_node(v)].in[0];
  const pnode *n = &p->node[value_node(v)];
  return p->uses[v] == 1 && is_op(n, "matmul") && n->n_in == 2 && n->shape[0].dtype == SONDE_F32 ? value_node(v) : -1;
}

/* v under the shape `s`: v itself or a view of it. */
static value seen_as(sonde_plan *p, value v, const sonde_shape *s, const sonde_op_def *view, sonde_error *err) {
  if (sonde_shape_equal(plan_shape(p, v), s)) return v;
  pnode q = p->node[value_node(v)];
  q.def = view;
  q.kind = SONDE_KIND_OP;
  q.lazy = 1;
  q.n_in = q.n_out = 1;
  q.in[0] = v;
  q.shape[0] = *s;
  return plan_append(p, &q, err) ? value_of(p->count - 1, 0) : -1;
}

static int rewrite(sonde_plan *p, int32_t at, int side, int32_t product, const sonde_op_def *view, sonde_error *err) {
  sonde_shape sum = p->node[at].shape[0], made = p->node[product].shape[0];
  value c = seen_as(p, p->node[at].in[1 - side], &made, view, err);
  if (c < 0) return SONDE_ENOMEM;
  pnode q = p->node[product];
  q.in[2] = c;
  q.n_in = 3;
  q.block = p->node[at].block;
  q.backward = p->node[at].backward;
  q.src = p->node[at].src;
  if (sonde_shape_equal(&sum, &made)) {
    p->node[at] = q;
    return 0;
  }
  q.lazy = 1;
  if (!plan_append(p, &q, err)) return SONDE_ENOMEM;
  pnode *n = &p->node[at];                   /* the sum is now a view of the product */
  n->def = view;
  n->n_in = 1;
  n->in[0] = value_of(p->count - 1, 0);
  return 0;
}

int plan_accumulate(sonde_plan *p, sonde_error *err) {
  const sonde_op_def *view = sonde_ops_find(p->ctx, "reshape");
  int rc = plan_count_uses(p, err);
  int32_t n = p->count;
  if (rc || !view) return rc;
  for (int32_t k = 0; !rc && k < n; k++) {
    if (!is_op(&p->node[k], "add")) continue;
    /* The second side first: in x + f(x) it is the newer one, and the older one's buffer is what the sum goes into. */
    for (int side = 1; side >= 0 && !rc; side--) {
      const pnode *a = &p->node[k];
      int32_t m = lone_matmul(p, a->in[side]);
      if (m < 0 || !sonde_shape_equal(plan_shape(p, a->in[1 - side]), &a->shape[0]) ||
          plan_shape(p, a->in[1 - side])->dtype != SONDE_F32 || a->in[0] == a->in[1])
        continue;
      rc = rewrite(p, k, side, m, view, err);
      if (!rc) {                             /* values appended by the rewrite have no use count: recount */
        rc = plan_count_uses(p, err);
      }
      break;
    }
  }
  return rc ? rc : plan_reorder(p, err);
}
