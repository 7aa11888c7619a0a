/* error.h - how every layer reports a failure: a negative code, and one line in a caller-owned sonde_error. */
#ifndef SONDE_BASE_ERROR_H
#define SONDE_BASE_ERROR_H

#include <stdarg.h>
#include "sonde.h"

/* Fills *e, overwriting an earlier failure, and returns `code`: `return sonde_fail(e, SONDE_EINVAL, "...")`. e may be
 * NULL. The text is one line. */
int sonde_fail(sonde_error *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like sonde_fail with ": <strerror(errno)>" at the end; errno is read before anything else. */
int sonde_fail_errno(sonde_error *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Replaces every control character by '?'. sonde_fail applies it, so that a name from a file or a key of a JSON text
 * can neither break the line nor send escape sequences to the terminal. */
void sonde_one_line(char *s);

/* Prepends "context: " to the text of a failure that is passed on. Returns e->code. */
int sonde_wrap(sonde_error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The entry of names[0..n) nearest to `word` by edit distance, or NULL if none is near: for "did you mean". */
const char *sonde_nearest(const char *word, const char *const *names, int n);

/* For static analysers, which cannot see that these functions return the code they are given. */
#ifdef __clang_analyzer__
#define sonde_fail(e, code, ...) ((sonde_fail)(e, code, __VA_ARGS__), (code))
#define sonde_fail_errno(e, code, ...) ((sonde_fail_errno)(e, code, __VA_ARGS__), (code))
#endif

#endif
