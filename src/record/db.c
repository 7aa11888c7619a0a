/* db.c - see db.h. Each folder is one transaction: its old row goes, with what hangs on it, and a new one comes. */
#include "record/db.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/json.h"
#include "record/db_internal.h"
#include "record/run.h"
#include "record/scan.h"

enum { BUSY_MS = 10000, SCHEMA = 2, DIR_COLUMN = 1, PATH_BYTES = 4096 };

static const char in_memory[] = ":memory:";

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS trials(id INTEGER PRIMARY KEY, dir TEXT NOT NULL UNIQUE,"
    " experiment TEXT NOT NULL, trial TEXT NOT NULL, status TEXT NOT NULL, reason TEXT, started TEXT, ended TEXT,"
    " command TEXT, version TEXT, commit_id TEXT, machine TEXT, threads INTEGER, corpus TEXT, corpus_sha256 TEXT);"
    "CREATE TABLE IF NOT EXISTS parameters(trial INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,"
    " key TEXT NOT NULL, value, type TEXT, PRIMARY KEY(trial, key));"
    "CREATE TABLE IF NOT EXISTS results(trial INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,"
    " key TEXT NOT NULL, value, type TEXT, PRIMARY KEY(trial, key));"
    "CREATE TABLE IF NOT EXISTS plugins(trial INTEGER NOT NULL REFERENCES trials(id) ON DELETE CASCADE,"
    " kind TEXT, name TEXT NOT NULL, version TEXT, sha256 TEXT);"
    "CREATE INDEX IF NOT EXISTS plugins_trial ON plugins(trial);"
    "PRAGMA user_version=2;";
/* It is only an index: one of an older layout is made again, not changed. */
static const char drop_old[] =
    "DROP TABLE IF EXISTS plugins; DROP TABLE IF EXISTS results; DROP TABLE IF EXISTS parameters;"
    "DROP TABLE IF EXISTS trials;";

static int failed(const sonde_db *db, sonde_error *err) {
  int code = sqlite3_errcode(db->sql);
  const char *help = code == SQLITE_CORRUPT || code == SQLITE_NOTADB
                         ? "; remove it, and `sonde runs rebuild` makes it again from the run folders" : "";
  return sonde_fail(err, SONDE_EIO, "%s: %s%s", db->path, sqlite3_errmsg(db->sql), help);
}

static int run_sql(sonde_db *db, const char *sql, sonde_error *err) {
  return sqlite3_exec(db->sql, sql, NULL, NULL, NULL) == SQLITE_OK ? SONDE_OK : failed(db, err);
}

/* SQLite does not wait for other processes when it changes the journal's kind: wait here. */
static int enter_wal(sonde_db *db, sonde_error *err) {
  for (int waited = 0; waited < BUSY_MS; waited += sqlite3_sleep(20)) {
    int code = sqlite3_exec(db->sql, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    if (code == SQLITE_OK) return SONDE_OK;
    if (code != SQLITE_BUSY) break;
  }
  return failed(db, err);
}

/* *fresh: whether there are no rows yet, but may be folders. */
static int prepare_schema(sonde_db *db, int *fresh, sonde_error *err) {
  sqlite3_stmt *s;
  int version = 0;
  if (sqlite3_prepare_v2(db->sql, "PRAGMA user_version", -1, &s, NULL) != SQLITE_OK) return failed(db, err);
  if (sqlite3_step(s) == SQLITE_ROW) version = sqlite3_column_int(s, 0);
  if (sqlite3_finalize(s) != SQLITE_OK) return failed(db, err);
  if (version > SCHEMA)
    return sonde_fail(
        err, SONDE_EFORMAT,
        "%s: made by a newer Sonde (layout %d, this one knows %d); remove it, and it is made again", db->path,
        version, SCHEMA);
  int code = run_sql(db, "PRAGMA foreign_keys=ON; PRAGMA synchronous=NORMAL;", err);
  *fresh = version != SCHEMA;
  if (!*fresh || code) return code;
  if ((code = enter_wal(db, err)) || (code = run_sql(db, "BEGIN IMMEDIATE", err))) return code;
  if (!(code = run_sql(db, drop_old, err)) && !(code = run_sql(db, schema, err))) code = run_sql(db, "COMMIT", err);
  if (code) sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
  return code;
}

static sonde_db *open_at(const char *root, const char *path, sonde_error *err) {
  int64_t count;
  int fresh = 0;
  sonde_db *db = sonde_alloc(sizeof *db);
  if (!db || !(db->root = sonde_strdup(root)) || !(db->path = sonde_strdup(path))) {
    sonde_fail(err, SONDE_ENOMEM, "%s: no memory", path);
    sonde_db_close(db);
    return NULL;
  }
  int code = sqlite3_open(path, &db->sql) == SQLITE_OK ? SONDE_OK : failed(db, err);
  if (!code && sqlite3_busy_timeout(db->sql, BUSY_MS) != SQLITE_OK) code = failed(db, err);
  if (!code) code = prepare_schema(db, &fresh, err);
  if (!code && fresh) code = sonde_db_rebuild(db, &count, err);
  db->complete = fresh;
  if (!code) return db;
  sonde_db_close(db);
  return NULL;
}

sonde_db *sonde_db_open(const char *root, sonde_error *err) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/sonde.db", root);
  return open_at(root, path, err);
}

/* SQLite reads a database in WAL mode on a read-only disk only if it is opened as immutable, and then without the data
 * that a killed process left in the -wal file. So it is rebuilt in memory. */
sonde_db *sonde_db_view(const char *root, sonde_error *err) {
  char path[PATH_BYTES];
  snprintf(path, sizeof path, "%s/sonde.db", root);
  int writable = !access(root, W_OK) && (!access(path, W_OK) || errno == ENOENT);
  return open_at(root, writable ? path : in_memory, err);
}

void sonde_db_close(sonde_db *db) {
  if (!db) return;
  sqlite3_close(db->sql);
  sonde_release(db->root);
  sonde_release(db->path);
  sonde_release(db);
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static void bind_json(sqlite3_stmt *s, int at, const json_t *v) {
  if (json_is_integer(v)) sqlite3_bind_int64(s, at, json_integer_value(v));
  else if (json_is_real(v)) sqlite3_bind_double(s, at, json_real_value(v));
  else if (json_is_boolean(v)) sqlite3_bind_int(s, at, json_is_true(v));
  else if (json_is_string(v))
    sqlite3_bind_text(s, at, json_string_value(v), (int)json_string_length(v), SQLITE_TRANSIENT);
  else if (json_is_array(v) || json_is_object(v)) {
    char *text = sonde_json_text(v, 0);
    sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT);
    sonde_release(text);
  } else sqlite3_bind_null(s, at);
}

/* What SQLite has no type for. */
static const char *type_name(const json_t *v) {
  return json_is_boolean(v) ? "boolean" : json_is_array(v) || json_is_object(v) ? "json" : NULL;
}

/* One row for each entry of an object; a nested object's entries have "outer.inner" as their key. */
static int add_values(sonde_db *db, sqlite3_stmt *s, sqlite3_int64 trial, const char *prefix,
                      const json_t *object, sonde_error *err) {
  const char *key;
  json_t *v;
  int code = SONDE_OK;
  json_object_foreach((json_t *)object, key, v) {
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key) >= PATH_BYTES) continue;
    if (json_is_object(v) && json_object_size(v) > 0) {
      if ((code = add_values(db, s, trial, path, v, err))) return code;
      continue;
    }
    sqlite3_bind_int64(s, 1, trial);
    sqlite3_bind_text(s, 2, path, -1, SQLITE_TRANSIENT);
    bind_json(s, 3, v);
    sqlite3_bind_text(s, 4, type_name(v), -1, SQLITE_STATIC);
    if (sqlite3_step(s) != SQLITE_DONE) return failed(db, err);
    sqlite3_reset(s);
  }
  return SONDE_OK;
}

