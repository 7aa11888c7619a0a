/* paths.c - the look-up order of Lua files and plugins. SONDE_BINDIR, SONDE_LIBDIR, SONDE_LUADIR and SONDE_PLUGINDIR
 * come from the Makefile: only make knows what ${prefix} will be. */
#include "config.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/mem.h"
#include "base/paths.h"

char *sonde_path_moved(const char *from, const char *to, const char *here) {
  size_t same = 0;   /* length of the leading folders that both share */
  for (size_t i = 0;; i++) {
    int end_from = from[i] == '/' || !from[i], end_to = to[i] == '/' || !to[i];
    if (end_from && end_to) same = i;
    if (!from[i] || from[i] != to[i]) break;
  }
  int up = 0;
  for (const char *s = from + same; *s; s++) up += *s == '/' && s[1] && s[1] != '/';
  char *p = sonde_alloc(strlen(here) + strlen(to + same) + 1);
  if (!p) return NULL;
  strcpy(p, here);
  for (; up > 0; up--) {
    char *slash = strrchr(p, '/');
    if (slash) *slash = '\0';
  }
  return strcat(p, to + same);
}

/* The folder of the running program, or of libsonde.so when that is what this code is in. */
static int own_folder(char *out, size_t size, int *is_library) {
  Dl_info info;
  char real[PATH_MAX];
  const char *name = "/proc/self/exe";
  *is_library = 0;
  if (dladdr((const void *)&sonde_path_lua, &info) && info.dli_fname) {
    const char *base = strrchr(info.dli_fname, '/');
    if (base && !strncmp(base + 1, "libsonde.so", 11)) name = info.dli_fname, *is_library = 1;
  }
  if (!realpath(name, real)) return 0;
  *strrchr(real, '/') = '\0';
  return snprintf(out, size, "%s", real) < (int)size;
}

/* *text: <build>/sonde-paths when `folder` is a build tree (or its .libs, or a folder of its tests), lines "lua FOLDER"
 * and "plugin FOLDER"; NULL if it is not a build tree. A tree whose paths cannot be read is a failure: the installed
 * ones are another Sonde's. */
static int build_tree(const char *folder, char **text, sonde_error *err) {
  char root[PATH_MAX], path[PATH_MAX + 32];
  int64_t size;
  *text = NULL;
  snprintf(root, sizeof root, "%s", folder);
  size_t n = strlen(root);
  if (n > 6 && !strcmp(root + n - 6, "/.libs")) root[n - 6] = '\0';
  char *tests = strstr(root, "/tests/");   /* a test's program is in BUILD/tests/FOLDER */
  if (tests && !strchr(tests + 7, '/')) *tests = '\0';
  snprintf(path, sizeof path, "%s/config.status", root);
  if (!sonde_path_exists(path)) return SONDE_OK;
  snprintf(path, sizeof path, "%s/sonde-paths", root);
  return sonde_path_exists(path) ? sonde_file_read(path, 1 << 20, text, &size, err) : SONDE_OK;
}

/* The rest of the next line of *text that begins with `key` and a space, as a string; NULL at the end. */
static char *next_path(char **text, const char *key) {
  size_t n = strlen(key);
  while (**text) {
    char *line = *text, *end = line + strcspn(line, "\n");
    *text = *end ? end + 1 : end;
    *end = '\0';
    if (!strncmp(line, key, n) && line[n] == ' ' && line[n + 1]) return line + n + 1;
  }
  return NULL;
}

static char *no_memory(sonde_error *err) {
  sonde_fail(err, SONDE_ENOMEM, "no memory for the search paths");
  return NULL;
}

char *sonde_path_lua(sonde_error *err) {
  char here[PATH_MAX], *found = NULL;
  int library;
  const char *env = getenv("SONDE_LUA_PATH");
  if (env && *env) {
    found = sonde_strdup(env);
    return found ? found : no_memory(err);
  }
  if (own_folder(here, sizeof here, &library)) {
    char *text;
    if (build_tree(here, &text, err)) return NULL;
    if (text) {
      char *rest = text, *line = next_path(&rest, "lua");
      found = line ? sonde_strdup(line) : NULL;
      sonde_release(text);
      if (found) return found;
      if (line) return no_memory(err);
    }
    found = sonde_path_moved(library ? SONDE_LIBDIR : SONDE_BINDIR, SONDE_LUADIR, here);
    if (!found) return no_memory(err);
    if (sonde_path_exists(found)) return found;
    sonde_release(found);
  }
  found = sonde_strdup(SONDE_LUADIR);
  return found ? found : no_memory(err);
}

/* ---- plugin folders ----------------------------------------------------------------------------------- */

/* Collected once, each as a string behind the last; the table is made when all are there. */
typedef struct folders {
  char *text;
  size_t bytes;
  int n, failed;
} folders;

static void add(folders *f, const char *path, size_t length) {
  if (!length || f->failed) return;   /* an empty entry would be the current folder */
  for (const char *s = f->text; s && s < f->text + f->bytes; s += strlen(s) + 1)
    if (strlen(s) == length && !memcmp(s, path, length)) return;
  char *longer = sonde_grow(f->text, f->bytes, f->bytes + length + 1);
  if (!longer) {
    f->failed = 1;
    return;
  }
  memcpy(longer + f->bytes, path, length);
  longer[f->bytes + length] = '\0';
  f->text = longer;
  f->bytes += length + 1;
  f->n++;
}

/* In a build tree only its own folders, not those of the prefix. */
static int add_beside_the_program(folders *f, sonde_error *err) {
  char here[PATH_MAX], *text = NULL;
  int library, known = own_folder(here, sizeof here, &library), rc = known ? build_tree(here, &text, err) : SONDE_OK;
  if (rc) return rc;
  if (text) {
    for (char *rest = text, *line; (line = next_path(&rest, "plugin")); ) add(f, line, strlen(line));
    sonde_release(text);
    return SONDE_OK;
  }
  char *moved = known ? sonde_path_moved(library ? SONDE_LIBDIR : SONDE_BINDIR, SONDE_PLUGINDIR, here) : NULL;
  if (known && !moved) f->failed = 1;
  /* An installation that was moved, or installed elsewhere than configured, has its own and no other's. */
  const char *own = moved && sonde_is_folder(moved) ? moved : SONDE_PLUGINDIR;
  add(f, own, strlen(own));
  sonde_release(moved);
  return SONDE_OK;
}

char **sonde_path_plugins(int *n, sonde_error *err) {
  folders f = {0};
  const char *env = getenv("SONDE_PLUGIN_PATH");
  for (const char *s = env ? env : ""; *s; ) {
    size_t length = strcspn(s, ":");
    add(&f, s, length);
    s += length + (s[length] == ':');
  }
  int rc = add_beside_the_program(&f, err);
  size_t table = (size_t)f.n * sizeof(char *);
  char **list = rc || f.failed ? NULL : sonde_alloc(table + f.bytes + 1);
  if (list) {
    char *at = (char *)list + table;
    if (f.bytes) memcpy(at, f.text, f.bytes);
    for (int k = 0; k < f.n; k++, at += strlen(at) + 1) list[k] = at;
    *n = f.n;
  } else if (!rc) {
    no_memory(err);
  }
  sonde_release(f.text);
  return list;
}
