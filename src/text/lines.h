/* lines.h - a text file line by line, unpacked; what is no text is refused. */
#ifndef SONDE_TEXT_LINES_H
#define SONDE_TEXT_LINES_H

#include "base/error.h"

/* Called for each line, its end included; a result that is not 0 stops the reading: negative codes fail. */
typedef int (*sonde_line_fn)(void *arg, const char *line, int64_t n);

/* path as for sonde_unpack_open. A byte-order mark at the start is left out. EFORMAT, naming the file, where more than a
 * tenth of 64 KiB (or of a shorter file) is no UTF-8 or NUL: binary files, UTF-16, other encodings. Fewer such bytes are
 * handed on as they are. */
int sonde_text_lines(const char *path, sonde_line_fn fn, void *arg, sonde_error *err);

/* Whether the line holds nothing but blanks and its end. */
int sonde_line_blank(const char *line, int64_t n);

#endif
