/* causal.c - causal softmax attention with rotary positions, as in Llama: multi-head (kv_heads = heads), grouped-query
 * (fewer) or multi-query (one). Projections under Hugging Face's names, with biases or without. With qk_norm, queries
 * and keys are normalised before the rotation: head by head, with one gain for all heads (Qwen 3) or one for each
 * (StableLM), or over all heads at once (OLMo 2). With alibi nothing is rotated, and what a score loses grows with the
 * distance (Press et al. 2022). clip bounds the projections before the rotation (OLMo), softcap the scores (Gemma 2).
 *
 * Which earlier tokens a query sees: all, or the last of a window, and beside a window the first ones, the sinks (Xiao
 * et al. 2024); or blocks of them: its own, the first and those whose mean key has the highest product with the query
 * (Lu et al. 2025, MoBA), or every n-th (Child et al. 2019). What no query of a block sees is not computed.
 *
 * In rows of several documents ("documents.starts" of the block) a token sees its own document alone, from which sinks
 * and blocks count, and with "documents.positions" it counts its position from there.
 *
 * Published for the other modules of the block: the weights of value and output, "attn.v_weight" [KV Dh, D] and
 * "attn.o_weight" [D, H Dh]; and for probes "attn.values" [B, T, KV, Dh] and "attn.heads" [B, T, H, Dh], what the heads
 * give, the result of the op attention. */
#include "causal_rope.h"

#include "../bias.h"

enum {
  HEADS, KV_HEADS, HEAD_DIM, WINDOW, SINKS, BLOCKS, BLOCK_SIZE, BLOCK_TOP, BLOCK_CHOICE, BLOCK_STRIDE, QK_NORM,
  QK_NORM_OVER, QK_NORM_KIND, QK_EPS, BIAS, CLIP, SCALE, SOFTCAP, ALIBI, ROPE
};

static const sonde_option options[] = {
    [HEADS] = {"heads", 'i', "0", 0, 1024, NULL, "query heads H; 0: one for each 64 of the width, at least one"},
    [KV_HEADS] = {"kv_heads", 'i', "0", 0, 1024, NULL,
                  "key and value heads KV, of which H is a multiple; 0: as many as heads"},
    [HEAD_DIM] = {"head_dim", 'i', "0", 0, 256, NULL, "width Dh of a head; 0: width / heads"},
    [WINDOW] = {"window", 'i', "0", 0, 1e9, NULL, "how many tokens back a token sees, itself included; 0: all"},
    [SINKS] = {"sinks", 'i', "0", 0, 1e9, NULL,
               "how many of the first tokens a token sees beside its window or its blocks; 0: none"},
    [BLOCKS] = {"blocks", 's', "all", 0, 0, "all|top|strided",
                "blocks of earlier tokens that a token sees: all; top, its own, the first and the block_top others "
                "whose mean key has the highest product with its query; strided, its own and every block_stride-th "
                "before it; with a window, these and the window"},
    [BLOCK_SIZE] = {"block_size", 'i', "64", 1, 1e9, NULL, "of blocks: tokens of a block"},
    [BLOCK_TOP] = {"block_top", 'i', "2", 0, 1e6, NULL,
                   "of blocks = top: how many are chosen beside the first and a token's own"},
    [BLOCK_CHOICE] = {"block_choice", 's', "block", 0, 0, "block|query",
                      "of blocks = top: block, the first query of a block chooses for all of it; query, each one for "
                      "itself"},
    [BLOCK_STRIDE] = {"block_stride", 'i', "4", 1, 1e9, NULL, "of blocks = strided: blocks from one to the next"},
    [QK_NORM] = {"qk_norm", 'b', "false", 0, 0, NULL,
                 "whether queries and keys are normalised over the head width, before the rotation"},
    [QK_NORM_OVER] = {"qk_norm_over", 's', "head", 0, 0, "head|each|all",
                      "of qk_norm: head, each head's width, with one gain for all; each, the same with a gain for each "
                      "head; all, the width of all heads"},
    [QK_NORM_KIND] = {"qk_norm_kind", 's', "rms", 0, 0, "rms|layer", "of qk_norm: RMSNorm, or LayerNorm without bias"},
    [QK_EPS] = {"qk_eps", 'f', "1e-6", 1e-12, 1, NULL, "added to the mean square under the root, of qk_norm"},
    [BIAS] = {"bias", 's', "none", 0, 0, "none|qkv|all",
              "which projections have a learned bias: those of queries, keys and values, or the output's too"},
    [CLIP] = {"clip", 'f', "0", 0, 1e6, NULL,
              "queries, keys and values are cut off at -clip and clip, before the rotation; 0: nowhere"},
    [SCALE] = {"score_scale", 'f', "0", 0, 1e6, NULL, "factor of the scores q k; 0: 1/sqrt(Dh)"},
    [SOFTCAP] = {"softcap", 'f', "0", 0, 1e6, NULL, "scores are c tanh(score / c), before the mask; 0: as they are"},
    [ALIBI] = {"alibi", 'b', "false", 0, 0, NULL,
               "in place of rotary positions a score is less by the distance times a slope, 2^(-8 h/H) in head h"},
    ROPE_OPTIONS(ROPE),
};

