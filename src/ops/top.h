/* top.h - the largest numbers of a row: the k largest, or the fewest that hold a given mass of its softmax. Found by
 * their bits, digit by digit, so the row stays as it is and nothing is sorted; of equal numbers the first count. */
#ifndef SONDE_OPS_TOP_H
#define SONDE_OPS_TOP_H

#include <stdint.h>
#include <string.h>

/* A number belongs to the set when its key is above `key`, or is `key` and one of the first `ties` of these. */
typedef struct sonde_top { uint32_t key; int64_t ties; } sonde_top;

/* Orders as the floats do. */
static inline uint32_t sonde_top_key(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* The next number of the row, in order: 1 if it is in the set. */
static inline int sonde_top_takes(sonde_top *t, float x) {
  uint32_t key = sonde_top_key(x);
  return key > t->key || (key == t->key && t->ties-- > 0);
}

sonde_top sonde_top_count(const float *x, int64_t n, int64_t k);
/* The fewest numbers with sum of exp(scale x - shift) at least `mass`; all of them where rounding leaves less. */
sonde_top sonde_top_mass(const float *x, int64_t n, float scale, float shift, double mass);

#endif
