/* accumulate.c - c + a b in one product: a sum whose one side is a product that nothing else reads becomes the
 * product's own last input (sonde_op_def.adds), so that residual sums and gradient sums need no pass of their own. */
#include "graph/plan.h"

/* The node behind v, through views, that could add what is added to v: if v and all between are read once; -1: none. A
 * rewrite moves readers, but no value that a sum reads gets more or fewer of them: the first `counted` nodes' uses hold
 * throughout. */
static int32_t lone_product(const sonde_plan *p, value v, int32_t counted) {
  while (value_node(v) < counted && p->uses[v] == 1 && plan_is_view(&p->node[value_node(v)]))
    v = p->node[value_node(v)].in[0];
  if (value_node(v) >= counted || value_out(v) || p->uses[v] != 1) return -1;
  const pnode *n = &p->node[value_node(v)];
  if (!n->def || !n->def->adds || n->n_in != n->def->adds || n->shape[0].dtype != SONDE_F32) return -1;
  for (int k = 1; k < n->n_out; k++)
    if (p->uses[v + k]) return -1;
  return value_node(v);
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
  q.in[q.n_in++] = c;
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
  const sonde_op_def *view = sonde_ops_of_form(p->ctx, SONDE_FORM_RESHAPE, NULL);
  int rc = plan_count_uses(p, err);
  int32_t n = p->count;
  if (rc || !view) return rc;
  for (int32_t k = 0; !rc && k < n; k++) {
    if (!plan_is(&p->node[k], SONDE_FORM_ADD)) continue;
    /* The second side first: in x + f(x) it is the newer one, and the older one's buffer is what the sum goes into. */
    for (int side = 1; side >= 0; side--) {
      const pnode *a = &p->node[k];
      int32_t m = lone_product(p, a->in[side], n);
      if (m < 0 || !sonde_shape_equal(plan_shape(p, a->in[1 - side]), &a->shape[0]) ||
          plan_shape(p, a->in[1 - side])->dtype != SONDE_F32 || a->in[0] == a->in[1])
        continue;
      rc = rewrite(p, k, side, m, view, err);
      break;
    }
  }
  return rc ? rc : plan_reorder(p, err);
}
