/* forward_kl.c - the divergence of Hinton et al.: mean-seeking, sum p (log p - log q). */
#include "divergence.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  pair d = pair_of(site, log_q);
  (void)opt;
  return sonde_mul(d.p, sonde_sub(d.log_p, d.log_q));
}

DIVERGENCE("forward_kl", "KL(p || q), p the teacher's distribution and q the student's",
           "Hinton et al., Distilling the Knowledge in a Neural Network, 2015, section 2", NULL, 0)
