/* jsd.c - the generalised Jensen-Shannon divergence; with beta 0.5 the Jensen-Shannon divergence itself. */
#include "divergence.h"

enum { BETA };

static const sonde_option options[] = {
    [BETA] = {"beta", 'f', "0.5", 0.001, 0.999, NULL,
              "the teacher's share of the mixture and weight; towards 0 the gradient is that of KL(p || q), towards 1 "
              "that of KL(q || p)"},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  pair d = pair_of(site, log_q);
  double beta = opt[BETA].f;
  return sonde_add(sonde_scale(skewed(d.p, d.log_p, d.log_q, beta), beta),
                   sonde_scale(skewed(d.q, d.log_q, d.log_p, 1 - beta), 1 - beta));
}

DIVERGENCE("jsd", "beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q",
           "Agarwal et al., On-Policy Distillation of Language Models (GKD), 2024, eq. 1", options, 1)
