/* main.c - the sonde program: a Lua state with the library in it. Commands, options and help are Lua
 * (lua/sonde/cmd/init.lua and lua/sonde/cmd/); exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 stopped on
 * request. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include <lua.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/crash.h"
#include "base/mem.h"
#include "base/paths.h"
#include "script/script.h"

/* OpenBLAS starts a thread for every core while it is loaded, and hangs at the exit if it could not. We call it with
 * one thread a tile, so it shall see one core: this runs before the constructors of libraries, and main gives the cores
 * back. (The environment cannot be changed here: the C library takes it from the kernel after this.) */
static cpu_set_t cores;

static void hide_cores(int argc, char **argv, char **env) {
  (void)argc, (void)argv, (void)env;
  cpu_set_t one;
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof cores, &cores)) return;
  for (int k = 0; k < CPU_SETSIZE; k++)
    if (CPU_ISSET(k, &cores)) {
      CPU_SET(k, &one);
      break;
    }
  sched_setaffinity(0, sizeof one, &one);
}

__attribute__((section(".preinit_array"), used)) static void (*const early)(int, char **, char **) = hide_cores;

/* Opens closed standard streams: otherwise the first opened file would get the number 0, 1 or 2, and output for the
 * terminal would be written into it. Writing to a closed standard output is still reported as an error. */
static void open_standard_files(void) {
  static const int mode[] = {O_RDONLY, O_RDONLY, O_WRONLY};
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", mode[fd]) != fd) _exit(1);
}

static void open_library(lua_State *L) {
  sonde_error err = {0};
  luaL_openlibs(L);
  char *lua_dir = sonde_path_lua(&err);
  if (!lua_dir) {
    lua_pushstring(L, err.text);
    lua_error(L);
  }
  sonde_lua_open(L, lua_dir);   /* copies it */
  sonde_release(lua_dir);
  sonde_lua_catch_signals(L);
}

/* Everything that can run out of memory: main calls it protected. */
static int main_lua(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  open_library(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "sonde.cmd");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_createtable(L, argc, 0);
  for (int k = 1; k < argc; k++) {
    lua_pushstring(L, argv[k]);
    lua_rawseti(L, -2, k);
  }
  lua_call(L, 1, 1);
  return 1;
}

int main(int argc, char **argv) {
  open_standard_files();
  sonde_crash_watch();
  if (CPU_COUNT(&cores)) sched_setaffinity(0, sizeof cores, &cores);
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "sonde: no memory for the Lua state\n");
    return 1;
  }
  lua_pushcfunction(L, main_lua);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  int code = 1;
  if (lua_pcall(L, 2, 1, 0) == LUA_OK) code = (int)lua_tointeger(L, -1);
  else fprintf(stderr, "sonde: %s\n", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error without words");
  sonde_doing_nothing();   /* an error may have left it */
  lua_close(L);
  if (fflush(stdout) || ferror(stdout)) {      /* print flushes, and leaves nothing but the mark of an error */
    fprintf(stderr, "sonde: cannot write to the standard output\n");
    if (!code) code = 1;
  }
  return code;
}
