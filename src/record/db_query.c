/* db_query.c - a user's SELECT over the database of runs. The connection may write (it has just brought the index up
 * to date), so an authorizer, which SQLite calls while it compiles the statement, refuses everything but reading. */
#include <string.h>

#include "record/db_internal.h"

enum { STEPS = 10000 };      /* of SQLite's machine between two looks at the stop flag */

static int only_reading(void *unused, int action, const char *a, const char *b, const char *c, const char *d) {
  (void)unused, (void)c, (void)d;
  switch (action) {
    case SQLITE_SELECT: case SQLITE_READ: case SQLITE_RECURSIVE: return SQLITE_OK;
    case SQLITE_FUNCTION: return b && !strcmp(b, "load_extension") ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_PRAGMA: return a && (!strcmp(a, "table_info") || !strcmp(a, "table_list")) ? SQLITE_OK : SQLITE_DENY;
    default: return SQLITE_DENY;
  }
}

static int look(void *stop) { return *(const volatile int *)stop != 0; }

static int refused(sqlite3 *sql, int code, sonde_error *err) {
  if (code == SQLITE_AUTH)
    return sonde_fail(err, SONDE_EINVAL, "the statement does not only read: a query is one SELECT");
  if (code == SQLITE_INTERRUPT) return sonde_fail(err, SONDE_EINTR, "interrupted");
  if (code == SQLITE_NOMEM) return sonde_fail(err, SONDE_ENOMEM, "no memory for a query");
  return sonde_fail(err, SONDE_EINVAL, "%s", sqlite3_errmsg(sql));
}

static int prepare(sqlite3 *sql, const char *text, sqlite3_stmt **s, sonde_error *err) {
  const char *rest = "";
  int code = sqlite3_prepare_v2(sql, text, -1, s, &rest);
  if (code != SQLITE_OK) return refused(sql, code, err);
  if (!*s) return sonde_fail(err, SONDE_EINVAL, "there is no statement: a query is one SELECT");
  if (!sqlite3_stmt_readonly(*s) || !sqlite3_column_count(*s)) return refused(sql, SQLITE_AUTH, err);
  if (rest[strspn(rest, " \t\r\n;")]) return sonde_fail(err, SONDE_EINVAL, "a query is one statement, not several");
  return SONDE_OK;
}

static int read_row(sqlite3_stmt *s, json_t *rows, sonde_error *err) {
  json_t *row = json_array();
  if (!row || json_array_append_new(rows, row)) return sonde_fail(err, SONDE_ENOMEM, "no memory for a query");
  for (int k = 0; k < sqlite3_column_count(s); k++) {
    if (sqlite3_column_type(s, k) == SQLITE_BLOB)
      return sonde_fail(err, SONDE_EINVAL, "column '%s' is a blob; use hex()", sqlite3_column_name(s, k));
    json_t *value = sonde_db_column(s, k);
    if (!value) return sonde_fail(err, SONDE_EINVAL, "column '%s' has a text that is not UTF-8; use hex()",
                                  sqlite3_column_name(s, k));
    json_array_append_new(row, value);
  }
  return SONDE_OK;
}

/* NULL: out of memory. */
static json_t *empty_result(sqlite3_stmt *s) {
  json_t *result = json_pack("{s:[], s:[]}", "columns", "rows"), *names = json_object_get(result, "columns");
  for (int k = 0; result && k < sqlite3_column_count(s); k++)
    if (json_array_append_new(names, json_string(sqlite3_column_name(s, k)))) {
      json_decref(result);
      return NULL;
    }
  return result;
}

static json_t *query(sqlite3 *sql, const char *text, const volatile int *stop, sonde_error *err) {
  sqlite3_stmt *s = NULL;
  json_t *result = NULL;
  sqlite3_set_authorizer(sql, only_reading, NULL);
  if (stop) sqlite3_progress_handler(sql, STEPS, look, (void *)(uintptr_t)stop);
  int code = prepare(sql, text, &s, err);
  if (!code && !(result = empty_result(s))) code = sonde_fail(err, SONDE_ENOMEM, "no memory for a query");
  for (int step; !code && (step = sqlite3_step(s)) != SQLITE_DONE; )
    code = step == SQLITE_ROW ? read_row(s, json_object_get(result, "rows"), err) : refused(sql, step, err);
  sqlite3_finalize(s);
  if (!code) return result;
  json_decref(result);
  return NULL;
}

json_t *sonde_db_query(const char *root, const char *sql, const volatile int *stop, sonde_error *err) {
  json_t *trials = NULL, *result = NULL;
  sonde_db *db = sonde_db_current(root, NULL, &trials, err);
  json_decref(trials);
  if (db) result = query(db->sql, sql, stop, err);
  sonde_db_close(db);
  return result;
}
