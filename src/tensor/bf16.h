/* bf16.h - one number in bf16; for many the backends have loops. */
#ifndef SONDE_TENSOR_BF16_H
#define SONDE_TENSOR_BF16_H

#include <stdint.h>
#include <string.h>

static inline float sonde_from_bf16(uint16_t x) {
  uint32_t bits = (uint32_t)x << 16;
  float y;
  memcpy(&y, &bits, sizeof y);
  return y;
}

static inline uint16_t sonde_to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if (x != x) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);   /* to nearest, ties to even */
}

#endif
