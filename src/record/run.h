/* run.h - one run folder, ROOT/experiment/trial or ROOT/trial: the lock of its writer, the configuration (config.yaml),
 * provenance and outcome (run.json, and the index in ROOT/sonde.db), and a log.
 *
 * The folder is authoritative, the index is not: if the index cannot be written, a warning is printed once, the folder
 * is marked (the file `unindexed`), and the next listing of runs adds it. A root that is itself a run folder has no
 * index: folders below it belong to that run. */
#ifndef SONDE_RECORD_RUN_H
#define SONDE_RECORD_RUN_H

#include <jansson.h>

#include "base/error.h"
#include "record/metrics.h"

typedef struct sonde_run sonde_run;

/* Opens (creates) ROOT/name, where name is "experiment/trial" or "trial", and takes its lock: ELOCK if another process
 * has it. */
sonde_run *sonde_run_open(const char *root, const char *name, sonde_error *err);
void sonde_run_close(sonde_run *r);
int sonde_run_held(const char *root, const char *name);   /* 1: some process has its lock */
const char *sonde_run_dir(const sonde_run *r);

/* ENOENT: the folder was removed or replaced since it was opened, so that writes would be lost. */
int sonde_run_check(sonde_run *r, sonde_error *err);

/* metrics.jsonl, opened at the first call with room for lines of `line_bytes`; belongs to the run. */
sonde_metrics *sonde_run_metrics(sonde_run *r, int64_t line_bytes, sonde_error *err);

/* The keys in which `config` differs from config.yaml: "lr (was 1, now 2), ..."; "" if none. *used: 1 if the folder has
 * results (metrics, a checkpoint, an outcome). */
enum { SONDE_RUN_KEYS = 800 };
int sonde_run_differs(sonde_run *r, const json_t *config, int *used, char keys[SONDE_RUN_KEYS], sonde_error *err);

/* Writes config.yaml. */
int sonde_run_config(sonde_run *r, const json_t *config, sonde_error *err);

/* Removes the results, and their entries in run.json: results, plugins, corpus, changes. The log and the run's identity
 * stay. */
int sonde_run_clear(sonde_run *r, sonde_error *err);

/* Records the start: program, machine, time, command line; status "running". Removes the DONE of an earlier end. */
int sonde_run_begin(sonde_run *r, const char *command, int threads, sonde_error *err);
/* Records "corpus" {"name", "sha256"} and "plugins" [{"kind", "name", "version", "sha256"}]. */
int sonde_run_describe(sonde_run *r, const json_t *fields, sonde_error *err);
/* Adds results (an object of numbers, strings or booleans; a later value replaces one of the same key). */
int sonde_run_report(sonde_run *r, const json_t *results, sonde_error *err);
/* Records the end: "done", "failed", "diverged" or "interrupted", with the reason ("" for done, which also makes
 * the file DONE). */
int sonde_run_end(sonde_run *r, const char *status, const char *reason, sonde_error *err);

/* The content of run.json: borrowed, valid until the next of the calls above. */
const json_t *sonde_run_record(const sonde_run *r);
int sonde_run_is_done(sonde_run *r);

/* Appends a line with the time to log.txt. Failures are ignored: they are no reason to end a run. */
void sonde_run_note(sonde_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
