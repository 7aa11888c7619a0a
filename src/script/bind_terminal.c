/* bind_terminal.c - the terminal: line editing with history and completion for the repl, and its width. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "script/script.h"

/* Readline takes no argument for its callbacks: the state and the completer (in the registry) of the read under way. */
static lua_State *reader;
static const char completer_key;

static void free_line(void *p) { free(p); }
static const sonde_lua_type line_type = {"line", free_line, NULL};

/* The list of matches for the word that argument 1 points at. */
static int find_matches(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &completer_key);
  lua_pushstring(L, lua_touserdata(L, 1));
  lua_pushlstring(L, rl_line_buffer, (size_t)rl_point);
  lua_call(L, 2, 1);
  return 1;
}

/* Called by readline once for each match, from 0: the list made at the first call lies on the stack. No error may pass
 * through readline. */
static char *next_match(const char *word, int index) {
  lua_State *L = reader;
  if (index == 0) {
    lua_settop(L, 0);
    lua_pushcfunction(L, find_matches);
    lua_pushlightuserdata(L, (void *)word);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK || !lua_istable(L, 1)) {
      lua_settop(L, 0);
      return NULL;
    }
  }
  char *match = NULL;
  if (lua_istable(L, 1) && lua_rawgeti(L, 1, index + 1) == LUA_TSTRING) match = strdup(lua_tostring(L, -1));
  lua_settop(L, match ? 1 : 0);
  return match;
}

static char **complete(const char *word, int start, int end) {
  (void)start;
  (void)end;
  rl_attempted_completion_over = 1;        /* never file names */
  rl_completion_append_character = '\0';
  return rl_completion_matches(word, next_match);
}

/* The next byte of the terminal. Ctrl-C ends the line, which read_line then drops; a request to stop ends the input. */
static int next_byte(FILE *terminal) {
  struct pollfd ready = {fileno(terminal), POLLIN, 0};
  for (;;) {
    int number = sonde_lua_prompt_signal();
    if (number) return number == SIGINT ? '\n' : EOF;
    unsigned char c;
    int n = poll(&ready, 1, -1);   /* which a signal ends, as it does not end a read */
    if (n < 0 && errno != EINTR) return EOF;
    if (n < 0) rl_check_signals();   /* readline's handler only takes a note; this calls ours */
    else if (n > 0) return read(ready.fd, &c, 1) == 1 ? c : EOF;
  }
}

/* core.read_line(prompt[, completer]) -> the line; nil at the end of input; nil, true when Ctrl-C dropped it.
 * completer(word, line so far) gives a list of whole words. Without a terminal the line is read plainly, without a
 * prompt. */
static int read_line(lua_State *L) {
  const char *prompt = sonde_lua_string(L, 1);
  lua_settop(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &completer_key);
  sonde_lua_box *box = sonde_lua_new(L, &line_type, 0);
  int number = 0;
  if (isatty(STDIN_FILENO)) {
    lua_State *outer = reader;
    reader = lua_newthread(L);
    rl_basic_word_break_characters = " \t\n\"\\'><=;+-*/%^~#{}()[],";
    rl_attempted_completion_function = complete;
    rl_getc_function = next_byte;
    sonde_lua_prompt(1);
    box->p = readline(prompt);
    number = sonde_lua_prompt(0);
    reader = outer;
  } else {
    char *line = NULL;
    size_t room = 0;
    ssize_t n = getline(&line, &room, stdin);
    if (n > 0 && line[n - 1] == '\n') line[n - 1] = '\0';
    if (n < 0) free(line), line = NULL;
    box->p = line;
  }
  if (box->p && !number) lua_pushstring(L, box->p);
  else lua_pushnil(L);
  lua_pushboolean(L, number == SIGINT);
  return 2;
}

/* core.add_history(line) */
static int core_add_history(lua_State *L) {
  add_history(sonde_lua_string(L, 1));
  return 0;
}

/* core.history(path, "load" | "save"): best effort; a history that cannot be kept is no error */
static int core_history(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  if (!strcmp(sonde_lua_string(L, 2), "load")) {
    read_history(path);
  } else {
    stifle_history(1000);
    write_history(path);
  }
  return 0;
}

/* core.is_terminal("stdin" | "stdout" | "stderr") */
static int is_terminal(lua_State *L) {
  const char *name = sonde_lua_string(L, 1);
  int file = !strcmp(name, "stdin") ? STDIN_FILENO : !strcmp(name, "stdout") ? STDOUT_FILENO : STDERR_FILENO;
  lua_pushboolean(L, isatty(file));
  return 1;
}

/* core.columns() -> width of the terminal at stderr, 80 if there is none */
static int core_columns(lua_State *L) {
  struct winsize size;
  int known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  lua_pushinteger(L, known ? size.ws_col : 80);
  return 1;
}

void sonde_bind_terminal(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"read_line", read_line},     {"add_history", core_add_history}, {"history", core_history},
      {"is_terminal", is_terminal}, {"columns", core_columns},         {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