static int add_table(sonde_db *db, const char *insert, sqlite3_int64 trial, const json_t *object,
                     sonde_error *err) {
  sqlite3_stmt *s;
  if (sqlite3_prepare_v2(db->sql, insert, -1, &s, NULL) != SQLITE_OK) return failed(db, err);
  int code = add_values(db, s, trial, "", object, err);
  sqlite3_finalize(s);
  return code;
}

static int add_plugins(sonde_db *db, sqlite3_int64 trial, const json_t *plugins, sonde_error *err) {
  static const char *const field[] = {"kind", "name", "version", "sha256"};
  sqlite3_stmt *s;
  size_t i;
  json_t *p;
  int code = SONDE_OK;
  if (sqlite3_prepare_v2(db->sql, "INSERT INTO plugins VALUES(?,?,?,?,?)", -1, &s, NULL) != SQLITE_OK)
    return failed(db, err);
  json_array_foreach(plugins, i, p) {
    if (!json_is_string(json_object_get(p, "name")) || !json_is_string(json_object_get(p, "kind"))) continue;
    sqlite3_bind_int64(s, 1, trial);
    for (int k = 0; k < 4; k++) bind_json(s, 2 + k, json_object_get(p, field[k]));
    if (sqlite3_step(s) != SQLITE_DONE) {
      code = failed(db, err);
      break;
    }
    sqlite3_reset(s);
  }
  sqlite3_finalize(s);
  return code;
}

