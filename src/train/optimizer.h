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
/* the same of one that sonde_optim_new would make: nothing is made */
int64_t sonde_optim_forecast(const sonde_params *params, sonde_pool *pool, const sonde_optim_opts *opts);
int sonde_optim_decayed(const sonde_optim *o, int64_t param);                      /* 1: weight decay applies */

typedef struct sonde_grad_norm {
  double global;               /* L2 over all parameters */
  const double *block;         /* L2 over the parameters of each block, [blocks]; belongs to the driver */
} sonde_grad_norm;

/* What an update is made with: computed by the caller, in f64. */
typedef struct sonde_update_block {
  double loss, loss_bound;     /* the mean loss, and what it may be; 0: any finite one */
  double scale;                /* of the gradients: 1 / items */
  double lr;
  int64_t step;                /* from 1 */
  int measured;                /* 1: how far it moves the weights is measured */
} sonde_update_block;

typedef enum sonde_skipped {
  SONDE_UPDATED, SONDE_SKIPPED_LOSS, SONDE_SKIPPED_GRADIENT, SONDE_SKIPPED_BOUND
} sonde_skipped;

typedef struct sonde_update_result {
  sonde_grad_norm norm;        /* of scale * gradient, in f64 in a fixed order; not finite when a gradient is not */
  sonde_skipped skipped;
  const double *ratio;         /* measured: ||w' - w|| / ||w|| of each block, [blocks], in f64, 0 where w is 0;
                                  belongs to the driver. NULL: not measured */
} sonde_update_result;

/* One update with the gradients as they stand times block->scale, clipped to opts.clip. It looks for itself whether
 * it can be made: where the loss or the norm is not finite, or the loss over its bound, weights and states stay as
 * they are. */
int sonde_optim_update(sonde_optim *o, const sonde_update_block *block, sonde_update_result *result, sonde_error *err);

/* Makes the room that a measured update takes, once before the first: for each thread as much as the largest tile, of
 * an optimizer that takes parameters whole the largest parameter. */
int sonde_optim_measure(sonde_optim *o, sonde_error *err);

#endif
