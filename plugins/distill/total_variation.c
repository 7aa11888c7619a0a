/* total_variation.c - half the sum of |p - q|: bounded by 1, with bounded slopes. */
#include "divergence.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  pair d = pair_of(site, log_q);
  (void)opt;
  return sonde_scale(sonde_abs(sonde_sub(d.q, d.p)), 0.5);
}

DIVERGENCE("total_variation", "1/2 sum |p - q|", "Wen et al., f-Divergence Minimization for Sequence-Level Knowledge "
           "Distillation, 2023, section 3.1", NULL, 0)
