/* top.c - see top.h. */
#include "config.h"
#include "ops/top.h"

#include <math.h>

enum { LEVELS = 3, BINS = 2048 };
static const int shift_of[LEVELS] = {21, 10, 0}, bins_of[LEVELS] = {2048, 2048, 1024};

typedef struct row { const float *x; int64_t n; float scale, shift; int by_mass; } row;

static double weight(const row *r, float x) { return r->by_mass ? (double)expf(r->scale * x - r->shift) : 1; }

/* Numbers whose key begins as `key` does down to the level above are counted by their next digit; the digit in which
 * `need` is reached from above becomes the key's, and what lies above it is taken off. 0: it is not reached. */
static int next_digit(const row *r, int level, uint32_t *key, double *need) {
  double bin[BINS] = {0};
  const int shift = shift_of[level], above = level ? shift_of[level - 1] : 32;
  for (int64_t v = 0; v < r->n; v++) {
    uint32_t k = sonde_top_key(r->x[v]);
    if (above < 32 && k >> above != *key >> above) continue;
    bin[k >> shift & (uint32_t)(bins_of[level] - 1)] += weight(r, r->x[v]);
  }
  for (int d = bins_of[level] - 1; d >= 0; d--) {
    if (bin[d] >= *need) {
      *key |= (uint32_t)d << shift;
      return 1;
    }
    *need -= bin[d];
  }
  return 0;
}

static sonde_top find(const row *r, double need) {
  sonde_top all = {0, INT64_MAX}, t = {0, 0};
  double each = 1;
  for (int level = 0; level < LEVELS; level++)
    if (!next_digit(r, level, &t.key, &need)) return all;
  for (int64_t v = 0; r->by_mass && v < r->n; v++)
    if (sonde_top_key(r->x[v]) == t.key) {
      each = weight(r, r->x[v]);
      break;
    }
  t.ties = each > 0 ? (int64_t)ceil(need / each) : 1;
  if (t.ties < 1) t.ties = 1;
  return t;
}

sonde_top sonde_top_count(const float *x, int64_t n, int64_t k) {
  row r = {x, n, 0, 0, 0};
  return find(&r, (double)k);
}

sonde_top sonde_top_mass(const float *x, int64_t n, float scale, float shift, double mass) {
  row r = {x, n, scale, shift, 1};
  return find(&r, mass);
}
