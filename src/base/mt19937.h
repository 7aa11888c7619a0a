/* mt19937.h - CPython's random module, bit for bit: the Mersenne twister (Matsumoto and Nishimura, 1998) as
 * random.Random(seed) starts it, and the draws that evaluation programs make from it. For few-shot examples and
 * bootstrapped errors that must equal theirs; everything else uses rng.h. */
#ifndef SONDE_BASE_MT19937_H
#define SONDE_BASE_MT19937_H

#include "base/error.h"
#include "base/pool.h"

typedef struct sonde_mt { uint32_t state[624]; int at; } sonde_mt;

void sonde_mt_seed(sonde_mt *m, uint64_t seed);          /* random.Random(seed) */
/* sample(range(n), k) into out[k]: 0 <= k <= n, 0 < n <= 2^31. ENOMEM. */
int sonde_mt_sample(sonde_mt *m, int64_t n, int64_t k, int64_t *out);

/* Statistics of a list: exp(-mean x); and the F1 of class 1 where x is 2 gold + predicted (0 where it has no
 * instance). */
typedef enum sonde_statistic { SONDE_PERPLEXITY, SONDE_F1 } sonde_statistic;
double sonde_statistic_of(sonde_statistic what, const double *x, int64_t n);

/* The bootstrapped standard error of a statistic as lm-evaluation-harness computes it (Efron, 1979): `resamples` draws
 * of n out of x with replacement, in chunks of at most 1000 of which chunk i is random.Random(i).choices; the sample
 * standard deviation of the statistics. A rest that fills no chunk is left out, as there. resamples >= 2. ENOMEM. */
int sonde_bootstrap(sonde_statistic what, const double *x, int64_t n, int64_t resamples, sonde_pool *pool, double *out,
                    sonde_error *err);

#endif
