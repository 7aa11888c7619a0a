/* json.c - jansson with limits, error messages and shortest numbers. */
#include "config.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/mem.h"
#include "io/bytes.h"
#include "io/json.h"

enum { MAX_BYTES = 256 << 20 };

json_t *sonde_json_parse(const char *text, int64_t size, const char *name, sonde_error *err) {
  json_error_t je;
  json_t *tree = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
  if (tree) return tree;
  if (json_error_code(&je) == json_error_out_of_memory)
    sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", name);
  else
    sonde_fail(err, SONDE_EFORMAT, "%s:%d: not JSON: %s", name, je.line, je.text);
  return NULL;
}

json_t *sonde_json_load(const char *path, int64_t max_bytes, sonde_error *err) {
  char *text;
  int64_t size;
  if (sonde_file_read(path, max_bytes ? max_bytes : MAX_BYTES, &text, &size, err)) return NULL;
  json_t *tree = sonde_json_parse(text, size, path, err);
  sonde_release(text);
  return tree;
}

/* How many digits (15 to 17) bring every number of the tree back to the same double. */
static int digits_needed(const json_t *v) {
  int most = DBL_DIG;
  if (json_is_real(v)) {
    char buf[40];
    double x = json_real_value(v);
    for (; most < DBL_DIG + 2; most++) {
      snprintf(buf, sizeof buf, "%.*g", most, x);
      if (strtod(buf, NULL) == x) break;
    }
    return most;
  }
  const char *key;
  json_t *child;
  size_t i;
  if (json_is_object(v)) {
    json_object_foreach((json_t *)v, key, child) {
      int d = digits_needed(child);
      if (d > most) most = d;
    }
  } else if (json_is_array(v)) {
    json_array_foreach(v, i, child) {
      int d = digits_needed(child);
      if (d > most) most = d;
    }
  }
  return most;
}

/* jansson does not look at the result of every write, so a failure is remembered here. */
typedef struct output {
  sonde_bytes text;
  int failed;
} output;

static int append(const char *bytes, size_t n, void *arg) {
  output *o = arg;
  o->failed |= sonde_bytes_add(&o->text, bytes, (int64_t)n) != 0;
  return o->failed ? -1 : 0;
}

char *sonde_json_text(const json_t *tree, int indent) {
  output o = {{0}, 0};
  size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits_needed(tree));
  flags |= indent ? JSON_INDENT(indent) : JSON_COMPACT;
  if (!json_dump_callback(tree, append, &o, flags) && !o.failed) return o.text.data;
  sonde_bytes_free(&o.text);
  return NULL;
}

json_t *sonde_json_number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

int sonde_json_save(const json_t *tree, const char *path, int indent, sonde_error *err) {
  char *s = sonde_json_text(tree, indent);
  if (!s) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path);
  size_t n = strlen(s);
  s[n] = '\n';   /* over the NUL: the length goes along */
  int rc = sonde_file_write(path, s, (int64_t)n + 1, err);
  sonde_release(s);
  return rc;
}

static const char *type_name(const json_t *v) {
  static const char *const name[] = {"an object", "a list", "a string", "an integer",
                                     "a number",  "true",   "false",    "null"};
  return v ? name[json_typeof(v)] : "missing";
}

int sonde_json_string(const json_t *obj, const char *key, const char *where, const char **out,
                      sonde_error *err) {
  const json_t *v = json_object_get(obj, key);
  if (!json_is_string(v))
    return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' is %s, not a string", where, key, type_name(v));
  *out = json_string_value(v);
  return 0;
}

int sonde_json_bool_or(const json_t *obj, const char *key, int preset, const char *where, int *out,
                       sonde_error *err) {
  const json_t *v = json_object_get(obj, key);
  *out = preset;
  if (!v || json_is_null(v)) return 0;
  if (!json_is_boolean(v))
    return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' is %s, not true or false", where, key, type_name(v));
  *out = json_is_true(v);
  return 0;
}
