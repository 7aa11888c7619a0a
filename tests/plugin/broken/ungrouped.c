/* Takes the first weights of each row out, in as large a number as groups ask for, but not in each group. */
#include "broken.h"

static int prune(const sonde_sparse *s, const sonde_value *opt, float *w, uint8_t *keep, sonde_error *err) {
  const double share = s->group ? 1 - (double)s->keep / s->group : s->sparsity;
  (void)opt, (void)err;
  for (int64_t k = 0; k < s->out * s->in; k++) {
    keep[k] = (double)(k % s->in) >= share * (double)s->in;
    w[k] = keep[k] ? s->w[k] : 0;
  }
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .prune = prune};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "ungrouped", &functions)};
SONDE_PLUGIN(plugin)
