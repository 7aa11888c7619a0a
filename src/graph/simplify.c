/* simplify.c - what a plan need not compute as it was traced. The graph keeps every node, because any may be tapped or
 * differentiated by; here only the values of the outputs count:
 *
 *   - values of constants are computed now;
 *   - an op that changes nothing is its input, and elementwise ops broadcast by themselves what an expand expands;
 *   - equal expressions of a block are computed once;
 *   - a forward value that a gradient op has along the way is taken from there;
 *   - a norm times a factor is a norm with its gain times that factor: no pass over the result. */
#include <string.h>

#include "graph/plan.h"

typedef struct simplifying {
  sonde_plan *p;
  value *to;                      /* value -> the value to be read instead; itself at first */
  int32_t *slot, *next;           /* expressions: hash table of nodes, chains */
  uint64_t slots;                 /* a power of two */
  int32_t *scales;                /* value -> the last node + 1 that is a factor times it; the others by `next` */
  sonde_error *err;
} simplifying;

static void start(simplifying *s) {
  for (int32_t v = 0; v < s->p->count * SONDE_MAX_OUT; v++) s->to[v] = v;
}

static int is_scale(const pnode *n) { return plan_is(n, SONDE_FORM_AFFINE) && n->attr.f[1] == 0; }

/* An elementwise op reads what an expand has expanded, if the other inputs keep the shape. */
static void skip_expands(const sonde_plan *p, pnode *n) {
  if (!(n->def->flags & SONDE_OP_ELEMENTWISE) || n->def->shape || n->n_in < 2) return;
  for (int k = 0; k < n->n_in; k++) {
    const pnode *x = &p->node[value_node(n->in[k])];
    if (!plan_is(x, SONDE_FORM_EXPAND)) continue;
    sonde_shape s = *plan_shape(p, x->in[0]);
    int fits = 1;
    for (int j = 0; j < n->n_in; j++)
      if (j != k) fits = fits && !sonde_shape_broadcast(&s, plan_shape(p, n->in[j]), &s);
    if (fits && sonde_shape_equal(&s, plan_shape(p, n->in[k]))) n->in[k] = x->in[0];
  }
}

/* Gradients make many constants: ones, scaled ones. */
static int fold_constant(const sonde_plan *p, pnode *n) {
  const pnode *x = &p->node[value_node(n->in[0])], *y = n->n_in > 1 ? &p->node[value_node(n->in[1])] : NULL;
  if (x->kind != SONDE_KIND_CONST) return 0;
  double v;
  if (plan_is(n, SONDE_FORM_EXPAND) || plan_is(n, SONDE_FORM_RESHAPE)) v = x->constant;
  else if (plan_is(n, SONDE_FORM_AFFINE)) v = n->attr.f[0] * x->constant + n->attr.f[1];
  else if (plan_is(n, SONDE_FORM_MUL) && y->kind == SONDE_KIND_CONST) v = x->constant * y->constant;
  else return 0;
  n->def = NULL;
  n->kind = SONDE_KIND_CONST;
  n->n_in = 0;
  n->constant = v;
  return 1;
}

/* The input that the op hands on as it is; -1: none. */
static value same_as(const sonde_plan *p, const pnode *n) {
  for (int k = 0; k < n->n_in && k < 2; k++) {
    const sonde_shape *s = plan_shape(p, n->in[k]);
    if (!sonde_shape_equal(s, &n->shape[0]) || s->dtype != n->shape[0].dtype) continue;
    const pnode *other = plan_is(n, SONDE_FORM_MUL) ? &p->node[value_node(n->in[1 - k])] : NULL;
    if (other && other->kind == SONDE_KIND_CONST && other->constant == 1) return n->in[k];
    if (is_scale(n) && n->attr.f[0] == 1) return n->in[k];
    if (n->def->form == SONDE_FORM_EXPAND || n->def->form == SONDE_FORM_RESHAPE || n->def->form == SONDE_FORM_SUM ||
        n->def->form == SONDE_FORM_CAST)
      return n->in[k];
  }
  return -1;
}

static uint64_t hash_node(const pnode *n) {
  uint64_t h = (uint64_t)(uintptr_t)n->def ^ 0x9e3779b97f4a7c15u;
  for (int k = 0; k < n->n_in; k++) h = (h ^ (uint64_t)n->in[k]) * 0xff51afd7ed558ccdu;
  const unsigned char *b = (const unsigned char *)&n->attr;
  for (size_t k = 0; k < sizeof n->attr; k++) h = (h ^ b[k]) * 0x100000001b3u;
  return h ^ h >> 29;
}

