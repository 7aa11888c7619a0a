/* skewed_kl.c - DistiLLM's divergences from a mixture, whose gradient is bounded where q is small. */
#include "divergence.h"

enum { ALPHA, REVERSE };

static const sonde_option options[] = {
    [ALPHA] = {"alpha", 'f', "0.1", 0.001, 0.999, NULL, "share in the mixture of what the divergence is of"},
    [REVERSE] = {"reverse", 'b', "false", 0, 0, NULL, "KL(q || (1 - alpha) p + alpha q) in its place"},
};

static sonde_node *build(sonde_site *site, const sonde_value *opt, sonde_node *log_q) {
  pair d = pair_of(site, log_q);
  double alpha = opt[ALPHA].f;
  return opt[REVERSE].i ? skewed(d.q, d.log_q, d.log_p, alpha) : skewed(d.p, d.log_p, d.log_q, alpha);
}

DIVERGENCE("skewed_kl", "KL(p || alpha p + (1 - alpha) q), or of q from the mixture",
           "Ko et al., DistiLLM, 2024, eqs. 4 and 5", options, 2)
