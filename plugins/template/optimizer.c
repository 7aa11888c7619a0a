/* template.c - an optimizer that steps by the sign of a mean of gradients (Lion).
 *
 * update gets n elements of one parameter at a time, in any cut, on any thread: each element's result may depend on
 * nothing but the values at its own place, the options and the step. */
#include "sonde_plugin.h"

enum { BETA1, BETA2 };

static const sonde_option options[] = {
    [BETA1] = {"beta1", 'f', "0.9", 0, 0.9999, NULL, "share of the mean in the step that is taken"},
    [BETA2] = {"beta2", 'f', "0.99", 0, 0.9999, NULL, "decay rate of the mean of the gradients"},
};

static void update(const sonde_update *u, const sonde_value *opt) {
  const float b1 = (float)opt[BETA1].f, b2 = (float)opt[BETA2].f, scale = (float)u->grad_scale, lr = (float)u->lr;
  const float keep = (float)(1 - u->lr * u->weight_decay);
  float *mean = u->state[0];
  for (int64_t k = 0; k < u->n; k++) {
    float g = u->g[k] * scale, c = b1 * mean[k] + (1 - b1) * g;
    float step = c > 0 ? lr : c < 0 ? -lr : lr * c;   /* 0 where c is 0, not a number where c is none */
    u->w[k] = u->w[k] * keep - step;
    mean[k] = b2 * mean[k] + (1 - b2) * g;
  }
}

static const char *const state_names[] = {"exp_avg"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "template",
    .kind = "optimizer",
    .version = "0.1",
    .build = SONDE_BUILD,
    .summary = "w -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay w)",
    .citation = "Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, program 1",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
