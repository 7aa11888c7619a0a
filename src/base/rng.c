/* rng.c - Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and
 * what is made of it. The key is the seed; the counter is (index, stream). A stream is meant for one use: bulk
 * fills draw four values from a block, single numbers one, so mixing both in one stream repeats bits. */
#include "config.h"

#include <math.h>
#include "base/rng.h"

sonde_rng sonde_rng_stream(uint64_t seed, const char *name) {
  uint64_t h = 0xcbf29ce484222325u;   /* FNV-1a, then a finaliser that spreads short names over all bits */
  for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
  h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
  h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
  return (sonde_rng){seed, h ^ h >> 33};
}

void sonde_rng_block(sonde_rng r, uint64_t index, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
  uint32_t c2 = (uint32_t)r.stream, c3 = (uint32_t)(r.stream >> 32);
  uint32_t k0 = (uint32_t)r.seed, k1 = (uint32_t)(r.seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)b;
    c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint64_t sonde_rng_u64(sonde_rng r, uint64_t index) {
  uint32_t w[4];
  sonde_rng_block(r, index, w);
  return (uint64_t)w[1] << 32 | w[0];
}

double sonde_rng_uniform(sonde_rng r, uint64_t index) {
  return (double)(sonde_rng_u64(r, index) >> 11) * 0x1p-53;
}

/* Two standard normal values from two words (Box and Muller 1958). (w0+1) 2^-32 is in (0, 1]: the log is finite. */
static void normal_pair(uint32_t w0, uint32_t w1, float out[2]) {
  float radius = sqrtf(-2.0f * logf(((float)w0 + 1.0f) * 0x1p-32f));
  float angle = 6.283185307179586f * ((float)(w1 >> 8) * 0x1p-24f);
  out[0] = radius * cosf(angle);
  out[1] = radius * sinf(angle);
}

/* A standard normal within [-t, t] for one index, by rejection; each attempt has a stream of its own. Under a narrow
 * bound a uniform proposal is accepted more often than a normal one. */
static float truncated(sonde_rng r, uint64_t index, float t) {
  uint32_t w[4];
  float z[2];
  for (;;) {
    r.stream += 0x9e3779b97f4a7c15u;
    sonde_rng_block(r, index, w);
    if (t < 1.25f) {
      z[0] = t * ((float)(w[0] >> 8) * 0x1p-23f - 1.0f);
      if ((float)(w[1] >> 8) * 0x1p-24f < expf(-0.5f * z[0] * z[0])) return z[0];
    } else {
      normal_pair(w[0], w[1], z);
      if (fabsf(z[0]) <= t) return z[0];
    }
  }
}

void sonde_rng_fill_normal(sonde_rng r, uint64_t offset, float *x, int64_t n, float mean, float std, float trunc) {
  uint32_t w[4];
  float z[4];
  for (int64_t i = 0; i < n; i++) {
    uint64_t at = offset + (uint64_t)i;
    if (i == 0 || at % 4 == 0) {
      sonde_rng_block(r, at / 4, w);
      normal_pair(w[0], w[1], z);
      normal_pair(w[2], w[3], z + 2);
    }
    float v = z[at % 4];
    if (trunc > 0 && fabsf(v) > trunc) v = truncated(r, at, trunc);
    x[i] = mean + std * v;
  }
}

/* A balanced Feistel network permutes [0, 4^half); walking on until the value falls below n restricts it to
 * [0, n) and stays a permutation. At least 2^6 values, so that short sequences are shuffled well too. */
uint64_t sonde_rng_permute(sonde_rng r, uint64_t n, uint64_t i) {
  enum { ROUNDS = 8 };
  uint32_t key[ROUNDS];
  for (int k = 0; k < ROUNDS / 4; k++) sonde_rng_block(r, (uint64_t)k, key + 4 * k);
  int half = 3;
  while (half < 32 && (uint64_t)1 << 2 * half < n) half++;
  uint32_t mask = (uint32_t)(((uint64_t)1 << half) - 1);
  uint64_t v = i;
  do {
    uint32_t left = (uint32_t)(v >> half) & mask, right = (uint32_t)v & mask;
    for (int k = 0; k < ROUNDS; k++) {
      uint32_t f = (right ^ key[k]) * 0x85ebca6bu;   /* MurmurHash3's 32-bit finaliser */
      f = (f ^ f >> 13) * 0xc2b2ae35u;
      f ^= f >> 16;
      uint32_t mixed = (left ^ f) & mask;
      left = right;
      right = mixed;
    }
    v = (uint64_t)left << half | right;
  } while (v >= n);
  return v;
}
