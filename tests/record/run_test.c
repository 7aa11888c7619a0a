/* run_test.c - run folders and their index: configuration, results, provenance, writers at once, a lost database. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sqlite3.h>

#include "../base/root.h"
#include "base/file.h"
#include "base/mem.h"
#include "record/db.h"
#include "record/run.h"

static sonde_run *open_run(const char *name) {
  sonde_error err = {0};
  sonde_run *r = sonde_run_open(root, name, &err);
  if (!r) fail_msg("%s", err.text);
  return r;
}

/* A whole run: {"width": 64, "model": {"depth": depth}} -> {"loss": loss}. */
static int make_run(const char *name, int depth, double loss) {
  sonde_error err = {0};
  sonde_run *r = sonde_run_open(root, name, &err);
  if (!r) return 1;
  json_t *config = json_pack("{s:i, s:{s:i}}", "width", 64, "model", "depth", depth);
  json_t *what =
      json_pack("{s:{s:s, s:s}, s:[{s:s, s:s, s:s, s:s}]}", "corpus", "name", "default", "sha256", "c0ffee",
                "plugins", "kind", "norm", "name", "rmsnorm", "version", "1.0", "sha256", "beef");
  json_t *result = json_pack("{s:f, s:[f, f]}", "loss", loss, "variance", 1.0, 2.0);
  int bad = sonde_run_config(r, config, &err) || sonde_run_begin(r, "sonde run x.lua", 2, &err) ||
            sonde_run_describe(r, what, &err) || sonde_run_report(r, result, &err) ||
            sonde_run_end(r, "done", "", &err);
  if (bad) fprintf(stderr, "%s\n", err.text);
  json_decref(config);
  json_decref(what);
  json_decref(result);
  sonde_run_close(r);
  return bad;
}

static json_t *trials(const char *under) {
  sonde_error err = {0};
  sonde_db *db = sonde_db_view(root, &err);
  if (!db) fail_msg("%s", err.text);
  json_t *all = sonde_db_trials(db, under, &err);
  if (!all) fail_msg("%s", err.text);
  sonde_db_close(db);
  return all;
}

static const char *text(const json_t *o, const char *key) {
  const char *s = json_string_value(json_object_get(o, key));
  return s ? s : "(none)";
}

/* Whether the value under a key is what the JSON text says, of the same type. */
static int is(const json_t *o, const char *key, const char *expected) {
  json_t *v = json_loads(expected, JSON_DECODE_ANY, NULL);
  int same = v && json_equal(json_object_get(o, key), v);
  json_decref(v);
  return same;
}

static void a_run_is_found_again_in_the_index(void **state) {
  (void)state;
  assert_int_equal(make_run("depth/pre_ln-4", 4, 2.5), 0);
  json_t *all = trials("depth");
  assert_int_equal(json_array_size(all), 1);
  const json_t *t = json_array_get(all, 0), *p = json_object_get(t, "parameters"),
               *r = json_object_get(t, "results");
  assert_string_equal(text(t, "experiment"), "depth");
  assert_string_equal(text(t, "trial"), "pre_ln-4");
  assert_string_equal(text(t, "status"), "done");
  assert_string_equal(text(t, "corpus_sha256"), "c0ffee");
  assert_string_equal(text(t, "command"), "sonde run x.lua");
  assert_string_equal(text(t, "version"), sonde_version());
  assert_true(strlen(text(t, "machine")) > 8);
  assert_int_equal(json_integer_value(json_object_get(p, "model.depth")), 4);
  assert_true(json_real_value(json_object_get(r, "loss")) == 2.5);
  assert_true(is(r, "variance", "[1.0,2.0]"));
  assert_string_equal(text(json_array_get(json_object_get(t, "plugins"), 0), "sha256"), "beef");
  json_decref(all);
  assert_true(sonde_path_exists(in_root("depth/pre_ln-4/DONE")));
}

