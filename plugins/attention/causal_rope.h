/* causal_rope.h - the rotary positions of attention: their options, and queries and keys turned by them. Schemes for
 * contexts longer than a model was trained on: linear (Chen et al. 2023), llama3 (Llama 3.1), yarn (Peng et al. 2023),
 * dynamic (NTK by length, as in transformers), longrope (Ding et al. 2024, as in Phi-3). */
#ifndef SONDE_ATTENTION_CAUSAL_ROPE_H
#define SONDE_ATTENTION_CAUSAL_ROPE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sonde_plugin.h"

/* Places behind the first of the rotary options. */
enum {
  ROPE_THETA, ROPE_PARTIAL, ROPE_SCALING, ROPE_FACTOR, ROPE_LOW, ROPE_HIGH, ROPE_ORIGINAL, ROPE_FAST, ROPE_SLOW,
  ROPE_TRUNCATE, ROPE_AMPLITUDE, ROPE_SHORT, ROPE_LONG
};

#define ROPE_OPTIONS(first)                                                                                           \
  [(first) + ROPE_THETA] = {"rope_theta", 'f', "10000", 0, 1e9, NULL,                                                 \
                            "base of the rotary angles; 0: no positions at all"},                                    \
  [(first) + ROPE_PARTIAL] = {"rope_partial", 'f', "1", 1e-6, 1, NULL,                                                \
                              "share of the head that is turned, from its front"},                                   \
  [(first) + ROPE_SCALING] = {"rope_scaling", 's', "none", 0, 0, "none|linear|llama3|yarn|dynamic|longrope",          \
                              "other rotation, for contexts longer than those that a model was trained on"},         \
  [(first) + ROPE_FACTOR] = {"rope_factor", 'f', "8", 1, 1e6, NULL, "how much slower, of rope_scaling"},              \
  [(first) + ROPE_LOW] = {"rope_low_freq_factor", 'f', "1", 1e-6, 1e6, NULL,                                          \
                          "llama3: waves longer than the original context over this are slowed"},                    \
  [(first) + ROPE_HIGH] = {"rope_high_freq_factor", 'f', "4", 1e-6, 1e6, NULL,                                        \
                           "llama3: waves shorter than the original context over this stay; between the two it is "  \
                           "a blend"},                                                                               \
  [(first) + ROPE_ORIGINAL] = {"rope_original_context", 'i', "8192", 1, 1e9, NULL,                                    \
                               "llama3, yarn, longrope: tokens that the model was trained on; dynamic: the longest " \
                               "sequence that is turned as it is"},                                                  \
  [(first) + ROPE_FAST] = {"rope_beta_fast", 'f', "32", 1e-6, 1e6, NULL,                                              \
                           "yarn: pairs that turn more often within the original context stay as they are"},         \
  [(first) + ROPE_SLOW] = {"rope_beta_slow", 'f', "1", 1e-6, 1e6, NULL,                                               \
                           "yarn: pairs that turn less often are slowed; between the two it is a blend"},            \
  [(first) + ROPE_TRUNCATE] = {"rope_truncate", 'b', "true", 0, 0, NULL,                                              \
                               "yarn: whether the blend begins and ends at whole pairs"},                            \
  [(first) + ROPE_AMPLITUDE] = {"rope_attention_factor", 'f', "1", 1e-6, 1e6, NULL,                                   \
                                "multiplies what is turned, of queries and keys both"},                              \
  [(first) + ROPE_SHORT] = {"rope_short_factors", 's', "", 0, 0, NULL,                                                \
                            "longrope: what the frequency of each pair is divided by in sequences up to the "        \
                            "original context, as numbers with commas between them"},                                \
  [(first) + ROPE_LONG] = {"rope_long_factors", 's', "", 0, 0, NULL, "longrope: the same in longer sequences"}

/* How many of a head's numbers are turned. */
static inline int64_t rope_width(const sonde_value *opt, int64_t head_dim) {
  return (int64_t)floor((double)head_dim * opt[ROPE_PARTIAL].f);
}

/* How many numbers a list holds, all over 0; -1 where it is none. */
static inline int64_t rope_count(const char *list) {
  int64_t n = 0;
  for (char *end; *list; n++, list = *end == ',' ? end + 1 : end) {
    double f = strtod(list, &end);
    if (end == list || !(f > 0) || isinf(f) || (*end && *end != ',') || (*end == ',' && !end[1])) return -1;
  }
  return n;
}

/* Whether these options can be used with heads of that width; refuses them otherwise. */
static inline int rope_is_fit(sonde_site *site, const sonde_value *opt, int64_t head_dim) {
  const char *scheme = opt[ROPE_SCALING].s;
  int64_t turned = rope_width(opt, head_dim);
  if (opt[ROPE_THETA].f == 0) return 1;
  if (turned % 2)
    sonde_refuse(site, "the head width %lld is odd; rotary positions need an even one", (long long)turned);
  else if (turned < 2)
    sonde_refuse(site, "rope_partial %g turns nothing of a head of %lld", opt[ROPE_PARTIAL].f, (long long)head_dim);
  else if (!(opt[ROPE_HIGH].f > opt[ROPE_LOW].f))
    sonde_refuse(site, "rope_high_freq_factor %g must be over rope_low_freq_factor %g", opt[ROPE_HIGH].f,
                 opt[ROPE_LOW].f);
  else if (!(opt[ROPE_FAST].f >= opt[ROPE_SLOW].f))
    sonde_refuse(site, "rope_beta_fast %g must be at least rope_beta_slow %g", opt[ROPE_FAST].f, opt[ROPE_SLOW].f);
  else if (!strcmp(scheme, "dynamic") && turned < 4)
    sonde_refuse(site, "rope_scaling 'dynamic' needs at least 4 numbers of a head that are turned, not %lld",
                 (long long)turned);
  else if (!strcmp(scheme, "longrope") && rope_count(opt[ROPE_SHORT].s) != turned / 2)
    sonde_refuse(site, "rope_scaling 'longrope' needs %lld rope_short_factors over 0, one a pair",
                 (long long)(turned / 2));
  else if (!strcmp(scheme, "longrope") && rope_count(opt[ROPE_LONG].s) != turned / 2)
    sonde_refuse(site, "rope_scaling 'longrope' needs %lld rope_long_factors over 0, one a pair",
                 (long long)(turned / 2));
  else return 1;
  return 0;
}

