/* soft_ce.c - the cross-entropy of the student under the teacher: the gradient of forward_kl, and the teacher's entropy
 * more in value. */
#include "divergence.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  pair d = pair_of(site, log_q);
  (void)opt;
  return sonde_neg(sonde_mul(d.p, d.log_q));
}

DIVERGENCE("soft_ce", "-sum p log q: the cross-entropy of soft targets",
           "Zhang et al., Towards the Law of Capacity Gap in Distilling Language Models (MiniMA), 2023, section 3.2",
           NULL, 0)
