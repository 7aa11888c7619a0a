/* regex.c - what Oniguruma and Rust's engine take for other things than PCRE2 is spelled out; what cannot be is
 * refused. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include "text/regex.h"
#include "text/unicode.h"

/* Oniguruma's \w: alphabetic characters (those that are no letters, marks or numbers stand in circles and squares),
 * marks, decimal digits, connectors. By itself, outside a class, it also has six numbers of Latin-1. */
#define WORD_CLASS \
  "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define WORD_ALONE "\\xb2\\xb3\\xb9\\xbc-\\xbe"

/* From 10.40 on PCRE2 knows the property itself, and has Script and Script_Extensions apart. */
#define KNOWS_PROPERTIES (PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40)
#define NO_SPACE (KNOWS_PROPERTIES ? "\\P{wspace}" : "\\S")

typedef struct speller {
  const char *pattern;
  int64_t n;
  sonde_bytes *out;
  int in_class;
} speller;

static int add_text(speller *s, const char *text) {
  return sonde_bytes_add(s->out, text, (int64_t)strlen(text));
}

/* The two bytes at `at` are an escape. Returns 0, SONDE_ENOMEM or SONDE_EUNSUP. */
static int spell_escape(speller *s, int64_t at) {
  char c = s->pattern[at + 1];
  int word = c == 'w' || c == 'W', negated = c == 'S' || c == 'W';
  if (word || c == 's' || c == 'S') {
    const char *body = word ? WORD_CLASS : SONDE_SPACE_CLASS;
    if (!s->in_class)
      return add_text(s, negated ? "[^" : "[") || add_text(s, body) || (word && add_text(s, WORD_ALONE)) ||
                     add_text(s, "]")
                 ? SONDE_ENOMEM
                 : 0;
    if (!negated) return add_text(s, body);
    return c == 'W' ? SONDE_EUNSUP : add_text(s, NO_SPACE);                         /* a class holds no negated list */
  }
  if (strchr("hHvVbBRXKGNQE", c) && c) return SONDE_EUNSUP;
  int braced = at + 2 < s->n && s->pattern[at + 2] == '{';
  if ((c == 'p' || c == 'P') && !braced) return SONDE_EUNSUP;      /* Oniguruma: the letter */
  return sonde_bytes_add(s->out, s->pattern + at, 2);
}

#if KNOWS_PROPERTIES
/* Whether the name of a property is a script's. For PCRE2 alone would mean Script_Extensions (many a mark and number is
 * used by several scripts), elsewhere it means Script. */
