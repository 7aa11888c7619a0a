/* sgd.c - stochastic gradient descent with momentum, weight decay added to the gradient, in the order of operations
 * of torch.optim.SGD. */
#include "sonde_plugin.h"

enum { MOMENTUM, NESTEROV };

static const sonde_option options[] = {
    [MOMENTUM] = {"momentum", 'f', "0.9", 0, 0.99999, NULL, "share of the last step that is kept; 0: none"},
    [NESTEROV] = {"nesterov", 'b', "false", 0, 0, NULL, "look one momentum step ahead"},
};

static void update(const sonde_update *u, const sonde_value *opt) {
  const float momentum = (float)opt[MOMENTUM].f, scale = (float)u->grad_scale, decay = (float)u->weight_decay;
  const float lr = (float)u->lr;
  const int64_t nesterov = opt[NESTEROV].i;
  float *restrict w = u->w, *restrict buffer = u->state[0];
  const float *restrict g = u->g;
  for (int64_t k = 0; k < u->n; k++) {
    float d = g[k] * scale + decay * w[k];
    float b = buffer[k] = momentum * buffer[k] + d;
    w[k] -= lr * (nesterov ? d + momentum * b : b);
  }
}

static const char *const state_names[] = {"momentum_buffer"};
static const sonde_optimizer functions = {
    .size = sizeof functions, .states = 1, .state_names = state_names, .update = update};

static const sonde_plugin plugin = {
    .abi_major = SONDE_ABI_MAJOR,
    .abi_minor = SONDE_ABI_MINOR,
    .size = sizeof plugin,
    .name = "sgd",
    .kind = "optimizer",
    .version = "1.0",
    .build = SONDE_BUILD,
    .summary = "d = g + weight_decay w; b = momentum b + d; w -= lr b, or lr (d + momentum b) with nesterov",
    .citation = "Sutskever et al., On the importance of initialization and momentum in deep learning, 2013",
    .options = options,
    .n_options = sizeof options / sizeof options[0],
    .functions = &functions,
};
SONDE_PLUGIN(plugin)
