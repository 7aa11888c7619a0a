/* adamw.c - Adam with decoupled weight decay, in the order of operations of torch.optim.AdamW. */
#include <math.h>

#include "sonde_plugin.h"

enum { BETA1, BETA2, EPS };

static const sonde_option options[] = {
    [BETA1] = {"beta1", 'f', "0.9", 0, 0.99999, NULL, "decay rate of the mean of the gradients"},
    [BETA2] = {"beta2", 'f', "0.95", 0, 0.999999, NULL, "decay rate of the mean of their squares"},
    [EPS] = {"eps", 'f', "1e-8", 1e-20, 1, NULL, "added to the root of the squares, outside it"},
};

static void update(const sonde_update *u, const sonde_value *opt) {
  const float b1 = (float)opt[BETA1].f, b2 = (float)opt[BETA2].f, eps = (float)opt[EPS].f;
  const float scale = (float)u->grad_scale, keep = (float)(1 - u->lr * u->weight_decay);
  const float rate = (float)(u->lr / (1 - pow(opt[BETA1].f, (double)u->step)));
  const float root = (float)(1 / sqrt(1 - pow(opt[BETA2].f, (double)u->step)));
  float *restrict w = u->w, *restrict m = u->state[0], *restrict v = u->state[1];
  const float *restrict grad = u->g;
  for (int64_t k = 0; k < u->n; k++) {
    float g = grad[k] * scale;
    m[k] = b1 * m[k] + (1 - b1) * g;
    v[k] = b2 * v[k] + (1 - b2) * g * g;
    w[k] = w[k] * keep - rate * m[k] / (sqrtf(v[k]) * root + eps);
  }
}

static const char *const state_names[] = {"exp_avg", "exp_avg_sq"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 2, .state_names = state_names, .update = update};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "adamw",
    .kind = "optimizer",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "m, v: means of g and g^2, unbiased; w -= lr (m / (sqrt(v) + eps) + weight_decay w)",
    .citation = "Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
