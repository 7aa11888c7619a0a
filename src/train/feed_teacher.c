/* feed_teacher.c - a feed with what a teacher's cache has of each of its rows. */
#include <string.h>

#include "base/mem.h"
#include "tensor/tensor.h"
#include "train/feed.h"

typedef struct teacher_feed {
  sonde_feed feed;               /* first: what others see */
  sonde_feed *inner;             /* its inputs come first */
  const sonde_taught *cache;
  char *name[2];
  int64_t row_bytes[SONDE_FEED_INPUTS];
} teacher_feed;

static int teacher_train(const sonde_feed *f, int64_t sequence, int64_t rows, void *const *data, sonde_error *err) {
  const teacher_feed *t = (const teacher_feed *)f;
  const int32_t ids = t->inner->inputs, logs = ids + 1;
  int rc = t->inner->train(t->inner, sequence, rows, data, err);
  for (int64_t k = 0; k < rows && !rc; k++)
    rc = sonde_taught_read(t->cache, sequence + k, (int32_t *)(void *)((char *)data[ids] + k * t->row_bytes[ids]),
                          (float *)(void *)((char *)data[logs] + k * t->row_bytes[logs]), err);
  return rc;
}

/* A cache is of the training's rows: evaluation reads nothing of it. */
static int teacher_valid(const sonde_feed *f, int64_t row, int64_t rows, void *const *data, sonde_error *err) {
  const teacher_feed *t = (const teacher_feed *)f;
  for (int32_t k = t->inner->inputs; k < f->inputs; k++) memset(data[k], 0, (size_t)(rows * t->row_bytes[k]));
  return t->inner->valid(t->inner, row, rows, data, err);
}

static void teacher_free(sonde_feed *f) {
  teacher_feed *t = (teacher_feed *)f;
  sonde_feed_free(t->inner);
  sonde_release(t->name[0]);
  sonde_release(t->name[1]);
  sonde_release(t);
}

sonde_feed *sonde_feed_teacher(sonde_feed *inner, const sonde_taught *cache, const char *ids, const char *logs,
                               sonde_error *err) {
  const sonde_taught_info *info = sonde_taught_info_of(cache);
  const int64_t of_ids[2] = {info->context, info->k}, of_logs[2] = {info->context, info->k + 1};
  if (inner->inputs + 2 > SONDE_FEED_INPUTS) {
    sonde_fail(err, SONDE_EINVAL, "a feed of %d inputs; at most %d are possible, and a teacher's cache takes two",
               inner->inputs, SONDE_FEED_INPUTS);
    return NULL;
  }
  teacher_feed *t = sonde_alloc(sizeof *t);
  if (t) {
    t->name[0] = sonde_strdup(ids);
    t->name[1] = sonde_strdup(logs);
  }
  if (!t || !t->name[0] || !t->name[1]) {
    if (t) teacher_free(&t->feed);
    sonde_fail(err, SONDE_ENOMEM, "no memory for a feed");
    return NULL;
  }
  t->feed = *inner;
  t->feed.train = teacher_train;
  t->feed.valid = teacher_valid;
  t->feed.free = teacher_free;
  t->feed.input[t->feed.inputs++] = (sonde_feed_input){t->name[0], sonde_shape_make(SONDE_I32, 2, of_ids)};
  t->feed.input[t->feed.inputs++] = (sonde_feed_input){t->name[1], sonde_shape_make(SONDE_F32, 2, of_logs)};
  for (int32_t k = 0; k < t->feed.inputs; k++) t->row_bytes[k] = sonde_shape_bytes(&t->feed.input[k].shape);
  t->inner = inner;
  t->cache = cache;
  return &t->feed;
}
