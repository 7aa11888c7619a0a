/* db.h - ROOT/sonde.db: an index over the run folders below ROOT, for listing and comparing trials (SQLite, WAL mode;
 * any number of processes may write). The folders hold the truth: every row is read from a folder's run.json,
 * config.yaml and lists (scan.h), so that a lost or damaged database is made again from them.
 *
 * Tables: trials(id, dir, experiment, trial, status, reason, started, ended, command, version, commit_id, machine,
 * threads, corpus, corpus_sha256), and by trial: parameters(trial, key, value, type), results(trial, key, value, type),
 * plugins(trial, kind, name, version, sha256). Keys are dotted paths. Numbers, texts and null are SQLite's own; what it
 * has no type for says so in `type`: "boolean" (1 or 0), "json" (a list, or an empty object, as text). */
#ifndef SONDE_RECORD_DB_H
#define SONDE_RECORD_DB_H

#include <jansson.h>

#include "base/error.h"

typedef struct sonde_db sonde_db;

/* Opens (makes) the database of a folder of runs; a new one is filled from the folders that are there. */
sonde_db *sonde_db_open(const char *root, sonde_error *err);
/* The same for reading: where the database cannot be written (a read-only disk), an index of the folders in memory. */
sonde_db *sonde_db_view(const char *root, sonde_error *err);
void sonde_db_close(sonde_db *db);

/* Reads the run folder ROOT/dir and puts its row in place of the one that may be there. */
int sonde_db_index(sonde_db *db, const char *dir, sonde_error *err);

/* Drops all rows and reads every run folder again; *count: how many there are. One that cannot be read is told and left out. */
int sonde_db_rebuild(sonde_db *db, int64_t *count, sonde_error *err);

/* Trials as an array of objects (a row of `trials` with "parameters", "results" and "plugins"), ordered by folder:
 * of one experiment or trial folder ("depth", "depth/pre_ln-4"), or all (NULL). Run folders that have no row get one. A trial
 * that says "running" while no process holds its lock has status "killed", unless its run.json knows how it ended: that is then
 * taken into the index. One whose folder was removed is left out. The caller owns the result. */
json_t *sonde_db_trials(sonde_db *db, const char *under, sonde_error *err);

/* The same of a root: from its database, or, where that cannot be used, from an index of the folders in memory, with a note. */
json_t *sonde_db_list(const char *root, const char *under, sonde_error *err);

#endif
