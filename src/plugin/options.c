/* options.c - see options.h. */
#include "plugin/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_OPTIONS = 64, WORD = 200 };

static int bounded(const sonde_option *o) { return o->min != 0 || o->max != 0; }

static const char *type_name(char type) {
  switch (type) {
    case 'i': return "integer";
    case 'f': return "number";
    case 'b': return "true or false";
    case 's': return "text";
    default: return NULL;
  }
}

char *sonde_option_choice(const sonde_option *o, int k, char *buf, size_t size) {
  const char *at = o->choices;
  for (; at && k > 0; k--) at = (at = strchr(at, '|')) ? at + 1 : NULL;
  if (!at) return NULL;
  snprintf(buf, size, "%.*s", (int)strcspn(at, "|"), at);
  return buf;
}

char *sonde_option_takes(const sonde_option *o, char *buf, size_t size) {
  char word[WORD];
  if (o->type == 's' && o->choices) {
    int at = snprintf(buf, size, "one of");
    for (int k = 0; sonde_option_choice(o, k, word, sizeof word) && at >= 0 && (size_t)at < size; k++)
      at += snprintf(buf + at, size - (size_t)at, "%s %s", k ? "," : "", word);
  } else if ((o->type == 'i' || o->type == 'f') && bounded(o)) {
    snprintf(buf, size, "%s, %.12g to %.12g", type_name(o->type), o->min, o->max);
  } else snprintf(buf, size, "%s", type_name(o->type));
  return buf;
}

/* A value as the user wrote it, short enough for a message. */
static char *as_text(const json_t *v, char *buf, size_t size) {
  char *s = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
  snprintf(buf, size, "%.60s%s", s ? s : "?", s && strlen(s) > 60 ? "..." : "");
  free(s);
  return buf;
}

static int refuse_value(const char *what, const sonde_option *o, const json_t *v, sonde_error *err) {
  char given[WORD], takes[400];
  return sonde_fail(err, SONDE_EINVAL, "%s: option '%s' is %s; it takes: %s", what, o->name,
                    as_text(v, given, sizeof given), sonde_option_takes(o, takes, sizeof takes));
}

static int number(const char *what, const sonde_option *o, const json_t *v, sonde_value *out, sonde_error *err) {
  double f = json_number_value(v);
  if (!json_is_number(v) || !isfinite(f)) return refuse_value(what, o, v, err);
  if (o->type == 'i' && json_is_real(v) && (f != floor(f) || fabs(f) > 9007199254740992.0))
    return refuse_value(what, o, v, err);
  if (bounded(o) && (f < o->min || f > o->max)) return refuse_value(what, o, v, err);
  out->f = f;
  if (o->type == 'i') out->i = json_is_integer(v) ? (int64_t)json_integer_value(v) : (int64_t)f;
  return 0;
}

/* out->s borrows the text from v. */
static int value(const char *what, const sonde_option *o, const json_t *v, sonde_value *out, sonde_error *err) {
  char word[WORD];
  memset(out, 0, sizeof *out);
  if (o->type == 'b' && json_is_boolean(v)) {
    out->f = (double)(out->i = json_is_true(v));
    return 0;
  }
  if (o->type == 's' && json_is_string(v)) {
    out->s = json_string_value(v);
    if (!o->choices) return 0;
    for (int k = 0; sonde_option_choice(o, k, word, sizeof word); k++)
      if (!strcmp(word, out->s)) return 0;
    return refuse_value(what, o, v, err);
  }
  if (o->type == 'i' || o->type == 'f') return number(what, o, v, out, err);
  return refuse_value(what, o, v, err);
}

/* The JSON value that a text stands for under the option's type; a text that does not fit the type stays a string. */
static json_t *sonde_option_read(const sonde_option *o, const char *text) {
  char *end;
  errno = 0;
  if (o->type == 'b' && (!strcmp(text, "true") || !strcmp(text, "false"))) return json_boolean(*text == 't');
  if (o->type == 'i' && *text) {
    long long i = strtoll(text, &end, 10);
    if (!*end && !errno) return json_integer(i);
  }
  if ((o->type == 'i' || o->type == 'f') && *text) {
    double f = strtod(text, &end);
    if (!*end && isfinite(f)) return json_real(f);
  }
  return json_string(text);
}

static const sonde_option *find(const sonde_option *schema, int n, const char *name) {
  for (int k = 0; k < n; k++)
    if (!strcmp(schema[k].name, name)) return &schema[k];
  return NULL;
}

static int unknown(const char *what, const sonde_option *schema, int n, const char *key, sonde_error *err) {
  const char *names[MAX_OPTIONS], *near;
  char list[600] = "";
  size_t at = 0;
  for (int k = 0; k < n; k++) {
    names[k] = schema[k].name;
    if (at < sizeof list) at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", k ? ", " : "", names[k]);
  }
  if (!n) return sonde_fail(err, SONDE_EINVAL, "%s: unknown option '%s'; it has no options", what, key);
  if ((near = sonde_nearest(key, names, n)))
    return sonde_fail(err, SONDE_EINVAL, "%s: unknown option '%s'; did you mean '%s'?", what, key, near);
  return sonde_fail(err, SONDE_EINVAL, "%s: unknown option '%s'; it has: %s", what, key, list);
}

