/* feed.c - feeds of tokens and of arrays. */
#include "train/feed.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/tensor.h"

void sonde_feed_free(sonde_feed *f) {
  if (f) f->free(f);
}

char *sonde_feed_text(const sonde_feed *f, char *buf, size_t size) {
  size_t at = 0;
  *buf = '\0';
  for (int32_t k = 0; k < f->inputs && at < size; k++)
    at += (size_t)snprintf(buf + at, size - at, "%s%s", k ? ", " : "", f->input[k].name);
  return buf;
}

/* ---- tokens ------------------------------------------------------------------------------------------- */

enum { TOKENS, TARGETS };

typedef struct token_feed {
  sonde_feed feed;               /* first: what others see */
  sonde_batches batches;
  sonde_stream valid;
} token_feed;

static int tokens_train(const sonde_feed *f, int64_t sequence, int64_t rows, void *const *data, sonde_error *err) {
  return sonde_batches_fill(&((const token_feed *)f)->batches, sequence, rows, data[TOKENS], data[TARGETS], err);
}

static int tokens_valid(const sonde_feed *f, int64_t row, int64_t rows, void *const *data, sonde_error *err) {
  const token_feed *t = (const token_feed *)f;
  int64_t n = sonde_windows_fill(&t->valid, t->batches.context, row, rows, data[TOKENS], data[TARGETS], err);
  return n < 0 ? (int)n : SONDE_OK;
}

static void tokens_free(sonde_feed *f) { sonde_release(f); }

sonde_feed *sonde_feed_tokens(const sonde_batches *train, const sonde_stream *valid, sonde_error *err) {
  token_feed *t = sonde_alloc(sizeof *t);
  if (!t) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for a feed");
    return NULL;
  }
  sonde_shape row = sonde_shape_make(SONDE_I32, 1, &train->context);
  t->feed = (sonde_feed){.inputs = 2, .input = {{"tokens", row}, {"targets", row}}, .train = tokens_train,
                         .valid = tokens_valid, .free = tokens_free,
                         .valid_rows = valid ? sonde_windows_count(valid->tokens, train->context) : 0};
  t->batches = *train;
  if (valid) t->valid = *valid;
  return &t->feed;
}

/* ---- arrays ------------------------------------------------------------------------------------------- */

typedef struct array_feed {
  sonde_feed feed;               /* first: what others see */
  uint64_t seed;
  int64_t rows;                  /* of training */
  int64_t row_bytes[SONDE_FEED_INPUTS];
  char *name[SONDE_FEED_INPUTS];
  sonde_tensor *train[SONDE_FEED_INPUTS], *valid[SONDE_FEED_INPUTS];
} array_feed;

static void copy_row(const array_feed *a, sonde_tensor *const *from, int64_t row, int64_t place, void *const *data) {
  for (int32_t k = 0; k < a->feed.inputs; k++)
    memcpy((char *)data[k] + place * a->row_bytes[k],
           (const char *)sonde_tensor_read(from[k], NULL) + row * a->row_bytes[k],
           (size_t)a->row_bytes[k]);
}

static int arrays_train(const sonde_feed *f, int64_t sequence, int64_t rows, void *const *data, sonde_error *err) {
  const array_feed *a = (const array_feed *)f;
  sonde_rng order = {0, 0};
  int64_t at_epoch = -1;
  if (sequence < 0 || sequence > INT64_MAX - rows)
    return sonde_fail(err, SONDE_EINVAL, "a sequence of %lld", (long long)sequence);
  for (int64_t k = 0; k < rows; k++) {
    int64_t epoch = (sequence + k) / a->rows;
    if (epoch != at_epoch) {
      char name[64];
      snprintf(name, sizeof name, "data/rows/%lld", (long long)epoch);
      order = sonde_rng_stream(a->seed, name);
      at_epoch = epoch;
    }
    copy_row(a, a->train, (int64_t)sonde_rng_permute(order, (uint64_t)a->rows, (uint64_t)((sequence + k) % a->rows)), k,
             data);
  }
  return SONDE_OK;
}

