/* script.c - the state behind "sonde.core": the runtime, the bindings, errors with the user's line, and the
 * two signals. Handles and option tables are in handle.c. */
#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "graph/graph.h"
#include "script/script.h"

/* Kept in the registry under the address of `state_key`. lua_close runs finalisers from the youngest object to the
 * oldest, so this one, made first, outlives every handle. */
typedef struct script_state {
  sonde_ctx *ctx;
  int threads;
  char lua_dir[4096];
} script_state;

static const char state_key;

static script_state *state_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  script_state *s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return s;
}

static int state_gc(lua_State *L) {
  script_state *s = lua_touserdata(L, 1);
  sonde_ctx_free(s->ctx);
  s->ctx = NULL;
  return 0;
}

sonde_ctx *sonde_lua_ctx(lua_State *L) {
  script_state *s = state_of(L);
  if (!s->ctx) {
    sonde_error err = {0};
    s->ctx = sonde_ctx_new(s->threads, &err);
    if (!s->ctx) sonde_lua_raise(L, &err);
    s->ctx->stop = sonde_lua_stop_flag();
  }
  return s->ctx;
}

void sonde_lua_borrow_ctx(lua_State *L, sonde_ctx *ctx) { state_of(L)->ctx = ctx; }

/* ---- errors ---- */

/* A frame of the library: its chunk name is "@<lua_dir>/...". */
static int is_library(const script_state *s, const char *source) {
  size_t n = strlen(s->lua_dir);
  return source[0] == '@' && n && strncmp(source + 1, s->lua_dir, n) == 0 && source[1 + n] == '/';
}

void sonde_lua_where(lua_State *L) {
  const script_state *s = state_of(L);
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0 || is_library(s, ar.source)) continue;
    lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
    return;
  }
  lua_pushliteral(L, "");
}

int sonde_lua_fail(lua_State *L, const char *fmt, ...) {
  char text[1000];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  sonde_one_line(text);
  sonde_lua_where(L);
  lua_pushstring(L, text);
  lua_concat(L, 2);
  lua_error(L);
  __builtin_unreachable();   /* lua.h does not say that lua_error never returns */
}

static void raise_with(lua_State *L, int rc, const sonde_error *err) {
  if (rc == SONDE_EINTR) lua_sethook(L, NULL, 0, 0);
  sonde_lua_where(L);
  if (err->text[0]) lua_pushstring(L, err->text);
  else lua_pushfstring(L, "failed (%s)", sonde_code_name(rc));
  lua_concat(L, 2);
  lua_error(L);
}

void sonde_lua_check(lua_State *L, int rc, const sonde_error *err) {
  if (rc < 0) raise_with(L, rc, err);
}

void sonde_lua_raise(lua_State *L, const sonde_error *err) {
  raise_with(L, err->code, err);
  __builtin_unreachable();
}

/* ---- signals ---- */

static lua_State *signal_state;
static pthread_t signal_thread;
static volatile int stop_flag;
enum { PROMPTING = 1, SERVING };
static volatile sig_atomic_t waiting;   /* for a line or for requests; 0: neither */
static atomic_int noted;                /* the signal that came then; the server's thread reads it */
/* When the first SIGINT, SIGTERM or SIGHUP came; 0: none did. Another one right behind it is the same request:
 * timeout(1) and job managers signal the process and its group. */
static volatile int64_t requested_ns;
enum { SAME_REQUEST_NS = 500000000 };

static void stop_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  sonde_lua_where(L);
  lua_pushliteral(L, "interrupted");
  lua_concat(L, 2);
  lua_error(L);
}

/* lua_sethook is the one call that Lua allows from a signal handler, and only on its own thread: a worker of the
 * pool that gets the signal passes it on. */
