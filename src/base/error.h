/* error.h - how every layer reports a failure: a negative code, and one line in a caller-owned sonde_error. */
#ifndef SONDE_BASE_ERROR_H
#define SONDE_BASE_ERROR_H

#include <stdarg.h>
#include "sonde.h"

/* Fills *e (the first failure wins is NOT applied here: it overwrites) and returns `code`, so that a caller
 * writes `return sonde_fail(e, SONDE_EINVAL, "...")`. e may be NULL. The text is one line. */
int sonde_fail(sonde_error *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like sonde_fail with ": <strerror(errno)>" at the end; errno is read before anything else. */
int sonde_fail_errno(sonde_error *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Shows every control character as '?'. The texts above have been through it: a name out of a file, a key of somebody's
 * JSON, can neither break the line nor steer the terminal. */
void sonde_one_line(char *s);

/* Puts "context: " in front of the text that is there, on the way up. Returns e->code. */
int sonde_wrap(sonde_error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The entry of names[0..n) nearest to `word` by edit distance, or NULL when none is near: for "did you mean". */
const char *sonde_nearest(const char *word, const char *const *names, int n);

/* To a static analyser a failure is a failure: it cannot see that these return the code they are given. */
#ifdef __clang_analyzer__
#define sonde_fail(e, code, ...) ((sonde_fail)(e, code, __VA_ARGS__), (code))
#define sonde_fail_errno(e, code, ...) ((sonde_fail_errno)(e, code, __VA_ARGS__), (code))
#endif

#endif
