/* feed.h - where a training gets its data: a feed names the inputs of the graph that it fills, and gives the rows of
 * each by their number. The first is of tokens, the second of arrays; another one is a struct with the same functions.
 *
 * A row is what one place of a micro-batch holds: T tokens and their targets, or the features of one sequence and its
 * labels. The position in training is one integer, the sequence: row number `sequence` is the same for any batch size,
 * thread count and resuming. A fill allocates nothing. Rows that depend on the model (feed_samples.c) are brought
 * between two updates. */
#ifndef SONDE_TRAIN_FEED_H
#define SONDE_TRAIN_FEED_H

#include "text/batch.h"
#include "train/teacher_cache.h"

enum { SONDE_FEED_INPUTS = 8 };

typedef struct sonde_feed_input {
  const char *name;              /* of the graph's input */
  sonde_shape shape;             /* of one row, with the dtype: i32 [T] */
} sonde_feed_input;

typedef struct sonde_feed sonde_feed;
struct sonde_feed {
  int32_t inputs;
  sonde_feed_input input[SONDE_FEED_INPUTS];
  int64_t valid_rows;            /* rows of evaluation; 0: none */
  /* Rows [sequence, sequence + rows) of training into data[k], of input k, one after the other. SONDE_OK or a code. */
  int (*train)(const sonde_feed *f, int64_t sequence, int64_t rows, void *const *data, sonde_error *err);
  /* Rows [row, row + rows) of evaluation, all below valid_rows, likewise. */
  int (*valid)(const sonde_feed *f, int64_t row, int64_t rows, void *const *data, sonde_error *err);
  /* Whether rows [sequence, sequence + rows) of training are there; 0: somebody must bring some of them first, and the
   * trainer says so (SONDE_TRAIN_PREPARE). NULL: they always are. */
  int (*ready)(const sonde_feed *f, int64_t sequence, int64_t rows);
  void (*free)(sonde_feed *f);
};

void sonde_feed_free(sonde_feed *f);
/* "tokens, targets": the names of its inputs, into buf, which it returns. */
char *sonde_feed_text(const sonde_feed *f, char *buf, size_t size);

/* "tokens" i32 [T] and "targets" i32 [T], the next token of each: rows of `train`, and of evaluation the windows of
 * `valid` (batch.h), where a target past the end of the text is SONDE_IGNORE. What the streams read from is
 * borrowed. */
sonde_feed *sonde_feed_tokens(const sonde_batches *train, const sonde_stream *valid, sonde_error *err);

/* Arrays whose first axis counts rows. */
typedef struct sonde_array {
  const char *name;              /* of the input; copied */
  sonde_tensor *train;           /* [rows, ...]; of all arrays as many rows */
  sonde_tensor *valid;           /* [rows, ...] of the same dtype and shape; NULL in all: no evaluation */
} sonde_array;

/* An epoch takes every training row once, in an order that is a function of (seed, epoch). References are taken of the
 * tensors. EINVAL or ESHAPE names the array that does not fit. */
sonde_feed *sonde_feed_arrays(const sonde_array *array, int32_t n, uint64_t seed, sonde_error *err);

/* A feed of tokens with two inputs more, `ids` i32 [T, K] and `logs` f32 [T, K + 1]: what the cache has of each row of
 * training. Of evaluation they are 0. Takes `inner` over, unless it fails; the cache is borrowed, the names are
 * copied. */
sonde_feed *sonde_feed_teacher(sonde_feed *inner, const sonde_taught *cache, const char *ids, const char *logs,
                               sonde_error *err);

/* Samples of the model that is trained, which continue rows of the text (on-policy distillation; GKD, Agarwal et al.,
 * 2024, algorithm 1). */
typedef struct sonde_sampled {
  double share;                  /* lambda: the probability that a micro-batch is one of samples */
  uint64_t seed;                 /* which ones are is a function of the seed and the number of the micro-batch */
  int64_t rows, batches;         /* rows of a micro-batch; micro-batches whose samples are kept at once */
  int64_t prompt, tokens;        /* P tokens of the text of a row, and the N sampled behind them: P + N <= T + 1 */
} sonde_sampled;

/* A feed of tokens and targets with an input more, `text` f32 []: 1 for a row of text, 0 for one of samples. Such a row
 * has the first P tokens of its text, then the sampled ones, which alone are targets. Micro-batches begin at multiples
 * of `rows` from where the training begins. `inner` is borrowed, the name is copied. EINVAL: it does not fit. */
sonde_feed *sonde_feed_samples(const sonde_feed *inner, const sonde_sampled *how, const char *text, sonde_error *err);
/* Of such a feed; NULL: it is another one. The functions below take no other. */
const sonde_sampled *sonde_feed_sampled(const sonde_feed *f);
/* Whether the micro-batch that begins with this row is one of samples which are not there yet. */
int sonde_feed_wants(const sonde_feed *f, int64_t sequence);
/* The text that samples of this micro-batch continue: prompts [rows, P]. */
int sonde_feed_prompts(const sonde_feed *f, int64_t sequence, int32_t *prompts, sonde_error *err);
/* Its samples [rows, N], copied; those of `batches` micro-batches before are forgotten. */
void sonde_feed_put(sonde_feed *f, int64_t sequence, const int32_t *samples);

#endif
