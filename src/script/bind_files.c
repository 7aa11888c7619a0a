/* bind_files.c - system functions for the Lua library: folders, files, a clock, "did you mean". */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/temp.h"
#include "script/script.h"

/* Handles for what C owns while Lua values are made. */
static void free_text(void *p) { sonde_release(p); }
static void free_path(void *p) { free(p); }   /* realpath's memory is of malloc */
static void free_dir(void *p) { closedir(p); }

static const sonde_lua_type text_type = {"text", free_text, NULL};
static const sonde_lua_type path_type = {"path", free_path, NULL};
static const sonde_lua_type dir_type = {"folder", free_dir, NULL};

/* core.list_dir(path) -> list of names, sorted, without . and .. */
static int list_dir(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_lua_box *box = sonde_lua_new(L, &dir_type, 0);
  DIR *dir = box->p = opendir(path);
  if (!dir) return sonde_lua_fail(L, "%s: %s", path, strerror(errno));
  lua_newtable(L);
  lua_Integer n = 0;
  struct dirent *e;
  while (errno = 0, (e = readdir(dir))) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    lua_pushstring(L, e->d_name);
    lua_rawseti(L, -2, ++n);
  }
  if (errno) return sonde_lua_fail(L, "%s: %s", path, strerror(errno));   /* an incomplete list would look complete */
  lua_getglobal(L, "table");
  lua_getfield(L, -1, "sort");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 0);
  lua_pop(L, 1);
  return 1;
}

/* core.exists(path) -> "file", "folder", or false */
static int core_exists(lua_State *L) {
  struct stat st;
  const char *path = sonde_lua_string(L, 1);
  int missing = stat(path, &st);
  /* A path that cannot be examined may exist, and the caller could overwrite it. */
  if (missing && (errno == EACCES || errno == EIO))
    return sonde_lua_fail(L, "cannot look at '%s': %s", path, strerror(errno));
  if (missing) lua_pushboolean(L, 0);
  else lua_pushstring(L, S_ISDIR(st.st_mode) ? "folder" : "file");
  return 1;
}

/* core.real_path(path) -> the same absolute and without links, or nil where there is nothing */
static int real_path(lua_State *L) {
  sonde_lua_box *box = sonde_lua_new(L, &path_type, 0);
  lua_pushstring(L, box->p = realpath(sonde_lua_string(L, 1), NULL));
  return 1;
}

/* core.mkdirs(path) */
static int core_mkdirs(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_mkdirs(sonde_lua_string(L, 1), &err), &err);
  return 0;
}

static void free_temp(void *p) {
  sonde_temp_end(p);
  sonde_release(p);
}
static const sonde_lua_type temp_type = {"new folder", free_temp, NULL};

/* core.new_folder(path) -> the name of a new folder beside it, and its lock: while that is not closed the folder does
 * not count as left behind */
static int core_new_folder(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &temp_type, 0);
  sonde_temp *t = sonde_alloc(sizeof *t);
  if (!t) sonde_lua_check(L, sonde_fail(&err, SONDE_ENOMEM, "no memory to create the folder '%s'", path), &err);
  if (sonde_temp_folder(path, t)) {
    sonde_fail_errno(&err, SONDE_EIO, "cannot create the folder '%s'", path);
    sonde_release(t);
    sonde_lua_raise(L, &err);
  }
  box->p = t;
  lua_pushstring(L, t->path);
  lua_insert(L, -2);
  return 2;
}

/* core.remove_tree(path) */
static int core_remove_tree(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_remove_tree(sonde_lua_string(L, 1), &err), &err);
  return 0;
}

/* core.read_file(path[, most]) -> bytes, at most so many; default 1 GiB */
static int read_file(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  int64_t most = sonde_lua_opt_integer(L, 2, 0, 0, INT64_MAX);
  sonde_error err = {0};
  char *data = NULL;
  int64_t size = 0;
  sonde_lua_box *box = sonde_lua_new(L, &text_type, 0);
  int rc = sonde_file_read(path, most, &data, &size, &err);
  box->p = data;
  sonde_lua_check(L, rc, &err);
  lua_pushlstring(L, data, (size_t)size);
  return 1;
}

/* core.write_file(path, bytes): atomically */
static int write_file(lua_State *L) {
  size_t n;
  const char *path = sonde_lua_string(L, 1), *data = sonde_lua_bytes(L, 2, &n);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_file_write(path, data, (int64_t)n, &err), &err);
  return 0;
}

/* core.check_file(path), core.check_folder(path): raise where write_file would, or the making of a folder */
static int check_file(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_file_check(sonde_lua_string(L, 1), &err), &err);
  return 0;
}

static int check_folder(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_folder_check(sonde_lua_string(L, 1), &err), &err);
  return 0;
}

static void free_part(void *p) {
  close(*(int *)p);
  sonde_release(p);
}

/* p:cut(bytes): ends the file behind so many bytes */
static int part_cut(lua_State *L);
static const luaL_Reg part_methods[] = {{"cut", part_cut}, {NULL, NULL}};
static const sonde_lua_type part_type = {"lock of an unfinished file", free_part, part_methods};

static int part_cut(lua_State *L) {
  const int *fd = sonde_lua_handle(L, 1, &part_type);
  if (ftruncate(*fd, sonde_lua_integer(L, 2, 0, INT64_MAX)))
    return sonde_lua_fail(L, "cannot cut an unfinished file: %s", strerror(errno));
  return 0;
}

/* core.part(path, what) -> the lock of an unfinished file, created if absent; raises where another process writes
 * `what` into it */
static int core_part(lua_State *L) {
  const char *path = sonde_lua_string(L, 1), *what = sonde_lua_string(L, 2);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &part_type, 0);
  int *fd = sonde_alloc(sizeof *fd);
  if (!fd) sonde_lua_check(L, sonde_fail(&err, SONDE_ENOMEM, "no memory to open '%s'", path), &err);
  *fd = sonde_file_part(path, what, &err);
  if (*fd < 0) {
    sonde_release(fd);
    sonde_lua_raise(L, &err);
  }
  box->p = fd;
  return 1;
}

/* core.nearest(word, names) -> the name that was probably meant, or nil */
static int core_nearest(lua_State *L) {
  const char *word = sonde_lua_string(L, 1);
  int n;
  lua_settop(L, 2);
  const char **names = sonde_lua_strings(L, 2, "the names", &n);
  lua_pushstring(L, sonde_nearest(word, names, n));
  return 1;
}

/* core.seconds() -> a monotonic clock, for durations */
static int core_seconds(lua_State *L) {
  lua_pushnumber(L, sonde_clock_seconds());
  return 1;
}

/* core.warn(text): a warning for the user, on stderr */
static int core_warn(lua_State *L) {
  sonde_warn("%s", sonde_lua_string(L, 1));
  return 0;
}

void sonde_bind_files(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"list_dir", list_dir},   {"exists", core_exists},   {"mkdirs", core_mkdirs},   {"remove_tree", core_remove_tree},
      {"read_file", read_file}, {"write_file", write_file}, {"nearest", core_nearest}, {"seconds", core_seconds},
      {"warn", core_warn},      {"check_file", check_file}, {"check_folder", check_folder},
      {"real_path", real_path}, {"new_folder", core_new_folder}, {"part", core_part}, {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
