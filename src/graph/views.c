/* views.c - see views.h. */
#include "graph/views.h"

#include "graph/graph.h"
#include "sonde_build.h"

sonde_node *sonde_param_node(sonde_graph *g, const sonde_param *p) {
  const sonde_view *share = sonde_param_view(p, SONDE_VIEW_SHARE);
  sonde_node *x = share ? sonde_param_node(g, share->a) : sonde_leaf(g, p->name, p->value);
  for (int32_t k = 0; k < p->views && x; k++) {
    const sonde_view *v = &p->view[k];
    if (v->kind == SONDE_VIEW_MASK) x = sonde_mul(x, sonde_param_node(g, v->a));
    if (v->kind == SONDE_VIEW_LOW_RANK)
      x = sonde_add(x, sonde_scale(sonde_matmul(sonde_param_node(g, v->b), sonde_param_node(g, v->a), 0, 0), v->scale));
  }
  return x;
}

/* Whether modules read the tensor as it is. */
static int is_plain(const sonde_param *p) {
  const sonde_view *share = sonde_param_view(p, SONDE_VIEW_SHARE);
  return !sonde_param_view(p, SONDE_VIEW_MASK) && !sonde_param_view(p, SONDE_VIEW_LOW_RANK) &&
         (!share || is_plain(share->a));
}

sonde_tensor *sonde_param_read(sonde_ctx *ctx, const sonde_param *p, sonde_error *err) {
  if (is_plain(p)) return sonde_tensor_ref(p->value);
  sonde_tensor *out = sonde_tensor_new(&p->value->shape, err);
  sonde_graph *g = out ? sonde_graph_new(ctx, err) : NULL;
  sonde_plan_opts opts = {0};
  sonde_node *x = g ? sonde_param_node(g, p) : NULL;
  int code = !g ? err->code : sonde_graph_error(g, err);
  sonde_plan *plan = code ? NULL : sonde_plan_new(g, &x, &out, 1, &opts, err);
  if (!plan || sonde_plan_run(plan, err)) {
    sonde_tensor_free(out);
    out = NULL;
  }
  sonde_plan_free(plan);
  sonde_graph_free(g);
  return out;
}
