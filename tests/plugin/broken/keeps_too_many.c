/* Takes out a quarter, whatever share is wanted. */
#include "broken.h"

static int prune(const sonde_sparse *s, const sonde_value *opt, float *w, uint8_t *keep, sonde_error *err) {
  const int64_t n = s->out * s->in, group = s->group ? s->group : 4, stay = s->group ? s->keep : 3;
  (void)opt, (void)err;
  for (int64_t k = 0; k < n; k++) {
    keep[k] = k % group < stay;
    w[k] = keep[k] ? s->w[k] : 0;
  }
  return 0;
}
static const sonde_sparsity functions = {.size = sizeof functions, .prune = prune};
static const sonde_plugin plugin = {DESCRIPTOR("sparsity", "keeps_too_many", &functions)};
SONDE_PLUGIN(plugin)