static int arrays_valid(const sonde_feed *f, int64_t row, int64_t rows, void *const *data, sonde_error *err) {
  const array_feed *a = (const array_feed *)f;
  (void)err;
  for (int64_t k = 0; k < rows; k++) copy_row(a, a->valid, row + k, k, data);
  return SONDE_OK;
}

static void arrays_free(sonde_feed *f) {
  array_feed *a = (array_feed *)f;
  for (int32_t k = 0; k < a->feed.inputs; k++) {
    sonde_release(a->name[k]);
    sonde_tensor_free(a->train[k]);
    sonde_tensor_free(a->valid[k]);
  }
  sonde_release(a);
}

/* The shape of a row of an array. */
static sonde_shape row_of(const sonde_tensor *t) {
  return sonde_shape_make(t->shape.dtype, t->shape.rank - 1, t->shape.dim + 1);
}

static int add_array(array_feed *a, const sonde_array *from, const sonde_array *first, sonde_error *err) {
  char t1[160], t2[160];
  const sonde_shape *train = &from->train->shape;
  if (train->rank < 1 || train->dim[0] < 1)
    return sonde_fail(err, SONDE_ESHAPE, "array '%s' is %s: its first axis must count rows", from->name,
                      sonde_shape_text(train, t1, sizeof t1));
  if (train->dim[0] != first->train->shape.dim[0])
    return sonde_fail(err, SONDE_ESHAPE, "array '%s' has %lld rows, '%s' %lld", from->name, (long long)train->dim[0],
                      first->name, (long long)first->train->shape.dim[0]);
  if (!from->valid != !first->valid)
    return sonde_fail(err, SONDE_EINVAL, "array '%s' has %s rows of validation, '%s' has %s", from->name,
                      from->valid ? "some" : "no", first->name, first->valid ? "some" : "none");
  sonde_shape row = row_of(from->train);
  if (from->valid) {
    sonde_shape other = from->valid->shape.rank ? row_of(from->valid) : from->valid->shape;
    if (other.dtype != row.dtype || !sonde_shape_equal(&other, &row) ||
        from->valid->shape.dim[0] != first->valid->shape.dim[0])
      return sonde_fail(
          err, SONDE_ESHAPE,
          "array '%s' is %s for training and %s for validation: rows must be alike, and as many as of '%s'", from->name,
          sonde_shape_text(train, t1, sizeof t1), sonde_shape_text(&from->valid->shape, t2, sizeof t2), first->name);
  }
  int32_t k = a->feed.inputs;
  if (!(a->name[k] = sonde_strdup(from->name))) return sonde_fail(err, SONDE_ENOMEM, "no memory for a feed");
  a->train[k] = sonde_tensor_ref(from->train);
  a->valid[k] = from->valid ? sonde_tensor_ref(from->valid) : NULL;
  a->row_bytes[k] = sonde_shape_bytes(&row);
  a->feed.input[k] = (sonde_feed_input){a->name[k], row};
  a->feed.inputs++;
  return SONDE_OK;
}

sonde_feed *sonde_feed_arrays(const sonde_array *array, int32_t n, uint64_t seed, sonde_error *err) {
  if (n < 1 || n > SONDE_FEED_INPUTS) {
    sonde_fail(err, SONDE_EINVAL, "a feed of %d arrays; 1 to %d are possible", n, SONDE_FEED_INPUTS);
    return NULL;
  }
  array_feed *a = sonde_alloc(sizeof *a);
  if (!a) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for a feed");
    return NULL;
  }
  a->feed = (sonde_feed){.train = arrays_train, .valid = arrays_valid, .free = arrays_free};
  a->seed = seed;
  int code = SONDE_OK;
  for (int32_t k = 0; k < n && !code; k++) code = add_array(a, &array[k], &array[0], err);
  if (code) {
    arrays_free(&a->feed);
    return NULL;
  }
  a->rows = array[0].train->shape.dim[0];
  a->feed.valid_rows = array[0].valid ? array[0].valid->shape.dim[0] : 0;
  return &a->feed;
}
