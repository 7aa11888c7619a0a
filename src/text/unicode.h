/* unicode.h - the parts of Unicode that tokenizers need: UTF-8, white space, word characters. */
#ifndef SONDE_TEXT_UNICODE_H
#define SONDE_TEXT_UNICODE_H

#include <stdint.h>

/* White_Space of Unicode, as the inside of a regex class. PCRE2's own \s also takes U+180E, which other
 * engines do not: token ids would differ. */
#define SONDE_SPACE_CLASS \
  "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* Length of the longest prefix that is valid UTF-8. */
int64_t sonde_utf8_prefix(const char *p, int64_t n);

/* Bytes before the next valid character (all n if there is none); 0 when one begins at p. */
int64_t sonde_utf8_bad(const char *p, int64_t n);

/* Bytes of the character that begins at p, n > 0 bytes; 1 where none does. */
int64_t sonde_utf8_length(const char *p, int64_t n);

/* Whether a character is White_Space. */
int sonde_is_space(int32_t c);

/* Bytes of white space at the start, and at the end, of valid UTF-8. */
int64_t sonde_space_at_start(const char *p, int64_t n);
int64_t sonde_space_at_end(const char *p, int64_t n);

/* Whether valid UTF-8 begins, or ends, with a character of words: letter, mark, digit, connector, joiner. 0 when
 * empty. */
int sonde_word_at_start(const char *p, int64_t n);
int sonde_word_at_end(const char *p, int64_t n);

#endif
