/* scan.c - see scan.h. */
#include "record/scan.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/yaml.h"

enum { PATH_BYTES = 4096 };

typedef struct list { char **name; int64_t n, cap; } list;

static int list_add(list *l, const char *name, sonde_error *err) {
  if (l->n == l->cap) {
    int64_t cap = l->cap ? 2 * l->cap : 64;
    char **more = sonde_grow(l->name, (size_t)l->cap * sizeof *more, (size_t)cap * sizeof *more);
    if (!more) return sonde_fail(err, SONDE_ENOMEM, "no memory for the list of runs");
    l->name = more;
    l->cap = cap;
  }
  if (!(l->name[l->n] = sonde_strdup(name)))
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the list of runs");
  l->n++;
  return SONDE_OK;
}

int sonde_scan_is_run(const char *root, const char *dir) {
  char path[PATH_BYTES];
  return snprintf(path, sizeof path, "%s/%s/run.json", root, dir) < PATH_BYTES && sonde_path_exists(path);
}

/* Adds the runs directly in ROOT/below; `deeper`: folders that are not runs are searched too. */
static int scan(list *l, const char *root, const char *below, int deeper, sonde_error *err) {
  char path[PATH_BYTES], dir[PATH_BYTES];
  struct dirent *e;
  int code = SONDE_OK;
  snprintf(path, sizeof path, "%s/%s", root, below);
  DIR *d = opendir(path);
  if (!d)
    return deeper ? sonde_fail_errno(err, SONDE_EIO, "%s: cannot read the folder of runs", path) : SONDE_OK;
  while (!code && (errno = 0, e = readdir(d))) {
    if (e->d_name[0] == '.') continue;
    if (snprintf(dir, sizeof dir, "%s%s%s", below, *below ? "/" : "", e->d_name) >= PATH_BYTES) continue;
    if (sonde_scan_is_run(root, dir)) code = list_add(l, dir, err);
    else if (deeper) code = scan(l, root, dir, 0, err);
  }
  if (!code && errno) code = sonde_fail_errno(err, SONDE_EIO, "%s: cannot read all of the folder", path);
  closedir(d);
  return code;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int sonde_scan_folders(const char *root, char ***dir, int64_t *n, sonde_error *err) {
  list l = {0};
  int code = scan(&l, root, "", 1, err);
  if (code) {
    sonde_scan_free(l.name, l.n);
    l = (list){0};
  }
  if (l.n) qsort(l.name, (size_t)l.n, sizeof *l.name, by_name);
  *dir = l.name;
  *n = l.n;
  return code;
}

void sonde_scan_free(char **dir, int64_t n) {
  for (int64_t i = 0; i < n; i++) sonde_release(dir[i]);
  sonde_release(dir);
}

static int read_run(const char *path, json_t **run, sonde_error *err) {
  if (!(*run = sonde_json_load(path, 0, err))) return err->code;
  if (json_is_object(*run) && json_is_string(json_object_get(*run, "status"))) return SONDE_OK;
  json_decref(*run);
  *run = NULL;
  return sonde_fail(err, SONDE_EFORMAT, "%s: contains no \"status\"; restore the file or remove the run folder",
                    path);
}

int sonde_scan_read(const char *root, const char *dir, json_t **run, json_t **config, sonde_error *err) {
  char path[PATH_BYTES];
  *run = *config = NULL;
  snprintf(path, sizeof path, "%s/%s/run.json", root, dir);
  int code = read_run(path, run, err);
  if (code) return code;
  snprintf(path, sizeof path, "%s/%s/config.yaml", root, dir);
  if (!sonde_path_exists(path)) {
    *config = json_object();
    return SONDE_OK;
  }
  sonde_doc *doc = sonde_yaml_load(path, err);
  if (doc) {
    *config = json_incref(sonde_doc_root(doc));
    sonde_doc_free(doc);
    return SONDE_OK;
  }
  json_decref(*run);
  *run = NULL;
  return err->code;
}

/* ---- lists ------------------------------------------------------------------------------------------------ */

static json_t *load_or_warn(const char *path) {
  sonde_error err = {0};
  if (!sonde_path_exists(path)) return NULL;
  json_t *v = sonde_json_load(path, 0, &err);
  if (!v) sonde_warn("%s; the database lacks its contents", err.text);
  return v;
}

/* Puts a list under the key NAME SUFFIX or NAME_FIELD SUFFIX; anything else is no list. */
static void put_list(json_t *lists, json_t *v, const char *name, const char *field, const char *suffix) {
  char key[512];
  snprintf(key, sizeof key, "%s%s%s%s", name, *field ? "_" : "", field, suffix);
  if (json_is_array(v)) json_object_set(lists, key, v);
}

static void add_probes(json_t *lists, const char *path) {
  const char *name, *field;
  json_t *probe, *scalar, *all = load_or_warn(path);
  json_object_foreach(json_object_get(all, "probes"), name, probe) {
    put_list(lists, json_object_get(probe, "values"), name, "", "");
    put_list(lists, json_object_get(probe, "ci"), name, "", ".ci");
    json_object_foreach(json_object_get(probe, "scalars"), field, scalar) {
      put_list(lists, json_object_get(scalar, "ci"), name, field, ".ci");
    }
  }
  json_decref(all);
}

static void add_files(json_t *lists, const char *folder) {
  char path[PATH_BYTES], name[256];
  struct dirent *e;
  DIR *d = opendir(folder);
  while (d && (e = readdir(d))) {
    size_t n = strlen(e->d_name);
    if (n < 6 || n >= sizeof name || strcmp(e->d_name + n - 5, ".json") != 0) continue;
    if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= PATH_BYTES) continue;
    json_t *v = load_or_warn(path);
    snprintf(name, sizeof name, "%.*s", (int)(n - 5), e->d_name);
    put_list(lists, v, name, "", "");
    json_decref(v);
  }
  if (d) closedir(d);
}

json_t *sonde_scan_lists(const char *root, const char *dir) {
  char path[PATH_BYTES];
  json_t *lists = json_object();
  snprintf(path, sizeof path, "%s/%s/probes.json", root, dir);
  if (lists) add_probes(lists, path);
  snprintf(path, sizeof path, "%s/%s/probes", root, dir);
  if (lists) add_files(lists, path);
  return lists;
}
