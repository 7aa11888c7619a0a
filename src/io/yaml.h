/* yaml.h - YAML files to json_t trees with line numbers, and back.
 *
 * Scalars follow the core schema of YAML 1.2 (null, true, 12, 0x1f, 1e-3; `yes` and `on` are strings).
 * Keys are strings and may not repeat. Anchors and aliases work, but the tree they unfold to is bounded;
 * merge keys (<<), .inf, .nan, unknown tags, a second document and more than 64 levels are refused. */
#ifndef SONDE_IO_YAML_H
#define SONDE_IO_YAML_H

#include "io/json.h"

/* A parsed file: the tree, and the line of each value by its path. */
typedef struct sonde_doc sonde_doc;

sonde_doc *sonde_yaml_load(const char *path, sonde_error *err);
sonde_doc *sonde_yaml_parse(const char *text, int64_t size, const char *name, sonde_error *err);
void sonde_doc_free(sonde_doc *d);

/* The tree; borrowed. An empty file is a null. */
json_t *sonde_doc_root(const sonde_doc *d);

/* The line (from 1) of the value at a dotted path, "train.lr" or "grid.depth.0"; 0: none there. */
int sonde_doc_line(const sonde_doc *d, const char *path);

/* "config.yaml:12" for that path, or "config.yaml" when it has no line; into buf, which it returns. */
const char *sonde_doc_where(const sonde_doc *d, const char *path, char *buf, size_t n);

/* The tree as YAML in block style, in memory of sonde_alloc; reading it back gives an equal tree. */
char *sonde_yaml_text(const json_t *tree, sonde_error *err);
int sonde_yaml_save(const json_t *tree, const char *path, sonde_error *err);

#endif
