/* json.h - JSON by jansson, with limits on file sizes, line numbers in errors, and numbers that are read back equal.
 *
 * json_t is the one tree type of JSON and YAML alike (io/yaml.h). Objects keep the order of their keys. */
#ifndef SONDE_IO_JSON_H
#define SONDE_IO_JSON_H

#include <jansson.h>
#include "base/error.h"

/* Parses `size` bytes of JSON; `name` is used in error messages ("name:LINE: ..."). Duplicate keys are
 * refused. A new reference, or NULL with EFORMAT. */
json_t *sonde_json_parse(const char *text, int64_t size, const char *name, sonde_error *err);

/* The same from a file of at most max_bytes (0: 256 MiB). ENOENT, EIO, ELIMIT or EFORMAT. */
json_t *sonde_json_load(const char *path, int64_t max_bytes, sonde_error *err);

/* The member `key` of the object in the n bytes of text (the last one, if repeated): a new reference in *value, or NULL
 * if it is absent. Other members are skipped without parsing their values. `where` is used in messages. EFORMAT or
 * ENOMEM. */
int sonde_json_member(const char *text, int64_t n, const char *key, const char *where, json_t **value,
                      sonde_error *err);

/* The tree as text (compact, or with `indent` spaces), in memory of sonde_alloc. All numbers of
 * the tree have the fewest digits, 15 to 17, with which each is read back equal. NULL if out of memory. */
char *sonde_json_text(const json_t *tree, int indent);

/* A number, or null for NaN and infinities, which JSON lacks. A new reference; NULL if out of memory. */
json_t *sonde_json_number(double x);

/* Writes the text and a newline to `path`, atomically. */
int sonde_json_save(const json_t *tree, const char *path, int indent, sonde_error *err);

/* Members with a type check. `where` names the object in messages ("model.json: 'model'"). A missing key
 * is EFORMAT; the _or forms return the default for it, and for null. */
int sonde_json_string(const json_t *obj, const char *key, const char *where, const char **out,
                      sonde_error *err);
int sonde_json_bool_or(const json_t *obj, const char *key, int preset, const char *where, int *out,
                       sonde_error *err);

#endif
