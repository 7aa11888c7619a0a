/* divergence.h - what the divergences share. Of each class: log p and p are the teacher's, log q (the module's x) and q
 * the student's; a module gives the term of each class, and the loss of a token is their sum. */
#ifndef SONDE_PLUGINS_DISTILL_DIVERGENCE_H
#define SONDE_PLUGINS_DISTILL_DIVERGENCE_H

#include "sonde_plugin.h"

typedef struct pair { sonde_node *p, *log_p, *q, *log_q; } pair;

static inline pair pair_of(sonde_site *site, sonde_node *log_q) {
  return (pair){sonde_lookup(site, "p"), sonde_lookup(site, "log_p"), sonde_lookup(site, "q"), log_q};
}

/* log(m / a) for m = share a + (1 - share) b, from log b - log a. Both exponents are at most 0, so nothing overflows,
 * and of equal a and b it is exactly 0 where share and 1 - share add up to 1. */
SONDE_INLINE sonde_node *log_mixture(sonde_node *log_b_over_a, double share) {
  sonde_node *top = sonde_relu(log_b_over_a);
  sonde_node *own = sonde_scale(sonde_exp(sonde_neg(top)), share);
  sonde_node *other = sonde_scale(sonde_exp(sonde_sub(log_b_over_a, top)), 1 - share);
  return sonde_add(top, sonde_log(sonde_add(own, other)));
}

/* The terms of KL(a || share a + (1 - share) b). */
SONDE_INLINE sonde_node *skewed(sonde_node *a, sonde_node *log_a, sonde_node *log_b, double share) {
  return sonde_neg(sonde_mul(a, log_mixture(sonde_sub(log_b, log_a), share)));
}

#define DIVERGENCE(NAME, SUMMARY, CITATION, OPTIONS, N_OPTIONS)                                                     \
  static const sonde_module functions = {sizeof functions, build};                                                  \
  static const sonde_plugin plugin = {                                                                              \
      .abi_major = SONDE_ABI_MAJOR, .abi_minor = SONDE_ABI_MINOR, .size = sizeof plugin, .name = NAME,              \
      .kind = "distill", .version = "1.0", .build = SONDE_BUILD, .summary = SUMMARY, .citation = CITATION,          \
      .options = OPTIONS, .n_options = N_OPTIONS, .functions = &functions};                                         \
  SONDE_PLUGIN(plugin)

#endif
