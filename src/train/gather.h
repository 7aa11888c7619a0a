/* gather.h - what a sparsity method sums up of the gradients of a training: for each matrix with a buffer NAME.gathered
 * (sonde_params_gather), at every update, before it moves the weights. */
#ifndef SONDE_TRAIN_GATHER_H
#define SONDE_TRAIN_GATHER_H

#include "train/optimizer.h"

typedef struct sonde_gathering sonde_gathering;

/* The method has `gather`; method, values and pool are borrowed, of params a reference is taken. EINVAL: no parameter
 * has such a buffer. */
sonde_gathering *sonde_gathering_new(sonde_params *params, sonde_pool *pool, const sonde_sparsity *method,
                               const sonde_value *values, sonde_error *err);
void sonde_gathering_free(sonde_gathering *g);

/* Adds what the gradients that the optimizer has, times scale, say. */
int sonde_gathering_add(sonde_gathering *g, const sonde_optim *optim, double scale, sonde_error *err);

#endif