static void on_signal(int number) {
  if (!pthread_equal(pthread_self(), signal_thread)) {
    pthread_kill(signal_thread, number);
    return;
  }
  if (waiting) noted = number;           /* nothing is stopped: the reader or the server looks */
  if (waiting == PROMPTING) return;
  if (number == SIGINT || number == SIGTERM || number == SIGHUP) {
    int64_t now = sonde_clock_ns();
    if (!requested_ns) requested_ns = now;
    else if (now - requested_ns < SAME_REQUEST_NS) return;
    else signal(number, SIG_DFL), raise(number);   /* the user's second request ends the process */
  } else if (stop_flag) {
    return;   /* a job manager repeats its own, and means the same */
  }
  if (waiting) return;
  stop_flag = 1;
  lua_sethook(signal_state, stop_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

void sonde_lua_catch_signals(lua_State *L) {
  signal_state = L;
  signal_thread = pthread_self();
  requested_ns = 0;
  signal(SIGINT, on_signal);
  signal(SIGTERM, on_signal);
  if (signal(SIGHUP, on_signal) == SIG_IGN) signal(SIGHUP, SIG_IGN); /* the terminal was closed; nohup: so be it */
  signal(SIGUSR1, on_signal); /* a job manager's warning before the end: Slurm's --signal */
  signal(SIGUSR2, on_signal);
  signal(SIGXCPU, on_signal); /* the soft limit of processor time */
  signal(SIGXFSZ, SIG_IGN);   /* a file at its limit is a write that fails, with a line that says so */
}

const volatile int *sonde_lua_stop_flag(void) { return &stop_flag; }

/* ---- functions of the runtime ---- */

/* core.where() -> "file:line: " of the user's script, or "" */
static int core_where(lua_State *L) {
  sonde_lua_where(L);
  return 1;
}

/* core.interrupted() -> whether a stop was requested. The call clears the request: the caller ends cleanly. */
static int core_interrupted(lua_State *L) {
  if (stop_flag) lua_sethook(L, NULL, 0, 0);
  lua_pushboolean(L, stop_flag);
  return 1;
}

int sonde_lua_prompt(int on) {
  waiting = on ? PROMPTING : 0;
  int number = noted;
  noted = 0;
  return number;
}

int sonde_lua_prompt_signal(void) { return noted; }

static void go_on(void) {
  lua_sethook(signal_state, NULL, 0, 0);
  stop_flag = 0;
  sonde_lua_catch_signals(signal_state);
}

void sonde_lua_serving(int on) {
  waiting = on ? SERVING : 0;
  noted = 0;
  if (!on) go_on();
}

/* core.go_on(): forgets a request to stop, and catches the next one */
static int core_go_on(lua_State *L) {
  (void)L;
  go_on();
  return 0;
}

/* core.set_threads(n): before the runtime is first used; 0 takes the cores the process may use */
static int core_set_threads(lua_State *L) {
  script_state *s = state_of(L);
  int64_t n = sonde_lua_integer(L, 1, INT64_MIN, INT64_MAX);
  if (n < 0 || n > 4096) return sonde_lua_fail(L, "threads must be between 1 and 4096, not %lld", (long long)n);
  if (s->ctx && n && sonde_ctx_threads(s->ctx) != (int)n)
    return sonde_lua_fail(L,
                          "the runtime already runs with %d threads; set the number before the first graph or corpus",
                          sonde_ctx_threads(s->ctx));
  s->threads = (int)n;
  return 0;
}

/* core.threads() -> how many threads compute */
static int core_threads(lua_State *L) {
  lua_pushinteger(L, sonde_ctx_threads(sonde_lua_ctx(L)));
  return 1;
}

/* core.lua_dir() -> the folder of the Lua library */
static int core_lua_dir(lua_State *L) {
  lua_pushstring(L, state_of(L)->lua_dir);
  return 1;
}

static const luaL_Reg runtime_functions[] = {
    {"where", core_where},     {"interrupted", core_interrupted}, {"go_on", core_go_on},
    {"threads", core_threads}, {"set_threads", core_set_threads}, {"lua_dir", core_lua_dir}, {NULL, NULL},
};

/* ---- the table ---- */

#define NAME(area) sonde_bind_##area,

static int open_core(lua_State *L) {
  static void (*const all[])(lua_State *) = {SONDE_BINDINGS(NAME)};
  lua_newtable(L);
  sonde_lua_functions(L, runtime_functions);
  lua_pushstring(L, sonde_version());
  lua_setfield(L, -2, "version");
  for (size_t k = 0; k < sizeof all / sizeof *all; k++) all[k](L);
  return 1;
}

static void prepend_path(lua_State *L, const char *lua_dir) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "path");
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", lua_dir, lua_dir, lua_tostring(L, -1));
  lua_setfield(L, -3, "path");
  lua_pop(L, 2);
}

void sonde_lua_open(lua_State *L, const char *lua_dir) {
  script_state *s = lua_newuserdatauv(L, sizeof *s, 0);
  memset(s, 0, sizeof *s);
  snprintf(s->lua_dir, sizeof s->lua_dir, "%s", lua_dir);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  prepend_path(L, lua_dir);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open_core);
  lua_setfield(L, -2, "sonde.core");
  lua_pop(L, 1);
}
