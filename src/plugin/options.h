/* options.h - a module's options against its schema: types, ranges, choices, defaults, and words for what is wrong.
 *
 * `what` names the module in messages ("norm 'rmsnorm'"). A message names the module, the option, the value that was
 * given and what would be taken; an unknown option gets the nearest known one. */
#ifndef SONDE_PLUGIN_OPTIONS_H
#define SONDE_PLUGIN_OPTIONS_H

#include <jansson.h>

#include "base/error.h"
#include "sonde_plugin.h"

/* EINVAL when the schema itself is wrong: an option without a name or a line of doc, one name twice, an unknown type,
 * a range or choices that do not fit the type, a default that its own rule refuses. */
int sonde_options_check(const char *what, const sonde_option *schema, int n, sonde_error *err);

/* The values in the schema's order, strings included, in one block for sonde_release; NULL on failure. `given` is a
 * JSON object, or NULL for the defaults. A number without a fraction passes for an integer. */
sonde_value *sonde_options_parse(const char *what, const sonde_option *schema, int n, const json_t *given,
                                 sonde_error *err);

/* Texts "key=value", the way a command line gives them, as such a JSON object, each read by its option's type; NULL
 * for an unknown key, one given twice, or a text that is no pair. A wrong value is left to sonde_options_parse. */
json_t *sonde_options_object(const char *what, const sonde_option *schema, int n, const char *const *pair, int n_pair,
                             sonde_error *err);

/* "integer, 1 to 64", "one of sum, mean": what an option takes, in words. Returns buf. */
char *sonde_option_takes(const sonde_option *o, char *buf, size_t size);

/* The k-th of the choices of an 's' option copied into buf; NULL when there are no more. */
char *sonde_option_choice(const sonde_option *o, int k, char *buf, size_t size);

#endif
