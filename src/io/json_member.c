/* json_member.c - one member of an object, without looking into the others.
 *
 * Others may hold what JSON has no place for but its writers write all the same (NaN, numbers of any size, half a
 * surrogate pair): jansson refuses the whole object for that. So the others are only stepped over, by their quotes and
 * brackets; jansson reads the one that is wanted. */
#include "config.h"

#include <string.h>
#include "io/json.h"

typedef struct scan { const char *p, *end; } scan;

static void blanks(scan *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

static int at(const scan *s, char c) {
  return s->p < s->end && *s->p == c;
}

/* Behind the string that begins here; 0 when it does not end. */
static int step_string(scan *s) {
  for (s->p++; s->p < s->end; s->p++) {
    if (*s->p == '\\') s->p++;
    else if (*s->p == '"') return s->p++, 1;
  }
  return 0;
}

/* The end of the value that begins here; 0 if there is none, or it has no end. */
static int step_value(scan *s) {
  const char *from = s->p;
  int64_t depth = 0;
  while (s->p < s->end) {
    char c = *s->p;
    if (c == '"') {
      if (!step_string(s)) return 0;
    } else if (c == '{' || c == '[') {
      depth++, s->p++;
    } else if (c == '}' || c == ']') {
      if (!depth) return s->p > from;
      depth--, s->p++;
    } else if (!depth && (c == ',' || c == ':')) {
      return s->p > from;
    } else {
      s->p++;
      continue;
    }
    if (!depth) return 1;
  }
  return 0;
}

static json_t *read_piece(const char *from, const char *end, json_error_t *je) {
  return json_loadb(from, (size_t)(end - from), JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, je);
}

/* Whether the string [from, end), in quotes, spells the key. */
static int is_key(const char *from, const char *end, const char *key) {
  if (!memchr(from, '\\', (size_t)(end - from)))
    return (size_t)(end - from - 2) == strlen(key) && !memcmp(from + 1, key, strlen(key));
  json_error_t je;
  json_t *v = read_piece(from, end, &je);
  int same = v && json_string_length(v) == strlen(key) && !strcmp(json_string_value(v), key);
  json_decref(v);
  return same;
}

/* Skips all members; the value of the last one with that key is [*from, *to). Returns the error, or NULL. */
static const char *find_member(scan *s, const char *key, const char **from, const char **to) {
  blanks(s);
  if (!at(s, '{')) return "not an object";
  s->p++;
  blanks(s);
  if (at(s, '}')) s->p++;
  else for (;;) {
    const char *name = s->p;
    if (!at(s, '"')) return "a member has no name in quotes";
    if (!step_string(s)) return "it ends inside a string";
    const char *name_end = s->p;
    blanks(s);
    if (!at(s, ':')) return "there is no colon behind a name";
    s->p++;
    blanks(s);
    const char *value = s->p;
    if (!step_value(s)) return "it ends inside a value, or a value is missing";
    if (is_key(name, name_end, key)) *from = value, *to = s->p;
    blanks(s);
    char c = s->p < s->end ? *s->p : '\0';
    s->p++;
    if (c == '}') break;
    if (c != ',') return "there is neither a comma nor an end behind a value";
    blanks(s);
  }
  blanks(s);
  return s->p < s->end ? "there is text after the object" : NULL;
}

int sonde_json_member(const char *text, int64_t n, const char *key, const char *where, json_t **value,
                      sonde_error *err) {
  scan s = {text, text + n};
  const char *from = NULL, *to = NULL;
  *value = NULL;
  const char *wrong = find_member(&s, key, &from, &to);
  if (wrong) return sonde_fail(err, SONDE_EFORMAT, "%s: not JSON: %s", where, wrong);
  if (!from) return 0;
  json_error_t je;
  *value = read_piece(from, to, &je);
  if (*value) return 0;
  if (json_error_code(&je) == json_error_out_of_memory)
    return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", where);
  return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' is not JSON: %s", where, key, je.text);
}