/* An earlier node of the same block with the same expression; -1: none, and this one is remembered. */
static int32_t earlier(simplifying *s, int32_t at) {
  const pnode *n = &s->p->node[at];
  if (n->def->flags & SONDE_OP_RANDOM) return -1;
  int32_t *slot = &s->slot[hash_node(n) & (s->slots - 1)];
  for (int32_t k = *slot; k >= 0; k = s->next[k]) {
    const pnode *m = &s->p->node[k];
    if (m->def == n->def && m->n_in == n->n_in && m->block == n->block &&
        !memcmp(m->in, n->in, (size_t)n->n_in * sizeof *n->in) && !memcmp(&m->attr, &n->attr, sizeof n->attr))
      return k;
  }
  s->next[at] = *slot;
  *slot = at;
  return -1;
}

static void simplify_node(simplifying *s, int32_t at) {
  pnode *n = &s->p->node[at];
  for (int k = 0; k < n->n_in; k++) n->in[k] = s->to[n->in[k]];
  if (!n->def) return;
  skip_expands(s->p, n);
  if (fold_constant(s->p, n)) return;
  value v = same_as(s->p, n);
  if (v >= 0) {
    s->to[value_of(at, 0)] = v;
    return;
  }
  int32_t same = earlier(s, at);
  for (int k = 0; same >= 0 && k < n->n_out; k++) s->to[value_of(at, k)] = value_of(same, k);
}

/* Reads all values from where `to` says. */
static void redirect(simplifying *s) {
  for (int32_t k = 0; k < s->p->count; k++)
    for (int j = 0; j < s->p->node[k].n_in; j++) s->p->node[k].in[j] = s->to[s->p->node[k].in[j]];
  for (int k = 0; k < s->p->n_out; k++) s->p->out[k] = s->to[s->p->out[k]];
}

/* ---- forward values of gradient ops ------------------------------------------------------------------------ */

/* Does node `from` need node `to`? 1 or 0, or -1 out of memory. */
static int needs(const sonde_plan *p, int32_t from, int32_t to) {
  uint8_t *seen = sonde_alloc((size_t)p->count);
  int32_t *stack = sonde_alloc((size_t)p->count * sizeof *stack), top = 0;
  int found = seen && stack ? 0 : -1;
  if (!found) stack[top++] = from;
  while (top && !found) {
    const pnode *n = &p->node[stack[--top]];
    for (int k = 0; k < n->n_in && !found; k++) {
      int32_t x = value_node(n->in[k]);
      found = x == to;
      if (seen[x]) continue;
      seen[x] = 1;
      stack[top++] = x;
    }
  }
  sonde_release(seen);
  sonde_release(stack);
  return found;
}

static int take_along(simplifying *s) {
  sonde_plan *p = s->p;
  int32_t n = p->count, *at = sonde_alloc((size_t)p->g->count * sizeof *at);     /* graph id -> node + 1 */
  if (!at) return sonde_fail(s->err, SONDE_ENOMEM, "no memory to simplify the plan");
  for (int32_t k = 0; k < n; k++) at[p->node[k].src->id] = k + 1;
  int rc = 0;
  for (int32_t k = 0; k < n && !rc; k++)
    for (int j = 1; j < p->node[k].n_out && !rc; j++) {
      const sonde_node *r = p->node[k].src->result[j], *old = r ? r->also : NULL,
                       *of = old && old->kind == SONDE_KIND_RESULT ? old->in[0] : old;
      /* or it equals an earlier one */
      if (!old || !at[of->id] || s->to[value_of(k, 0)] != value_of(k, 0)) continue;
      value v = s->to[value_of(at[of->id] - 1, old == of ? 0 : old->index)];
      int cycle = needs(p, k, value_node(v));
      if (cycle < 0) rc = sonde_fail(s->err, SONDE_ENOMEM, "no memory to simplify the plan");
      if (cycle) continue;
      s->to[v] = value_of(k, j);
      redirect(s);
      s->to[v] = v;
    }
  sonde_release(at);
  return rc;
}

/* ---- factors of norms -------------------------------------------------------------------------------------- */

/* The node's gain is from now on `factor`, a node, of it: the factor's node becomes the scaled gain. */
static void scale_gain(sonde_plan *p, pnode *norm, int32_t factor) {
  pnode *f = &p->node[factor];
  f->in[0] = norm->in[1];
  f->shape[0] = *plan_shape(p, norm->in[1]);
  norm->in[1] = value_of(factor, 0);
}

