/* trainer.h - trains a traced model: sums gradients over micro-batches, updates, evaluates, records and checkpoints.
 *
 * Pull-style: the caller asks for the next event and shows it; nothing calls back. A step allocates nothing and runs
 * no Lua. What it computes depends on the options and the data alone, not on threads, events or restarts. */
#ifndef SONDE_TRAIN_TRAINER_H
#define SONDE_TRAIN_TRAINER_H

#include "record/run.h"
#include "train/feed.h"
#include "train/checkpoint.h"
#include "train/optimizer.h"
#include "train/schedule.h"

typedef struct sonde_trainer sonde_trainer;

/* What is reported beside the loss: the mean of `node`, [N] (a value an item, 0 for items that do not count) or one
 * number (a mean already). `eval` is the same of the evaluation; either may be NULL: not there. */
typedef struct sonde_metric { const char *name; sonde_node *node, *eval; } sonde_metric;

/* A number that changes from update to update: the graph's input of that name, f32 [1], is value[k - 1] in update k. */
enum { SONDE_COURSES_MOST = 8 };
typedef struct sonde_course { const char *input; const double *value; } sonde_course;

typedef struct sonde_trainer_opts {
  /* The model, traced for one micro-batch of B rows: the graph of `loss` [N], the loss of each item, has inputs that
   * the feed fills, and a leaf named as each of the parameters. If it has an input "counted" f32 [B], that is 1 for a
   * row of data and 0 for one that only fills an evaluation's last micro-batch up. */
  sonde_node *loss;
  sonde_node *eval_loss;               /* [N], traced without dropout; NULL: `loss` */
  sonde_node *total;                   /* the sum that is minimised, one number; NULL: that of `loss` */
  /* [n_courses], at most SONDE_COURSES_MOST, each of schedule.steps values; all of it is borrowed */
  const sonde_course *course;
  int32_t n_courses;
  const sonde_metric *metric;          /* [n_metrics], at most SONDE_METRICS_MOST; the names are borrowed */
  int32_t n_metrics;
  /* the input i32 [N] where SONDE_IGNORE marks items that do not count; NULL: none */
  const char *targets;
  sonde_params *params;
  const sonde_factors *factors;        /* [parameters] of lr and weight_decay; NULL: all 1. Only read by _new */
  sonde_node *const *probe;            /* block outputs [.., D] whose variance is recorded; may be NULL */
  int32_t n_probe;
  sonde_node *const *entropy;          /* of each block's attention, whose mean is recorded too; may be NULL */
  int32_t n_entropy;
  int32_t blocks;                      /* blocks of the model, for the gradient norm of each */
  uint64_t seed;                       /* of the parameters: recorded */
  /* the update */
  const sonde_optimizer *optimizer;
  const sonde_value *optimizer_values;
  sonde_schedule schedule;             /* schedule.steps: how many updates there are */
  int32_t accumulate;                  /* micro-batches an update, >= 1; their sums are trees (tree.h) */
  double weight_decay, clip;           /* clip 0: none */
  int32_t decay_embeddings, decay_gains;   /* as in sonde_optim_opts */
  double loss_bound;                   /* a mean loss over this has diverged; 0: only NaN and infinity have */
  int64_t memory_budget;               /* bytes for weights, gradients, states and arena; 0: no bound */
  int32_t recompute, compute;          /* as in sonde_plan_opts */
  /* a sparsity method that sums up gradients in the buffers NAME.gathered (gather.h); NULL: none does */
  const sonde_sparsity *gather;
  const sonde_value *gather_values;
  /* the data */
  const sonde_feed *feed;
  /* evaluation reads the first rows that hold so many items; 0: all; below: none */
  int64_t eval_tokens;
  /* what happens when: every so many updates; 0: never (evaluation and checkpoint: at the end only) */
  int64_t log_every, eval_every, checkpoint_every, probe_every;
  double checkpoint_seconds;           /* and a checkpoint whenever the last is so old; 0: never */
  double tick_seconds;                 /* time between events for a progress display; 0: none */
  const int64_t *hook_every;           /* [n_hooks] a HOOK event after each update whose number one of these divides */
  int32_t n_hooks;
  int32_t hook_eval;                   /* 1: and after each evaluation */
  double peak_flops;                   /* FLOP/s of the machine at most, for MFU; 0: not known */
  /* when it ends before its last update: as if that had been the last one */
  int64_t patience;                    /* after so many evaluations in a row without a lower loss; 0: never */
  double max_seconds;                  /* after so long a training, all sessions together; 0: never */
  const volatile int *stop;            /* not 0: save and stop after the step that is running; may be NULL */
  /* where a training that has no checkpoint of its own begins */
  int32_t forget_stop;                 /* 1: a checkpoint that sonde_trainer_stop ended goes on */
  const char *from;                    /* weights of the checkpoint of this run folder; NULL: those that params have */
  int32_t from_optimizer;              /* 1: the optimizer's states too, which go on counting updates */
  int32_t from_text;                   /* 1: the text goes on where that run was */
  sonde_run *run;                      /* where metrics and checkpoints go; NULL: nowhere */
} sonde_trainer_opts;

