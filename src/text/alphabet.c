/* alphabet.c - GPT-2's spelling of bytes as printable characters. */
#include "config.h"

#include <string.h>
#include "text/alphabet.h"

/* Printable bytes are themselves (as Latin-1), the 68 others U+0100 and up in their order. */
static int is_itself(int c) {
  return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || c >= 174;
}

static int letter_of(int byte) {
  if (is_itself(byte)) return byte;
  int rank = 0;
  for (int c = 0; c < byte; c++) rank += !is_itself(c);
  return 256 + rank;
}

static int byte_of(int letter) {
  if (letter < 256) return is_itself(letter) ? letter : -1;
  for (int c = 0; c < 256; c++)
    if (!is_itself(c) && letter-- == 256) return c;
  return -1;
}

void sonde_byte_char(unsigned char byte, char out[3]) {
  int c = letter_of(byte);
  if (c < 128) {
    out[0] = (char)c;
    out[1] = '\0';
    return;
  }
  out[0] = (char)(0xc0 | c >> 6);
  out[1] = (char)(0x80 | (c & 63));
  out[2] = '\0';
}

int64_t sonde_alphabet_bytes(const char *spelling, int64_t n, char *out) {
  int64_t written = 0;
  for (int64_t i = 0; i < n; i++) {
    int c = (unsigned char)spelling[i];
    if (c >= 0xc2 && c <= 0xc5 && i + 1 < n) c = (c & 31) << 6 | (spelling[++i] & 63);
    int byte = c < 128 || c < 512 ? byte_of(c) : -1;
    if (byte < 0) {
      memcpy(out, spelling, (size_t)n);
      return n;
    }
    out[written++] = (char)byte;
  }
  return written;
}
