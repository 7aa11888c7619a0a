/* jsd.c - the generalised Jensen-Shannon divergence; with beta 0.5 the Jensen-Shannon divergence itself. */
#include "divergence.h"

enum { BETA };

static const sonde_option options[] = {
    [BETA] = {"beta", 'f', "0.5", 0.001, 0.999, NULL,
              "the teacher's share of the mixture and weight; towards 0 the gradient is that of KL(p || q), towards 1 "
              "that of KL(q || p)"},
};

/* One mixture for both sides: log m/p and log m/q differ by log q/p. It is held still, since what flows through it
 * cancels: of beta p log p/m + (1 - beta) q log q/m the slope by log m is -(beta p + (1 - beta) q) = -m, and dm is
 * (1 - beta) dq, so that -(1 - beta) dq meets the (1 - beta) q dlog q of the second logarithm. What stays is
 * (1 - beta) dq log q/m. */
static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  pair d = pair_of(site, log_q);
  double beta = opt[BETA].f;
  sonde_node *log_q_over_p = sonde_detach(sonde_sub(log_q, d.log_p));
  mixture m = mixture_of(log_q_over_p, beta);
  sonde_node *over_p = sonde_add(m.log_m, m.larger), *over_q = sonde_sub(m.log_m, sonde_sub(log_q_over_p, m.larger));
  return sonde_add(sonde_mul(d.q, sonde_scale(over_q, beta - 1)), sonde_scale(sonde_mul(d.p, over_p), -beta));
}

DIVERGENCE("jsd", "beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q",
           "Agarwal et al., On-Policy Distillation of Language Models (GKD), 2024, eq. 1", options, 1)
