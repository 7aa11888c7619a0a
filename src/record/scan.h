/* scan.h - lists the run folders below a root, and reads one. */
#ifndef SONDE_RECORD_SCAN_H
#define SONDE_RECORD_SCAN_H

#include <jansson.h>

#include "base/error.h"

/* The folders with a run.json, one or two names below root ("trial", "experiment/trial"), in order of name. */
int sonde_scan_folders(const char *root, char ***dir, int64_t *n, sonde_error *err);
void sonde_scan_free(char **dir, int64_t n);

/* A file in a run folder: the index is missing this run's latest state. */
#define SONDE_SCAN_UNINDEXED "unindexed"

/* 1: ROOT/dir is a run folder. */
int sonde_scan_is_run(const char *root, const char *dir);

/* run.json, and config.yaml (an empty object where there is none yet), of ROOT/dir. The caller owns both. */
int sonde_scan_read(const char *root, const char *dir, json_t **run, json_t **config, sonde_error *err);

/* Lists and matrices of ROOT/dir beside run.json, as an object: each probe of probes.json under its name, its
 * intervals and those of its scalars under NAME.ci and NAME_SCALAR.ci, and each file probes/NAME.json. Files that
 * cannot be read are skipped with a warning. The caller owns it; NULL if out of memory. */
json_t *sonde_scan_lists(const char *root, const char *dir);

#endif
