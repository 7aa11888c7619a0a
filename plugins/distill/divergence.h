/* divergence.h - what the divergences share. Of each class: log p and p are the teacher's, log q (the module's x) and q
 * the student's; a module gives the term of each class, and the loss of a token is their sum. */
#ifndef SONDE_PLUGINS_DISTILL_DIVERGENCE_H
#define SONDE_PLUGINS_DISTILL_DIVERGENCE_H

#include "sonde_plugin.h"

typedef struct pair { sonde_node *p, *log_p, *q, *log_q; } pair;

static inline pair pair_of(sonde_site *site, sonde_node *log_q) {
  return (pair){sonde_lookup(site, "p"), sonde_lookup(site, "log_p"), sonde_lookup(site, "q"), log_q};
}

/* Of m = share a + (1 - share) b, from log b - log a: log of m over the larger of a and b; log of that larger one less
 * log a; and b's part of m. Both exponents are at most 0, so nothing overflows; of equal a and b both logarithms are
 * exactly 0 where share and 1 - share add up to 1. */
typedef struct mixture { sonde_node *log_m, *larger, *b_part; } mixture;

static inline mixture mixture_of(sonde_node *log_b_over_a, double share) {
  sonde_node *larger = sonde_relu(log_b_over_a);
  sonde_node *own = sonde_scale(sonde_exp(sonde_neg(larger)), share);
  sonde_node *other = sonde_scale(sonde_exp(sonde_sub(log_b_over_a, larger)), 1 - share);
  sonde_node *sum = sonde_add(own, other);
  return (mixture){sonde_log(sum), larger, sonde_div(other, sum)};
}

/* The terms of KL(a || share a + (1 - share) b). log m/a is held still, and its slope, b's part of m, is added with a
 * difference that is 0: through the formula of the mixture it would cost more than all the rest. */
SONDE_INLINE sonde_node *skewed(sonde_node *a, sonde_node *log_a, sonde_node *log_b, double share) {
  sonde_node *log_b_over_a = sonde_sub(log_b, log_a), *still = sonde_detach(log_b_over_a);
  mixture m = mixture_of(still, share);
  sonde_node *slope = sonde_mul(m.b_part, sonde_sub(log_b_over_a, still));
  return sonde_neg(sonde_mul(a, sonde_add(sonde_add(m.log_m, m.larger), slope)));
}

#define DIVERGENCE(NAME, SUMMARY, CITATION, OPTIONS, N_OPTIONS)                                                     \
  static const sonde_module functions = {sizeof functions, build};                                                  \
  static const sonde_plugin plugin = {                                                                              \
      .abi_major = SONDE_ABI_MAJOR, .abi_minor = SONDE_ABI_MINOR, .size = sizeof plugin, .name = NAME,              \
      .kind = "distill", .version = "1.0", .build = SONDE_BUILD, .summary = SUMMARY, .citation = CITATION,          \
      .options = OPTIONS, .n_options = N_OPTIONS, .functions = &functions};                                         \
  SONDE_PLUGIN(plugin)

#endif