static int is_script(const char *name, int64_t n) {
  char text[64];
  int code, length = snprintf(text, sizeof text, "\\p{sc:%.*s}", (int)n, name);
  PCRE2_SIZE at;
  if (n < 3 || length >= (int)sizeof text || memchr(name, ':', (size_t)n) || memchr(name, '=', (size_t)n)) return 0;
  pcre2_code *re = pcre2_compile((PCRE2_SPTR)text, (PCRE2_SIZE)length, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
  pcre2_code_free(re);
  return re != NULL;
}
#else
static int is_script(const char *name, int64_t n) {      /* here it means Script itself */
  (void)name, (void)n;
  return 0;
}
#endif

/* \p{NAME} or \P{^NAME} at `at`: the bytes before the name if it is a script's; else 0. */
static int64_t before_script(const speller *s, int64_t at) {
  int64_t from = at + 3;
  if (from >= s->n || (s->pattern[at + 1] != 'p' && s->pattern[at + 1] != 'P') || s->pattern[at + 2] != '{') return 0;
  if (s->pattern[from] == '^') from++;
  const char *end = memchr(s->pattern + from, '}', (size_t)(s->n - from));
  return end && is_script(s->pattern + from, end - s->pattern - from) ? from - at : 0;
}

/* The length of "(?imx-imx" at `at`; 0 if it is something else. */
static int64_t flags_at(const speller *s, int64_t at) {
  int64_t i = at + 2;
  if (at + 2 >= s->n || s->pattern[at] != '(' || s->pattern[at + 1] != '?') return 0;
  while (i < s->n && s->pattern[i] && strchr("imx-", s->pattern[i])) i++;
  return i > at + 2 && i < s->n && strchr(":)", s->pattern[i]) ? i - at : 0;
}

/* Oniguruma's m is PCRE2's s; what PCRE2 calls m is always on there. */
static int spell_flags(speller *s, int64_t at, int64_t n) {
  int rc = 0;
  for (int64_t i = at; i < at + n && !rc; i++)
    rc = sonde_bytes_add(s->out, s->pattern[i] == 'm' ? "s" : s->pattern + i, 1);
  return rc;
}

/* The bytes of an interval, {n}, {n,}, {n,m} or {,m}, at `at`; else 0. */
static int64_t interval_at(const speller *s, int64_t at) {
  int64_t i = at + 1, digits = 0, commas = 0;
  if (s->pattern[at] != '{') return 0;
  for (; i < s->n && ((s->pattern[i] >= '0' && s->pattern[i] <= '9') || s->pattern[i] == ','); i++)
    if (s->pattern[i] == ',') commas++;
    else digits++;
  return i < s->n && s->pattern[i] == '}' && digits && commas < 2 ? i + 1 - at : 0;
}

/* An interval of n bytes. {,m} begins with 0. Behind one, + repeats it (to PCRE2 it is possessive): from 0 or 1 on,
 * that is any number; and so does ? behind {n} (to PCRE2: is lazy). Returns how many bytes are done with, or an
 * error. */
static int64_t spell_interval(speller *s, int64_t at, int64_t n) {
  char after = at + n < s->n ? s->pattern[at + n] : '\0', least = s->pattern[at + 1] == ',' ? '0' : s->pattern[at + 1];
  const char *comma = memchr(s->pattern + at, ',', (size_t)n);
  int any = (least == '0' || least == '1') && comma && comma - (s->pattern + at) <= 2;
  int more = after == '+' && at + n + 1 < s->n && s->pattern[at + n + 1] && strchr("?+*{", s->pattern[at + n + 1]);
  if (more || (after == '+' && !any) || (after == '?' && !comma)) return SONDE_EUNSUP;
  if (after == '+') return add_text(s, least == '0' ? "{0,}" : "{1,}") ? SONDE_ENOMEM : n + 1;
  return add_text(s, least == '0' ? "{0" : "{") || sonde_bytes_add(s->out, s->pattern + at + 1, n - 1) ? SONDE_ENOMEM
                                                                                                       : n;
}

static int spell_pattern(const char *pattern, int64_t n, sonde_bytes *out) {
  speller s = {pattern, n, out, 0};
  int64_t class_at = 0;
  for (int64_t i = 0; i < n; i++) {
    char c = pattern[i], after = i + 1 < n ? pattern[i + 1] : '\0';
    int64_t head = c == '\\' ? before_script(&s, i) : 0, flags = s.in_class ? 0 : flags_at(&s, i);
    int64_t interval = s.in_class ? 0 : interval_at(&s, i);
    int rc = 0;
    if (head) {
      rc = sonde_bytes_add(out, pattern + i, head) || add_text(&s, "sc:") ? SONDE_ENOMEM : 0;
      i += head - 1;
    } else if (flags) {
      rc = spell_flags(&s, i, flags);
      i += flags - 1;
    } else if (interval) {
      interval = spell_interval(&s, i, interval);
      rc = interval < 0 ? (int)interval : 0;
      i += interval - 1;
    } else if (c == '\\' && i + 1 < n) {
      rc = spell_escape(&s, i++);
    } else if (s.in_class && (c == '[' || (c == '&' && after == '&'))) {
      rc = SONDE_EUNSUP;       /* classes within classes */
    } else {
      if (c == '[') s.in_class = 1, class_at = i;
      int first = i == class_at + 1 || (i == class_at + 2 && pattern[i - 1] == '^');
      if (c == ']' && !first) s.in_class = 0;
      rc = sonde_bytes_add(out, &c, 1);
    }
    if (rc) return rc;
  }
  return 0;
}

pcre2_code *sonde_regex_compile(const char *pattern, int64_t n, const char *where, sonde_error *err) {
  sonde_bytes spelled = {0};
  int code, rc = spell_pattern(pattern, n, &spelled);
  PCRE2_SIZE at;
  if (rc) {
    sonde_bytes_free(&spelled);
    sonde_fail(err, rc, "%s: %s '%.*s'", where,
               rc == SONDE_ENOMEM ? "out of memory for" : "regex engines differ on the pattern",
               (int)(n < 300 ? n : 300), pattern);
    return NULL;
  }
  pcre2_code *re = pcre2_compile((PCRE2_SPTR)(spelled.data ? spelled.data : ""), (PCRE2_SIZE)spelled.n,
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at, NULL);
  sonde_bytes_free(&spelled);
  if (!re) {
    char text[200];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    sonde_fail(err, SONDE_EFORMAT, "%s: the pattern '%.*s' is not understood: %s", where, (int)(n < 300 ? n : 300),
               pattern, text);
    return NULL;
  }
  /* Where the system allows no generated code this fails, and matching is interpreted: slower, the same
   * matches. */
  pcre2_jit_compile(re, PCRE2_JIT_COMPLETE);
  return re;
}

int sonde_regex_quote(const char *s, sonde_bytes *out) {
  for (; *s; s++) {
    if (strchr("\\^$.|?*+()[]{}-#/", *s) && sonde_bytes_add(out, "\\", 1)) return SONDE_ENOMEM;
    if (sonde_bytes_add(out, s, 1)) return SONDE_ENOMEM;
  }
  return 0;
}

int sonde_regex_next(pcre2_code *re, pcre2_match_data *match, pcre2_match_context *context, const char *p, int64_t n,
                     int64_t from, sonde_error *err) {
  PCRE2_SIZE *place = pcre2_get_ovector_pointer(match);
  int found = pcre2_match(re, (PCRE2_SPTR)p, (PCRE2_SIZE)n, (PCRE2_SIZE)from, PCRE2_NO_UTF_CHECK, match, context);
  if (found == PCRE2_ERROR_NOMATCH) return 0;
  if (found < 0) {
    char text[200];
    pcre2_get_error_message(found, (PCRE2_UCHAR *)text, sizeof text);
    return sonde_fail(err, SONDE_EFORMAT, "the tokenizer's pattern cannot be matched here: %s", text);
  }
  if ((int64_t)place[0] < from || place[1] < place[0])
    return sonde_fail(err, SONDE_EUNSUP, "the tokenizer's pattern uses \\K");
  return 1;
}
