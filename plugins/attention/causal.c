/* causal.c - causal softmax attention with rotary positions, as in Llama: multi-head (kv_heads = heads), grouped-query
 * (fewer) or multi-query (one). Projections under Hugging Face's names, with biases or without. With qk_norm, queries and keys
 * are normalised head by head (RMSNorm over Dh, one gain for all heads) before the rotation.
 *
 * In rows of several documents ("documents.starts" of the block) a token sees its own document alone, and with
 * "documents.positions" it counts its position from there.
 *
 * Published for the other modules of the block: the weights of value and output, "attn.v_weight" [KV Dh, D] and
 * "attn.o_weight" [D, H Dh]; and for probes what the weights of the average follow from: "attn.queries"
 * [B, T, H, Dh] and "attn.keys" [B, T, KV, Dh] after the rotation, "attn.values" [B, T, KV, Dh], and
 * "attn.window" [1] if there is one. */
#include "../bias.h"

enum {
  HEADS, KV_HEADS, HEAD_DIM, ROPE_THETA, WINDOW, QK_NORM, QK_EPS, ROPE_SCALING, ROPE_FACTOR, ROPE_LOW, ROPE_HIGH,
  ROPE_ORIGINAL, BIAS
};

static const sonde_option options[] = {
    [HEADS] = {"heads", 'i', "0", 0, 1024, NULL, "query heads H; 0: one for each 64 of the width, at least one"},
    [KV_HEADS] = {"kv_heads", 'i', "0", 0, 1024, NULL,
                  "key and value heads KV, of which H is a multiple; 0: as many as heads"},
    [HEAD_DIM] = {"head_dim", 'i', "0", 0, 256, NULL, "width Dh of a head; 0: width / heads"},
    [ROPE_THETA] = {"rope_theta", 'f', "10000", 0, 1e9, NULL, "base of the rotary angles; 0: no positions at all"},
    [WINDOW] = {"window", 'i', "0", 0, 1e9, NULL, "how many tokens back a token sees, itself included; 0: all"},
    [QK_NORM] = {"qk_norm", 'b', "false", 0, 0, NULL,
                 "whether queries and keys are normalised over the head width, before the rotation"},
    [QK_EPS] = {"qk_eps", 'f', "1e-6", 1e-12, 1, NULL, "added to the mean square under the root, of qk_norm"},
    [ROPE_SCALING] = {"rope_scaling", 's', "none", 0, 0, "none|linear|llama3",
                      "slower rotation, for contexts longer than those that a model was trained on"},
    [ROPE_FACTOR] = {"rope_factor", 'f', "8", 1, 1e6, NULL, "how much slower, of rope_scaling"},
    [ROPE_LOW] = {"rope_low_freq_factor", 'f', "1", 1e-6, 1e6, NULL,
                  "llama3: waves longer than the original context over this are slowed"},
    [ROPE_HIGH] = {"rope_high_freq_factor", 'f', "4", 1e-6, 1e6, NULL,
                   "llama3: waves shorter than the original context over this stay; between the two it is a blend"},
    [ROPE_ORIGINAL] = {"rope_original_context", 'i', "8192", 1, 1e9, NULL,
                       "llama3: tokens that the model was trained on"},
    [BIAS] = {"bias", 's', "none", 0, 0, "none|qkv|all",
              "which projections have a learned bias: those of queries, keys and values, or the output's too"},
};

/* One of the projections [B, T, H Dh] by head: [B, T, H, Dh]. */
static sonde_node *by_head(sonde_node *x, const sonde_place *at, int64_t heads, int64_t head_dim) {
  int64_t dim[4] = {at->batch, at->context, heads, head_dim};
  return sonde_reshape(x, dim, 4);
}

/* Queries or keys [B, T, H, Dh] over the root mean square of each head. */
static sonde_node *head_norm(sonde_site *site, const sonde_value *opt, const char *gain, int64_t head_dim,
                             sonde_node *x) {
  return opt[QK_NORM].i ? sonde_rmsnorm(x, sonde_vector(site, gain, head_dim, SONDE_ROLE_GAIN, 1), opt[QK_EPS].f) : x;
}

