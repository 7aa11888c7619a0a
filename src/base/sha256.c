/* sha256.c - SHA-256 by nettle. */
#include "config.h"

#include <nettle/sha2.h>
#include "base/sha256.h"

_Static_assert(sizeof(sonde_sha256) >= sizeof(struct sha256_ctx), "sonde_sha256 holds nettle's state");

static struct sha256_ctx *inner(sonde_sha256 *s) {
  return (struct sha256_ctx *)s->state;
}

void sonde_sha256_init(sonde_sha256 *s) {
  sha256_init(inner(s));
}

void sonde_sha256_add(sonde_sha256 *s, const void *data, size_t n) {
  sha256_update(inner(s), n, data);
}

void sonde_sha256_hex(sonde_sha256 *s, char out[65]) {
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(inner(s), sizeof digest, digest);
  for (int i = 0; i < SHA256_DIGEST_SIZE; i++) {
    out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
    out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
  }
  out[64] = '\0';
}
