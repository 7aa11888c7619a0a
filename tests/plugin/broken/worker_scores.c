/* Adds up over the tiles that a thread happens to take. */
#include "broken.h"

typedef struct work {
  const sonde_sparse *s;
  float *score, sum[64];
} work;

static void row(void *arg, int64_t tile, int worker) {
  work *k = arg;
  for (int64_t j = 0; j < k->s->in; j++) {
    const float w = k->s->w[tile * k->s->in + j];
    k->sum[worker] += w * w;
    k->score[tile * k->s->in + j] = w * w + 1e-3f * k->sum[worker];
  }
}
static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  work k = {s, score, {0}};
  (void)opt, (void)err;
  sonde_parallel(s->call, s->out, row, &k);
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .score = score};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "worker_scores", &functions)};
SONDE_PLUGIN(plugin)
