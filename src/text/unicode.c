/* unicode.c - UTF-8 and character classes over utf8proc. */
#include "config.h"

#include <string.h>
#include <utf8proc.h>
#include "text/unicode.h"

static const uint8_t *bytes(const char *p) {
  return (const uint8_t *)p;
}

int64_t sonde_utf8_prefix(const char *p, int64_t n) {
  int64_t i = 0;
  while (i < n) {
    uint64_t w;
    utf8proc_int32_t c;
    if (n - i >= 8 && (memcpy(&w, p + i, 8), !(w & 0x8080808080808080u))) {
      i += 8;
      continue;
    }
    utf8proc_ssize_t used = utf8proc_iterate(bytes(p + i), n - i, &c);
    if (used <= 0) break;
    i += used;
  }
  return i;
}

int64_t sonde_utf8_bad(const char *p, int64_t n) {
  int64_t i = 0;
  while (i < n && !sonde_utf8_prefix(p + i, n - i > 4 ? 4 : n - i)) i++;
  return i;
}

int64_t sonde_utf8_length(const char *p, int64_t n) {
  int32_t c;
  int64_t used = (unsigned char)*p < 0x80 ? 1 : utf8proc_iterate(bytes(p), n, &c);
  return used > 0 ? used : 1;
}

int sonde_is_space(int32_t c) {
  return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

/* \w of Unicode's rules for expressions (UTS 18): alphabetic, marks, decimal digits, connectors, and the two joiners.
 * Alphabetic beyond letters, their numbers and marks are only the letters in circles and squares. */
static int is_word(int32_t c) {
  if (c == 0x200c || c == 0x200d || (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
      (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189))
    return 1;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC:
      return 1;
    default:
      return 0;
  }
}

/* The character that begins at, or ends before, a position; returns its length. */
static int64_t first_char(const char *p, int64_t n, int32_t *c) {
  return utf8proc_iterate(bytes(p), n, c);
}

static int64_t last_char(const char *p, int64_t n, int32_t *c) {
  int64_t i = n - 1;
  while (i > 0 && (p[i] & 0xc0) == 0x80) i--;
  return utf8proc_iterate(bytes(p + i), n - i, c);
}

int64_t sonde_space_at_start(const char *p, int64_t n) {
  int64_t i = 0;
  int32_t c;
  while (i < n) {
    int64_t used = first_char(p + i, n - i, &c);
    if (used <= 0 || !sonde_is_space(c)) break;
    i += used;
  }
  return i;
}

int64_t sonde_space_at_end(const char *p, int64_t n) {
  int64_t left = n;
  int32_t c;
  while (left > 0) {
    int64_t used = last_char(p, left, &c);
    if (used <= 0 || !sonde_is_space(c)) break;
    left -= used;
  }
  return n - left;
}

int sonde_word_at_start(const char *p, int64_t n) {
  int32_t c;
  return n > 0 && first_char(p, n, &c) > 0 && is_word(c);
}

int sonde_word_at_end(const char *p, int64_t n) {
  int32_t c;
  return n > 0 && last_char(p, n, &c) > 0 && is_word(c);
}
