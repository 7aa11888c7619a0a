/* feed_samples.c - a feed of tokens in which samples of the model that is trained take the place of some rows' text. */
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/tensor.h"
#include "train/feed.h"

enum { TOKENS, TARGETS, TEXT };

typedef struct sample_feed {
  sonde_feed feed;               /* first: what others see */
  const sonde_feed *inner;       /* tokens and targets, which come first */
  sonde_sampled how;
  sonde_rng draws;               /* which micro-batches are sampled */
  char *name;                    /* of the input TEXT */
  int64_t context;
  int64_t *of;                   /* [batches] the first row of the micro-batch whose samples a slot has; -1: none */
  int32_t *samples;              /* [batches][rows, tokens] */
  int32_t *row;                  /* [context] twice: a row of text, for its beginning */
} sample_feed;

static int is_sampled(const sample_feed *s, int64_t sequence) {
  return sonde_rng_uniform(s->draws, (uint64_t)(sequence / s->how.rows)) < s->how.share;
}

static int64_t slot_of(const sample_feed *s, int64_t sequence) { return sequence / s->how.rows % s->how.batches; }

/* The samples of a micro-batch; NULL: nobody has put them. */
static const int32_t *samples_of(const sample_feed *s, int64_t sequence) {
  int64_t slot = slot_of(s, sequence);
  return s->of[slot] == sequence ? s->samples + slot * s->how.rows * s->how.tokens : NULL;
}

/* Behind the prompt the samples, which alone are targets. Behind them the text stays: no target depends on it. */
static void put_row(const sample_feed *s, const int32_t *sample, int32_t *tokens, int32_t *targets) {
  const int64_t prompt = s->how.prompt, n = s->how.tokens, room = s->context - prompt;
  memcpy(tokens + prompt, sample, (size_t)(n < room ? n : room) * sizeof *tokens);
  for (int64_t t = 0; t < s->context; t++)
    targets[t] = t >= prompt - 1 && t < prompt - 1 + n ? sample[t - prompt + 1] : SONDE_IGNORE;
}

static int samples_train(const sonde_feed *f, int64_t sequence, int64_t rows, void *const *data, sonde_error *err) {
  const sample_feed *s = (const sample_feed *)f;
  int32_t *tokens = data[TOKENS], *targets = data[TARGETS];
  float *text = data[TEXT];
  int rc = s->inner->train(s->inner, sequence, rows, data, err);
  for (int64_t first = 0; first < rows && !rc; first += s->how.rows) {
    const int sampled = is_sampled(s, sequence + first);
    const int32_t *sample = sampled ? samples_of(s, sequence + first) : NULL;
    if (sampled && !sample)
      return sonde_fail(err, SONDE_EINVAL, "the samples of row %lld are not there", (long long)(sequence + first));
    for (int64_t k = first; k < rows && k < first + s->how.rows; k++) {
      text[k] = !sampled;
      if (sampled)
        put_row(s, sample + (k - first) * s->how.tokens, tokens + k * s->context, targets + k * s->context);
    }
  }
  return rc;
}

static int samples_valid(const sonde_feed *f, int64_t row, int64_t rows, void *const *data, sonde_error *err) {
  const sample_feed *s = (const sample_feed *)f;
  float *text = data[TEXT];
  for (int64_t k = 0; k < rows; k++) text[k] = 1;
  return s->inner->valid(s->inner, row, rows, data, err);
}

static int samples_ready(const sonde_feed *f, int64_t sequence, int64_t rows) {
  const sample_feed *s = (const sample_feed *)f;
  for (int64_t at = sequence; at < sequence + rows; at += s->how.rows)
    if (is_sampled(s, at) && !samples_of(s, at)) return 0;
  return 1;
}

static void samples_free(sonde_feed *f) {
  sample_feed *s = (sample_feed *)f;
  sonde_release(s->name);
  sonde_release(s->of);
  sonde_release(s->samples);
  sonde_release(s->row);
  sonde_release(s);
}