static inline sonde_node *rope_plain(sonde_graph *g, double theta, int64_t turned) {
  static const double number[4] = {0};
  return sonde_rope_frequencies(g, theta, turned, 0, number);
}

/* A list of numbers as a node [n]: constants put together eight at a time. */
static inline sonde_node *rope_list(sonde_graph *g, const char *list) {
  static const sonde_shape one = {SONDE_F32, 1, {1, 1, 1, 1, 1}};
  static const sonde_attr first_axis = {{0}, {0}};
  sonde_node *all = NULL;
  while (*list) {
    sonde_node *some[SONDE_MAX_IN];
    int n = 0;
    if (all) some[n++] = all;
    for (char *end; *list && n < SONDE_MAX_IN; list = *end ? end + 1 : end)
      if (!(some[n++] = sonde_constant(g, &one, strtod(list, &end)))) return NULL;
    if (!(all = sonde_op(g, "concat", some, n, &first_axis))) return NULL;
  }
  return all;
}

/* NTK by length: past the limit P the base grows with the length T, theta (f T / P - (f - 1))^(r / (r - 2)). */
static inline sonde_node *rope_dynamic(sonde_graph *g, const sonde_value *opt, int64_t turned, int64_t tokens) {
  double factor = opt[ROPE_FACTOR].f, limit = (double)opt[ROPE_ORIGINAL].i, r = (double)turned;
  double length = (double)tokens > limit ? (double)tokens : limit;
  double theta = opt[ROPE_THETA].f * pow(factor * length / limit - (factor - 1), r / (r - 2));
  return sonde_rope_by_length(rope_plain(g, opt[ROPE_THETA].f, turned), rope_plain(g, theta, turned),
                              opt[ROPE_ORIGINAL].i, tokens, 1);
}

static inline sonde_node *rope_long(sonde_graph *g, const sonde_value *opt, int64_t turned, int64_t tokens) {
  sonde_node *plain = rope_plain(g, opt[ROPE_THETA].f, turned);
  return sonde_rope_by_length(sonde_div(plain, rope_list(g, opt[ROPE_SHORT].s)),
                              sonde_div(plain, rope_list(g, opt[ROPE_LONG].s)), opt[ROPE_ORIGINAL].i, tokens, 0);
}

/* What the pairs of a head turn by from one position to the next, [turned / 2]. */
static inline sonde_node *rope_frequencies(sonde_graph *g, const sonde_value *opt, int64_t turned, int64_t tokens) {
  const char *scheme = opt[ROPE_SCALING].s;
  const double llama3[4] = {opt[ROPE_FACTOR].f, opt[ROPE_LOW].f, opt[ROPE_HIGH].f, (double)opt[ROPE_ORIGINAL].i};
  const double yarn[4] = {opt[ROPE_FACTOR].f, opt[ROPE_FAST].f, opt[ROPE_SLOW].f, (double)opt[ROPE_ORIGINAL].i};
  if (!strcmp(scheme, "none")) return rope_plain(g, opt[ROPE_THETA].f, turned);
  if (!strcmp(scheme, "dynamic")) return rope_dynamic(g, opt, turned, tokens);
  if (!strcmp(scheme, "longrope")) return rope_long(g, opt, turned, tokens);
  if (!strcmp(scheme, "yarn"))
    return sonde_rope_frequencies(g, opt[ROPE_THETA].f, turned, opt[ROPE_TRUNCATE].i ? 3 : 4, yarn);
  return sonde_rope_frequencies(g, opt[ROPE_THETA].f, turned, scheme[1] == 'i' ? 1 : 2, llama3);
}

/* Queries or keys [B, T, H, Dh] turned by their positions, those in the row where `positions` is NULL. */
static inline sonde_node *rope_turn(sonde_site *site, const sonde_value *opt, int64_t head_dim, sonde_node *positions,
                                    sonde_node *x) {
  int64_t turned = rope_width(opt, head_dim);
  double amplitude = opt[ROPE_AMPLITUDE].f;
  if (opt[ROPE_THETA].f == 0 || !x) return x;
  if (opt[ROPE_SCALING].s[0] == 'n' && !positions && turned == head_dim && amplitude == 1)
    return sonde_rope(x, opt[ROPE_THETA].f, 0);
  sonde_node *w = rope_frequencies(sonde_node_graph(x), opt, turned, sonde_where(site)->context);
  return sonde_rope_scaled(x, w, positions, amplitude);
}

#endif
