/* scan.h - reads run folders: which there are below a root, and what one says. */
#ifndef SONDE_RECORD_SCAN_H
#define SONDE_RECORD_SCAN_H

#include <jansson.h>

#include "base/error.h"

/* The folders with a run.json, one or two names below root ("trial", "experiment/trial"), in order of name. */
int sonde_scan_folders(const char *root, char ***dir, int64_t *n, sonde_error *err);
void sonde_scan_free(char **dir, int64_t n);

/* 1: ROOT/dir holds a run. */
int sonde_scan_is_run(const char *root, const char *dir);

/* run.json, and config.yaml (an empty object where there is none yet), of ROOT/dir. The caller owns both. */
int sonde_scan_read(const char *root, const char *dir, json_t **run, json_t **config, sonde_error *err);

#endif
