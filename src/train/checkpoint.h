/* checkpoint.h - everything a training run needs to go on bit for bit, in RUN/checkpoint: model.safetensors (weights
 * and buffers), optimizer.safetensors ("<state>.<parameter>") and state.json (the counters below).
 *
 * A checkpoint is written to a folder of its own, RUN/checkpoint-<step>, and synced; RUN/checkpoint is a symbolic link
 * that a rename switches from the old folder to the new one, so there is a whole checkpoint under that name at any
 * instant. The old folder goes afterwards. */
#ifndef SONDE_TRAIN_CHECKPOINT_H
#define SONDE_TRAIN_CHECKPOINT_H

#include "train/optimizer.h"

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
} sonde_progress;

int sonde_checkpoint_exists(const char *run_dir);
int sonde_checkpoint_save(const char *run_dir, const sonde_params *params, const sonde_optim *optim,
                          const sonde_progress *progress, sonde_error *err);

/* Reads weights and states into params and optim (whose parameters must be those of the checkpoint), and removes what a
 * process that was killed while saving has left. EFORMAT names the file that is damaged or does not fit. */
int sonde_checkpoint_load(const char *run_dir, sonde_params *params, sonde_optim *optim,
                          sonde_progress *progress, sonde_error *err);

#endif
