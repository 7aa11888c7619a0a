/* db_internal.h - what db.c and db_query.c share. */
#ifndef SONDE_RECORD_DB_INTERNAL_H
#define SONDE_RECORD_DB_INTERNAL_H

#include <sqlite3.h>

#include "record/db.h"

struct sonde_db {
  sqlite3 *sql;
  char *root, *path;
  int complete;      /* built from all folders when it was opened: their errors were reported */
};

/* Opens a root's database, up to date, with the trials that sonde_db_list gives, in *trials. */
sonde_db *sonde_db_current(const char *root, const char *under, json_t **trials, sonde_error *err);

/* Column `at` of the current row, by its type. NULL is null, and so is a blob. */
json_t *sonde_db_column(sqlite3_stmt *s, int at);

#endif
