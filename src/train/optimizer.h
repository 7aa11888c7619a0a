/* optimizer.h - drives one optimizer plugin over all parameters of a model: states, weight-decay groups, gradient
 * norms, clipping. Parameters are cut into tiles by their shapes alone, or come whole where the plugin asks for it, so
 * the bits do not depend on the threads. */
#ifndef SONDE_TRAIN_OPTIMIZER_H
#define SONDE_TRAIN_OPTIMIZER_H

#include "base/pool.h"
#include "graph/params.h"

typedef struct sonde_optim sonde_optim;

typedef struct sonde_factors { double lr, weight_decay; } sonde_factors;   /* of one parameter's rates */

typedef struct sonde_optim_opts {
  const sonde_optimizer *functions;   /* borrowed; stays while the driver lives */
  const sonde_value *values;          /* options in the order of the plugin's schema; borrowed likewise */
  double weight_decay;                /* of matrices ... */
  int32_t decay_embeddings;           /* ... of parameters of role EMBED too if 1, else they have 0 ... */
  int32_t decay_gains;                /* ... and so of the roles GAIN and BIAS */
  double clip;                        /* bound of the global gradient norm; 0: none */
  int32_t blocks;                     /* blocks of the model, for the norms per block */
  const sonde_factors *factors;       /* [parameters]; NULL: all 1. Only read by _new */
} sonde_optim_opts;

/* Makes the gradient tensors and the zero states of every parameter (all f32) that is trained
 * (sonde_param_trained). pool is borrowed; of params a reference is taken. */
sonde_optim *sonde_optim_new(sonde_params *params, sonde_pool *pool, const sonde_optim_opts *opts,
                             sonde_error *err);
void sonde_optim_free(sonde_optim *o);

sonde_tensor *sonde_optim_grad(const sonde_optim *o, int64_t param);               /* borrowed; NULL if not trained */
/* likewise, or where it has no such state */
sonde_tensor *sonde_optim_state(const sonde_optim *o, int64_t param, int state);
int sonde_optim_states(const sonde_optim *o);
const char *sonde_optim_state_name(const sonde_optim *o, int state);
/* of gradients, states and scratch */
int64_t sonde_optim_bytes(const sonde_optim *o);
int sonde_optim_decayed(const sonde_optim *o, int64_t param);                      /* 1: weight decay applies */

typedef struct sonde_grad_norm {
  double global;               /* L2 over all parameters */
  const double *block;         /* L2 over the parameters of each block, [blocks]; belongs to the driver */
} sonde_grad_norm;

/* Norms of scale * gradient, summed in f64 in a fixed order. Not finite when a gradient is not. */
sonde_grad_norm sonde_optim_norm(sonde_optim *o, double scale);

/* One update with the gradients as they stand times `scale`, clipped to opts.clip by the norm that the last call of
 * sonde_optim_norm gave. `step` counts from 1. */
void sonde_optim_update(sonde_optim *o, double scale, double lr, int64_t step);

/* The same, and how far it moved the weights of each block: ||w' - w|| / ||w|| over its parameters, [blocks], in f64; 0
 * where all weights are 0. It belongs to the driver. sonde_optim_measure, once before, makes the room that this takes:
 * for each thread as much as the largest tile, of an optimizer that takes parameters whole the largest parameter. */
int sonde_optim_measure(sonde_optim *o, sonde_error *err);
const double *sonde_optim_update_measured(sonde_optim *o, double scale, double lr, int64_t step);

#endif