/* Experiment and trial are what the folder is called: it may have been copied or renamed. */
static int add_trial(sonde_db *db, const char *dir, const json_t *run, sonde_error *err) {
  static const char *const field[] = {"status",  "reason",  "started", "ended",  "command",
                                      "version", "commit",  "machine", "threads"};
  const char *slash = strchr(dir, '/');
  enum { N = sizeof field / sizeof *field };
  const json_t *corpus = json_object_get(run, "corpus");
  sqlite3_stmt *s;
  static const char insert[] = "INSERT INTO trials VALUES(NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
  if (sqlite3_prepare_v2(db->sql, insert, -1, &s, NULL) != SQLITE_OK) return failed(db, err);
  sqlite3_bind_text(s, 1, dir, -1, SQLITE_TRANSIENT);
  sqlite3_bind_text(s, 2, dir, slash ? (int)(slash - dir) : 0, SQLITE_TRANSIENT);
  sqlite3_bind_text(s, 3, slash ? slash + 1 : dir, -1, SQLITE_TRANSIENT);
  for (int k = 0; k < N; k++) bind_json(s, 4 + k, json_object_get(run, field[k]));
  bind_json(s, 4 + N, json_object_get(corpus, "name"));
  bind_json(s, 5 + N, json_object_get(corpus, "sha256"));
  int code = sqlite3_step(s) == SQLITE_DONE ? SONDE_OK : failed(db, err);
  sqlite3_finalize(s);
  return code;
}

/* A scalar of run.json takes precedence over a list of the same name. */
static int add_results(sonde_db *db, const char *dir, sqlite3_int64 trial, const json_t *scalars, sonde_error *err) {
  json_t *all = sonde_scan_lists(db->root, dir);
  if (!all) return sonde_fail(err, SONDE_ENOMEM, "%s/%s: no memory for its results", db->root, dir);
  json_object_update(all, (json_t *)scalars);
  int code = add_table(db, "INSERT OR REPLACE INTO results VALUES(?,?,?,?)", trial, all, err);
  json_decref(all);
  return code;
}

