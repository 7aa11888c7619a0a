/* plan.c - makes a plan: runs the passes, and looks for how many blocks must be recomputed to meet a budget. */
#include "graph/plan.h"

#include <stdio.h>
#include <string.h>

#include "graph/exec.h"

static void forget(sonde_plan *p) {
  for (int32_t k = 0; k < p->n_step; k++) {
    plan_drop_kernel(&p->step[k]);
    sonde_release(p->step[k].f);
  }
  sonde_release(p->node);
  sonde_release(p->step);
  sonde_release(p->uses);
  sonde_release(p->root);
  sonde_release(p->store);
  sonde_release(p->ptr);
  sonde_release(p->input);
  p->node = NULL;
  p->step = NULL;
  p->uses = NULL;
  p->root = NULL;
  p->store = NULL;
  p->ptr = NULL;
  p->input = NULL;
  p->count = p->cap = p->n_step = p->n_input = 0;
  p->arena_bytes = p->const_bytes = p->input_bytes = 0;
}

int plan_stopped(const sonde_plan *p, sonde_error *err) {
  return p->ctx->stop && *p->ctx->stop ? sonde_fail(err, SONDE_EINTR, "interrupted") : 0;
}

static double node_flops(const sonde_plan *p, const pnode *n) {
  sonde_shape in[SONDE_MAX_IN];
  for (int k = 0; k < n->n_in; k++) in[k] = *plan_shape(p, n->in[k]);
  if (n->def->flops) return n->def->flops(in, n->n_in, n->shape, &n->attr);
  return plan_is_view(n) ? 0 : (double)sonde_shape_count(&n->shape[0]);
}

static double flops_of(const sonde_plan *p) {
  double sum = 0;
  for (int32_t k = 0; k < p->count; k++)
    if (p->node[k].def) sum += node_flops(p, &p->node[k]);
  return sum;
}

static int build(sonde_plan *p, sonde_node *const *out, int blocks, sonde_error *err) {
  forget(p);
  int rc = plan_lower(p, out, p->n_out, err);
  if (!rc) rc = plan_simplify(p, err);
  if (!rc) rc = plan_save_leaves(p, err);
  if (!rc) p->model_flops = flops_of(p);
  if (!rc && blocks > 0) rc = plan_recompute(p, blocks, err);
  if (!rc && p->opts.compute == SONDE_BF16) rc = plan_autocast(p, err);
  if (!rc && !p->opts.no_fuse) rc = plan_accumulate(p, err);
  if (!rc) rc = plan_fuse(p, err);
  if (!rc) rc = plan_memory(p, err);
  p->info.recomputed_blocks = blocks;
  return rc;
}

static int blocks_of(const sonde_plan *p) {
  int n = 0;
  for (int32_t k = 0; k < p->count; k++)
    if (p->node[k].block >= n) n = p->node[k].block + 1;
  return n;
}

static int over_budget(sonde_plan *p, int64_t plain, int64_t least, sonde_error *err) {
  const double mib = 1 << 20;
  if (p->opts.recompute == 1 && least < plain)
    return sonde_fail(err, SONDE_ELIMIT,
                      "the plan needs %.1f MiB for activations, %.1f MiB with every block recomputed; the "
                      "budget is %.1f MiB: take a smaller batch or context",
                      plain / mib, least / mib, p->opts.memory_budget / mib);
  return sonde_fail(err, SONDE_ELIMIT, "the plan needs %.1f MiB for activations; the budget is %.1f MiB: %s",
                    plain / mib, p->opts.memory_budget / mib,
                    p->opts.recompute == 0 ? "allow recomputation, or take a smaller batch or context"
                                           : "take a smaller batch or context");
}

/* The fewest recomputed blocks that meet the budget, by bisection. */
static int fit(sonde_plan *p, sonde_node *const *out, sonde_error *err) {
  int rc = build(p, out, 0, err), blocks = rc ? 0 : blocks_of(p);
  if (rc) return rc;
  if (p->opts.recompute == 2) {
    if (blocks) rc = build(p, out, blocks, err);
    if (!rc && p->opts.memory_budget && p->arena_bytes > p->opts.memory_budget)
      return over_budget(p, p->arena_bytes, p->arena_bytes, err);
    return rc;
  }
  int64_t plain = p->arena_bytes;
  if (!p->opts.memory_budget || plain <= p->opts.memory_budget) return 0;
  if (p->opts.recompute == 0 || !blocks) return over_budget(p, plain, plain, err);
  if ((rc = build(p, out, blocks, err))) return rc;
  if (p->arena_bytes > p->opts.memory_budget) return over_budget(p, plain, p->arena_bytes, err);
  int low = 1, high = blocks;                    /* high fits */
  while (low < high) {
    int mid = (low + high) / 2;
    if ((rc = build(p, out, mid, err))) return rc;
    if (p->arena_bytes <= p->opts.memory_budget) high = mid;
    else low = mid + 1;
  }
  return p->info.recomputed_blocks == high ? 0 : build(p, out, high, err);
}

typedef struct traffic { const sonde_plan *p; double bytes; } traffic;

static void add_traffic(void *arg, value v, int stored) {
  traffic *t = arg;
  (void)stored;
  t->bytes += (double)sonde_shape_bytes(plan_shape(t->p, v));
}

