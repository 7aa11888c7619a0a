/* recompute.c - less memory for more arithmetic: inside the chosen blocks, forward values that the backward reads
 * are computed again from the block's input just before they are read (Chen et al. 2016, arXiv:1604.06174). */
#include "graph/plan.h"

typedef struct recompute {
  sonde_plan *p;
  int blocks;
  uint8_t *keep;                  /* read by another block's forward pass: the checkpoint */
  int32_t *clone;                 /* of each node; -1: none yet */
  sonde_error *err;
} recompute;

static int inside(const recompute *r, int32_t at) {
  const pnode *n = &r->p->node[at];
  return n->def && !n->backward && n->block >= 0 && n->block < r->blocks && !r->keep[at];
}

/* The clone of a node inside a block; its inputs from the same block are clones too, all others the originals. */
static int32_t clone_of(recompute *r, int32_t at) {
  if (r->clone[at] >= 0) return r->clone[at];
  pnode c = r->p->node[at];
  c.lazy = 1;
  for (int k = 0; k < c.n_in; k++) {
    int32_t x = value_node(c.in[k]);
    if (!inside(r, x) || r->p->node[x].block != c.block) continue;
    int32_t y = clone_of(r, x);
    if (y < 0) return -1;
    c.in[k] = value_of(y, value_out(c.in[k]));
  }
  if (!plan_append(r->p, &c, r->err)) return -1;
  return r->clone[at] = r->p->count - 1;
}

int plan_recompute(sonde_plan *p, int blocks, sonde_error *err) {
  int32_t n = p->count;
  recompute r = {p, blocks, sonde_alloc((size_t)n), sonde_alloc((size_t)n * sizeof *r.clone), err};
  int rc = r.keep && r.clone ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory to plan recomputation");
  for (int32_t k = 0; !rc && k < n; k++) {
    r.clone[k] = -1;
    for (int j = 0; j < p->node[k].n_in; j++) {
      int32_t x = value_node(p->node[k].in[j]);
      if (!p->node[k].backward && p->node[k].block != p->node[x].block) r.keep[x] = 1;
    }
  }
  for (int k = 0; !rc && k < p->n_out; k++) r.keep[value_node(p->out[k])] = 1;
  for (int32_t k = 0; !rc && k < n; k++) {
    if (!p->node[k].backward) continue;
    for (int j = 0; !rc && j < p->node[k].n_in; j++) {
      value v = p->node[k].in[j];
      if (!inside(&r, value_node(v))) continue;
      int32_t c = clone_of(&r, value_node(v));
      if (c < 0) rc = SONDE_ENOMEM;
      else p->node[k].in[j] = value_of(c, value_out(v));
    }
  }
  sonde_release(r.keep);
  sonde_release(r.clone);
  return rc ? rc : plan_reorder(p, err);
}
