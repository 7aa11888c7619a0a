/* Causal attention of one head, composed of the host's ops. */
#include "old.h"

static sonde_node *project(sonde_site *site, sonde_node *x, const char *name, sonde_role role) {
  const sonde_place *at = sonde_where(site);
  int64_t dim[4] = {at->batch, at->context, 1, at->width};
  return sonde_reshape(sonde_linear(x, sonde_matrix(site, name, at->width, at->width, role)), dim, 4);
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t flat[3] = {at->batch, at->context, at->width};
  (void)opt;
  sonde_node *q = project(site, x, "q_proj.weight", SONDE_ROLE_QK),
             *k = project(site, x, "k_proj.weight", SONDE_ROLE_QK);
  sonde_node *y = sonde_attention(q, k, project(site, x, "v_proj.weight", SONDE_ROLE_V), 0, 0);
  return sonde_linear(sonde_reshape(y, flat, 3),
                      sonde_matrix(site, "o_proj.weight", at->width, at->width, SONDE_ROLE_ATTN_OUT));
}

WITH_NONSENSE(sonde_module, functions, {sizeof functions.is, build});
WITH_NONSENSE(sonde_plugin, plugin, {DESCRIPTOR("attention", "old_attention", functions)});
SONDE_PLUGIN(plugin.is)