/* What an event says happened since the last one; several bits may be set. */
enum {
  SONDE_TRAIN_TICK = 1,          /* some time has passed */
  SONDE_TRAIN_LOG = 2,           /* a line of metrics is written */
  SONDE_TRAIN_EVAL = 4,
  SONDE_TRAIN_CHECKPOINT = 8,
  SONDE_TRAIN_DONE = 16,         /* all updates are done */
  SONDE_TRAIN_DIVERGED = 32,     /* the loss or a gradient is not finite, or the loss is over its bound */
  SONDE_TRAIN_INTERRUPTED = 64,  /* *stop was set; the checkpoint is written */
  SONDE_TRAIN_HOOK = 128,        /* a hook is due: checkpoint and end of this update wait for the next call */
  SONDE_TRAIN_PREPARE = 256      /* the feed waits for rows of the next update (feed.h): bring them, then go on */
};

typedef struct sonde_train_event {
  uint32_t what;
  int64_t step, steps, tokens;   /* updates done and to do; tokens trained on */
  int64_t sequence, rows;        /* PREPARE: the rows of the next update, from sequence on */
  double loss;                   /* mean over the updates since the last line of metrics */
  double update_loss;            /* of the last update; NaN: none in this session */
  const double *metric;          /* [n_metrics] like loss, of the metrics; NaN: none. Belongs to the trainer ... */
  const double *val_metric;      /* ... as does this, of the last evaluation */
  double val_loss;               /* of the last evaluation; NaN: none yet, or it gave NaN ... */
  int32_t has_val_loss;          /* ... which is so where this is 1: there was an evaluation */
  double best_loss;              /* the lowest of all evaluations; NaN: none yet */
  double lr, grad_norm;          /* of the last update; the norm before clipping */
  const double *block_norm;      /* [blocks]; belongs to the trainer */
  const double *variance;        /* [n_probe] of the last update that was probed; NULL: none yet */
  const double *entropy;         /* [n_entropy] of that update, nats; NULL: none yet */
  const double *update_ratio;    /* [blocks] of that update: ||change of the weights|| / ||weights||; NULL: none yet */
  double tokens_per_s, ms_per_step;
  double mfu;                    /* fraction of the peak; 0: not known. All three since the last line */
  double seconds, eta;           /* of training so far and to come */
  char reason[200];              /* DIVERGED: what, and at which step. DONE: why before its last update, or "" */
} sonde_train_event;

/* Makes gradients, plans and states; the handles in opts are borrowed and must stay, but for graph and params, of which
 * a reference is taken. ELIMIT: it does not fit the budget. With a run that has a checkpoint, it is loaded. */
sonde_trainer *sonde_trainer_new(sonde_ctx *ctx, const sonde_trainer_opts *opts, sonde_error *err);
void sonde_trainer_free(sonde_trainer *t);

/* Trains until the next event. After DONE, DIVERGED or INTERRUPTED the same event comes again. Failures (a disk that
 * is full) leave the last checkpoint as it was. */
int sonde_trainer_run(sonde_trainer *t, sonde_train_event *event, sonde_error *err);

/* Ends the training after the update that was last made, as if that had been the last one, for this reason: the next
 * sonde_trainer_run evaluates, saves and gives DONE. Of a training that has ended nothing changes. */
void sonde_trainer_stop(sonde_trainer *t, const char *reason);

/* Mean loss over the items of the evaluation that count; *items (may be NULL): how many they are. metric (may be NULL):
 * [n_metrics] the means of the metrics, NaN for one that evaluation does not have. */
int sonde_trainer_evaluate(sonde_trainer *t, double *loss, double *metric, int64_t *items, sonde_error *err);

/* Adds a line to the run's metrics (nothing without a run): a number that was measured after the update made last,
 * outside the trainer. The name must have fewer than 128 characters that JSON does not escape. EINVAL, EIO. */
int sonde_trainer_record(sonde_trainer *t, const char *name, double value, sonde_error *err);

int64_t sonde_trainer_step(const sonde_trainer *t);    /* updates done: not 0 after a resumed start */
int32_t sonde_trainer_blocks(const sonde_trainer *t);  /* lengths of an event's block_norm ... */
int32_t sonde_trainer_probes(const sonde_trainer *t);  /* ... variance ... */
int32_t sonde_trainer_entropies(const sonde_trainer *t);   /* ... and entropy */

/* Bytes: the arena that the plans share, and weights, gradients and optimizer states. */
typedef struct sonde_trainer_memory { int64_t arena, state; int32_t recomputed_blocks; } sonde_trainer_memory;
sonde_trainer_memory sonde_trainer_memory_of(const sonde_trainer *t);
/* Arithmetic for a token (or another item) of a micro-batch, as its plan counts it, without what is computed again to
 * save memory. */
double sonde_trainer_flops(const sonde_trainer *t);

/* What the updates that measure blocks give beside what all give: the variance of each probe and the mean of each
 * entropy, into out[n_probe + n_entropy]. A NULL among them: the graph has the error. */
void sonde_trainer_measures(sonde_node *const *probe, int32_t n_probe, sonde_node *const *entropy, int32_t n_entropy,
                            sonde_node **out);

/* The bytes `state` of a trainer of these parameters, from their shapes: nothing is made. */
int64_t sonde_trainer_forecast(sonde_ctx *ctx, const sonde_params *params, const sonde_optim_opts *optimizer,
                               int32_t accumulate);

/* From now on the plans of the updates add up the time of their steps. Plan k of these, from 0 to 3, or NULL: see
 * sonde_plan_step_time. The optimizer is in none of them. */
void sonde_trainer_profile(sonde_trainer *t);
const sonde_plan *sonde_trainer_plan(const sonde_trainer *t, int k);

#endif
