/* run.c - see run.h. */
#include "record/run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/temp.h"
#include "io/yaml.h"
#include "record/db.h"
#include "record/lock.h"
#include "record/origin.h"
#include "record/scan.h"

enum { PATH_BYTES = 4096 };

struct sonde_run {
  char *dir, *root, *name, *experiment, *trial;   /* dir is root/name, name is experiment/trial */
  char path[PATH_BYTES];
  int lock;
  int unindexed;           /* 1: the index could not be written, which was reported */
  json_t *record;          /* run.json */
  sonde_metrics *metrics;  /* NULL until the first use */
};

/* ---- opening ------------------------------------------------------------------------------------------ */

/* 1 if `name` is "trial" or "experiment/trial", none of them empty or hidden. */
static int is_name(const char *name) {
  int slashes = 0;
  for (const char *c = name; *c; c++) {
    if (*c == '.' && (c == name || c[-1] == '/')) return 0;
    if (*c == '/' && (c == name || c[1] == '/' || !c[1] || ++slashes > 1)) return 0;
  }
  return *name != 0;
}

static int set_names(sonde_run *r, const char *root, const char *name, sonde_error *err) {
  char dir[PATH_BYTES];
  const char *slash = strchr(name, '/');
  if (!is_name(name))
    return sonde_fail(err, SONDE_EINVAL,
                      "'%s' cannot name a run in %s; give one such as trial or experiment/trial", name, root);
  if (snprintf(dir, sizeof dir - 64, "%s/%s", root, name) >= PATH_BYTES - 64)
    return sonde_fail(err, SONDE_EINVAL, "%s/%s: the path is too long", root, name);
  r->dir = sonde_strdup(dir);
  r->root = sonde_strdup(root);
  r->name = sonde_strdup(name);
  r->experiment = sonde_strdup(slash ? name : "");
  r->trial = sonde_strdup(slash ? slash + 1 : name);
  if (!r->dir || !r->root || !r->name || !r->experiment || !r->trial)
    return sonde_fail(err, SONDE_ENOMEM, "%s: no memory", dir);
  if (slash) r->experiment[slash - name] = 0;
  return SONDE_OK;
}

/* A path in the run folder, valid until the next call. */
static const char *path_of(sonde_run *r, const char *name) {
  snprintf(r->path, sizeof r->path, "%s/%s", r->dir, name);
  return r->path;
}

static int read_record(sonde_run *r, sonde_error *err) {
  json_t *config;
  if (!sonde_path_exists(path_of(r, "run.json"))) {
    r->record = json_object();
    return SONDE_OK;
  }
  int code = sonde_scan_read(r->root, r->name, &r->record, &config, err);
  if (!code) json_decref(config);
  return code;
}

sonde_run *sonde_run_open(const char *root, const char *name, sonde_error *err) {
  sonde_run *r = sonde_alloc(sizeof *r);
  if (!r) {
    sonde_fail(err, SONDE_ENOMEM, "%s/%s: no memory", root, name);
    return NULL;
  }
  r->lock = -1;
  int code = set_names(r, root, name, err);
  if (!code) code = sonde_mkdirs(r->dir, err);
  if (!code) code = sonde_lock_take(path_of(r, "lock"), &r->lock, err);
  if (!code) code = read_record(r, err);
  if (!code) sonde_temp_sweep(r->dir);
  if (!code) sonde_crash_run(r->dir);
  if (!code) return r;
  sonde_run_close(r);
  return NULL;
}

void sonde_run_close(sonde_run *r) {
  if (!r) return;
  sonde_crash_run(NULL);
  sonde_metrics_close(r->metrics);
  sonde_lock_drop(r->lock);
  json_decref(r->record);
  sonde_release(r->dir);
  sonde_release(r->root);
  sonde_release(r->name);
  sonde_release(r->experiment);
  sonde_release(r->trial);
  sonde_release(r);
}

int sonde_run_held(const char *root, const char *name) {
  char path[PATH_BYTES];
  return snprintf(path, sizeof path, "%s/%s/lock", root, name) < PATH_BYTES && sonde_lock_is_held(path);
}

const char *sonde_run_dir(const sonde_run *r) { return r->dir; }
const json_t *sonde_run_record(const sonde_run *r) { return r->record; }
int sonde_run_is_done(sonde_run *r) { return sonde_path_exists(path_of(r, "DONE")); }

int sonde_run_check(sonde_run *r, sonde_error *err) {
  struct stat ours, there;
  if (fstat(r->lock, &ours) == 0 && stat(path_of(r, "lock"), &there) == 0 && ours.st_dev == there.st_dev &&
      ours.st_ino == there.st_ino)
    return SONDE_OK;
  return sonde_fail(err, SONDE_ENOENT,
                    "%s: the run folder was removed or replaced while it was being written; what was computed "
                    "since its last checkpoint is lost",
                    r->dir);
}

