/* argument.c - what a binding takes from Lua: arguments, lists and option tables, each refused with the function's
 * name when it is something else. Nothing here runs Lua code: tables are read raw, and those with a metatable, whose
 * fields would then be silently other than they seem, are refused. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "script/script.h"

/* ---- single arguments ---- */

const char *sonde_lua_shown(lua_State *L, int index) {
  switch (lua_type(L, index)) {
    case LUA_TNUMBER:
      lua_pushvalue(L, index);
      return lua_tostring(L, -1);
    case LUA_TBOOLEAN: return lua_toboolean(L, index) ? "true" : "false";
    case LUA_TNIL: case LUA_TNONE: return "nil";
    case LUA_TSTRING: return lua_pushfstring(L, "'%s'", lua_tostring(L, index));
    default: return lua_pushfstring(L, "a %s", luaL_typename(L, index));
  }
}

int sonde_lua_refuse(lua_State *L, int arg, const char *want) {
  int method = 0;
  const char *name = sonde_lua_function_name(&method);
  return sonde_lua_fail(L, "%s: argument %d must be %s, not %s", name ? name : "a function", arg - method, want,
                        sonde_lua_shown(L, arg));
}

const char *sonde_lua_bytes(lua_State *L, int arg, size_t *n) {
  if (lua_type(L, arg) != LUA_TSTRING && lua_type(L, arg) != LUA_TNUMBER) sonde_lua_refuse(L, arg, "a string");
  return lua_tolstring(L, arg, n);
}

const char *sonde_lua_string(lua_State *L, int arg) {
  size_t n;
  const char *s = sonde_lua_bytes(L, arg, &n);
  if (strlen(s) != n) sonde_lua_refuse(L, arg, "a string without zero bytes");
  return s;
}

const char *sonde_lua_opt_string(lua_State *L, int arg, const char *preset) {
  return lua_isnoneornil(L, arg) ? preset : sonde_lua_string(L, arg);
}

int64_t sonde_lua_integer(lua_State *L, int arg, int64_t min, int64_t max) {
  int ok = 0;
  lua_Integer v = lua_type(L, arg) == LUA_TNUMBER ? lua_tointegerx(L, arg, &ok) : 0;
  if (!ok) sonde_lua_refuse(L, arg, "a whole number");
  if (v < min || v > max) {
    char want[80];
    if (max == INT64_MAX) lua_pushfstring(L, "a whole number of at least %I", (LUAI_UACINT)min);
    else lua_pushfstring(L, "a whole number from %I to %I", (LUAI_UACINT)min, (LUAI_UACINT)max);
    snprintf(want, sizeof want, "%s", lua_tostring(L, -1));
    sonde_lua_refuse(L, arg, want);
  }
  return v;
}

int64_t sonde_lua_opt_integer(lua_State *L, int arg, int64_t preset, int64_t min, int64_t max) {
  return lua_isnoneornil(L, arg) ? preset : sonde_lua_integer(L, arg, min, max);
}

double sonde_lua_number(lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TNUMBER) sonde_lua_refuse(L, arg, "a number");
  return lua_tonumber(L, arg);
}

double sonde_lua_opt_number(lua_State *L, int arg, double preset) {
  return lua_isnoneornil(L, arg) ? preset : sonde_lua_number(L, arg);
}

int sonde_lua_choice(lua_State *L, int arg, const char *preset, const char *const *names) {
  const char *name = sonde_lua_opt_string(L, arg, preset);
  if (!name) return sonde_lua_refuse(L, arg, "a string");
  luaL_Buffer b;
  for (int k = 0; names[k]; k++)
    if (!strcmp(name, names[k])) return k;
  luaL_buffinit(L, &b);
  for (int k = 0; names[k]; k++) {
    if (k) luaL_addstring(&b, ", ");
    luaL_addstring(&b, names[k]);
  }
  luaL_pushresult(&b);
  return sonde_lua_fail(L, "'%s' is not among %s", name, lua_tostring(L, -1));
}

/* ---- tables ---- */

/* Marks a table as a list, which an empty one cannot show by itself. */
static const char list_key;

void sonde_lua_mark_list(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "list");
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
  }
  lua_setmetatable(L, -2);
}

int sonde_lua_is_marked(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
  int same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void sonde_lua_own(lua_State *L, int arg, const char *what) {
  if (lua_gettop(L) < arg) lua_settop(L, arg);
  if (lua_type(L, arg) != LUA_TTABLE) {
    sonde_lua_fail(L, "%s must be a table, not %s", what, sonde_lua_shown(L, arg));
  }
  if (lua_getmetatable(L, arg)) {
    lua_pop(L, 1);
    if (!sonde_lua_is_marked(L, arg)) sonde_lua_fail(L, "%s must be a plain table, not one with a metatable", what);
  }
  luaL_checkstack(L, 4, "too many tables");
  lua_createtable(L, (int)lua_rawlen(L, arg), 0);
  /* into the copy, and the key stays; a table of our own grows: no error */
  for (lua_pushnil(L); lua_next(L, arg);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
  lua_replace(L, arg);
}

void sonde_lua_options(lua_State *L, int arg) {
  if (lua_gettop(L) < arg) lua_settop(L, arg);
  if (lua_isnil(L, arg)) {
    lua_newtable(L);
    lua_replace(L, arg);
  } else {
    sonde_lua_own(L, arg, "the options");
  }
}

void sonde_lua_known(lua_State *L, int table, const char *const *keys) {
  int n = 0;
  while (keys[n]) n++;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    int k = 0;
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : sonde_lua_shown(L, -2);
    while (k < n && strcmp(keys[k], key) != 0) k++;
    if (k < n) continue;
    const char *near = sonde_nearest(key, keys, n);
    sonde_lua_fail(L, "unknown option '%s'%s%s%s", key, near ? "; did you mean '" : "", near ? near : "",
                   near ? "'?" : "");
  }
}

/* Pushes the field of a table of ours. */
static int field(lua_State *L, int table, const char *key) {
  table = lua_absindex(L, table);
  lua_pushstring(L, key);
  return lua_rawget(L, table);
}

int64_t sonde_lua_field_integer(lua_State *L, int table, const char *key, int64_t preset, int64_t min, int64_t max) {
  int64_t v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    int ok = 0;
    v = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &ok) : 0;
    if (!ok) sonde_lua_fail(L, "%s must be a whole number, not %s", key, sonde_lua_shown(L, -1));
    if (v < min || v > max)
      sonde_lua_fail(L, "%s must be from %lld to %lld, not %lld", key, (long long)min, (long long)max, (long long)v);
  }
  lua_pop(L, 1);
  return v;
}

