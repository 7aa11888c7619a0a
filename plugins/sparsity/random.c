/* random.c - any weights go: what a method must beat. The draw of a weight follows from the seed, the matrix's name and
 * the weight's place alone, so a mask of more sparsity holds that of less. */
#include "descriptor.h"

/* splitmix64's output function (Steele et al. 2014) */
static uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

static int score(const sonde_sparse *s, const sonde_value *opt, float *score, sonde_error *err) {
  uint64_t stream = mix(s->seed);
  (void)opt, (void)err;
  for (const char *c = s->parameter->name; *c; c++) stream = mix(stream ^ (uint64_t)(unsigned char)*c);
  for (int64_t k = 0; k < s->out * s->in; k++) score[k] = (float)(mix(stream + (uint64_t)k) >> 40) * 0x1p-24f;
  return 0;
}

static const sonde_sparsity functions = {.size = sizeof functions, .scope = SONDE_SCOPE_MATRIX, .score = score};
static const sonde_plugin plugin = {SPARSITY("random", "uniform numbers, by the seed", "")};
SONDE_PLUGIN(plugin)
