/* template.c - a sparsity method that keeps the weights whose products with their inputs are large (Wanda).
 *
 * score gets one matrix W [out, in] at a time and what `needs` asks for, and says what each weight is worth; the host
 * compares the scores and takes out the lowest. */
#include <math.h>

#include "sonde_plugin.h"

enum { POWER };

static const sonde_option options[] = {
    [POWER] = {"power", 'f', "1", 0.1, 4, NULL, "of the norm of the inputs"},
};

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  (void)err;
  for (int64_t i = 0; i < s->out; i++)
    for (int64_t j = 0; j < s->in; j++)
      score[i * s->in + j] = fabsf(s->w[i * s->in + j]) * powf(s->norm[j], (float)opt[POWER].f);
  return 0;
}

static const sonde_sparsity functions = {
    .size = sizeof functions, .needs = SONDE_NEEDS_NORM, .scope = SONDE_SCOPE_ROW, .score = score};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "sparsity",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "|W_ij| ||X_j||^power, compared within each output",
    .citation = "Sun et al., A Simple and Effective Pruning Approach, 2024, eq. 1",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
