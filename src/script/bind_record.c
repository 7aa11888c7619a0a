/* bind_record.c - run folders and their index in Lua. */
#include "config.h"

#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "graph/graph.h"
#include "record/db.h"
#include "record/lock.h"
#include "record/run.h"
#include "record/tfevents.h"
#include "script/script.h"

static void free_run(void *p) { sonde_run_close(p); }
static void free_db(void *p) { sonde_db_close(p); }

static const sonde_lua_type db_type = {"run database", free_db, NULL};

static sonde_run *to_run(lua_State *L) { return sonde_lua_handle(L, 1, &sonde_lua_run); }

/* run:dir() */
static int run_dir(lua_State *L) {
  lua_pushstring(L, sonde_run_dir(to_run(L)));
  return 1;
}

/* run:difference(table) -> the keys in which what is there was made with another configuration, "" where it was not;
 * nil where nothing was computed yet */
static int run_difference(lua_State *L) {
  sonde_run *r = to_run(L);
  char keys[SONDE_RUN_KEYS];
  int used;
  sonde_error err = {0};
  sonde_lua_check(L, sonde_run_differs(r, sonde_lua_to_tree(L, 2), &used, keys, &err), &err);
  if (used) lua_pushstring(L, keys);
  else lua_pushnil(L);
  return 1;
}

/* run:clear(): removes what was computed here, for a new beginning */
static int run_clear(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_run_clear(to_run(L), &err), &err);
  return 0;
}

/* run:config(table): writes config.yaml */
static int run_config(lua_State *L) {
  sonde_run *r = to_run(L);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_run_config(r, sonde_lua_to_tree(L, 2), &err), &err);
  return 0;
}

/* run:begin(command line) */
static int run_begin(lua_State *L) {
  sonde_run *r = to_run(L);
  const char *command = sonde_lua_string(L, 2);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_run_begin(r, command, sonde_ctx_threads(sonde_lua_ctx(L)), &err), &err);
  return 0;
}

/* run:describe{corpus = {name, sha256}, plugins = {{kind, name, version, sha256}}} */
static int run_describe(lua_State *L) {
  sonde_run *r = to_run(L);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_run_describe(r, sonde_lua_to_tree(L, 2), &err), &err);
  return 0;
}

/* run:report{name = value} */
static int run_report(lua_State *L) {
  sonde_run *r = to_run(L);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_run_report(r, sonde_lua_to_tree(L, 2), &err), &err);
  return 0;
}

/* run:finish("done" | "failed" | "diverged" | "interrupted"[, reason]) */
static int run_finish(lua_State *L) {
  static const char *const statuses[] = {"done", "failed", "diverged", "interrupted", NULL};
  sonde_run *r = to_run(L);
  const char *status = statuses[sonde_lua_choice(L, 2, NULL, statuses)], *reason = sonde_lua_opt_string(L, 3, "");
  sonde_error err = {0};
  sonde_lua_check(L, sonde_run_end(r, status, reason, &err), &err);
  return 0;
}

/* run:record() -> what run.json says */
static int run_record(lua_State *L) {
  sonde_lua_push_tree(L, sonde_run_record(to_run(L)), 0);
  return 1;
}

/* run:is_done() */
static int run_is_done(lua_State *L) {
  lua_pushboolean(L, sonde_run_is_done(to_run(L)));
  return 1;
}

/* run:note(text): a line of log.txt */
static int run_note(lua_State *L) {
  sonde_run_note(to_run(L), "%s", sonde_lua_string(L, 2));
  return 0;
}

static const luaL_Reg run_methods[] = {
    {"dir", run_dir},       {"config", run_config}, {"begin", run_begin},   {"describe", run_describe},
    {"difference", run_difference}, {"clear", run_clear},
    {"report", run_report}, {"finish", run_finish}, {"record", run_record}, {"is_done", run_is_done},
    {"note", run_note},     {NULL, NULL},
};

const sonde_lua_type sonde_lua_run = {"run", free_run, run_methods};

/* core.run_open(root, "experiment/trial") -> run: makes the folder and takes its lock */
static int core_run_open(lua_State *L) {
  const char *root = sonde_lua_string(L, 1), *name = sonde_lua_string(L, 2);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_run, 0);
  box->p = sonde_run_open(root, name, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* core.run_held(root, "experiment/trial") -> whether some process is at work in the folder */
static int core_run_held(lua_State *L) {
  lua_pushboolean(L, sonde_run_held(sonde_lua_string(L, 1), sonde_lua_string(L, 2)));
  return 1;
}

static void free_lock(void *p) {
  sonde_lock_drop(*(int *)p);
  sonde_release(p);
}
static const sonde_lua_type lock_type = {"lock", free_lock, NULL};

/* core.lock(path) -> the lock of a folder that is not a run's, a file in it: until it is closed no other call, of this
 * process or another, gets it */
static int core_lock(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &lock_type, 0);
  int *fd = sonde_alloc(sizeof *fd);
  if (!fd) sonde_lua_check(L, sonde_fail(&err, SONDE_ENOMEM, "no memory for the lock '%s'", path), &err);
  *fd = -1;
  box->p = fd;
  sonde_lua_check(L, sonde_lock_take(path, fd, &err), &err);
  return 1;
}

