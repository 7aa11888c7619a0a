/* sha256.c - SHA-256 by nettle. */
#include "config.h"

#include <nettle/base16.h>
#include <nettle/sha2.h>
#include <string.h>
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

static void to_hex(const uint8_t digest[SHA256_DIGEST_SIZE], char out[65]) {
  base16_encode_update(out, SHA256_DIGEST_SIZE, digest);
  out[64] = '\0';
}

void sonde_sha256_hex(sonde_sha256 *s, char out[65]) {
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_digest(inner(s), sizeof digest, digest);
  to_hex(digest, out);
}

void sonde_sha256_to_hex(const uint8_t digest[32], char out[65]) {
  static const uint8_t none[SHA256_DIGEST_SIZE];
  if (memcmp(digest, none, sizeof none)) to_hex(digest, out);
  else *out = '\0';
}

void sonde_sha256_from_hex(const char *hex, uint8_t digest[32]) {
  struct base16_decode_ctx c;
  size_t n = SHA256_DIGEST_SIZE;
  base16_decode_init(&c);
  if (strlen(hex) != 2 * n || !base16_decode_update(&c, &n, digest, 2 * n, hex) || !base16_decode_final(&c) ||
      n != SHA256_DIGEST_SIZE)
    memset(digest, 0, SHA256_DIGEST_SIZE);
}