static int put_trial(sonde_db *db, const char *dir, const json_t *run, const json_t *config, sonde_error *err) {
  sqlite3_stmt *s;
  if (sqlite3_prepare_v2(db->sql, "DELETE FROM trials WHERE dir=?", -1, &s, NULL) != SQLITE_OK)
    return failed(db, err);
  sqlite3_bind_text(s, 1, dir, -1, SQLITE_TRANSIENT);
  int code = sqlite3_step(s) == SQLITE_DONE ? SONDE_OK : failed(db, err);
  sqlite3_finalize(s);
  if (code || (code = add_trial(db, dir, run, err))) return code;
  sqlite3_int64 id = sqlite3_last_insert_rowid(db->sql);
  const char *parameters = "INSERT OR REPLACE INTO parameters VALUES(?,?,?,?)";
  /* A trial's grid values, by the names in the script; then the configuration. */
  const json_t *grid = json_object_get(json_object_get(run, "sweep"), "params");
  if (grid && (code = add_table(db, parameters, id, grid, err))) return code;
  if ((code = add_table(db, parameters, id, config, err))) return code;
  if ((code = add_results(db, dir, id, json_object_get(run, "results"), err))) return code;
  return add_plugins(db, id, json_object_get(run, "plugins"), err);
}

static int in_transaction(sonde_db *db, int code, sonde_error *err) {
  if (!code) code = run_sql(db, "COMMIT", err);
  if (code) sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
  return code;
}

static int index_folder(sonde_db *db, const char *dir, sonde_error *err) {
  json_t *run = NULL, *config = NULL;
  int code = sonde_scan_read(db->root, dir, &run, &config, err);
  if (!code) code = put_trial(db, dir, run, config, err);
  json_decref(run);
  json_decref(config);
  return code;
}

static void marker(const sonde_db *db, const char *dir, char out[PATH_BYTES]) {
  if (snprintf(out, PATH_BYTES, "%s/%s/" SONDE_SCAN_UNINDEXED, db->root, dir) >= PATH_BYTES) *out = 0;
}

/* The folder's mark that the index lacks it goes, now that the file has it. */
static void unmark(const sonde_db *db, const char *dir) {
  char path[PATH_BYTES];
  marker(db, dir, path);
  if (strcmp(db->path, in_memory) != 0) unlink(path);
}

int sonde_db_index(sonde_db *db, const char *dir, sonde_error *err) {
  int code = run_sql(db, "BEGIN IMMEDIATE", err);
  if (!code) code = in_transaction(db, index_folder(db, dir, err), err);
  if (!code) unmark(db, dir);
  return code;
}

/* A folder that cannot be read is reported and left out of the index. */
static int index_or_tell(sonde_db *db, const char *dir, int64_t *count, sonde_error *err) {
  sonde_error broken = {0};
  json_t *run = NULL, *config = NULL;
  int code = sonde_scan_read(db->root, dir, &run, &config, &broken);
  if (code && code != SONDE_ENOMEM) return sonde_warn("%s; it is left out", broken.text), SONDE_OK;
  code = code ? (*err = broken, code) : put_trial(db, dir, run, config, err);
  json_decref(run);
  json_decref(config);
  if (!code) ++*count;
  return code;
}