/* core.file_sha256(path) -> SHA-256 of its bytes, hex */
static int core_file_sha256(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  char hex[65];
  sonde_error err = {0};
  sonde_lua_check(L, sonde_file_sha256(path, hex, &err), &err);
  lua_pushstring(L, hex);
  return 1;
}

/* core.sha256(text) -> hex */
static int core_sha256(lua_State *L) {
  size_t n;
  const char *text = sonde_lua_bytes(L, 1, &n);
  char hex[65];
  sonde_sha256 s;
  sonde_sha256_init(&s);
  sonde_sha256_add(&s, text, n);
  sonde_sha256_hex(&s, hex);
  lua_pushstring(L, hex);
  return 1;
}

/* ---- the index ------------------------------------------------------------------------------------------- */

/* Leaves a handle on the database of `root` on the stack; `open` is sonde_db_open or sonde_db_view. */
static sonde_lua_box *open_db(lua_State *L, sonde_db *open(const char *, sonde_error *), const char *root) {
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &db_type, 0);
  box->p = open(root, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return box;
}

static void close_db(sonde_lua_box *box) {
  sonde_db_close(box->p);
  box->p = NULL;
}

/* core.runs(root[, experiment or folder[, keep null]]) -> list of trials; with the third, null is core.null in them */
static int core_runs(lua_State *L) {
  const char *root = sonde_lua_string(L, 1), *under = sonde_lua_opt_string(L, 2, NULL);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new_tree(L);
  box->p = sonde_db_list(root, under, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  sonde_lua_push_tree(L, box->p, lua_toboolean(L, 3));
  return 1;
}

/* core.runs_rebuild(root) -> how many trials there are */
static int core_runs_rebuild(lua_State *L) {
  int64_t count = 0;
  sonde_error err = {0};
  sonde_lua_box *db = open_db(L, sonde_db_open, sonde_lua_string(L, 1));
  int code = sonde_db_rebuild(db->p, &count, &err);
  close_db(db);
  sonde_lua_check(L, code, &err);
  lua_pushinteger(L, count);
  return 1;
}

/* core.query(root, SELECT) -> {columns, rows}, null as core.null */
static int core_query(lua_State *L) {
  const char *root = sonde_lua_string(L, 1), *sql = sonde_lua_string(L, 2);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new_tree(L);
  box->p = sonde_db_query(root, sql, sonde_lua_stop_flag(), &err);
  if (!box->p) sonde_lua_raise(L, &err);
  sonde_lua_push_tree(L, box->p, 1);
  return 1;
}

/* ---- event files ----------------------------------------------------------------------------------------- */

static void free_events(void *p) { sonde_tfevents_close(p); }
static const luaL_Reg events_methods[];
static const sonde_lua_type events_type = {"event file", free_events, events_methods};

/* core.tfevents(path, most) -> event file, cut behind its first `most` records, and how many it has */
static int core_tfevents(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  int64_t records, most = sonde_lua_integer(L, 2, 0, INT64_MAX);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &events_type, 0);
  box->p = sonde_tfevents_open(path, most, &records, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  lua_pushinteger(L, records);
  return 2;
}

/* file:add(time, step, tags, values): time in seconds since 1970 */
static int events_add(lua_State *L) {
  enum { MOST = 100000 };
  int n;
  double time = sonde_lua_number(L, 2);
  int64_t step = sonde_lua_integer(L, 3, 0, INT64_MAX);
  const char *const *tag = sonde_lua_strings(L, 4, "the tags", &n);
  double *value = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *value, 0);
  if (n > MOST || sonde_lua_numbers(L, 5, "the values", value, n) != n)
    return sonde_lua_fail(L, "each tag needs a value");
  sonde_error err = {0};
  sonde_lua_check(L, sonde_tfevents_add(sonde_lua_handle(L, 1, &events_type), time, step, tag, value, n, &err), &err);
  return 0;
}

static const luaL_Reg events_methods[] = {{"add", events_add}, {NULL, NULL}};

void sonde_bind_record(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"run_open", core_run_open},         {"run_held", core_run_held},       {"runs", core_runs},
      {"runs_rebuild", core_runs_rebuild}, {"file_sha256", core_file_sha256},
      {"sha256", core_sha256},             {"query", core_query},             {"tfevents", core_tfevents},
      {"lock", core_lock},                 {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