sonde_metrics *sonde_run_metrics(sonde_run *r, int64_t line_bytes, sonde_error *err) {
  if (!r->metrics) r->metrics = sonde_metrics_open(path_of(r, "metrics.jsonl"), line_bytes, err);
  return r->metrics;
}

/* ---- configuration ------------------------------------------------------------------------------------ */

/* Equal values; 1 and 1.0 are. */
static int same(const json_t *a, const json_t *b) {
  if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
  return json_equal((json_t *)a, (json_t *)b);
}

/* A value as JSON, of at most SHOWN bytes: of a longer one the beginning. */
static char *shown(const json_t *v) {
  enum { SHOWN = 60 };
  char *text = sonde_json_text(v, 0);
  const char *end = json_is_string(v) ? "..\"" : "..";
  size_t at = SHOWN - strlen(end);
  if (!text || strlen(text) <= SHOWN) return text;
  while (at > 1 && ((unsigned char)text[at] & 0xC0) == 0x80) at--;     /* no part of a character */
  strcpy(text + at, end);
  return text;
}

/* Appends ", key (was old, now new)" to `out` for each entry that the two objects do not share. */
static void differing(const json_t *old, const json_t *now, const char *prefix, char *out, size_t n) {
  const char *key;
  json_t *v;
  json_object_foreach((json_t *)now, key, v) {
    char path[256];
    const json_t *was = json_object_get(old, key);
    snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
    if (json_is_object(v) && json_is_object(was)) differing(was, v, path, out, n);
    else if (!was || !same(was, v)) {
      char *a = was ? shown(was) : NULL, *b = shown(v);
      size_t used = strlen(out);
      snprintf(out + used, n - used, "%s%s (was %s, now %s)", used ? ", " : "", path, a ? a : "absent",
               b ? b : "?");
      sonde_release(a);
      sonde_release(b);
    }
  }
  json_object_foreach((json_t *)old, key, v) {
    size_t used = strlen(out);
    if (!json_object_get(now, key))
      snprintf(out + used, n - used, "%s%s%s%s (now absent)", used ? ", " : "", prefix, *prefix ? "." : "",
               key);
  }
}

/* Whether anything was computed here that belongs to the configuration. */
static int is_used(sonde_run *r) {
  return sonde_path_exists(path_of(r, "metrics.jsonl")) || sonde_path_exists(path_of(r, "checkpoint")) ||
         sonde_run_is_done(r);
}

int sonde_run_differs(sonde_run *r, const json_t *config, int *used, char keys[SONDE_RUN_KEYS], sonde_error *err) {
  const char *path;
  *keys = 0;
  *used = is_used(r);
  if (!*used) return SONDE_OK;
  if (!sonde_path_exists(path = path_of(r, "config.yaml"))) {
    /* It is written before the first checkpoint, so it was removed. */
    if (sonde_path_exists(path_of(r, "checkpoint")))
      snprintf(keys, SONDE_RUN_KEYS, "config.yaml, which said with what, is missing");
    return SONDE_OK;
  }
  sonde_doc *old = sonde_yaml_load(path, err);
  if (!old) return err->code;
  differing(sonde_doc_root(old), config, "", keys, SONDE_RUN_KEYS);
  sonde_doc_free(old);
  return SONDE_OK;
}

int sonde_run_config(sonde_run *r, const json_t *config, sonde_error *err) {
  return sonde_yaml_save(config, path_of(r, "config.yaml"), err);
}

/* ---- run.json ----------------------------------------------------------------------------------------- */

/* A JSON string, whatever bytes `s` has: those of a text that is no UTF-8 become '?' above ASCII. */
static json_t *text_value(const char *s) {
  json_t *v = json_string(s);
  char *copy = v ? NULL : sonde_strdup(s);
  if (v || !copy) return v;
  for (char *c = copy; *c; c++)
    if (*c & 0x80) *c = '?';
  v = json_string(copy);
  sonde_release(copy);
  return v;
}

static int put_in_index(const sonde_run *r, sonde_error *err) {
  sonde_db *db = sonde_db_open(r->root, err);
  int code = db ? sonde_db_index(db, r->name, err) : err->code;
  sonde_db_close(db);
  return code;
}

static void bring_index_up_to_date(sonde_run *r) {
  sonde_error err = {0};
  if (r->unindexed || sonde_scan_is_run(r->root, ".") || !put_in_index(r, &err)) return;
  r->unindexed = 1;
  sonde_warn("%s; the run continues without the index, and the next `sonde runs list` reads its folder", err.text);
  if (sonde_file_write(path_of(r, SONDE_SCAN_UNINDEXED), "", 0, &err)) sonde_warn("%s", err.text);
}

