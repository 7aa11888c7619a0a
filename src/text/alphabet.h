/* alphabet.h - GPT-2's alphabet: each byte as a printable character below U+0144. */
#ifndef SONDE_TEXT_ALPHABET_H
#define SONDE_TEXT_ALPHABET_H

#include <stdint.h>

/* The character of a byte (1 or 2 bytes and a NUL). */
void sonde_byte_char(unsigned char byte, char out[3]);

/* The bytes of a spelling (n bytes), or the spelling itself if it has other characters, in `out` (n bytes at least).
 * Returns how many they are. */
int64_t sonde_alphabet_bytes(const char *spelling, int64_t n, char *out);

#endif
