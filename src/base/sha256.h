/* sha256.h - SHA-256 (FIPS 180-4) of bytes, for state hashes and provenance. */
#ifndef SONDE_BASE_SHA256_H
#define SONDE_BASE_SHA256_H

#include <stdint.h>
#include <stddef.h>

typedef struct sonde_sha256 { uint64_t state[16]; } sonde_sha256;   /* opaque: nettle's state */
void sonde_sha256_init(sonde_sha256 *s);
void sonde_sha256_add(sonde_sha256 *s, const void *data, size_t n);
void sonde_sha256_hex(sonde_sha256 *s, char out[65]);   /* the digest; ends the computation */

/* Digests in the headers of files. Digits of a digest, "" of one of zeros, which says that it is not known ... */
void sonde_sha256_to_hex(const uint8_t digest[32], char out[65]);
/* ... and back; zeros where the text is not 64 digits. */
void sonde_sha256_from_hex(const char *hex, uint8_t digest[32]);

#endif
