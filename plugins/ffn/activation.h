/* activation.h - the activations of feed-forward layers by name, as nodes. Names of other programs' configurations that
 * mean the same are listed in lua/sonde/io/arch/parts/activation.lua. */
#ifndef SONDE_FFN_ACTIVATION_H
#define SONDE_FFN_ACTIVATION_H

#include <string.h>

#include "sonde_plugin.h"

#define ACTIVATIONS "silu|gelu|gelu_tanh|quick_gelu|relu|relu2|tanh|sigmoid|linear|mish|gelu_10"
#define ACTIVATIONS_DOC                                                                                            \
  "silu x sigmoid(x); gelu x Phi(x) by erf; gelu_tanh its form by tanh (GPT-2); quick_gelu x sigmoid(1.702 x); "    \
  "relu2 relu(x)^2; linear x; mish x tanh(log(1 + exp x)); gelu_10 gelu within -10 and 10"

static inline sonde_node *activation_bound(sonde_node *x, double value, int upper) {
  static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
  sonde_node *bound = x ? sonde_constant(sonde_node_graph(x), &one, value) : NULL;
  return upper ? sonde_min(x, bound) : sonde_max(x, bound);
}

/* tanh(log(1 + e)) = (e^2 + 2 e) / (e^2 + 2 e + 2) with e = exp x; from 20 on it is 1 in f32. */
static inline sonde_node *activation_mish(sonde_node *x) {
  sonde_node *e = sonde_exp(activation_bound(x, 20, 1));
  sonde_node *w = sonde_mul(e, sonde_affine(e, 1, 2));
  return sonde_mul(x, sonde_div(w, sonde_affine(w, 1, 2)));
}

/* `name`: one of ACTIVATIONS */
static inline sonde_node *activation(sonde_node *x, const char *name) {
  if (!strcmp(name, "silu")) return sonde_silu(x);
  if (!strcmp(name, "gelu")) return sonde_gelu(x);
  if (!strcmp(name, "gelu_tanh")) return sonde_gelu_tanh(x);
  if (!strcmp(name, "quick_gelu")) return sonde_mul(x, sonde_sigmoid(sonde_scale(x, 1.702)));
  if (!strcmp(name, "relu")) return sonde_relu(x);
  if (!strcmp(name, "relu2")) return sonde_relu2(x);
  if (!strcmp(name, "tanh")) return sonde_tanh(x);
  if (!strcmp(name, "sigmoid")) return sonde_sigmoid(x);
  if (!strcmp(name, "mish")) return activation_mish(x);
  if (!strcmp(name, "gelu_10")) return activation_bound(activation_bound(sonde_gelu(x), -10, 0), 10, 1);
  return x;
}

/* act(gate) up */
static inline sonde_node *gated(sonde_node *gate, sonde_node *up, const char *name) {
  return strcmp(name, "silu") ? sonde_mul(activation(gate, name), up) : sonde_swiglu(gate, up);
}

/* What the down projection reads, published as "ffn.hidden": h [.., F], of which a token keeps its `top` largest by
 * size, the others being 0 (top-k activation sparsity); 0: all. The gradient flows to those that are kept. */
#define TOP_K_OPTION \
  {"top_k", 'i', "0", 0, 1e7, NULL, "how many hidden activations of a token, the largest by size, are kept; 0: all"}

static inline sonde_node *hidden_of(sonde_site *site, sonde_node *h, int64_t top) {
  sonde_shape s = h ? sonde_node_shape(h) : (sonde_shape){0};
  if (h && top > s.dim[s.rank - 1])
    return sonde_refuse(site, "option 'top_k' is %lld, of %lld hidden activations", (long long)top,
                        (long long)s.dim[s.rank - 1]);
  return sonde_publish(site, "ffn.hidden", top ? sonde_mul(h, sonde_topk_mask(h, top)) : h);
}

#endif
