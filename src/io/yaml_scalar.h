/* yaml_scalar.h - the value of a YAML scalar, for both the reader and the writer of yaml.h. */
#ifndef SONDE_IO_YAML_SCALAR_H
#define SONDE_IO_YAML_SCALAR_H

#include <jansson.h>
#include <stddef.h>

/* A new reference to the value of the n bytes at `text` (a NUL behind them) by the core schema. `plain`:
 * unquoted; `tag`: the explicit tag or NULL. NULL: refused, with *reason set, or out of memory, with
 * *reason unchanged. */
json_t *sonde_yaml_scalar(const char *text, size_t n, int plain, const char *tag, const char **reason);

#endif
