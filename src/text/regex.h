/* regex.h - the expressions of tokenizer files, matched by PCRE2 with the meaning that they have there. */
#ifndef SONDE_TEXT_REGEX_H
#define SONDE_TEXT_REGEX_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "io/bytes.h"

/* Compiles the pattern (n bytes) in Unicode mode, \s meaning White_Space. `where` is for messages. NULL: EFORMAT,
 * EUNSUP (another engine would match other text) or ENOMEM. Freed by pcre2_code_free. */
pcre2_code *sonde_regex_compile(const char *pattern, int64_t n, const char *where, sonde_error *err);

/* Appends a pattern that matches the string literally. 0 or ENOMEM. */
int sonde_regex_quote(const char *s, sonde_bytes *out);

/* Finds the next match in valid UTF-8 at or after byte `from`: 1 (its range is in the match data), 0 (there is none),
 * or an error. */
int sonde_regex_next(pcre2_code *re, pcre2_match_data *match, pcre2_match_context *context, const char *p, int64_t n,
                     int64_t from, sonde_error *err);

#endif
