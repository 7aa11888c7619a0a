/* yaml_scalar.c - scalars of the YAML 1.2 core schema.
 *
 * Decimal numbers go through jansson in JSON's spelling: it converts without regard to the locale and
 * refuses what does not fit. */
#include "config.h"

#include <ctype.h>
#include <string.h>
#include <yaml.h>
#include "io/yaml_scalar.h"

static int is_word(const char *s, const char *lower) {
  size_t n = strlen(lower);
  if (strlen(s) != n) return 0;
  /* "true", "True" and "TRUE", not "tRue" */
  int capital = 1, upper = 1, small = 1;
  for (size_t i = 0; i < n; i++) {
    if (s[i] != lower[i]) small = 0;
    if (s[i] != toupper((unsigned char)lower[i])) upper = 0;
    if (s[i] != (i ? lower[i] : toupper((unsigned char)lower[i]))) capital = 0;
  }
  return small || upper || capital;
}

/* [-+]? digits | [-+]? (. digits | digits (. digits*)?) ([eE] [-+]? digits)?, in JSON's spelling into out
 * (which holds at least strlen(s) + 3). 0: not a number; 1: an integer; 2: a real. */
static int json_spelling(const char *s, char *out) {
  int kind = 1;
  if (*s == '-') *out++ = '-';
  if (*s == '-' || *s == '+') s++;
  size_t whole = strspn(s, "0123456789"), fraction = 0;
  size_t zeros = strspn(s, "0");
  if (zeros == whole) zeros = whole ? whole - 1 : 0;
  memcpy(out, s + zeros, whole - zeros);
  out += whole - zeros;
  if (!whole) *out++ = '0';
  s += whole;
  if (*s == '.') {
    kind = 2;
    fraction = strspn(++s, "0123456789");
    *out++ = '.';
    memcpy(out, s, fraction);
    out += fraction;
    if (!fraction) *out++ = '0';
    s += fraction;
  }
  if (!whole && !fraction) return 0;
  if (*s == 'e' || *s == 'E') {
    kind = 2;
    *out++ = *s++;
    if (*s == '-' || *s == '+') *out++ = *s++;
    size_t n = strspn(s, "0123456789");
    if (!n) return 0;
    memcpy(out, s, n);
    out += n;
    s += n;
  }
  *out = '\0';
  return *s ? 0 : kind;
}

static json_t *read_based(const char *digits, int base, const char **reason) {
  json_int_t v = 0;
  for (; *digits; digits++) {
    int d = isdigit((unsigned char)*digits) ? *digits - '0' : tolower((unsigned char)*digits) - 'a' + 10;
    if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v)) {
      *reason = "an integer beyond 64 bits";
      return NULL;
    }
  }
  return json_integer(v);
}

enum { MAX_NUMBER = 400 };       /* letters of the longest number that is taken for one */

/* The number, or NULL with *reason unset if the text is not a number. */
static json_t *read_number(const char *s, const char **reason) {
  const char *unsigned_part = s + (*s == '-' || *s == '+');
  if (is_word(unsigned_part, ".inf") || is_word(s, ".nan") || !strcmp(unsigned_part, ".Inf") ||
      !strcmp(s, ".NaN")) {
    *reason = "infinity and NaN are not allowed in a configuration";
    return NULL;
  }
  if (s[0] == '0' && s[1] == 'o' && s[2] && !s[2 + strspn(s + 2, "01234567")])
    return read_based(s + 2, 8, reason);
  if (s[0] == '0' && s[1] == 'x' && s[2] && !s[2 + strspn(s + 2, "0123456789abcdefABCDEF")])
    return read_based(s + 2, 16, reason);
  char buf[MAX_NUMBER + 4];
  size_t n = strlen(s);
  if (n > MAX_NUMBER || !json_spelling(s, buf)) return NULL;
  json_t *v = json_loads(buf, JSON_DECODE_ANY, NULL);
  if (!v) *reason = "a number out of range";
  return v;
}

static json_t *read_plain(const char *s, size_t n, const char **reason) {
  if (!*s || !strcmp(s, "~") || is_word(s, "null")) return json_null();
  if (is_word(s, "true")) return json_true();
  if (is_word(s, "false")) return json_false();
  json_t *v = read_number(s, reason);
  return v || *reason ? v : json_stringn(s, n);
}

json_t *sonde_yaml_scalar(const char *text, size_t n, int plain, const char *tag, const char **reason) {
  int string = tag && (!strcmp(tag, "!") || !strcmp(tag, YAML_STR_TAG));
  if (string || (!tag && !plain)) return json_stringn(text, n);
  json_t *v = read_plain(text, n, reason);
  if (!v || !tag) return v;
  int fits =
    (!strcmp(tag, YAML_NULL_TAG) && json_is_null(v)) || (!strcmp(tag, YAML_BOOL_TAG) && json_is_boolean(v)) ||
    (!strcmp(tag, YAML_INT_TAG) && json_is_integer(v)) || (!strcmp(tag, YAML_FLOAT_TAG) && json_is_real(v));
  if (fits) return v;
  if (!strcmp(tag, YAML_FLOAT_TAG) && json_is_integer(v)) {
    json_t *real = json_real((double)json_integer_value(v));
    json_decref(v);
    return real;
  }
  json_decref(v);
  *reason = "a tag that does not fit the value, or is not known";
  return NULL;
}
