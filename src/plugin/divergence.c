/* divergence.c - see divergence.h. The module is built once in a graph of its own, for a stretch of classes: x is
 * log q, and the site's block has "p", "log_p" and "q". */
#include "plugin/divergence.h"

#include "graph/graph.h"
#include "ops/pointwise.h"
#include "sonde_build.h"

enum { LOG_P, P, LOG_Q, Q, INPUTS };
static const char *const names[INPUTS] = {"log_p", "p", "log_q", "q"};

typedef struct making {
  sonde_ctx *ctx;
  const sonde_entry *e;
  const sonde_value *values;
  sonde_script_build script;
  void *user;
  sonde_graph *g;
  sonde_params *params;
  sonde_site *site;
} making;

static sonde_node *build(const making *m, sonde_node *x) {
  if (m->e->plugin) return sonde_entry_build(m->e, m->site, m->values, x);
  if (sonde_entry_begin(m->e, m->site, x)) return NULL;
  return sonde_entry_end(m->site, x, m->script ? m->script(m->user, m->e, m->site, m->values, x) : NULL);
}

/* d/d(log q) = df/d(log q) + q df/dq: both are inputs. NULL: the graph's error, or err. */
static sonde_node *slope_of(const making *m, sonde_node *y, sonde_node *const *in, sonde_error *err) {
  sonde_node *wrt[2] = {in[LOG_Q], in[Q]}, *d[2];
  if (sonde_grad(y, NULL, wrt, 2, d, err)) return NULL;
  if (d[0]->kind == SONDE_KIND_CONST && d[1]->kind == SONDE_KIND_CONST) {
    sonde_fail(err, SONDE_EINVAL, "%s '%s' does not depend on the student: nothing would flow to it", m->e->kind,
               m->e->name);
    return NULL;
  }
  if (d[1]->kind == SONDE_KIND_CONST) return d[0];
  return d[0]->kind == SONDE_KIND_CONST ? sonde_mul(in[Q], d[1]) : sonde_add(d[0], sonde_mul(in[Q], d[1]));
}

static int64_t function_of(const making *m, sonde_error *err) {
  const int64_t dim[3] = {1, SONDE_POINTWISE_STRETCH, 1};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 3, dim);
  sonde_node *in[INPUTS];
  for (int k = 0; k < INPUTS; k++) {
    in[k] = sonde_input(m->g, names[k], &shape);
    if (in[k] && k != LOG_Q) sonde_site_publish(m->site, names[k], in[k]);
  }
  sonde_node *y = build(m, in[LOG_Q]);
  if (!y) return sonde_graph_error(m->g, err);
  if (sonde_params_count(m->params))
    return sonde_fail(err, SONDE_EINVAL, "%s '%s' has a parameter, '%s': a divergence has none", m->e->kind, m->e->name,
                      sonde_params_at(m->params, 0)->name);
  sonde_node *dy = slope_of(m, y, in, err);
  if (!dy) return err->code ? err->code : sonde_graph_error(m->g, err);
  int64_t number = sonde_pointwise_of(in, INPUTS, y, dy, err);
  if (number < 0) sonde_wrap(err, "%s '%s'", m->e->kind, m->e->name);
  return number;
}

int64_t sonde_divergence_of(sonde_ctx *ctx, const sonde_entry *e, const sonde_value *values, sonde_script_build script,
                            void *user, sonde_error *err) {
  making m = {.ctx = ctx, .e = e, .values = values, .script = script, .user = user,
              .g = sonde_graph_new(ctx, err), .params = sonde_params_new(0, err)};
  sonde_site_spec spec = {.graph = m.g, .params = m.params, .policy = sonde_policy_normal(1), .slot = "distill",
                          .prefix = "", .width = 1, .batch = 1, .context = SONDE_POINTWISE_STRETCH};
  if (m.g && m.params) m.site = sonde_site_new(&spec, err);
  int64_t number = m.site ? function_of(&m, err) : err->code;
  sonde_site_free(m.site);
  sonde_params_free(m.params);
  sonde_graph_free(m.g);
  return number;
}