static void another_configuration_is_told_by_its_keys(void **state) {
  (void)state;
  sonde_error err = {0};
  char keys[SONDE_RUN_KEYS];
  int used;
  sonde_run *r = open_run("depth/changed");
  json_t *same = json_pack("{s:{s:i}, s:i}", "model", "depth", 4, "width", 64);
  json_t *other = json_pack("{s:{s:i}, s:f, s:i}", "model", "depth", 8, "lr", 0.1, "width", 64);
  assert_int_equal(sonde_run_config(r, same, &err), SONDE_OK);
  assert_int_equal(sonde_run_differs(r, other, &used, keys, &err), SONDE_OK);
  assert_int_equal(used, 0);                                         /* nothing was computed yet */
  assert_non_null(sonde_run_metrics(r, 100, &err));
  assert_int_equal(sonde_run_differs(r, other, &used, keys, &err), SONDE_OK);
  assert_int_equal(used, 1);
  assert_string_equal(keys, "model.depth (was 4, now 8), lr (was absent, now 0.1)");
  assert_int_equal(sonde_run_differs(r, same, &used, keys, &err), SONDE_OK);
  assert_string_equal(keys, "");
  char digits[65], expected[SONDE_RUN_KEYS];
  memset(digits, '7', sizeof digits - 1), digits[64] = 0;
  json_object_set_new(same, "hash", json_string(digits));
  assert_int_equal(sonde_run_differs(r, same, &used, keys, &err), SONDE_OK);
  snprintf(expected, sizeof expected, "hash (was absent, now \"%.56s..\")", digits);
  assert_string_equal(keys, expected);
  json_decref(same);
  json_decref(other);
  sonde_run_close(r);
}

/* Cleared, a run is one that was begun and has computed nothing. */
static void a_run_can_begin_anew(void **state) {
  (void)state;
  sonde_error err = {0};
  char keys[SONDE_RUN_KEYS];
  int used = 1;
  assert_int_equal(make_run("anew/t", 2, 1), 0);
  assert_int_equal(sonde_mkdirs(in_root("anew/t/checkpoint-5"), &err), SONDE_OK);
  sonde_run *r = open_run("anew/t");
  json_t *config = json_pack("{s:i}", "width", 64);
  assert_non_null(sonde_run_metrics(r, 100, &err));
  assert_int_equal(sonde_run_clear(r, &err), SONDE_OK);
  assert_int_equal(sonde_run_differs(r, config, &used, keys, &err), SONDE_OK);
  assert_int_equal(used, 0);
  assert_false(sonde_path_exists(in_root("anew/t/checkpoint-5")) || sonde_path_exists(in_root("anew/t/DONE")));
  assert_null(json_object_get(sonde_run_record(r), "results"));
  assert_string_equal(text(sonde_run_record(r), "trial"), "t");
  assert_true(sonde_path_exists(in_root("anew/t/log.txt")));
  json_decref(config);
  sonde_run_close(r);
}

static void names_are_experiment_and_trial(void **state) {
  (void)state;
  const char *const bad[] = {"", "/", "a/", "/a", "a//b", "a/b/c", ".", "..", "../a", "a/..", ".hidden"};
  sonde_run *r = open_run("split/x");
  assert_string_equal(sonde_run_dir(r), in_root("split/x"));
  sonde_run_close(r);
  r = open_run("single");
  assert_string_equal(sonde_run_dir(r), in_root("single"));
  sonde_run_close(r);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    sonde_error err = {0};
    assert_null(sonde_run_open(root, bad[i], &err));
    assert_int_equal(err.code, SONDE_EINVAL);
  }
}

