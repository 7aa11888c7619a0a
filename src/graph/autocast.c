/* autocast.c - bf16 compute: the operands of the matrix products are rounded to bf16, and so are products that only
 * go through elementwise functions (not into sums). Sums are f32, and so are weights, gradients of weights, norms,
 * softmax and the residual stream. A value is rounded once for all its readers, and by the op that makes it where
 * that op can: half the memory, half the traffic. A parameter that all its products can round as they read it is not
 * rounded at all. */
#include "graph/fused.h"

typedef struct casting { sonde_plan *p; value *cast; const sonde_op_def *op; sonde_error *err; } casting;

static value root_of(const sonde_plan *p, value v) {
  while (plan_is_view(&p->node[value_node(v)])) v = p->node[value_node(v)].in[0];
  return v;
}

/* The bf16 form of v: a cast of the value that owns the bytes, seen through v's own shape. */
static value rounded(casting *c, value v) {
  sonde_plan *p = c->p;
  const value root = root_of(p, v);
  if (plan_shape(p, root)->dtype == SONDE_BF16) return v;
  if (c->cast[root] < 0) {
    pnode q = p->node[value_node(root)];
    q.shape[0] = *plan_shape(p, root);
    q.shape[0].dtype = SONDE_BF16;
    q.def = c->op;
    q.kind = SONDE_KIND_OP;
    q.lazy = 1;
    q.n_in = q.n_out = 1;
    q.in[0] = root;
    q.attr = (sonde_attr){{0}, {SONDE_BF16}};
    if (!plan_append(p, &q, c->err)) return -1;
    c->cast[root] = value_of(p->count - 1, 0);
  }
  if (root == v) return c->cast[root];
  pnode q = p->node[value_node(v)];          /* a view */
  q.shape[0].dtype = SONDE_BF16;
  q.lazy = 1;
  q.in[0] = c->cast[root];
  return plan_append(p, &q, c->err) ? value_of(p->count - 1, 0) : -1;
}

/* Does n's kernel round its operand j by itself, beside others in bf16? */
static int rounds_itself(const sonde_plan *p, int32_t node, int j) {
  const pnode *n = &p->node[node];
  const uint32_t mask = n->def->bf16_operands;
  if (!(n->def->flags & SONDE_OP_ROUNDS) || !(mask & ((1u << j) - 1)) ||
      !(plan_kernel_flags(p, node) & SONDE_KERNEL_ROUNDS))
    return 0;
  sonde_shape in[SONDE_MAX_IN], out[SONDE_MAX_OUT] = {{0}};
  sonde_error err = {0};
  for (int k = 0; k < n->n_in; k++) {
    in[k] = *plan_shape(p, n->in[k]);
    if (k != j && mask >> k & 1) in[k].dtype = SONDE_BF16;
  }
  return !n->def->shape(in, n->n_in, &n->attr, out, &err);
}

/* spared[v] = 1: a parameter that all products that read it round by themselves. */
static void find_spared(const sonde_plan *p, int32_t count, uint8_t *spared) {
  for (int32_t k = 0; k < count; k++) spared[value_of(k, 0)] = p->node[k].kind == SONDE_KIND_LEAF;
  for (int32_t k = 0; k < count; k++) {
    const uint32_t mask = p->node[k].def ? p->node[k].def->bf16_operands : 0;
    for (int j = 0; j < p->node[k].n_in; j++) {
      const value root = root_of(p, p->node[k].in[j]);
      if (mask >> j & 1 && spared[root] && !rounds_itself(p, k, j)) spared[root] = 0;
    }
  }
}

/* A kernel that can write bf16 does so when nothing but casts reads its f32 result. */
static int fold_casts(sonde_plan *p, const sonde_op_def *cast, sonde_error *err) {
  int rc = plan_count_uses(p, err);
  if (rc) return rc;
  int32_t *casts = sonde_alloc((size_t)p->count * SONDE_MAX_OUT * sizeof *casts);
  if (!casts) return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  for (int32_t k = 0; k < p->count; k++)
    if (p->node[k].def == cast && p->node[k].shape[0].dtype == SONDE_BF16) casts[p->node[k].in[0]]++;
  for (int32_t k = 0; k < p->count; k++) {
    pnode *n = &p->node[k];
    value v = value_of(k, 0);
    if (n->def && n->shape[0].dtype == SONDE_F32 && casts[v] && casts[v] == p->uses[v] && !plan_adds(n) &&
        (plan_kernel_flags(p, k) & SONDE_KERNEL_BF16_OUT))
      n->shape[0].dtype = SONDE_BF16;
    for (int j = 0; j < n->n_in; j++) {
      const pnode *x = &p->node[value_node(n->in[j])];
      if (x->def == cast && x->shape[0].dtype == SONDE_BF16 && plan_shape(p, x->in[0])->dtype == SONDE_BF16)
        n->in[j] = x->in[0];
    }
  }
  sonde_release(casts);
  return plan_reorder(p, err);
}