/* Writes run.json and brings the index up to date. */
static int save(sonde_run *r, sonde_error *err) {
  int code = sonde_run_check(r, err);
  if (!code) code = sonde_json_save(r->record, path_of(r, "run.json"), 2, err);
  if (!code) bring_index_up_to_date(r);
  return code;
}

int sonde_run_begin(sonde_run *r, const char *command, int threads, sonde_error *err) {
  char machine[512], now[32];
  sonde_origin_machine(machine, sizeof machine);
  sonde_origin_time(now);
  json_t *o = r->record;
  if (unlink(path_of(r, "DONE")) == 0) sonde_run_note(r, "a finished run is opened again");
  json_object_set_new(o, "format", json_integer(1));
  json_object_set_new(o, "experiment", text_value(r->experiment));
  json_object_set_new(o, "trial", text_value(r->trial));
  json_object_set_new(o, "status", json_string("running"));
  json_object_set_new(o, "reason", json_string(""));
  json_object_set_new(o, json_object_get(o, "started") ? "resumed" : "started", json_string(now));
  json_object_set_new(o, "ended", json_null());
  json_object_set_new(o, "command", text_value(command));
  json_object_set_new(o, "version", json_string(sonde_version()));
  json_object_set_new(o, "commit", json_string(sonde_origin_commit()));
  json_object_set_new(o, "machine", text_value(machine));
  json_object_set_new(o, "threads", json_integer(threads));
  if (!json_object_get(o, "results")) json_object_set_new(o, "results", json_object());
  return save(r, err);
}

int sonde_run_describe(sonde_run *r, const json_t *fields, sonde_error *err) {
  json_object_update(r->record, (json_t *)fields);
  return save(r, err);
}

int sonde_run_report(sonde_run *r, const json_t *results, sonde_error *err) {
  json_t *all = json_object_get(r->record, "results");
  if (!all) json_object_set_new(r->record, "results", all = json_object());
  json_object_update(all, (json_t *)results);
  return save(r, err);
}

int sonde_run_end(sonde_run *r, const char *status, const char *reason, sonde_error *err) {
  char now[32];
  sonde_origin_time(now);
  json_object_set_new(r->record, "status", json_string(status));
  json_object_set_new(r->record, "reason", text_value(reason));
  json_object_set_new(r->record, "ended", json_string(now));
  sonde_run_note(r, "%s%s%s", status, *reason ? ": " : "", reason);
  int code = save(r, err);
  if (code || strcmp(status, "done") != 0) return code;
  return sonde_file_write(path_of(r, "DONE"), "", 0, err);
}

int sonde_run_clear(sonde_run *r, sonde_error *err) {
  static const char *const stays[] = {".", "..", "lock", "log.txt", "run.json", "config.yaml"};
  static const char *const results[] = {"results", "plugins", "corpus", "changes", "diverged", "from", "seconds",
                                        "reads"};
  char path[PATH_BYTES];
  struct dirent *e;
  int code = sonde_run_check(r, err);
  DIR *d = code ? NULL : opendir(r->dir);
  if (!code && !d) code = sonde_fail_errno(err, SONDE_EIO, "%s: cannot read the run folder", r->dir);
  sonde_metrics_close(r->metrics);
  r->metrics = NULL;
  while (!code && (errno = 0, e = readdir(d))) {
    int keep = 0;
    for (size_t k = 0; k < sizeof stays / sizeof *stays; k++) keep |= strcmp(e->d_name, stays[k]) == 0;
    if (!keep && snprintf(path, sizeof path, "%s/%s", r->dir, e->d_name) < PATH_BYTES)
      code = sonde_remove_tree(path, err);
  }
  if (!code && errno) code = sonde_fail_errno(err, SONDE_EIO, "%s: cannot read all of the run folder", r->dir);
  if (d) closedir(d);
  /* Last: after an interrupted removal the rest must still be known to belong to it. */
  if (!code) code = sonde_remove_tree(path_of(r, "config.yaml"), err);
  for (size_t k = 0; k < sizeof results / sizeof *results; k++) json_object_del(r->record, results[k]);
  sonde_run_note(r, "what was computed here before is removed");
  return code ? code : save(r, err);
}

void sonde_run_note(sonde_run *r, const char *fmt, ...) {
  char line[1200], now[32];
  va_list ap;
  sonde_origin_time(now);
  int n = snprintf(line, sizeof line - 1, "%s ", now);
  va_start(ap, fmt);
  vsnprintf(line + n, sizeof line - 1 - (size_t)n, fmt, ap);
  va_end(ap);
  strcat(line, "\n");
  int fd = open(path_of(r, "log.txt"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0 || write(fd, line, strlen(line)) < 0)
    sonde_warn("%s: cannot write: the log lacks a line", r->path);
  if (fd >= 0) close(fd);
}
