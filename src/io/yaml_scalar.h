/* yaml_scalar.h - what a YAML scalar stands for, for the reader and the writer of yaml.h alike. */
#ifndef SONDE_IO_YAML_SCALAR_H
#define SONDE_IO_YAML_SCALAR_H

#include <jansson.h>
#include <stddef.h>

/* A new reference to the value of the n bytes at `text` (a NUL behind them) by the core schema. `plain`:
 * unquoted; `tag`: the explicit tag or NULL. NULL with *reason set when it is refused, with *reason left
 * alone when memory is out. */
json_t *sonde_yaml_scalar(const char *text, size_t n, int plain, const char *tag, const char **reason);

#endif