/* One of the projections [B, T, H Dh]: biased, normalised over all heads, cut off, and by head, [B, T, H, Dh]. */
typedef struct projection { char name; int64_t heads; sonde_node *weight; } projection;

/* Queries or keys normalised over the last axis, n wide, with one gain [n] or one for each of `rows`, [rows, n]. */
static sonde_node *normed(sonde_site *site, const sonde_value *opt, char name, int64_t rows, int64_t n, sonde_node *x) {
  char called[16] = "?_norm.weight";
  const int64_t dim[2] = {rows, n};
  const sonde_shape vector = {SONDE_F32, 1, {n, 1, 1, 1, 1}};
  called[0] = name;
  sonde_node *gain = rows ? sonde_site_param(site, called, dim, 2, SONDE_ROLE_GAIN, 1)
                          : sonde_vector(site, called, n, SONDE_ROLE_GAIN, 1);
  if (!x) return NULL;
  sonde_graph *g = sonde_node_graph(x);
  sonde_node *inner = rows ? sonde_constant(g, &vector, 1) : gain;
  sonde_node *y = opt[QK_NORM_KIND].s[0] == 'r'
                      ? sonde_rmsnorm(x, inner, opt[QK_EPS].f)
                      : sonde_layernorm(x, inner, sonde_constant(g, &vector, 0), opt[QK_EPS].f);
  return rows ? sonde_mul(y, gain) : y;
}

static sonde_node *all_heads(sonde_site *site, const sonde_value *opt, const projection *p, int64_t width,
                             sonde_node *x) {
  char name[16] = "?_proj.bias";
  name[0] = p->name;
  sonde_node *y = with_bias(site, name, opt[BIAS].s[0] != 'n', width, sonde_linear(x, p->weight));
  if (opt[QK_NORM].i && opt[QK_NORM_OVER].s[0] == 'a' && p->name != 'v') y = normed(site, opt, p->name, 0, width, y);
  if (opt[CLIP].f == 0) return y;
  static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
  sonde_graph *g = sonde_node_graph(x);
  return sonde_max(sonde_min(y, sonde_constant(g, &one, opt[CLIP].f)), sonde_constant(g, &one, -opt[CLIP].f));
}

static sonde_node *project(sonde_site *site, const sonde_value *opt, const projection *p, int64_t head_dim,
                           sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  const char over = opt[QK_NORM_OVER].s[0];
  int64_t dim[4] = {at->batch, at->context, p->heads, head_dim};
  sonde_node *y = sonde_reshape(all_heads(site, opt, p, p->heads * head_dim, x), dim, 4);
  if (!opt[QK_NORM].i || over == 'a' || p->name == 'v') return y;
  return normed(site, opt, p->name, over == 'e' ? p->heads : 0, head_dim, y);
}

/* Queries or keys as positions have it. */
static sonde_node *placed(sonde_site *site, const sonde_value *opt, int64_t head_dim, sonde_node *x) {
  return opt[ALIBI].i ? x : rope_turn(site, opt + ROPE, head_dim, sonde_lookup(site, "documents.positions"), x);
}

/* What a query sees. */
static sonde_pattern pattern_of(sonde_site *site, const sonde_value *opt, sonde_node *q, sonde_node *k) {
  const char kind = opt[BLOCKS].s[0];
  const int64_t size = opt[BLOCK_SIZE].i, every = opt[BLOCK_CHOICE].s[0] == 'b' ? size : 1;
  sonde_pattern p = {.window = opt[WINDOW].i, .sinks = opt[SINKS].i, .size = kind == 'a' ? 0 : size};
  if (kind == 's') p.stride = opt[BLOCK_STRIDE].i;
  if (kind == 't') p.blocks = sonde_attention_blocks(q, k, size, opt[BLOCK_TOP].i, every,
                                                     sonde_lookup(site, "documents.starts"));
  return p;
}