static int check_one(const char *what, const sonde_option *o, sonde_error *err) {
  int numeric = o->type == 'i' || o->type == 'f';
  sonde_value v;
  if (!type_name(o->type))
    return sonde_fail(err, SONDE_EINVAL, "%s: option '%s' has the type '%c'; use i, f, b or s", what, o->name,
                      o->type >= ' ' && o->type < 127 ? o->type : '?');
  if (!o->doc || !*o->doc) return sonde_fail(err, SONDE_EINVAL, "%s: option '%s' has no line of doc", what, o->name);
  if (!numeric && bounded(o))
    return sonde_fail(err, SONDE_EINVAL, "%s: option '%s' is no number but has a range", what, o->name);
  if (o->type != 's' && o->choices)
    return sonde_fail(err, SONDE_EINVAL, "%s: option '%s' is no text but has choices", what, o->name);
  if (!isfinite(o->min) || !isfinite(o->max) || o->min > o->max)
    return sonde_fail(err, SONDE_EINVAL, "%s: option '%s' has the range %g to %g", what, o->name, o->min, o->max);
  if (!o->preset) return 0;
  json_t *preset = sonde_option_read(o, o->preset);
  int rc = preset ? value(what, o, preset, &v, err)
                  : sonde_fail(err, SONDE_EINVAL, "option '%s': its default is no UTF-8", o->name);
  json_decref(preset);
  return rc ? sonde_wrap(err, "the schema's own default") : 0;
}

int sonde_options_check(const char *what, const sonde_option *schema, int n, sonde_error *err) {
  if (n < 0 || n > MAX_OPTIONS || (n && !schema))
    return sonde_fail(err, SONDE_EINVAL, "%s: %d options; give a list of 0 to %d", what, n, MAX_OPTIONS);
  for (int k = 0; k < n; k++) {
    if (!schema[k].name || !*schema[k].name)
      return sonde_fail(err, SONDE_EINVAL, "%s: option %d has no name", what, k + 1);
    if (find(schema, k, schema[k].name))
      return sonde_fail(err, SONDE_EINVAL, "%s: the option '%s' is there twice", what, schema[k].name);
    int rc = check_one(what, &schema[k], err);
    if (rc) return rc;
  }
  return 0;
}

/* One block: the values, then the texts that they point at. */
static sonde_value *pack(const sonde_value *v, int n, sonde_error *err) {
  size_t texts = 0;
  for (int k = 0; k < n; k++) texts += v[k].s ? strlen(v[k].s) + 1 : 0;
  sonde_value *out = sonde_alloc((size_t)(n ? n : 1) * sizeof *out + texts);
  if (!out) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for options");
    return NULL;
  }
  char *at = (char *)(out + (n ? n : 1));
  for (int k = 0; k < n; k++) {
    out[k] = v[k];
    if (!v[k].s) continue;
    size_t size = strlen(v[k].s) + 1;
    out[k].s = memcpy(at, v[k].s, size);
    at += size;
  }
  return out;
}

sonde_value *sonde_options_parse(const char *what, const sonde_option *schema, int n, const json_t *given,
                                 sonde_error *err) {
  sonde_value v[MAX_OPTIONS], *out = NULL;
  json_t *preset[MAX_OPTIONS] = {0};   /* alive until the texts have been copied */
  const char *key;
  json_t *ignored;
  int rc = 0;
  if (given && !json_is_object(given))
    rc = sonde_fail(err, SONDE_EINVAL, "%s: options must be a table of names and values", what);
  else if (given)
    json_object_foreach((json_t *)(uintptr_t)given, key, ignored)
      if (!rc && !find(schema, n, key)) rc = unknown(what, schema, n, key, err);
  for (int k = 0; k < n && !rc; k++) {
    const json_t *j = json_object_get(given, schema[k].name);
    char takes[400];
    if (!j && !schema[k].preset)
      rc = sonde_fail(err, SONDE_EINVAL, "%s: option '%s' must be given; it takes: %s", what, schema[k].name,
                      sonde_option_takes(&schema[k], takes, sizeof takes));
    else if (!j && !(j = preset[k] = sonde_option_read(&schema[k], schema[k].preset)))
      rc = sonde_fail(err, SONDE_ENOMEM, "no memory for options");
    else rc = value(what, &schema[k], j, &v[k], err);
  }
  if (!rc) out = pack(v, n, err);
  for (int k = 0; k < n && k < MAX_OPTIONS; k++) json_decref(preset[k]);
  return out;
}

json_t *sonde_options_object(const char *what, const sonde_option *schema, int n, const char *const *pair, int n_pair,
                             sonde_error *err) {
  json_t *given = json_object();
  int rc = given ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory for options");
  for (int k = 0; k < n_pair && !rc; k++) {
    const char *eq = strchr(pair[k], '=');
    char key[WORD];
    if (!eq || eq == pair[k] || (size_t)(eq - pair[k]) >= sizeof key) {
      rc = sonde_fail(err, SONDE_EINVAL, "%s: '%.100s' is no option; write name=value", what, pair[k]);
      break;
    }
    snprintf(key, sizeof key, "%.*s", (int)(eq - pair[k]), pair[k]);
    const sonde_option *o = find(schema, n, key);
    json_t *v = o ? sonde_option_read(o, eq + 1) : NULL;
    if (!o) rc = unknown(what, schema, n, key, err);
    else if (json_object_get(given, key))
      rc = sonde_fail(err, SONDE_EINVAL, "%s: option '%s' is given twice", what, key);
    else if (!v || json_object_set(given, key, v))
      rc = sonde_fail(err, SONDE_EINVAL, "%s: option '%s': the value is no UTF-8 text", what, key);
    json_decref(v);
  }
  if (!rc) return given;
  json_decref(given);
  return NULL;
}