int64_t sonde_lua_field_int(lua_State *L, int table, const char *key, int64_t preset) {
  return sonde_lua_field_integer(L, table, key, preset, INT64_MIN, INT64_MAX);
}

double sonde_lua_field_number(lua_State *L, int table, const char *key, double preset) {
  double v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TNUMBER) sonde_lua_fail(L, "%s must be a number, not %s", key, sonde_lua_shown(L, -1));
    v = lua_tonumber(L, -1);
  }
  lua_pop(L, 1);
  return v;
}

int sonde_lua_field_bool(lua_State *L, int table, const char *key, int preset) {
  int v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    if (!lua_isboolean(L, -1)) sonde_lua_fail(L, "%s must be true or false, not %s", key, sonde_lua_shown(L, -1));
    v = lua_toboolean(L, -1);
  }
  lua_pop(L, 1);
  return v;
}

const char *sonde_lua_field_string(lua_State *L, int table, const char *key, const char *preset) {
  const char *v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    size_t n;
    if (lua_type(L, -1) != LUA_TSTRING) sonde_lua_fail(L, "%s must be a string, not %s", key, sonde_lua_shown(L, -1));
    v = lua_tolstring(L, -1, &n);
    if (strlen(v) != n) sonde_lua_fail(L, "%s must be a string without zero bytes", key);
  }
  lua_pop(L, 1);   /* the private table keeps the string alive */
  return v;
}

/* ---- lists ---- */

/* Makes the list argument our own; its length. */
static int list_length(lua_State *L, int arg, const char *what, int64_t max) {
  sonde_lua_own(L, arg, what);
  lua_Unsigned n = lua_rawlen(L, arg);
  if (n > (lua_Unsigned)max)
    sonde_lua_fail(L, "%s has %lld entries; at most %lld are possible", what, (long long)n, (long long)max);
  return (int)n;
}

int sonde_lua_integers(lua_State *L, int arg, const char *what, int64_t *out, int max) {
  int n = list_length(L, arg, what, max);
  for (int k = 0; k < n; k++) {
    int ok = 0;
    if (lua_rawgeti(L, arg, k + 1) == LUA_TNUMBER) out[k] = lua_tointegerx(L, -1, &ok);
    if (!ok) sonde_lua_fail(L, "%s: entry %d must be a whole number, not %s", what, k + 1, sonde_lua_shown(L, -1));
    lua_pop(L, 1);
  }
  return n;
}

int sonde_lua_numbers(lua_State *L, int arg, const char *what, double *out, int max) {
  int n = list_length(L, arg, what, max);
  for (int k = 0; k < n; k++) {
    if (lua_rawgeti(L, arg, k + 1) != LUA_TNUMBER)
      sonde_lua_fail(L, "%s: entry %d must be a number, not %s", what, k + 1, sonde_lua_shown(L, -1));
    out[k] = lua_tonumber(L, -1);
    lua_pop(L, 1);
  }
  return n;
}

enum { MAX_LIST = 1 << 30 };

const int64_t *sonde_lua_new_integers(lua_State *L, int arg, const char *what, int64_t *n) {
  *n = list_length(L, arg, what, MAX_LIST);
  int64_t *out = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *out, 0);
  sonde_lua_integers(L, arg, what, out, (int)*n);
  return out;
}

const char **sonde_lua_strings(lua_State *L, int arg, const char *what, int *n) {
  *n = list_length(L, arg, what, MAX_LIST);
  const char **out = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *out, 0);
  for (int k = 0; k < *n; k++) {
    size_t bytes = 0;
    if (lua_rawgeti(L, arg, k + 1) != LUA_TSTRING)
      sonde_lua_fail(L, "%s: entry %d must be a string, not %s", what, k + 1, sonde_lua_shown(L, -1));
    out[k] = lua_tolstring(L, -1, &bytes);
    if (strlen(out[k]) != bytes) sonde_lua_fail(L, "%s: entry %d must be a string without zero bytes", what, k + 1);
    lua_pop(L, 1);
  }
  out[*n] = NULL;
  return out;
}

void **sonde_lua_handles(lua_State *L, int arg, const char *what, int *n, void *take(lua_State *L, int index)) {
  *n = list_length(L, arg, what, MAX_LIST);
  void **out = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *out, 0);
  for (int k = 0; k < *n; k++) {
    lua_rawgeti(L, arg, k + 1);
    out[k] = take(L, lua_gettop(L));
    lua_pop(L, 1);
  }
  return out;
}