int sonde_db_rebuild(sonde_db *db, int64_t *count, sonde_error *err) {
  char **dir = NULL;
  int64_t n = 0;
  *count = 0;
  int code = run_sql(db, "BEGIN IMMEDIATE", err);
  if (code) return code;
  /* Under the write lock: a run that another process indexes after an earlier look would be deleted with the rest. */
  code = sonde_scan_folders(db->root, &dir, &n, err);
  if (!code) code = run_sql(db, "DELETE FROM trials", err);
  for (int64_t i = 0; i < n && !code; i++) code = index_or_tell(db, dir[i], count, err);
  code = in_transaction(db, code, err);
  for (int64_t i = 0; i < n && !code; i++) unmark(db, dir[i]);
  if (dir) sonde_scan_free(dir, n);
  return code;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

json_t *sonde_db_column(sqlite3_stmt *s, int at) {
  switch (sqlite3_column_type(s, at)) {
    case SQLITE_INTEGER: return json_integer(sqlite3_column_int64(s, at));
    case SQLITE_FLOAT: {
      double x = sqlite3_column_double(s, at);
      return isfinite(x) ? json_real(x) : json_null();      /* JSON has no other number */
    }
    case SQLITE_TEXT:
      return json_stringn((const char *)sqlite3_column_text(s, at), (size_t)sqlite3_column_bytes(s, at));
    default: return json_null();
  }
}

/* The value in column 1, of the type that column 2 says. */
static json_t *typed(sqlite3_stmt *s) {
  const char *type = (const char *)sqlite3_column_text(s, 2);
  if (type && strcmp(type, "boolean") == 0) return json_boolean(sqlite3_column_int(s, 1));
  if (!type || strcmp(type, "json") != 0) return sonde_db_column(s, 1);
  sonde_error err = {0};
  json_t *v = sonde_json_parse((const char *)sqlite3_column_text(s, 1), sqlite3_column_bytes(s, 1), "the index", &err);
  return v ? v : json_null();
}

static json_t *row_object(sqlite3_stmt *s) {
  json_t *row = json_object();
  for (int k = 0; k < sqlite3_column_count(s); k++)
    json_object_set_new(row, sqlite3_column_name(s, k), sonde_db_column(s, k));
  return row;
}

/* The rows that `select` gives for a trial: an object of key and value, or (`keyed` 0) an array of rows. */
static json_t *children(sonde_db *db, const char *select, sqlite3_int64 trial, int keyed) {
  sqlite3_stmt *s;
  if (sqlite3_prepare_v2(db->sql, select, -1, &s, NULL) != SQLITE_OK) return NULL;
  json_t *all = keyed ? json_object() : json_array();
  sqlite3_bind_int64(s, 1, trial);
  int code;
  while ((code = sqlite3_step(s)) == SQLITE_ROW)
    if (keyed) json_object_set_new(all, (const char *)sqlite3_column_text(s, 0), typed(s));
    else json_array_append_new(all, row_object(s));
  sqlite3_finalize(s);
  if (code == SQLITE_DONE) return all;
  json_decref(all);
  return NULL;
}

static void mark_if_killed(const sonde_db *db, json_t *trial) {
  const char *status = json_string_value(json_object_get(trial, "status"));
  const char *dir = json_string_value(json_object_get(trial, "dir"));
  if (status && dir && strcmp(status, "running") == 0 && !sonde_run_held(db->root, dir))
    json_object_set_new(trial, "status", json_string("killed"));
}

static json_t *read_trial(sonde_db *db, sqlite3_stmt *s) {
  json_t *trial = row_object(s);
  sqlite3_int64 id = json_integer_value(json_object_get(trial, "id"));
  json_object_set_new(trial, "parameters",
                      children(db, "SELECT key, value, type FROM parameters WHERE trial=? ORDER BY rowid", id, 1));
  json_object_set_new(trial, "results",
                      children(db, "SELECT key, value, type FROM results WHERE trial=? ORDER BY rowid", id, 1));
  json_object_set_new(
      trial, "plugins",
      children(db, "SELECT kind, name, version, sha256 FROM plugins WHERE trial=? ORDER BY rowid", id, 0));
  json_object_del(trial, "id");
  mark_if_killed(db, trial);
  return trial;
}

static json_t *select_trials(sonde_db *db, const char *under, sonde_error *err) {
  static const char select[] =
      "SELECT * FROM trials WHERE ?1 IS NULL OR dir = ?1 OR experiment = ?1 ORDER BY dir";
  sqlite3_stmt *s;
  if (sqlite3_prepare_v2(db->sql, select, -1, &s, NULL) != SQLITE_OK) {
    failed(db, err);
    return NULL;
  }
  if (under) sqlite3_bind_text(s, 1, under, -1, SQLITE_TRANSIENT);
  json_t *all = json_array();
  int code;
  while ((code = sqlite3_step(s)) == SQLITE_ROW)
    if (sonde_scan_is_run(db->root, (const char *)sqlite3_column_text(s, DIR_COLUMN)))
      json_array_append_new(all, read_trial(db, s));
  sqlite3_finalize(s);
  if (code == SQLITE_DONE) return all;
  failed(db, err);
  json_decref(all);
  return NULL;
}

/* Whether its process could not put into the index what it wrote into run.json, or was killed before it could. */
static int is_behind(const sonde_db *db, const json_t *trial) {
  const char *status = json_string_value(json_object_get(trial, "status"));
  char path[PATH_BYTES];
  marker(db, json_string_value(json_object_get(trial, "dir")), path);
  if (strcmp(db->path, in_memory) != 0 && sonde_path_exists(path)) return 1;
  json_t *run = NULL, *config = NULL;
  sonde_error err = {0};
  if (!status || strcmp(status, "killed") != 0) return 0;
  if (sonde_scan_read(db->root, json_string_value(json_object_get(trial, "dir")), &run, &config, &err)) return 0;
  int ended = strcmp(json_string_value(json_object_get(run, "status")), "running") != 0;
  json_decref(run);
  json_decref(config);
  return ended;
}

static int is_under(const char *dir, const char *under) {
  size_t n = under ? strlen(under) : 0;
  return !under || (strncmp(dir, under, n) == 0 && (dir[n] == '\0' || dir[n] == '/'));
}

static int has_row(sqlite3_stmt *s, const char *dir) {
  sqlite3_bind_text(s, 1, dir, -1, SQLITE_TRANSIENT);
  int found = sqlite3_step(s) == SQLITE_ROW;
  sqlite3_reset(s);
  return found;
}

/* Run folders that have no row: their process was killed before it could write one, or they were copied here. One that
 * cannot be read is told, and is no reason to show none. */
static int index_unknown(sonde_db *db, const char *under, sonde_error *err) {
  sonde_error broken = {0};
  sqlite3_stmt *s;
  char **dir = NULL;
  int64_t n = 0;
  int code = sonde_scan_folders(db->root, &dir, &n, err);
  if (code) return code;
  if (sqlite3_prepare_v2(db->sql, "SELECT 1 FROM trials WHERE dir=?", -1, &s, NULL) == SQLITE_OK) {
    for (int64_t i = 0; i < n; i++)
      if (is_under(dir[i], under) && !has_row(s, dir[i]) && sonde_db_index(db, dir[i], &broken))
        sonde_warn("%s; it is left out", broken.text);
  } else {
    code = failed(db, err);
  }
  sqlite3_finalize(s);
  sonde_scan_free(dir, n);
  return code;
}

json_t *sonde_db_trials(sonde_db *db, const char *under, sonde_error *err) {
  if (!db->complete && index_unknown(db, under, err)) return NULL;
  db->complete = 0;
  json_t *trial, *all = select_trials(db, under, err);
  size_t i;
  int code = SONDE_OK, behind = 0;
  json_array_foreach(all, i, trial) {
    if (code || !is_behind(db, trial)) continue;
    code = sonde_db_index(db, json_string_value(json_object_get(trial, "dir")), err);
    behind++;
  }
  if (!behind) return all;
  json_decref(all);
  return code ? NULL : select_trials(db, under, err);
}

/* Of the database of a root, or, if that cannot be used, of an index in memory, with a note. */
sonde_db *sonde_db_current(const char *root, const char *under, json_t **trials, sonde_error *err) {
  sonde_error broken = {0};
  sonde_db *db = sonde_db_view(root, &broken);
  int from_file = !db || strcmp(db->path, in_memory) != 0;
  *trials = db ? sonde_db_trials(db, under, &broken) : NULL;
  if (*trials) return db;
  sonde_db_close(db);
  if (!from_file) return *err = broken, NULL;
  sonde_warn("%s; the run folders are read instead", broken.text);
  db = open_at(root, in_memory, err);
  *trials = db ? sonde_db_trials(db, under, err) : NULL;
  if (*trials) return db;
  sonde_db_close(db);
  return NULL;
}

json_t *sonde_db_list(const char *root, const char *under, sonde_error *err) {
  json_t *all = NULL;
  sonde_db_close(sonde_db_current(root, under, &all, err));
  return all;
}
