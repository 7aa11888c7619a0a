/* trainer_state.h - the trainer's insides: made in trainer.c, moved on in loop.c. */
#ifndef SONDE_TRAIN_TRAINER_STATE_H
#define SONDE_TRAIN_TRAINER_STATE_H

#include "graph/refresh.h"
#include "train/checkpoint.h"
#include "train/gather.h"
#include "train/trainer.h"
#include "train/tree.h"

enum { METRICS_NAME = 128 };     /* bytes of a metric's name in the run's metrics */

struct sonde_trainer {
  sonde_ctx *ctx;
  sonde_trainer_opts opts;
  sonde_graph *graph;
  sonde_optim *optim;
  sonde_tree *tree;              /* sums the gradients of micro-batches */
  int64_t rows, items;           /* of a micro-batch: B, and N, those of the loss */
  int64_t trained;               /* parameters that are trained */
  void *data[SONDE_FEED_INPUTS]; /* the micro-batch that runs, for each input of the feed */
  int32_t *targets;              /* that of opts.targets among them, or NULL */
  float course[SONDE_COURSES_MOST];   /* of the update that runs */
  float *counted;                /* [B] the input "counted"; NULL: the graph has none */

  /* The plans; they share one arena. step[a][p]: a 1 writes the gradients aside, for the tree; p 1 also gives the
   * variance of each probe, and the entropies. Those that are never needed are NULL. */
  sonde_plan *eval, *step[2][2];
  sonde_plan_opts plan_opts;

  sonde_refresh *refresh;        /* computes the buffers */
  sonde_gathering *gather;          /* NULL: nothing is gathered */

  sonde_progress progress;
  sonde_train_event event;       /* as last handed out */
  double *variance, *entropy;    /* [n_probe], [n_entropy] */
  double loss[SONDE_TREE_LEVELS];/* partial sums over micro-batches */
  double metric[SONDE_METRICS_MOST][SONDE_TREE_LEVELS];
  double mean[SONDE_METRICS_MOST], val_mean[SONDE_METRICS_MOST];   /* what the event points at */
  int uses;                      /* whether it runs, and so uses the parameters (sonde_params_use) */
  int pending;                   /* the last event was a HOOK, after which the boundary is not done yet */
  double lr, norm;
  double interval_seconds;       /* of training since the last line of metrics */
  int64_t interval_tokens, interval_steps;
  double waits_since;            /* sonde_clock_seconds() at the event PREPARE; 0: nobody was asked */
  double last_tick, last_save;   /* sonde_clock_seconds() at the last event and checkpoint */
};

int sonde_trainer_evaluates(const sonde_trainer *t);
/* Copies the data of the micro-batch into a plan; EINVAL names an input that the data do not have. */
int sonde_trainer_set_inputs(const sonde_trainer *t, sonde_plan *plan, sonde_error *err);

#endif
