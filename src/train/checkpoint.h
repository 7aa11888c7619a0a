/* checkpoint.h - everything a training run needs to go on bit for bit, in RUN/checkpoint: model.safetensors (weights
 * and buffers), optimizer.safetensors ("<state>.<parameter>"), state.json (the counters below) and SHA256SUMS (of the
 * three, as `sha256sum -c` takes it; checkpoints of format 1 have none and are read without).
 *
 * A checkpoint is written to a folder of its own, RUN/checkpoint-<step>, and synced; RUN/checkpoint is a symbolic link
 * that a rename switches from the old folder to the new one, so there is a whole checkpoint under that name at any
 * instant. The old folder goes only after the switch is on disk; whatever fails before leaves the old one, whatever
 * fails later the new one. */
#ifndef SONDE_TRAIN_CHECKPOINT_H
#define SONDE_TRAIN_CHECKPOINT_H

#include "train/optimizer.h"

enum { SONDE_CHECKPOINT_NAME = 512 };   /* bytes of the name of a checkpoint's folder */
enum { SONDE_METRICS_MOST = 16 };       /* metrics beside the loss */

/* A metric as the loss: the sum over the updates since the last line of metrics, the last mean, that of the last
 * evaluation. */
typedef struct sonde_metric_state { double sum, last, val; } sonde_metric_state;

typedef struct sonde_progress {
  int64_t step;              /* updates done */
  int64_t tokens;            /* tokens seen in training */
  int64_t sequence;          /* the next row of training text: the data position; random ops count with it too */
  uint64_t seed;             /* of the parameters */
  int64_t metrics_bytes;     /* length of metrics.jsonl */
  double seconds;            /* of training, all sessions together */
  double loss_sum;           /* of the steps since the last line of metrics */
  int64_t loss_steps;        /* and how many they are */
  double loss, val_loss;     /* last values, for a result that is asked for again; NaN: none yet */
  double best_loss;          /* the lowest of the evaluations; NaN: none yet */
  int64_t stale;             /* evaluations since then */
  int32_t n_metrics;
  const char *metric_name[SONDE_METRICS_MOST];   /* set by the caller, for loading too: only these are read */
  sonde_metric_state metric[SONDE_METRICS_MOST];
  char stopped[200];         /* why it was ended before its last update, by sonde_trainer_stop; "": it was not */
  /* where the text began, and how many updates the optimizer's states had seen: 0, or those ... */
  int64_t first_sequence;
  int64_t first_update;      /* ... of the run whose checkpoint this one started from */
  char metrics_sha256[65];   /* of metrics.jsonl's metrics_bytes; "" in a checkpoint of format 1 */
} sonde_progress;

int sonde_checkpoint_exists(const char *run_dir);
int sonde_checkpoint_save(const char *run_dir, const sonde_params *params, const sonde_optim *optim,
                          const sonde_progress *progress, sonde_error *err);

/* Reads weights and states into params and optim (whose parameters must be those of the checkpoint; optim NULL: weights
 * alone). What RUN/checkpoint points at is read; where that is gone or damaged, the newest whole checkpoint that lies
 * beside it, with a warning. EFORMAT names the file that is damaged or does not fit, and the first
 * tensor that it lacks or has too many. `folder` gets the name of the one
 * that was read. */
int sonde_checkpoint_load(const char *run_dir, sonde_params *params, sonde_optim *optim, sonde_progress *progress,
                          char folder[SONDE_CHECKPOINT_NAME], sonde_error *err);

/* The one that was read becomes RUN/checkpoint, and the others, and what a process that was killed while saving has
 * left, are removed: for the run's own process. */
int sonde_checkpoint_adopt(const char *run_dir, const char *folder, sonde_error *err);

#endif
