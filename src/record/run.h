/* run.h - one run folder, ROOT/experiment/trial or ROOT/trial: who writes it (a lock), what was asked (config.yaml),
 * where it came from and how it ended (run.json, and the index in ROOT/sonde.db), and its log.
 *
 * The index is no more than one: where it cannot be written, that is told once, the folder is marked (the file `unindexed`), and
 * whoever lists the runs next takes it in. A root that is itself a run has none: what is below belongs to that run. */
#ifndef SONDE_RECORD_RUN_H
#define SONDE_RECORD_RUN_H

#include <jansson.h>

#include "base/error.h"
#include "record/metrics.h"

typedef struct sonde_run sonde_run;

/* Opens (makes) ROOT/name, where name is "experiment/trial" or "trial", and takes its lock: ELOCK if another process
 * has it. */
sonde_run *sonde_run_open(const char *root, const char *name, sonde_error *err);
void sonde_run_close(sonde_run *r);
int sonde_run_held(const char *root, const char *name);   /* 1: some process has its lock */
const char *sonde_run_dir(const sonde_run *r);
const char *sonde_run_experiment(const sonde_run *r);   /* "" if there is none */
const char *sonde_run_trial(const sonde_run *r);

/* ENOENT: the folder is no longer the one that was opened; somebody removed or replaced it, and what is written goes nowhere. */
int sonde_run_check(sonde_run *r, sonde_error *err);

/* DIR/name; belongs to the run and is valid until the next call. */
const char *sonde_run_path(sonde_run *r, const char *name);

/* metrics.jsonl, opened at the first call with room for lines of `line_bytes`; belongs to the run. */
sonde_metrics *sonde_run_metrics(sonde_run *r, int64_t line_bytes, sonde_error *err);

/* In which keys `config` differs from the config.yaml of what was computed here: "lr (was 1, now 2), ..."; "" in none. *used: 1 if
 * anything was computed (metrics, a checkpoint, an end). */
enum { SONDE_RUN_KEYS = 800 };
int sonde_run_differs(sonde_run *r, const json_t *config, int *used, char keys[SONDE_RUN_KEYS], sonde_error *err);

/* Writes config.yaml. */
int sonde_run_config(sonde_run *r, const json_t *config, sonde_error *err);

/* Removes what was computed here, and what run.json says of it: results, plugins, corpus, changes. What stays is the log, and who
 * the run is. */
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

/* What run.json says: borrowed, valid until the next of the calls above. */
const json_t *sonde_run_record(const sonde_run *r);
int sonde_run_is_done(sonde_run *r);

/* Appends a line with the time in front to log.txt. A log that cannot be written is not worth ending a run for. */
void sonde_run_note(sonde_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