/* An option that is not its default and does nothing with these blocks; NULL: there is none. */
static const char *idle_option(const sonde_value *opt) {
  const char kind = opt[BLOCKS].s[0];
  if (kind == 'a' && opt[BLOCK_SIZE].i != atoll(options[BLOCK_SIZE].preset)) return "block_size";
  if (kind != 't' && opt[BLOCK_TOP].i != atoll(options[BLOCK_TOP].preset)) return "block_top";
  if (kind != 't' && strcmp(opt[BLOCK_CHOICE].s, options[BLOCK_CHOICE].preset)) return "block_choice";
  if (kind != 's' && opt[BLOCK_STRIDE].i != atoll(options[BLOCK_STRIDE].preset)) return "block_stride";
  return NULL;
}

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *x) {
  const sonde_place *at = sonde_where(site);
  int64_t by_width = at->width / 64 > 1 ? at->width / 64 : 1;
  int64_t heads = opt[HEADS].i ? opt[HEADS].i : by_width;
  int64_t kv_heads = opt[KV_HEADS].i ? opt[KV_HEADS].i : heads;
  int64_t head_dim = opt[HEAD_DIM].i ? opt[HEAD_DIM].i : at->width / heads;
  if (!opt[HEAD_DIM].i && at->width % heads)
    return sonde_refuse(site, "the width %lld is no multiple of heads %lld; choose other heads, or set head_dim",
                        (long long)at->width, (long long)heads);
  if (heads % kv_heads)
    return sonde_refuse(site, "heads %lld is no multiple of kv_heads %lld", (long long)heads, (long long)kv_heads);
  if (!opt[ALIBI].i && !rope_is_fit(site, opt + ROPE, head_dim)) return NULL;
  if (opt[SINKS].i && !opt[WINDOW].i && opt[BLOCKS].s[0] == 'a')
    return sonde_refuse(site, "sinks %lld has no effect where a token sees all before it; set a window, or blocks",
                        (long long)opt[SINKS].i);
  if (idle_option(opt))
    return sonde_refuse(site, "%s has no effect with blocks = %s; leave it out, or choose other blocks",
                        idle_option(opt), opt[BLOCKS].s);

  projection of_q = {'q', heads, sonde_matrix(site, "q_proj.weight", heads * head_dim, at->width, SONDE_ROLE_QK)};
  projection of_k = {'k', kv_heads, sonde_matrix(site, "k_proj.weight", kv_heads * head_dim, at->width, SONDE_ROLE_QK)};
  projection of_v = {'v', kv_heads, sonde_matrix(site, "v_proj.weight", kv_heads * head_dim, at->width, SONDE_ROLE_V)};
  sonde_node *wo = sonde_matrix(site, "o_proj.weight", at->width, heads * head_dim, SONDE_ROLE_ATTN_OUT);
  sonde_node *q = project(site, opt, &of_q, head_dim, x), *k = project(site, opt, &of_k, head_dim, x);
  sonde_node *v = project(site, opt, &of_v, head_dim, x);
  sonde_node *slopes = opt[ALIBI].i ? sonde_alibi_slopes(sonde_node_graph(x), heads) : NULL;
  q = placed(site, opt, head_dim, q), k = placed(site, opt, head_dim, k);
  sonde_publish(site, "attn.v_weight", of_v.weight);
  sonde_publish(site, "attn.o_weight", wo);
  sonde_publish(site, "attn.values", v);
  int64_t flat[3] = {at->batch, at->context, heads * head_dim};
  const sonde_pattern pattern = pattern_of(site, opt, q, k);
  sonde_node *y = sonde_attention_by(q, k, v, opt[SCALE].f, opt[SOFTCAP].f, &pattern,
                                     sonde_lookup(site, "documents.starts"), slopes);
  sonde_publish(site, "attn.heads", y);
  y = sonde_linear(sonde_reshape(y, flat, 3), wo);
  return with_bias(site, "o_proj.bias", opt[BIAS].s[0] == 'a', at->width, y);
}

static const sonde_module functions = {sizeof functions, build};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "causal",
    .kind = "attention",
    .version = "1.2",
    .build = SONDE_BUILD,
    .summary = "softmax(Q K' / sqrt(Dh)) V over earlier tokens, rotary positions or ALiBi; MHA, GQA and MQA",
    .citation = "Vaswani et al. 2017, eq. 1; Su et al., RoFormer, 2021, eq. 34; Press et al., ALiBi, "
                "2022, sec. 3; Ainslie et al., GQA, 2023; Xiao et al., StreamingLLM, 2024; Lu et al., MoBA, 2025; "
                "Child et al., Sparse Transformers, 2019",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
