/* moe.c - a mixture of experts: a router sends each token to k of E gated feed-forward layers, and their results are
 * added up by its weights. Dropless: every token goes to all of its k experts, however unequal their loads are.
 *
 * With p = softmax(W_r x) over all E experts, in f32 with any compute dtype, and S the k largest of p (of equals those
 * of lower number): y = sum over e in S of w_e W_down,e (act(W_gate,e x) * W_up,e x), w_e = p_e, or with `renormalize`
 * p_e / sum over S of p.
 *
 * Two losses are added to the training's, of all N tokens of a micro-batch (not of a whole step of several):
 *   balance   E sum over e of f_e P_e, f_e the share of the N k choices that are of expert e, P_e the mean of p_e; 1
 *             where both are even (Fedus et al., Switch Transformers, 2022, eq. 4). Gradients flow through P alone.
 *   router_z  mean over the tokens of logsumexp(W_r x)^2 (Zoph et al., ST-MoE, 2022, eq. 5)
 * each of every layer by itself, times its weight, and by balance_scaling times 1/L (the sum over the blocks is their
 * mean), 1, or 1/L^l in block l = 1..L: that is what released code computes whose blocks divide one shared weight by L
 * in turn.
 *
 * Looks up "router.kept" [E] for interventions: the weights of an expert are times it.
 * For other modules and probes: "router.probabilities" [N, E], "router.experts" i32 [N, k], "router.weights" [N, k],
 * "router.load" [E] (f), "router.entropy" [N, 1] (of p, in nats), "router.dropped" [1], which is 0, and "ffn.hidden"
 * [B, T, k F], of a token's routed experts in falling order of their weights. */
#include <math.h>

#include "activation.h"

enum { EXPERTS, TOP_K, HIDDEN, ACTIVATION, RENORMALIZE, SHARED, SHARED_COMBINE, BALANCE, Z_LOSS, SCALING };

static const sonde_option options[] = {
    [EXPERTS] = {"experts", 'i', "8", 1, 65536, NULL, "experts E"},
    [TOP_K] = {"top_k", 'i', "2", 1, 65536, NULL, "experts k that a token goes to"},
    [HIDDEN] = {"hidden", 'i', "0", 0, 1e7, NULL,
                "inner width F of an expert; 0: 8/3 of the width over top_k, rounded up to a multiple of 8"},
    [ACTIVATION] = {"activation", 's', "silu", 0, 0, ACTIVATIONS, "of the gate: " ACTIVATIONS_DOC},
    [RENORMALIZE] = {"renormalize", 'b', "false", 0, 0, NULL, "whether the k weights of a token are made to sum to 1"},
    [SHARED] = {"shared", 'i', "0", 0, 1e7, NULL, "inner width of an expert that all tokens go to; 0: none"},
    [SHARED_COMBINE] = {"shared_combine", 's', "sum", 0, 0, "sum|mean|gated",
                        "with its result s and that of the routed ones r: sum s + r (DeepSeek); mean (s + k r)/(k + 1) "
                        "(SPA); gated sigmoid(w x) s + r (Qwen2-MoE)"},
    [BALANCE] = {"balance", 'f', "0.01", 0, 1e6, NULL, "weight of the loss that balances the load"},
    [Z_LOSS] = {"z_loss", 'f', "0.001", 0, 1e6, NULL, "weight of the loss that keeps the router's logits small"},
    [SCALING] = {"balance_scaling", 's', "mean", 0, 0, "mean|sum|released",
                 "factor of both losses in block l of L: mean 1/L, sum 1, released 1/L^l"},
};

typedef struct layer {
  sonde_site *site;
  const sonde_value *opt;
  sonde_node *x;                     /* [N, D] */
  sonde_node *token, *place, *offsets;
  int64_t tokens, width, experts, k;
} layer;

/* ---- the router ---------------------------------------------------------------------------------------- */