static void a_killed_run_is_told_from_a_running_one(void **state) {
  (void)state;
  int ready[2];
  char byte;
  assert_int_equal(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    sonde_error err = {0};
    sonde_run *r = sonde_run_open(root, "killed/t", &err);
    int ok = r && sonde_run_begin(r, "x", 1, &err) == SONDE_OK && write(ready[1], "x", 1) == 1;
    if (ok) pause();
    _exit(1);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  json_t *all = trials("killed");
  assert_string_equal(text(json_array_get(all, 0), "status"), "running");
  json_decref(all);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  all = trials("killed/t");
  assert_string_equal(text(json_array_get(all, 0), "status"), "killed");
  json_decref(all);
  close(ready[0]);
  close(ready[1]);
}

static void killed_before_the_index_knew_its_end_a_run_has_ended(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_run *r = open_run("killed/late");
  assert_int_equal(sonde_run_begin(r, "x", 1, &err), SONDE_OK);
  char *path = in_root("killed/late/run.json");
  json_t *record = json_load_file(path, 0, NULL);
  json_object_set_new(record, "status", json_string("done"));
  assert_int_equal(json_dump_file(record, path, 0), 0);
  json_decref(record);
  json_t *all = trials("killed/late");
  assert_string_equal(text(json_array_get(all, 0), "status"), "running");   /* it is still held */
  json_decref(all);
  sonde_run_close(r);
  all = trials("killed/late");
  assert_string_equal(text(json_array_get(all, 0), "status"), "done");
  json_decref(all);
}

static void a_run_without_a_row_is_found(void **state) {
  (void)state;
  sonde_error err = {0};
  char elsewhere[64];
  assert_true(snprintf(elsewhere, sizeof elsewhere, "%s-elsewhere", root) < (int)sizeof elsewhere);
  assert_int_equal(make_run("copied/here", 3, 1.5), 0);
  assert_int_equal(rename(in_root("copied"), elsewhere), 0);
  sonde_db *db = sonde_db_view(root, &err);
  int64_t count;
  assert_int_equal(sonde_db_rebuild(db, &count, &err), 0);
  sonde_db_close(db);
  assert_int_equal(rename(elsewhere, in_root("copied")), 0);
  assert_int_equal(sonde_mkdirs(in_root("copied/broken"), &err), 0);
  assert_int_equal(sonde_file_write(in_root("copied/broken/run.json"), "[]", 2, &err), 0);
  json_t *all = trials("copied");
  assert_int_equal(json_array_size(all), 1);
  assert_string_equal(text(json_array_get(all, 0), "trial"), "here");
  json_decref(all);
  assert_int_equal(sonde_remove_tree(in_root("copied/broken"), &err), 0);
}

static void a_lost_database_is_made_again_from_the_folders(void **state) {
  (void)state;
  assert_int_equal(make_run("depth/lns-8", 8, 2.25), 0);
  assert_int_equal(make_run("alone", 2, 4), 0);
  json_t *before = trials(NULL);
  unlink(in_root("sonde.db"));
  unlink(in_root("sonde.db-wal"));
  unlink(in_root("sonde.db-shm"));
  json_t *after = trials(NULL);
  assert_true(json_array_size(after) >= 3);
  assert_true(json_equal(before, after));
  json_decref(before);
  json_decref(after);
}

static void a_run_whose_folder_is_gone_is_no_run(void **state) {
  (void)state;
  sonde_error err = {0};
  assert_int_equal(make_run("gone/a", 2, 1), 0);
  assert_int_equal(make_run("gone/b", 2, 1), 0);
  assert_int_equal(sonde_remove_tree(in_root("gone/a"), &err), SONDE_OK);
  json_t *all = trials("gone");
  assert_int_equal(json_array_size(all), 1);
  assert_string_equal(text(json_array_get(all, 0), "trial"), "b");
  json_decref(all);
}

/* In a child that is not root, whom no permissions hold. */
static void a_folder_that_cannot_be_written_is_listed(void **state) {
  (void)state;
  assert_int_equal(make_run("archive/a", 2, 1), 0);
  for (int with_database = 1; with_database >= 0; with_database--) {
    if (!with_database) assert_int_equal(unlink(in_root("sonde.db")), 0);
    assert_int_equal(chmod(root, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
      sonde_error err = {0};
      if (geteuid() == 0 && setuid(65534)) _exit(77);
      json_t *all = trials("archive");
      int bad = json_array_size(all) != 1 || sonde_db_open(root, &err) || !strstr(err.text, "sonde.db");
      _exit(bad);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(chmod(root, 0700), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) return;   /* no other user here */
    assert_int_equal(status, 0);
  }
}

/* Whatever JSON knows comes back from the index as it was: also what SQLite has no type for. */
static void values_keep_their_types(void **state) {
  (void)state;
  static const char *const value[] = {"true", "false", "null", "0", "1", "9007199254740993", "-9223372036854775808",
                                      "0.1", "1.0", "1e308", "5e-324", "\"true\"", "\"[1]\"", "\"\"",
                                      "\"gr\\u00f6\\u00dfe\"",
                                      "[]", "[1,2.5,null,true,[\"x\"]]", "{}", "[{\"a\":{\"b\":false}}]"};
  enum { N = sizeof value / sizeof *value };
  char key[32];
  sonde_error err = {0};
  json_t *results = json_object();
  for (int i = 0; i < N; i++) {
    snprintf(key, sizeof key, "v%d", i);
    json_object_set_new(results, key, json_loads(value[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL));
  }
  json_object_set_new(results, "nested", json_pack("{s:{s:b, s:b}}", "deep", "yes", 1, "no", 0));
  sonde_run *r = open_run("types/t");
  assert_int_equal(sonde_run_begin(r, "x", 1, &err), SONDE_OK);
  assert_int_equal(sonde_run_report(r, results, &err), SONDE_OK);
  sonde_run_close(r);
  json_t *all = trials("types/t");
  const json_t *got = json_object_get(json_array_get(all, 0), "results");
  for (int i = 0; i < N; i++) {
    snprintf(key, sizeof key, "v%d", i);
    if (!is(got, key, value[i])) fail_msg("%s is no longer that", value[i]);
  }
  assert_true(is(got, "nested.deep.yes", "true") && is(got, "nested.deep.no", "false"));
  json_decref(all);
  json_decref(results);
}

/* It is only an index: one of the layout before is made again. */
static void an_index_of_an_older_layout_is_made_again(void **state) {
  (void)state;
  sqlite3 *sql;
  assert_int_equal(make_run("old/t", 4, 2.5), 0);
  assert_int_equal(sqlite3_open(in_root("sonde.db"), &sql), SQLITE_OK);
  assert_int_equal(sqlite3_exec(sql,
                                "DROP TABLE results; CREATE TABLE results(trial, key, value); PRAGMA user_version=1",
                                NULL, NULL, NULL),
                   SQLITE_OK);
  sqlite3_close(sql);
  json_t *all = trials("old/t");
  assert_true(is(json_object_get(json_array_get(all, 0), "results"), "loss", "2.5"));
  json_decref(all);
}

/* Lists that stand in files of their own are in the index; a file that is none is left out. */
static void lists_beside_the_record_are_indexed(void **state) {
  (void)state;
  sonde_error err = {0};
  static const char probes[] =
      "{\"tokens\": 9, \"probes\": {\"causal\": {\"values\": [[0, null]], \"ci\": [[[0, 0], [1, 2]]], \"unit\": \"x\","
      " \"scalars\": {\"score\": {\"value\": 1.5, \"ci\": [1, 2]}}}}}";
  assert_int_equal(make_run("lists/t", 8, 2.25), 0);
  assert_int_equal(sonde_mkdirs(in_root("lists/t/probes"), &err), SONDE_OK);
  assert_int_equal(sonde_file_write(in_root("lists/t/probes.json"), probes, sizeof probes - 1, &err), SONDE_OK);
  assert_int_equal(sonde_file_write(in_root("lists/t/probes/own.json"), "[3,4]", 5, &err), SONDE_OK);
  assert_int_equal(sonde_file_write(in_root("lists/t/probes/variance.json"), "[5,6]", 5, &err), SONDE_OK);
  assert_int_equal(sonde_file_write(in_root("lists/t/probes/bad.json"), "[3,", 3, &err), SONDE_OK);
  sonde_db *db = sonde_db_open(root, &err);
  assert_int_equal(sonde_db_index(db, "lists/t", &err), SONDE_OK);
  sonde_db_close(db);
  json_t *all = trials("lists/t");
  const json_t *r = json_object_get(json_array_get(all, 0), "results");
  assert_true(is(r, "causal", "[[0,null]]"));
  assert_true(is(r, "causal.ci", "[[[0,0],[1,2]]]"));
  assert_true(is(r, "causal_score.ci", "[1,2]"));
  assert_true(is(r, "own", "[3,4]"));
  assert_true(is(r, "variance", "[1.0,2.0]"));   /* of run.json */
  assert_int_equal(json_object_size(r), 6);
  json_decref(all);
}

static void a_damaged_database_says_what_to_do(void **state) {
  (void)state;
  sonde_error err = {0};
  static const char rubbish[4096] = "this is no database, but it is long enough to be looked at";
  const char *path = in_root("bad/sonde.db");
  assert_int_equal(sonde_mkdirs(in_root("bad"), &err), SONDE_OK);
  assert_int_equal(sonde_file_write(path = in_root("bad/sonde.db"), rubbish, sizeof rubbish, &err), SONDE_OK);
  assert_null(sonde_db_open(in_root("bad"), &err));
  assert_non_null(strstr(err.text, "rebuild"));
}

/* An index that is damaged, locked, a folder, or of a newer Sonde: runs are recorded and listed all the same, and it
 * gets what it lacks when it can be used again. */
static void without_an_index_runs_go_on(void **state) {
  (void)state;
  enum { DAMAGED, FOLDER, WAYS };
  static const char rubbish[4096] = "this is no database, but it is long enough to be looked at";
  sonde_error err = {0};
  for (int way = 0; way < WAYS; way++) {
    assert_int_equal(sonde_remove_tree(in_root("sonde.db"), &err), SONDE_OK);
    assert_int_equal(make_run("unindexed/a", 2, 1), 0);
    char aside[300];
    assert_true(snprintf(aside, sizeof aside, "%s", in_root("index-aside")) < (int)sizeof aside);
    assert_int_equal(rename(in_root("sonde.db"), aside), 0);
    if (way == DAMAGED)
      assert_int_equal(sonde_file_write(in_root("sonde.db"), rubbish, sizeof rubbish, &err), SONDE_OK);
    if (way == FOLDER) assert_int_equal(sonde_mkdirs(in_root("sonde.db"), &err), SONDE_OK);
    assert_int_equal(make_run("unindexed/a", 2, 7), 0);      /* a run that the index knows, with another result */
    assert_int_equal(make_run("unindexed/b", 2, 1), 0);
    json_t *all = sonde_db_list(root, "unindexed", &err);
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
    assert_int_equal(sonde_remove_tree(in_root("sonde.db"), &err), SONDE_OK);
    assert_int_equal(rename(aside, in_root("sonde.db")), 0);
    all = trials("unindexed");
    assert_int_equal(json_array_size(all), 2);
    const json_t *r = json_object_get(json_array_get(all, 0), "results");
    assert_true(json_number_value(json_object_get(r, "loss")) == 7);
    json_decref(all);
    assert_false(sonde_path_exists(in_root("unindexed/a/unindexed")));
    assert_int_equal(sonde_remove_tree(in_root("unindexed"), &err), SONDE_OK);
  }
}

static void a_rebuild_leaves_out_what_it_cannot_read(void **state) {
  (void)state;
  sonde_error err = {0};
  int64_t before, count;
  sonde_db *db = sonde_db_open(root, &err);
  assert_int_equal(sonde_db_rebuild(db, &before, &err), SONDE_OK);
  assert_int_equal(sonde_mkdirs(in_root("unreadable/t"), &err), SONDE_OK);
  assert_int_equal(sonde_file_write(in_root("unreadable/t/run.json"), "{", 1, &err), SONDE_OK);
  assert_int_equal(sonde_db_rebuild(db, &count, &err), SONDE_OK);
  assert_int_equal(count, before);
  sonde_db_close(db);
  assert_int_equal(sonde_remove_tree(in_root("unreadable"), &err), SONDE_OK);
}

/* What is below a run's folder is part of that run. */
static void a_run_inside_a_run_has_no_index(void **state) {
  (void)state;
  sonde_error err = {0};
  assert_int_equal(make_run("outer/t", 2, 1), 0);
  sonde_run *r = sonde_run_open(in_root("outer/t"), "inner", &err);
  assert_non_null(r);
  assert_int_equal(sonde_run_begin(r, "x", 1, &err), SONDE_OK);
  sonde_run_close(r);
  assert_true(sonde_path_exists(in_root("outer/t/inner/run.json")));
  assert_false(sonde_path_exists(in_root("outer/t/sonde.db")));
}

static void writers_at_once_all_get_in(void **state) {
  (void)state;
  enum { WRITERS = 8, RUNS = 3 };
  sonde_error err = {0};
  pid_t child[WRITERS];
  assert_int_equal(sonde_remove_tree(in_root("sonde.db"), &err), SONDE_OK);
  for (int w = 0; w < WRITERS; w++)
    if ((child[w] = fork()) == 0) {
      int bad = 0;
      for (int k = 0; k < RUNS; k++) {
        char name[32];
        snprintf(name, sizeof name, "many/w%d-%d", w, k);
        bad |= make_run(name, w, k);
      }
      _exit(bad);
    }
  for (int w = 0; w < WRITERS; w++) {
    int status;
    waitpid(child[w], &status, 0);
    assert_int_equal(status, 0);
  }
  json_t *all = trials("many");
  assert_int_equal(json_array_size(all), WRITERS * RUNS);
  json_decref(all);
}

static void a_folder_that_cannot_be_written_is_named(void **state) {
  (void)state;
  sonde_error err = {0};
  assert_int_equal(sonde_file_write(in_root("file"), "x", 1, &err), SONDE_OK);
  assert_null(sonde_run_open(in_root("file"), "a/b", &err));
  assert_int_equal(err.code, SONDE_EIO);
  assert_non_null(strstr(err.text, in_root("file")));
}

static void command_lines_of_any_bytes_are_kept(void **state) {
  (void)state;
  sonde_error err = {0};
  sonde_run *r = open_run("bytes/t");
  assert_int_equal(sonde_run_begin(r, "sonde \xff x", 1, &err), SONDE_OK);
  assert_string_equal(text(sonde_run_record(r), "command"), "sonde ? x");
  sonde_run_close(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_run_is_found_again_in_the_index),
      cmocka_unit_test(another_configuration_is_told_by_its_keys),
      cmocka_unit_test(a_run_can_begin_anew),
      cmocka_unit_test(names_are_experiment_and_trial),
      cmocka_unit_test(a_killed_run_is_told_from_a_running_one),
      cmocka_unit_test(killed_before_the_index_knew_its_end_a_run_has_ended),
      cmocka_unit_test(a_run_without_a_row_is_found),
      cmocka_unit_test(a_lost_database_is_made_again_from_the_folders),
      cmocka_unit_test(a_run_whose_folder_is_gone_is_no_run),
      cmocka_unit_test(a_folder_that_cannot_be_written_is_listed),
      cmocka_unit_test(lists_beside_the_record_are_indexed),
      cmocka_unit_test(values_keep_their_types),
      cmocka_unit_test(an_index_of_an_older_layout_is_made_again),
      cmocka_unit_test(a_damaged_database_says_what_to_do),
      cmocka_unit_test(without_an_index_runs_go_on),
      cmocka_unit_test(a_rebuild_leaves_out_what_it_cannot_read),
      cmocka_unit_test(a_run_inside_a_run_has_no_index),
      cmocka_unit_test(writers_at_once_all_get_in),
      cmocka_unit_test(a_folder_that_cannot_be_written_is_named),
      cmocka_unit_test(command_lines_of_any_bytes_are_kept),
  };
  return cmocka_run_group_tests(tests, root_setup, root_teardown);
}