static int check(const sonde_feed *inner, const sonde_sampled *how, sonde_error *err) {
  if (inner->inputs != 2 || strcmp(inner->input[TOKENS].name, "tokens") ||
      strcmp(inner->input[TARGETS].name, "targets"))
    return sonde_fail(err, SONDE_EINVAL, "samples continue rows of tokens and targets, and nothing else");
  const int64_t context = inner->input[TOKENS].shape.dim[0];
  if (how->rows < 1 || how->batches < 1 || how->rows > INT32_MAX || how->batches > INT32_MAX ||
      !(how->share >= 0 && how->share <= 1))
    return sonde_fail(err, SONDE_EINVAL, "samples of %lld rows, %lld micro-batches and a share of %g",
                      (long long)how->rows, (long long)how->batches, how->share);
  if (how->prompt < 1 || how->tokens < 1 || how->prompt > context || how->tokens > context + 1 - how->prompt)
    return sonde_fail(err, SONDE_EINVAL,
                      "a prompt of %lld tokens and %lld sampled ones do not fit rows of %lld tokens and one target "
                      "behind them", (long long)how->prompt, (long long)how->tokens, (long long)context);
  return SONDE_OK;
}

sonde_feed *sonde_feed_samples(const sonde_feed *inner, const sonde_sampled *how, const char *text, sonde_error *err) {
  if (check(inner, how, err)) return NULL;
  const int64_t context = inner->input[TOKENS].shape.dim[0];
  int64_t ids = how->batches * how->rows;
  int large = __builtin_mul_overflow(ids, how->tokens * (int64_t)sizeof(int32_t), &ids);
  sample_feed *s = sonde_alloc(sizeof *s);
  if (s) {
    s->name = sonde_strdup(text);
    s->of = sonde_alloc((size_t)how->batches * sizeof *s->of);
    s->samples = large ? NULL : sonde_alloc((size_t)ids);
    s->row = sonde_alloc((size_t)context * 2 * sizeof *s->row);
  }
  if (!s || !s->name || !s->of || !s->samples || !s->row) {
    if (s) samples_free(&s->feed);
    sonde_fail(err, SONDE_ENOMEM, "no memory for samples");
    return NULL;
  }
  s->feed = *inner;
  s->feed.train = samples_train;
  s->feed.valid = samples_valid;
  s->feed.ready = samples_ready;
  s->feed.free = samples_free;
  s->feed.inputs = TEXT + 1;
  s->feed.input[TEXT] = (sonde_feed_input){s->name, sonde_shape_make(SONDE_F32, 0, NULL)};
  s->inner = inner;
  s->how = *how;
  s->draws = sonde_rng_stream(how->seed, "on_policy");
  s->context = context;
  for (int64_t k = 0; k < how->batches; k++) s->of[k] = -1;
  return &s->feed;
}

/* ---- who makes the samples -------------------------------------------------------------------------------- */

const sonde_sampled *sonde_feed_sampled(const sonde_feed *f) {
  return f->train == samples_train ? &((const sample_feed *)f)->how : NULL;
}

int sonde_feed_wants(const sonde_feed *f, int64_t sequence) {
  const sample_feed *s = (const sample_feed *)f;
  return is_sampled(s, sequence) && !samples_of(s, sequence);
}

int sonde_feed_prompts(const sonde_feed *f, int64_t sequence, int32_t *prompts, sonde_error *err) {
  const sample_feed *s = (const sample_feed *)f;
  void *data[SONDE_FEED_INPUTS] = {s->row, s->row + s->context};
  for (int64_t k = 0; k < s->how.rows; k++) {
    int rc = s->inner->train(s->inner, sequence + k, 1, data, err);
    if (rc) return rc;
    memcpy(prompts + k * s->how.prompt, s->row, (size_t)s->how.prompt * sizeof *prompts);
  }
  return SONDE_OK;
}

void sonde_feed_put(sonde_feed *f, int64_t sequence, const int32_t *samples) {
  sample_feed *s = (sample_feed *)f;
  int64_t slot = slot_of(s, sequence), n = s->how.rows * s->how.tokens;
  memcpy(s->samples + slot * n, samples, (size_t)n * sizeof *samples);
  s->of[slot] = sequence;
}
