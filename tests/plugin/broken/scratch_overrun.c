/* Takes matrices whole and writes the sums of their rows one row too far. */
#include "broken.h"

static int whole(const sonde_parameter *p, const sonde_value *opt) { return (void)opt, p->shape.rank == 2; }
static int64_t scratch(const sonde_parameter *p, const sonde_value *opt) {
  (void)opt;
  return (p->shape.dim[0] - 1) * (int64_t)sizeof(float);
}
static void update(const sonde_update *u, const sonde_value *opt) {
  int64_t columns = u->parameter->shape.dim[u->parameter->shape.rank - 1];
  float *sum = u->scratch;
  (void)opt;
  for (int64_t k = 0; whole(u->parameter, opt) && k < u->n; k += columns)
    sum[k / columns] = sonde_math->sum(u->g + k, columns);
  for (int64_t k = 0; k < u->n; k++)
    u->w[k] -= (float)u->lr * ((float)u->grad_scale * u->g[k] + (float)u->weight_decay * u->w[k]);
}
static const char *const state_names[] = {"momentum"};
static const sonde_optimizer functions = {.size = sizeof functions,
                                          .states = 1,
                                          .state_names = state_names,
                                          .update = update,
                                          .whole = whole,
                                          .scratch = scratch};
static const sonde_plugin plugin = {DESCRIPTOR("optimizer", "scratch_overrun", &functions)};
SONDE_PLUGIN(plugin)
