/* lion.c - Lion: every weight moves by the rate, in the direction of the sign of its mean gradient. One state, half of
 * AdamW's. The authors take a rate 3 to 10 times smaller than AdamW's and a weight decay as many times larger. */
#include "sonde_plugin.h"

enum { BETA1, BETA2 };

static const sonde_option options[] = {
    [BETA1] = {"beta1", 'f', "0.9", 0, 0.99999, NULL, "share of the mean in what the sign is of; the rest: gradient"},
    [BETA2] = {"beta2", 'f', "0.99", 0, 0.99999, NULL, "decay rate of the mean of the gradients"},
};

enum { PIECE = 512 };

/* The step is chosen in a loop of its own: gcc makes branches of the choice at the end of a loop and none inside, and
 * would round what depends on it differently in the two. */
static void update(const sonde_update *u, const sonde_value *opt) {
  const float b1 = (float)opt[BETA1].f, b2 = (float)opt[BETA2].f, scale = (float)u->grad_scale;
  const float rate = (float)u->lr, keep = (float)(1 - u->lr * u->weight_decay);
  float step[PIECE];
  for (int64_t at = 0; at < u->n; at += PIECE) {
    const int64_t n = u->n - at < PIECE ? u->n - at : PIECE;
    float *restrict w = u->w + at, *restrict m = u->state[0] + at;
    const float *restrict grad = u->g + at;
    for (int64_t k = 0; k < n; k++) {
      float g = grad[k] * scale;
      step[k] = b1 * m[k] + (1 - b1) * g;
      m[k] = b2 * m[k] + (1 - b2) * g;
    }
    for (int64_t k = 0; k < n; k++) step[k] = step[k] > 0 ? rate : step[k] < 0 ? -rate : step[k];   /* 0 and NaN stay */
    for (int64_t k = 0; k < n; k++) w[k] = w[k] * keep - step[k];
  }
}

static const char *const state_names[] = {"exp_avg"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "lion",
    .kind = "optimizer",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "w -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay w); m = beta2 m + (1 - beta2) g",
    .citation = "Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, algorithm 2",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
