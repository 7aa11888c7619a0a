/* reverse_kl.c - mode-seeking: sum q (log q - log p). */
#include "divergence.h"

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  pair d = pair_of(site, log_q);
  (void)opt;
  return sonde_mul(d.q, sonde_sub(d.log_q, d.log_p));
}

DIVERGENCE("reverse_kl", "KL(q || p), p the teacher's distribution and q the student's",
           "Gu et al., MiniLLM, 2024, eq. 1", NULL, 0)