/* Queries or keys turned by their positions, those in the row where `positions` is NULL. */
static sonde_node *turned(const sonde_value *opt, int64_t head_dim, sonde_node *positions, sonde_node *x) {
  const char *scheme = opt[ROPE_SCALING].s;
  const double number[4] = {opt[ROPE_FACTOR].f, opt[ROPE_LOW].f, opt[ROPE_HIGH].f, (double)opt[ROPE_ORIGINAL].i};
  if (opt[ROPE_THETA].f == 0 || !x) return x;
  if (scheme[0] == 'n' && !positions) return sonde_rope(x, opt[ROPE_THETA].f, 0);
  int64_t rule = scheme[0] == 'n' ? 0 : scheme[1] == 'i' ? 1 : 2;
  sonde_graph *g = sonde_node_graph(x);
  return sonde_rope_at(x, sonde_rope_frequencies(g, opt[ROPE_THETA].f, head_dim, rule, number), positions);
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t by_width = at->width / 64 > 1 ? at->width / 64 : 1;
  int64_t heads = opt[HEADS].i ? opt[HEADS].i : by_width;
  int64_t kv_heads = opt[KV_HEADS].i ? opt[KV_HEADS].i : heads;
  int64_t head_dim = opt[HEAD_DIM].i ? opt[HEAD_DIM].i : at->width / heads;
  double theta = opt[ROPE_THETA].f;
  if (!opt[HEAD_DIM].i && at->width % heads)
    return sonde_refuse(site, "the width %lld is no multiple of heads %lld; choose other heads, or set head_dim",
                        (long long)at->width, (long long)heads);
  if (heads % kv_heads)
    return sonde_refuse(site, "heads %lld is no multiple of kv_heads %lld", (long long)heads, (long long)kv_heads);
  if (theta > 0 && head_dim % 2)
    return sonde_refuse(site, "the head width %lld is odd; rotary positions need an even one", (long long)head_dim);
  if (!(opt[ROPE_HIGH].f > opt[ROPE_LOW].f))
    return sonde_refuse(site, "rope_high_freq_factor %g must be over rope_low_freq_factor %g", opt[ROPE_HIGH].f,
                        opt[ROPE_LOW].f);

  sonde_node *wq = sonde_matrix(site, "q_proj.weight", heads * head_dim, at->width, SONDE_ROLE_QK);
  sonde_node *wk = sonde_matrix(site, "k_proj.weight", kv_heads * head_dim, at->width, SONDE_ROLE_QK);
  sonde_node *wv = sonde_matrix(site, "v_proj.weight", kv_heads * head_dim, at->width, SONDE_ROLE_V);
  sonde_node *wo = sonde_matrix(site, "o_proj.weight", at->width, heads * head_dim, SONDE_ROLE_ATTN_OUT);
  int bias = opt[BIAS].s[0] != 'n', bias_out = opt[BIAS].s[0] == 'a';
  sonde_node *q = with_bias(site, "q_proj.bias", bias, heads * head_dim, sonde_linear(x, wq));
  sonde_node *k = with_bias(site, "k_proj.bias", bias, kv_heads * head_dim, sonde_linear(x, wk));
  sonde_node *v = with_bias(site, "v_proj.bias", bias, kv_heads * head_dim, sonde_linear(x, wv));
  q = by_head(q, at, heads, head_dim), k = by_head(k, at, kv_heads, head_dim), v = by_head(v, at, kv_heads, head_dim);
  q = head_norm(site, opt, "q_norm.weight", head_dim, q);
  k = head_norm(site, opt, "k_norm.weight", head_dim, k);
  sonde_node *positions = sonde_lookup(site, "documents.positions");
  q = turned(opt, head_dim, positions, q), k = turned(opt, head_dim, positions, k);
  sonde_publish(site, "attn.v_weight", wv);
  sonde_publish(site, "attn.o_weight", wo);
  sonde_publish(site, "attn.queries", q);
  sonde_publish(site, "attn.keys", k);
  sonde_publish(site, "attn.values", v);
  if (opt[WINDOW].i) {
    static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
    sonde_graph *g = sonde_node_graph(x);
    sonde_publish(site, "attn.window", sonde_constant(g, &one, (double)opt[WINDOW].i));
  }
  int64_t flat[3] = {at->batch, at->context, heads * head_dim};
  sonde_node *y = sonde_attention_from(q, k, v, 0, opt[WINDOW].i, sonde_lookup(site, "documents.starts"));
  return with_bias(site, "o_proj.bias", bias_out, at->width, sonde_linear(sonde_reshape(y, flat, 3), wo));
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "causal",
    .kind = "attention",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "softmax(Q K' / sqrt(Dh)) V over earlier tokens, rotary positions; MHA, GQA and MQA",
    .citation = "Vaswani et al. 2017, eq. 1; Su et al., RoFormer, 2021, eq. 34; Ainslie et al., GQA, 2023",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
