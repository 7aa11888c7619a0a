/* batch.c - rows of tokens and targets. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include "base/rng.h"
#include "text/batch.h"

/* Rows of a stream that is no mixture. */
static int init_plain(sonde_batches *b, const sonde_stream *stream, int64_t context, uint64_t seed, sonde_error *err) {
  int64_t rows = (stream->tokens - 1) / context;
  if (stream->tokens < 2 || rows < 1)
    return sonde_fail(err, SONDE_EINVAL,
                      "%lld tokens of training text are fewer than one row of %lld and its next token",
                      (long long)stream->tokens, (long long)context);
  /* One row less, where there are several, leaves room for any first token from 0 to context - 1. */
  *b = (sonde_batches){.stream = *stream, .context = context, .seed = seed, .epoch_rows = rows > 1 ? rows - 1 : 1};
  return 0;
}

/* The weights as numbers of rows out of SONDE_MIX_ROWS, at least one each. */
static void share_places(sonde_batches *b) {
  const sonde_stream *s = &b->stream;
  double sum = 0;
  for (int32_t k = 0; k < s->parts; k++) {
    sum += s->weight[k];
    int32_t end = (int32_t)(sum * SONDE_MIX_ROWS + 0.5), most = SONDE_MIX_ROWS - (s->parts - 1 - k);
    if (end <= b->share[k]) end = b->share[k] + 1;
    b->share[k + 1] = end > most || k == s->parts - 1 ? most : end;
  }
}

/* Part k of a mixture, with an order of its own. */
static int init_part(const sonde_batches *mix, int32_t k, sonde_batches *b, sonde_error *err) {
  char name[32];
  snprintf(name, sizeof name, "data/part/%d", k);
  uint64_t seed = sonde_rng_u64(sonde_rng_stream(mix->seed, name), 0);
  return init_plain(b, &mix->stream.part[k], mix->context, seed, err);
}

int sonde_batches_init(sonde_batches *b, sonde_stream stream, int64_t context, uint64_t seed,
                       sonde_error *err) {
  if (context < 1) return sonde_fail(err, SONDE_EINVAL, "a context of %lld tokens", (long long)context);
  if (!stream.weight) return init_plain(b, &stream, context, seed, err);
  if (stream.parts > SONDE_MIX_PARTS) return sonde_fail(err, SONDE_EINVAL, "a mixture of %d parts", stream.parts);
  sonde_batches part = {0};
  *b = (sonde_batches){.stream = stream, .context = context, .seed = seed};
  for (int32_t k = 0; k < stream.parts; k++) {
    int rc = init_part(b, k, &part, err);
    if (rc) return rc;
    b->epoch_rows += part.epoch_rows;
  }
  share_places(b);
  return 0;
}

static sonde_rng epoch_rng(uint64_t seed, const char *what, int64_t epoch) {
  char name[64];
  snprintf(name, sizeof name, "data/%s/%lld", what, (long long)epoch);
  return sonde_rng_stream(seed, name);
}

static int fill_plain(const sonde_batches *b, int64_t sequence, int64_t batch, int32_t *tokens, int32_t *targets,
                      sonde_error *err) {
  int64_t T = b->context, at_epoch = -1, first = 0, slack = b->stream.tokens - 1 - b->epoch_rows * T;
  sonde_rng order = {0, 0};
  for (int64_t k = 0; k < batch; k++) {
    int64_t epoch = (sequence + k) / b->epoch_rows, index = (sequence + k) % b->epoch_rows;
    if (epoch != at_epoch) {
      at_epoch = epoch;
      order = epoch_rng(b->seed, "order", epoch);
      first = (int64_t)(sonde_rng_u64(epoch_rng(b->seed, "first", epoch), 0) %
                        (uint64_t)((slack < T ? slack : T - 1) + 1));
    }
    int64_t row = (int64_t)sonde_rng_permute(order, (uint64_t)b->epoch_rows, (uint64_t)index);
    int rc = sonde_stream_read(&b->stream, first + row * T, T, tokens + k * T, err);
    if (!rc) rc = sonde_stream_read(&b->stream, first + row * T + 1, T, targets + k * T, err);
    if (rc) return rc;
  }
  return 0;
}

/* The positions in a stretch of sequences are shuffled; a sequence's position determines its part, and the row of that
 * part. So nothing is counted, and training can resume from any sequence. */
static int fill_mixed(const sonde_batches *b, int64_t sequence, int32_t *tokens, int32_t *targets, sonde_error *err) {
  int64_t stretch = sequence / SONDE_MIX_ROWS;
  int64_t place = (int64_t)sonde_rng_permute(epoch_rng(b->seed, "mix", stretch), SONDE_MIX_ROWS,
                                             (uint64_t)(sequence % SONDE_MIX_ROWS));
  int32_t k = 0;
  while (place >= b->share[k + 1]) k++;
  sonde_batches part;
  int rc = init_part(b, k, &part, err);
  int64_t own = stretch * (b->share[k + 1] - b->share[k]) + place - b->share[k];
  return rc ? rc : fill_plain(&part, own, 1, tokens, targets, err);
}

int sonde_batches_fill(const sonde_batches *b, int64_t sequence, int64_t batch, int32_t *tokens,
                       int32_t *targets, sonde_error *err) {
  if (sequence < 0 || sequence > INT64_MAX - batch)
    return sonde_fail(err, SONDE_EINVAL, "a sequence of %lld", (long long)sequence);
  if (!b->stream.weight) return fill_plain(b, sequence, batch, tokens, targets, err);
  for (int64_t k = 0; k < batch; k++) {
    int rc = fill_mixed(b, sequence + k, tokens + k * b->context, targets + k * b->context, err);
    if (rc) return rc;
  }
  return 0;
}

int64_t sonde_windows_count(int64_t tokens, int64_t context) {
  return tokens < 2 || context < 1 ? 0 : (tokens - 2) / context + 1;
}

int64_t sonde_windows_fill(const sonde_stream *s, int64_t context, int64_t row, int64_t batch,
                           int32_t *tokens, int32_t *targets, sonde_error *err) {
  int64_t counted = 0;
  if (context < 1 || row < 0 || row > INT64_MAX - batch)
    return sonde_fail(err, SONDE_EINVAL, "row %lld of a context of %lld", (long long)row, (long long)context);
  for (int64_t k = 0; k < batch; k++) {
    int32_t *x = tokens + k * context, *y = targets + k * context;
    int64_t from = row + k > INT64_MAX / context ? s->tokens : (row + k) * context,
            left = s->tokens - 1 - from;
    int64_t n = left < 0 ? 0 : left < context ? left : context;
    int rc = n ? sonde_stream_read(s, from, n, x, err) : 0;
    if (!rc && n) rc = sonde_stream_read(s, from + 1, n, y, err);
    if (rc) return rc;
    memset(x + n, 0, (size_t)(context - n) * sizeof *x);
    for (int64_t i = n; i < context; i++) y[i] = SONDE_IGNORE;
    counted += n;
  }
  return counted;
}
