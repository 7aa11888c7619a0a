/* unicode.h - the parts of Unicode that tokenizers need: UTF-8, white space, word characters, NFC. */
#ifndef SONDE_TEXT_UNICODE_H
#define SONDE_TEXT_UNICODE_H

#include "io/bytes.h"

/* White_Space of Unicode, as the inside of a regex class. PCRE2's own \s also takes U+180E, which other
 * engines do not: token ids would differ. */
#define SONDE_SPACE_CLASS \
  "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

/* Length of the longest prefix that is valid UTF-8. */
int64_t sonde_utf8_prefix(const char *p, int64_t n);

/* Bytes before the next valid character (all n if there is none); 0 when one begins at p. */
int64_t sonde_utf8_bad(const char *p, int64_t n);

/* Bytes of white space at the start, and at the end, of valid UTF-8. */
int64_t sonde_space_at_start(const char *p, int64_t n);
int64_t sonde_space_at_end(const char *p, int64_t n);

/* Whether valid UTF-8 begins, or ends, with a character of words: letter, mark, digit, connector, joiner. 0 when
 * empty. */
int sonde_word_at_start(const char *p, int64_t n);
int sonde_word_at_end(const char *p, int64_t n);

/* Normalisation form C of valid UTF-8. *out points to the text itself if it is already in that form,
 * else into buf. */
int sonde_utf8_nfc(const char *p, int64_t n, sonde_bytes *buf, const char **out, int64_t *out_n,
                   sonde_error *err);

#endif