static void measure(sonde_plan *p) {
  traffic t = {p, 0};
  p->info.nodes = p->count;
  p->info.steps = p->n_step;
  p->info.arena_bytes = p->arena_bytes + p->const_bytes + p->input_bytes;
  p->info.flops = flops_of(p);
  for (int32_t k = 0; k < p->count; k++)
    if (p->node[k].kind == SONDE_KIND_LEAF) p->info.leaf_bytes += sonde_shape_bytes(&p->node[k].shape[0]);
  for (int32_t k = 0; k < p->n_step; k++) plan_step_values(p, &p->step[k], add_traffic, &t);
  for (int i = 0; i < p->n_out; i++)
    if (p->out_tensor[i]) p->info.leaf_bytes += p->out_tensor[i]->bytes;
  p->info.bytes = t.bytes;
}

static int check_outputs(sonde_graph *g, sonde_node *const *out, sonde_tensor *const *out_tensor, int n_out,
                         const sonde_plan_opts *opts, sonde_error *err) {
  char t1[160], t2[160];
  if (g->first.code) return sonde_graph_error(g, err);
  if (n_out < 1) return sonde_fail(err, SONDE_EINVAL, "a plan needs at least one output");
  if (opts && opts->share && (opts->hold || opts->share->opts.hold))
    return sonde_fail(err, SONDE_EINVAL,
                      "a plan that holds results cannot share its arena: the other plan would overwrite them");
  for (int i = 0; i < n_out; i++) {
    if (!out[i]) return sonde_fail(err, SONDE_EINVAL, "plan output %d is no node", i + 1);
    if (out[i]->g != g) return sonde_fail(err, SONDE_EINVAL, "plan output %d belongs to another graph", i + 1);
    if (!out_tensor || !out_tensor[i]) continue;
    if (!sonde_shape_equal(&out[i]->shape, &out_tensor[i]->shape) || out[i]->shape.dtype != out_tensor[i]->shape.dtype)
      return sonde_fail(err, SONDE_ESHAPE, "plan output %d is %s; its tensor is %s", i + 1,
                        sonde_shape_text(&out[i]->shape, t1, sizeof t1),
                        sonde_shape_text(&out_tensor[i]->shape, t2, sizeof t2));
  }
  return 0;
}

static int own_arena(sonde_plan *p, sonde_error *err) {
  if (p->opts.share) {
    p->arena = p->opts.share->arena;
    p->arena->refs++;
  } else if (!(p->arena = sonde_alloc(sizeof *p->arena))) {
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the plan");
  } else {
    p->arena->refs = 1;
    p->arena->device = p->ctx->device;
  }
  if (p->arena_bytes > p->arena->bytes) p->arena->bytes = p->arena_bytes;
  p->opts.share = NULL;              /* the other plan may be gone later; its arena is not */
  return 0;
}

sonde_plan *sonde_plan_new(sonde_graph *g, sonde_node *const *out, sonde_tensor *const *out_tensor, int n_out,
                           const sonde_plan_opts *opts, sonde_error *err) {
  if (check_outputs(g, out, out_tensor, n_out, opts, err)) return NULL;
  sonde_plan *p = sonde_alloc(sizeof *p);
  int rc = p ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory for a plan");
  if (!rc) {
    p->g = sonde_graph_ref(g);
    p->ctx = g->ctx;
    p->block.size = sizeof p->block;
    if (opts) p->opts = *opts;
    p->n_out = n_out;
    p->out = sonde_alloc((size_t)n_out * sizeof *p->out);
    p->out_tensor = sonde_alloc((size_t)n_out * sizeof *p->out_tensor);
    if (!p->out || !p->out_tensor) rc = sonde_fail(err, SONDE_ENOMEM, "no memory for a plan");
  }
  for (int i = 0; !rc && i < n_out; i++) p->out_tensor[i] = out_tensor ? sonde_tensor_ref(out_tensor[i]) : NULL;
  if (!rc) rc = fit(p, out, err);
  if (!rc) rc = own_arena(p, err);
  if (rc) {
    sonde_plan_free(p);
    return NULL;
  }
  measure(p);
  return p;
}

void sonde_plan_free(sonde_plan *p) {
  if (!p) return;
  plan_leave_device(p);
  if (p->ctx) {
    plan_give(p->ctx->device, p->constants, p->const_bytes, SONDE_MEMORY_CONSTANTS);
    plan_give(p->ctx->device, p->inputs, p->input_bytes, SONDE_MEMORY_INPUTS);
  }
  forget(p);
  for (int i = 0; p->out_tensor && i < p->n_out; i++) sonde_tensor_free(p->out_tensor[i]);
  sonde_release(p->out);
  sonde_release(p->out_tensor);
  if (p->watched) plan_watch_end(p);
  if (p->arena && --p->arena->refs == 0) {
    plan_give(p->arena->device, p->arena->data, p->arena->taken, SONDE_MEMORY_ARENA);
    sonde_release(p->arena);
  }
  sonde_graph_free(p->g);
  sonde_release(p);
}

void sonde_plan_get_info(const sonde_plan *p, sonde_plan_info *info) { *info = p->info; }
void sonde_plan_profile(sonde_plan *p, int on) { p->profile = on; }
void sonde_plan_set_step(sonde_plan *p, uint64_t step) { p->block.number = step; }