/* The share of the choices that are of each expert, [E]; no gradient. */
static sonde_node *load_of(const layer *m) {
  sonde_node *begin = sonde_detach(sonde_cast(m->offsets, SONDE_F32));
  sonde_node *count = sonde_sub(sonde_slice(begin, 0, 1, m->experts), sonde_slice(begin, 0, 0, m->experts));
  return sonde_scale(count, 1.0 / ((double)m->tokens * (double)m->k));
}

static double scaling(const layer *m) {
  const sonde_place *at = sonde_where(m->site);
  const char *how = m->opt[SCALING].s;
  if (!strcmp(how, "sum")) return 1;
  return pow(1.0 / at->depth, strcmp(how, "released") ? 1 : at->layer);
}

static void publish_losses(const layer *m, sonde_node *logits, sonde_node *p, sonde_node *load) {
  const double scale = scaling(m), balance = m->opt[BALANCE].f, z = m->opt[Z_LOSS].f;
  sonde_node *log_p = sonde_op1("log_softmax", logits);
  sonde_node *mean = sonde_scale(sonde_sum_to(p, &m->experts, 1), 1.0 / (double)m->tokens);
  sonde_node *lse = sonde_sub(sonde_slice(logits, 1, 0, 1), sonde_slice(log_p, 1, 0, 1));
  if (balance > 0)
    sonde_publish(m->site, "loss.balance",
                  sonde_scale(sonde_sum_all(sonde_mul(load, mean)), balance * scale * (double)m->experts));
  if (z > 0)
    sonde_publish(m->site, "loss.router_z",
                  sonde_scale(sonde_sum_all(sonde_square(lse)), z * scale / (double)m->tokens));
  sonde_publish(m->site, "router.entropy", sonde_neg(sonde_sum_last(sonde_mul(p, log_p))));
}

/* The weights times what is kept of each expert. */
static sonde_node *kept(const layer *m, sonde_node *weight, sonde_node *chosen) {
  sonde_node *all = sonde_lookup(m->site, "router.kept");
  int64_t column[2] = {m->experts, 1}, flat[2] = {m->tokens, m->k};
  return all ? sonde_mul(weight, sonde_reshape(sonde_gather(sonde_reshape(all, column, 2), chosen), flat, 2)) : weight;
}

/* The weights [N, k] of each token's experts; the order of the tokens by expert into m. */
static sonde_node *route(layer *m) {
  static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
  sonde_node *router = sonde_matrix(m->site, "gate.weight", m->experts, m->width, SONDE_ROLE_ROUTER);
  sonde_node *logits = sonde_linear_f32(m->x, router), *p = sonde_softmax(logits);
  sonde_node *chosen = sonde_top_k(p, m->k), *weight = sonde_take_along(p, chosen);
  m->token = sonde_expert_order(chosen, m->experts);
  if (!m->token || !weight) return NULL;
  m->place = sonde_result(m->token, 1);
  m->offsets = sonde_result(m->token, 2);
  if (m->opt[RENORMALIZE].i) weight = sonde_div(weight, sonde_sum_last(weight));
  weight = kept(m, weight, chosen);
  sonde_node *load = load_of(m);
  publish_losses(m, logits, p, load);
  sonde_publish(m->site, "router.probabilities", p);
  sonde_publish(m->site, "router.experts", chosen);
  sonde_publish(m->site, "router.weights", weight);
  sonde_publish(m->site, "router.load", load);
  sonde_publish(m->site, "router.dropped", sonde_constant(sonde_node_graph(m->x), &one, 0));
  return weight;
}

/* ---- the experts --------------------------------------------------------------------------------------- */

/* Rows in the order of their experts, times the matrices [E, out, in] of these. */
static sonde_node *by_expert(const layer *m, sonde_node *rows, const char *name, int64_t out, int64_t in,
                             sonde_role role) {
  int64_t dim[3] = {m->experts, out, in};
  return sonde_linear_by_expert(rows, sonde_site_param(m->site, name, dim, 3, role, 0), m->offsets);
}

