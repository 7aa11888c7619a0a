/* gate.c - what a gate in front of a group of weights would change of the loss: of z W with z = 1, |dL/dz| = |the sum
 * of W dL/dW over the group|, added up over batches. Groups go as a whole (the last of a matrix may go in part). */
#include <math.h>
#include <string.h>

#include "descriptor.h"

enum { OF };

static const sonde_option options[] = {
    [OF] = {"of", 's', "output", 0, 0, "output|input|weight", "what has one gate: an output (row), an input, a weight"},
};

/* The group begins at `first`, and has `n` weights `step` apart. */
static void add_group(const float *w, const float *g, float scale, int64_t first, int64_t n, int64_t step, float *sum) {
  double slope = 0;
  for (int64_t k = 0; k < n; k++) slope += (double)w[first + k * step] * (double)(scale * g[first + k * step]);
  for (int64_t k = 0; k < n; k++) sum[first + k * step] += (float)fabs(slope);
}

static void gather(const sonde_sparse *s, const sonde_value *opt, const float *g, double scale, float *sum) {
  const char of = opt[OF].s[0];
  if (of == 'o')
    for (int64_t i = 0; i < s->out; i++) add_group(s->w, g, (float)scale, i * s->in, s->in, 1, sum);
  else if (of == 'i')
    for (int64_t j = 0; j < s->in; j++) add_group(s->w, g, (float)scale, j, s->out, s->in, sum);
  else
    for (int64_t k = 0; k < s->out * s->in; k++) add_group(s->w, g, (float)scale, k, 1, 1, sum);
}

static const sonde_sparsity functions = {
    .size = sizeof functions, .scope = SONDE_SCOPE_MATRIX, .score = gathered, .gather = gather};
static const sonde_plugin plugin = {
    SPARSITY("gate", "the sum over batches of |dL/dz|, z = 1 a gate of an output, an input or a weight",
             "Michel et al., Are Sixteen Heads Really Better than One, 2019, eq. 2, for single outputs"),
    .options = options,
    .n_options = sizeof options / sizeof options[0],
};
SONDE_PLUGIN(plugin)
