/* scan.h - reads run folders: which there are below a root, and what one says. */
#ifndef SONDE_RECORD_SCAN_H
#define SONDE_RECORD_SCAN_H

#include <jansson.h>

#include "base/error.h"

/* The folders with a run.json, one or two names below root ("trial", "experiment/trial"), in order of name. */
int sonde_scan_folders(const char *root, char ***dir, int64_t *n, sonde_error *err);
void sonde_scan_free(char **dir, int64_t n);

/* The file in a run's folder that says that the index lacks what happened there. */
#define SONDE_SCAN_UNINDEXED "unindexed"

/* 1: ROOT/dir holds a run. */
int sonde_scan_is_run(const char *root, const char *dir);

/* run.json, and config.yaml (an empty object where there is none yet), of ROOT/dir. The caller owns both. */
int sonde_scan_read(const char *root, const char *dir, json_t **run, json_t **config, sonde_error *err);

/* Lists and matrices that ROOT/dir keeps beside run.json, as an object: each probe of probes.json under its name, its
 * intervals and those of its scalars under NAME.ci and NAME_SCALAR.ci, and each file probes/NAME.json. What cannot be
 * read is left out with a warning. The caller owns it; NULL when out of memory. */
json_t *sonde_scan_lists(const char *root, const char *dir);

#endif
