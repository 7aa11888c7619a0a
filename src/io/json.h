/* json.h - what stands above jansson: files with limits, errors with a line, numbers that come back equal.
 *
 * json_t is the one tree type of JSON and YAML alike (io/yaml.h). Objects keep the order of their keys. */
#ifndef SONDE_IO_JSON_H
#define SONDE_IO_JSON_H

#include <jansson.h>
#include "base/error.h"

/* Parses `size` bytes of JSON; `name` stands in error messages ("name:LINE: ..."). Duplicate keys are
 * refused. A new reference, or NULL with EFORMAT. */
json_t *sonde_json_parse(const char *text, int64_t size, const char *name, sonde_error *err);

/* The same from a file of at most max_bytes (0: 256 MiB). ENOENT, EIO, ELIMIT or EFORMAT. */
json_t *sonde_json_load(const char *path, int64_t max_bytes, sonde_error *err);

/* The member `key` of the object that n bytes of text are (of several, the last): a new reference in *value, NULL where
 * there is none. What the other members hold is not looked at. `where` stands in messages. EFORMAT or ENOMEM. */
int sonde_json_member(const char *text, int64_t n, const char *key, const char *where, json_t **value,
                      sonde_error *err);

/* The tree as text (compact, or with `indent` spaces), in memory of sonde_alloc. Numbers have as few
 * digits, 15 to 17 for the whole tree, as bring every one back equal. NULL when out of memory. */
char *sonde_json_text(const json_t *tree, int indent);

/* Writes the text and a line end to `path`, whole or not at all. */
int sonde_json_save(const json_t *tree, const char *path, int indent, sonde_error *err);

/* Members with a type check. `where` names the object in messages ("model.json: 'model'"). A missing key
 * gives EFORMAT, unless a default is there to take (the _or forms), which also take a null for missing. */
int sonde_json_string(const json_t *obj, const char *key, const char *where, const char **out,
                      sonde_error *err);
int sonde_json_bool_or(const json_t *obj, const char *key, int preset, const char *where, int *out,
                       sonde_error *err);

#endif
