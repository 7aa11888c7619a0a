/* error.c - error texts, the names of the codes, and "did you mean". */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "base/error.h"

const char *sonde_version(void) {
  return PACKAGE_VERSION;
}

const char *sonde_code_name(int code) {
  static const char *const name[] = {"OK", "EINVAL", "ENOMEM", "EIO", "EFORMAT", "ENOENT", "ESHAPE",
                                     "EUNSUP", "ELIMIT", "ELOCK", "EABI", "EDIVERGED", "EINTR", "EBUG"};
  int n = (int)(sizeof name / sizeof name[0]);
  return code <= 0 && code > -n ? name[-code] : "unknown";
}

/* Control characters are those of ASCII, and of Unicode those from 80 to 9f (in UTF-8 after a byte c2). */
void sonde_one_line(char *s) {
  for (unsigned char *p = (unsigned char *)s; *p; p++) {
    if (*p < ' ' || *p == 127) *p = '?';
    else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) p[0] = p[1] = '?';
  }
}

int (sonde_fail)(sonde_error *e, int code, const char *fmt, ...) {
  if (!e) return code;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e->text, sizeof e->text, fmt, ap);
  va_end(ap);
  e->code = code;
  sonde_one_line(e->text);
  return code;
}

int (sonde_fail_errno)(sonde_error *e, int code, const char *fmt, ...) {
  int saved = errno;
  if (!e) return code;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e->text, sizeof e->text, fmt, ap);
  va_end(ap);
  e->code = code;
  size_t used = strlen(e->text);
  snprintf(e->text + used, sizeof e->text - used, ": %s", strerror(saved));
  sonde_one_line(e->text);
  return code;
}

int sonde_wrap(sonde_error *e, const char *fmt, ...) {
  if (!e) return SONDE_EBUG;
  char head[sizeof e->text];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(head, sizeof head, fmt, ap);
  va_end(ap);
  /* If both do not fit, the end of the old text is cut: the context comes first. */
  size_t n = strlen(head), old = strlen(e->text);
  if (n + 2 >= sizeof e->text) n = sizeof e->text - 3;
  size_t keep = old;
  if (n + 2 + keep >= sizeof e->text) keep = sizeof e->text - n - 3;
  memmove(e->text + n + 2, e->text, keep);
  memcpy(e->text, head, n);
  memcpy(e->text + n, ": ", 2);
  e->text[n + 2 + keep] = '\0';
  sonde_one_line(e->text);
  return e->code;
}

enum { WORD_MAX = 64 };

/* Damerau-Levenshtein distance with adjacent swaps, over three rows. Words longer than WORD_MAX are "far". */
static int distance(const char *a, const char *b) {
  size_t n = strlen(a), m = strlen(b);
  if (n > WORD_MAX || m > WORD_MAX) return INT_MAX;
  int row[3][WORD_MAX + 1];
  for (size_t j = 0; j <= m; j++) row[0][j] = (int)j;
  for (size_t i = 1; i <= n; i++) {
    int *before = row[(i + 1) % 3], *last = row[(i - 1) % 3], *now = row[i % 3];
    now[0] = (int)i;
    for (size_t j = 1; j <= m; j++) {
      int d = last[j - 1] + (a[i - 1] != b[j - 1]);
      if (last[j] + 1 < d) d = last[j] + 1;
      if (now[j - 1] + 1 < d) d = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < d)
        d = before[j - 2] + 1;
      now[j] = d;
    }
  }
  return row[n % 3][m];
}

const char *sonde_nearest(const char *word, const char *const *names, int n) {
  const char *best = NULL;
  int best_distance = 0;
  for (int i = 0; i < n; i++) {
    int d = distance(word, names[i]);
    if (!best || d < best_distance) best = names[i], best_distance = d;
  }
  /* A third of the letters may be wrong; of a short word, one. */
  int bound = (int)strlen(word) / 3;
  if (bound < 1) bound = 1;
  return best && best_distance <= bound ? best : NULL;
}