/* Forward: affine(norm(x, gain)), and nothing else reads that norm. */
static void into_gain(simplifying *s, int32_t at, int uses) {
  sonde_plan *p = s->p;
  pnode *f = &p->node[at];
  value y = f->in[0];
  pnode *norm = &p->node[value_node(y)];
  if (f->backward || value_out(y) || !norm->def || !(norm->def->flags & SONDE_OP_GAIN) || uses != 1) return;
  s->to[value_of(at, 0)] = y;
  scale_gain(p, norm, at);
}

/* The input of a norm's gradient that is the upstream gradient. */
static int upstream_of(const sonde_plan *p, const pnode *n) {
  for (int k = n->n_in - 1; k > 1; k--)
    if (sonde_shape_equal(plan_shape(p, n->in[k]), plan_shape(p, n->in[0]))) return k;
  return -1;
}

/* The scaled gain that into_gain has made for this gain and factor; -1: none. */
static int32_t scaled_gain(const simplifying *s, value gain, const pnode *factor) {
  int32_t found = -1;
  for (int32_t k = s->scales[gain] - 1; k >= 0; k = s->next[k] - 1) {
    const pnode *n = &s->p->node[k];
    s->p->visits++;
    if (is_scale(n) && n->in[0] == gain && n->block == factor->block && n->attr.f[0] == factor->attr.f[0]) found = k;
  }
  return found;
}

/* Backward: the gradient of such a norm under an upstream gradient times the factor. The factor's node then makes the
 * gradient of the gain. */
static void out_of_gain(simplifying *s, int32_t at) {
  sonde_plan *p = s->p;
  pnode *n = &p->node[at];
  int k = upstream_of(p, n);
  if (k < 0 || p->uses[n->in[k]] != 1 || !is_scale(&p->node[value_node(n->in[k])])) return;
  int32_t factor = value_node(n->in[k]);
  pnode *f = &p->node[factor];
  int32_t scaled = scaled_gain(s, n->in[1], f);
  if (scaled < 0 || scaled == factor) return;
  n->in[1] = value_of(scaled, 0);
  n->in[k] = f->in[0];
  f->in[0] = value_of(at, 1);
  f->shape[0] = n->shape[1];
  s->to[value_of(at, 1)] = value_of(factor, 0);
}

/* In order, so that what these two put into earlier nodes is not redirected. */
static int move_factors(simplifying *s) {
  sonde_plan *p = s->p;
  int rc = plan_count_uses(p, s->err);
  s->scales = sonde_alloc((size_t)p->count * SONDE_MAX_OUT * sizeof *s->scales);
  if (!rc && !s->scales) rc = sonde_fail(s->err, SONDE_ENOMEM, "no memory to simplify the plan");
  start(s);
  for (int32_t k = 0; k < p->count && !rc && !(rc = plan_stopped(p, s->err)); k++) {
    pnode *n = &p->node[k];
    int uses = n->n_in ? p->uses[n->in[0]] : 0;
    for (int j = 0; j < n->n_in; j++) n->in[j] = s->to[n->in[j]];
    if (is_scale(n)) {
      into_gain(s, k, uses);
      s->next[k] = s->scales[n->in[0]];
      s->scales[n->in[0]] = k + 1;
    } else if (n->def && n->def->flags & SONDE_OP_GAIN_GRAD) {
      out_of_gain(s, k);
    }
  }
  sonde_release(s->scales);
  for (int k = 0; k < p->n_out && !rc; k++) p->out[k] = s->to[p->out[k]];
  return rc;
}

int plan_simplify(sonde_plan *p, sonde_error *err) {
  size_t n = (size_t)p->count;
  simplifying s = {.p = p, .err = err, .slots = 64, .to = sonde_alloc(n * SONDE_MAX_OUT * sizeof *s.to),
                   .next = sonde_alloc(n * sizeof *s.next)};
  while (s.slots < 2 * n) s.slots *= 2;
  s.slot = sonde_alloc(s.slots * sizeof *s.slot);
  int rc = s.to && s.slot && s.next ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory to simplify the plan");
  if (!rc) {
    memset(s.slot, -1, s.slots * sizeof *s.slot);
    start(&s);
    for (int32_t k = 0; k < p->count; k++) simplify_node(&s, k);
    redirect(&s);
    rc = plan_stopped(p, err);
  }
  if (!rc) rc = take_along(&s);
  if (!rc) rc = plan_reorder(p, err);
  if (!rc) rc = move_factors(&s);
  if (!rc) rc = plan_reorder(p, err);
  sonde_release(s.to);
  sonde_release(s.slot);
  sonde_release(s.next);
  return rc;
}
