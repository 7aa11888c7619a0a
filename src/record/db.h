/* db.h - ROOT/sonde.db: an index over the run folders below ROOT, for listing and comparing trials (SQLite, WAL mode;
 * any number of processes may write). The run folders are authoritative: every row is read from a folder's run.json,
 * config.yaml and lists (scan.h), so a lost or damaged database is rebuilt from them.
 *
 * Tables: trials(id, dir, experiment, trial, status, reason, started, ended, command, version, commit_id, machine,
 * threads, corpus, corpus_sha256), and by trial: parameters(trial, key, value, type), results(trial, key, value, type),
 * plugins(trial, kind, name, version, sha256). Keys are dotted paths. Numbers, texts and null have SQLite's types; for
 * others the column `type` is "boolean" (1 or 0) or "json" (a list, or an empty object, as text). */
#ifndef SONDE_RECORD_DB_H
#define SONDE_RECORD_DB_H

#include <jansson.h>

#include "base/error.h"

typedef struct sonde_db sonde_db;

/* Opens (creates) the database of a folder of runs; a new one is filled from the existing run folders. */
sonde_db *sonde_db_open(const char *root, sonde_error *err);
/* The same for reading: if the database cannot be written (a read-only disk), an index in memory. */
sonde_db *sonde_db_view(const char *root, sonde_error *err);
void sonde_db_close(sonde_db *db);

/* Reads the run folder ROOT/dir and inserts or replaces its row. */
int sonde_db_index(sonde_db *db, const char *dir, sonde_error *err);

/* Drops all rows and reads every run folder again; *count: their number. A folder that cannot be read is skipped with a
 * warning. */
int sonde_db_rebuild(sonde_db *db, int64_t *count, sonde_error *err);

/* Trials as an array of objects (a row of `trials` with "parameters", "results" and "plugins"), ordered by folder:
 * of one experiment or trial folder ("depth", "depth/pre_ln-4"), or all (NULL). Run folders without a row
 * get one. A trial with status "running" whose lock is free has the status in its run.json, else "killed"; the index is
 * updated. Trials whose folder was removed are left out. The caller owns the result. */
json_t *sonde_db_trials(sonde_db *db, const char *under, sonde_error *err);

/* The same for a root: from its database, or, if that cannot be used, from an index in memory, with a note. */
json_t *sonde_db_list(const char *root, const char *under, sonde_error *err);

/* The rows of one SELECT over the tables above, brought up to date before: an object of "columns" (their names) and
 * "rows" (an array for each). Only reading is possible, nothing outside the database. `stop` (may be NULL): ends the
 * query with EINTR once it is not 0. EINVAL: the text is not one such statement; the message is SQLite's. */
json_t *sonde_db_query(const char *root, const char *sql, const volatile int *stop, sonde_error *err);

#endif