/* May n get its input j in bf16? An add may not: residual and gradient sums keep their f32 terms. An op whose kernel
 * takes bf16 need not take it everywhere (positions, caches, upstream gradients): its shape rule knows. */
static int reads_rounded(const sonde_plan *p, const pnode *n, int j) {
  if (plan_is_view(n)) return 1;
  if (fused_elementwise(n)) return !(n->def->flags & SONDE_OP_F32_TERMS);
  if (!(plan_kernel_flags(p, (int32_t)(n - p->node)) & SONDE_KERNEL_BF16_IN)) return 0;
  sonde_shape in[SONDE_MAX_IN], out[SONDE_MAX_OUT] = {{0}};
  sonde_error err = {0};
  for (int k = 0; k < n->n_in; k++) in[k] = *plan_shape(p, n->in[k]);
  in[j].dtype = SONDE_BF16;
  return !n->def->shape(in, n->n_in, &n->attr, out, &err);
}

static int round_products(sonde_plan *p, sonde_error *err) {
  value *root = sonde_alloc((size_t)p->count * SONDE_MAX_OUT * sizeof *root);
  uint8_t *keep = sonde_alloc((size_t)p->count * SONDE_MAX_OUT);
  int rc = root && keep ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  for (int32_t k = 0; !rc && k < p->count; k++) {
    const pnode *n = &p->node[k];
    for (int j = 0; j < n->n_out; j++) root[value_of(k, j)] = plan_is_view(n) ? root[n->in[0]] : value_of(k, j);
    for (int j = 0; j < n->n_in; j++) keep[root[n->in[j]]] |= !reads_rounded(p, n, j);
  }
  for (int i = 0; !rc && i < p->n_out; i++) keep[root[p->out[i]]] = 1;
  for (int32_t k = 0; !rc && k < p->count; k++) {
    pnode *n = &p->node[k];
    if (plan_is_view(n)) n->shape[0].dtype = plan_shape(p, n->in[0])->dtype;
    else if (n->def && n->def->flags & SONDE_OP_PRODUCT && !plan_adds(n) && n->shape[0].dtype == SONDE_F32 &&
             !keep[value_of(k, 0)])
      n->shape[0].dtype = SONDE_BF16;
  }
  sonde_release(root);
  sonde_release(keep);
  return rc;
}

int plan_autocast(sonde_plan *p, sonde_error *err) {
  int32_t n = p->count;
  casting c = {p, sonde_alloc((size_t)n * SONDE_MAX_OUT * sizeof *c.cast),
               sonde_ops_of_form(p->ctx, SONDE_FORM_CAST, err), err};
  uint8_t *spared = sonde_alloc((size_t)n * SONDE_MAX_OUT);
  int rc = !c.op ? SONDE_EUNSUP : c.cast && spared ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  for (int32_t k = 0; !rc && k < n * SONDE_MAX_OUT; k++) c.cast[k] = -1;
  if (!rc) find_spared(p, n, spared);
  for (int32_t k = 0; !rc && k < n; k++) {
    uint32_t mask = p->node[k].def ? p->node[k].def->bf16_operands : 0;
    for (int j = 0; !rc && j < p->node[k].n_in; j++) {
      if (!(mask >> j & 1) || spared[root_of(p, p->node[k].in[j])]) continue;
      value r = rounded(&c, p->node[k].in[j]);
      if (r < 0) rc = SONDE_ENOMEM;
      else p->node[k].in[j] = r;
    }
  }
  sonde_release(c.cast);
  sonde_release(spared);
  if (!rc) rc = plan_reorder(p, err);
  if (!rc) rc = fold_casts(p, c.op, err);
  return rc ? rc : round_products(p, err);
}
