/* sample.h - the choice of the next token from logits. */
#ifndef SONDE_TRAIN_SAMPLE_H
#define SONDE_TRAIN_SAMPLE_H

#include "base/rng.h"

typedef struct sonde_sampling {
  double temperature;        /* 0: the largest logit (greedy) */
  int64_t top_k;             /* only the k largest; 0: all */
  /* of these, only the largest that hold this probability together; 1: all (Holtzman et al. 2020) */
  double top_p;
} sonde_sampling;

/* Scratch for choosing among V tokens. */
typedef struct sonde_candidates {
  float *weight;             /* [V] */
  int32_t *token;            /* [V] */
} sonde_candidates;

/* The token for one row of logits [vocab]; `index` counts the choices of this stream, so that they can be repeated.
 * Ties go to the smaller token. -1: a logit is not finite. */
int32_t sonde_sample(const float *logits, int64_t vocab, const sonde_sampling *s, sonde_rng rng, uint64_t index,
                     sonde_candidates scratch);

/* The log of the sum of the exponentials of a row of logits [vocab]: logit - that is a token's log-probability. NaN: a
 * logit is not finite. `weight` [vocab] is scratch. */
double sonde_log_sum_exp(const float *logits, int64_t vocab, float *weight);

/* The k tokens with the largest logits, largest first; of equal ones the smaller token first. k <= vocab. */
void sonde_likeliest(const float *logits, int64_t vocab, int64_t k, int32_t *token);

#endif
