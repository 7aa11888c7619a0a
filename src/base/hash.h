/* hash.h - FNV-1a, a fast hash of bytes for tables and comparisons within one process. */
#ifndef SONDE_BASE_HASH_H
#define SONDE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define SONDE_HASH_START 0xcbf29ce484222325u

/* Continues the hash h (SONDE_HASH_START at first) with n bytes. */
static inline uint64_t sonde_hash(uint64_t h, const void *p, size_t n) {
  const unsigned char *b = p;
  for (size_t k = 0; k < n; k++) h = (h ^ b[k]) * 0x100000001b3u;
  return h;
}

#endif
