/* rng.h - counter-based random numbers (Philox4x32-10; Salmon et al., SC 2011): a value is a function of
 * (seed, stream, index) only, so it does not depend on threads, order or resuming. */
#ifndef SONDE_BASE_RNG_H
#define SONDE_BASE_RNG_H

#include <stdint.h>

typedef struct sonde_rng { uint64_t seed, stream; } sonde_rng;

sonde_rng sonde_rng_stream(uint64_t seed, const char *name);  /* "init/<param>", "data", "dropout", "sampling" */
void sonde_rng_block(sonde_rng r, uint64_t index, uint32_t out[4]);
uint64_t sonde_rng_u64(sonde_rng r, uint64_t index);
double sonde_rng_uniform(sonde_rng r, uint64_t index);        /* [0, 1) */
/* Fills x[0..n) with normal values of index offset + i (Box-Muller), truncated at `trunc` standard deviations (0: not
 * truncated). */
void sonde_rng_fill_normal(sonde_rng r, uint64_t offset, float *x, int64_t n, float mean, float std, float trunc);
/* A pseudorandom permutation of [0, n) evaluated at one point (Feistel with cycle walking): shuffling without a
 * table. */
uint64_t sonde_rng_permute(sonde_rng r, uint64_t n, uint64_t i);

#endif