static sonde_node *routed(layer *m, int64_t hidden) {
  sonde_node *weight = route(m), *rows = sonde_gather(m->x, m->token);
  sonde_node *gate = by_expert(m, rows, "experts.gate_proj.weight", hidden, m->width, SONDE_ROLE_FFN_IN);
  sonde_node *up = by_expert(m, rows, "experts.up_proj.weight", hidden, m->width, SONDE_ROLE_FFN_IN);
  sonde_node *h = gated(gate, up, m->opt[ACTIVATION].s);
  const sonde_place *at = sonde_where(m->site);
  int64_t of_token[3] = {at->batch, at->context, m->k * hidden};
  sonde_publish(m->site, "ffn.hidden", sonde_reshape(sonde_gather(h, m->place), of_token, 3));
  sonde_node *y = by_expert(m, h, "experts.down_proj.weight", m->width, hidden, SONDE_ROLE_FFN_OUT);
  return sonde_expert_sum(y, weight, m->place);
}

static sonde_node *shared(const layer *m, int64_t hidden) {
  sonde_site *site = m->site;
  sonde_node *gate = sonde_matrix(site, "shared_expert.gate_proj.weight", hidden, m->width, SONDE_ROLE_FFN_IN);
  sonde_node *up = sonde_matrix(site, "shared_expert.up_proj.weight", hidden, m->width, SONDE_ROLE_FFN_IN);
  sonde_node *h = gated(sonde_linear(m->x, gate), sonde_linear(m->x, up), m->opt[ACTIVATION].s);
  return sonde_linear(h, sonde_matrix(site, "shared_expert.down_proj.weight", m->width, hidden, SONDE_ROLE_FFN_OUT));
}

static sonde_node *combined(const layer *m, sonde_node *routed_sum, sonde_node *of_all) {
  const char *how = m->opt[SHARED_COMBINE].s;
  const double k = (double)m->k;
  if (!strcmp(how, "mean")) return sonde_add(sonde_scale(of_all, 1 / (k + 1)), sonde_scale(routed_sum, k / (k + 1)));
  if (!strcmp(how, "gated")) {
    sonde_node *open = sonde_matrix(m->site, "shared_expert_gate.weight", 1, m->width, SONDE_ROLE_ROUTER);
    of_all = sonde_mul(sonde_sigmoid(sonde_linear(m->x, open)), of_all);
  }
  return sonde_add(of_all, routed_sum);
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  sonde_shape s = sonde_node_shape(x);
  layer m = {.site = site, .opt = opt, .tokens = s.dim[0] * s.dim[1], .width = s.dim[2], .experts = opt[EXPERTS].i,
             .k = opt[TOP_K].i};
  int64_t flat[2] = {m.tokens, m.width}, part = (8 * m.width + 3 * m.k - 1) / (3 * m.k);
  if (m.k > m.experts)
    return sonde_refuse(site, "top_k %lld is more than there are experts (%lld)", (long long)m.k,
                        (long long)m.experts);
  if (!opt[SHARED].i && strcmp(opt[SHARED_COMBINE].s, options[SHARED_COMBINE].preset))
    return sonde_refuse(site, "shared_combine has no effect without a shared expert; leave it out, or set shared");
  if (opt[BALANCE].f == 0 && opt[Z_LOSS].f == 0 && strcmp(opt[SCALING].s, options[SCALING].preset))
    return sonde_refuse(site, "balance_scaling has no effect without balance and z_loss; leave it out, or set one");
  m.x = sonde_reshape(x, flat, 2);
  sonde_node *y = routed(&m, opt[HIDDEN].i ? opt[HIDDEN].i : (part + 7) / 8 * 8);
  if (opt[SHARED].i) y = combined(&m, y, shared(&m, opt[SHARED].i));
  return sonde_reshape(y, s.dim, 3);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "moe",
    .kind = "ffn",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "y = sum over the k most probable of E experts of p_e W_down,e (act(W_gate,e x) * W_up,e x)",
    .citation = "Shazeer et al., Outrageously Large Neural Networks, 2017; Gale et al., MegaBlocks (dropless), 2022; "
                "losses: Fedus et al., Switch Transformers, 2022, eq. 4; Zoph et al., ST-MoE, 2022, eq. 5",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
