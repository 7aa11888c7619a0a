/* lines.h - a text file line by line, decompressed; files that are not text are refused. */
#ifndef SONDE_TEXT_LINES_H
#define SONDE_TEXT_LINES_H

#include "base/error.h"

/* Called for each line, including its end; a result other than 0 stops reading: negative codes are errors. */
typedef int (*sonde_line_fn)(void *arg, const char *line, int64_t n);

/* path as for sonde_unpack_open. A byte-order mark at the start is removed. EFORMAT, naming the file, if more than a
 * tenth of 64 KiB (or of a shorter file) is not UTF-8 or is NUL: binary files, UTF-16, other encodings. Fewer such
 * bytes are passed on unchanged. */
int sonde_text_lines(const char *path, sonde_line_fn fn, void *arg, sonde_error *err);

/* Whether the line is blank. */
int sonde_line_blank(const char *line, int64_t n);

#endif
