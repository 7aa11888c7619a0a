/* bind_process.c - copies of this process that do a part of the work, in Lua. */
#include "config.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/crash.h"
#include "base/process.h"
#include "graph/graph.h"
#include "script/script.h"

enum { MOST_PROCESSES = 4096 };

static void free_process(void *p) { sonde_process_close(p); }

static const luaL_Reg process_methods[];
static const sonde_lua_type process_type = {"process", free_process, process_methods};

static void *take_process(lua_State *L, int index) { return sonde_lua_handle(L, index, &process_type); }
static sonde_process *to_process(lua_State *L) { return sonde_lua_handle(L, 1, &process_type); }

static void run_part(lua_State *L) {
  sonde_crash_part();
  sonde_lua_holds_nothing();
  lua_settop(L, 1);
  int status = 1;
  if (lua_pcall(L, 0, 1, 0) == LUA_OK) status = (int)(lua_tointeger(L, -1) & 255);
  else fprintf(stderr, "sonde: %s\n", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error without words");
  sonde_process_leave(status);
}

/* core.fork(f) -> a handle of a new process, in which f() runs and gives the exit status. It has all that is in memory
 * here, but no thread: the runtime must have one (core.resize). No crash there is reported as one that the same command
 * resumes from. */
static int core_fork(lua_State *L) {
  if (lua_type(L, 1) != LUA_TFUNCTION) sonde_lua_refuse(L, 1, "a function");
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &process_type, 0);
  sonde_process *p;
  sonde_lua_check(L, sonde_process_fork(&p, &err), &err);
  if (!p) run_part(L);
  box->p = p;
  return 1;
}

/* core.wait(list of processes, seconds): until one has said something or ended, a signal comes, or some time is over,
 * which may be less */
static int core_wait(lua_State *L) {
  int n;
  double seconds = sonde_lua_number(L, 2);
  void **p = sonde_lua_handles(L, 1, "the processes", &n, take_process);
  sonde_process_wait((sonde_process *const *)p, n, seconds);
  return 0;
}

/* core.resize(threads, processes): how many threads compute from now on, in each of so many processes */
static int core_resize(lua_State *L) {
  int threads = (int)sonde_lua_integer(L, 1, 1, 4096), processes = (int)sonde_lua_integer(L, 2, 1, MOST_PROCESSES);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_ctx_resize(sonde_lua_ctx(L), threads, processes, &err), &err);
  return 0;
}

/* process:read() -> what it has written on its standard error since the last call; "" for nothing */
static int process_read(lua_State *L) {
  sonde_process *p = to_process(L);
  char bytes[4096];
  luaL_Buffer all;
  luaL_buffinit(L, &all);
  int64_t n;
  while ((n = sonde_process_read(p, bytes, sizeof bytes)) > 0) luaL_addlstring(&all, bytes, (size_t)n);
  luaL_pushresult(&all);
  return 1;
}

/* process:ended() -> nil, or its exit status, or false and the number and name of the signal that ended it */
static int process_ended(lua_State *L) {
  int status, number;
  if (!sonde_process_ended(to_process(L), &status, &number)) return 0;
  if (!number) {
    lua_pushinteger(L, status);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_pushinteger(L, number);
  lua_pushstring(L, strsignal(number));
  return 3;
}

/* process:stop(): requests that it stops, as job managers do */
static int process_stop(lua_State *L) {
  sonde_process_signal(to_process(L), SIGUSR1);
  return 0;
}

static const luaL_Reg process_methods[] = {
    {"read", process_read}, {"ended", process_ended}, {"stop", process_stop}, {NULL, NULL}};

void sonde_bind_process(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"fork", core_fork}, {"wait", core_wait}, {"resize", core_resize}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
