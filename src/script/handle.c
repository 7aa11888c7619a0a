/* handle.c - C objects as Lua userdata: boxes that are freed once, say when they are closed, and report their bytes;
 * and reading of option tables. */
#include "config.h"

#include "script/script.h"

/* ---- boxes ---- */

static void release(sonde_lua_box *box) {
  void *p = box->p;
  box->p = NULL;
  if (p && box->type->free) box->type->free(p);
}

static int box_close(lua_State *L) {
  release(lua_touserdata(L, 1));
  return 0;
}

/* h:close(): the same for users, who may hand over anything. The type is the closure's upvalue. */
static int box_close_method(lua_State *L) {
  const sonde_lua_type *type = lua_touserdata(L, lua_upvalueindex(1));
  if (!sonde_lua_is(L, 1, type)) return luaL_typeerror(L, 1, type->name);
  release(lua_touserdata(L, 1));
  return 0;
}

static int box_tostring(lua_State *L) {
  const sonde_lua_box *box = lua_touserdata(L, 1);
  if (box->p) lua_pushfstring(L, "%s: %p", box->type->name, box->p);
  else lua_pushfstring(L, "%s (closed)", box->type->name);
  return 1;
}

void sonde_lua_metatable(lua_State *L, const sonde_lua_type *type) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, type) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushstring(L, type->name);
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, box_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, box_close);
  lua_setfield(L, -2, "__close");
  lua_pushcfunction(L, box_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_newtable(L);
  if (type->methods) luaL_setfuncs(L, type->methods, 0);
  lua_pushlightuserdata(L, (void *)type);
  lua_pushcclosure(L, box_close_method, 1);
  lua_setfield(L, -2, "close");
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, type);
}

sonde_lua_box *sonde_lua_new(lua_State *L, const sonde_lua_type *type, int slots) {
  sonde_lua_box *box = lua_newuserdatauv(L, sizeof *box, slots);
  box->p = NULL;
  box->type = type;
  box->bytes = 0;
  sonde_lua_metatable(L, type);
  lua_setmetatable(L, -2);
  return box;
}

int sonde_lua_is(lua_State *L, int index, const sonde_lua_type *type) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, type);
  int same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void *sonde_lua_handle(lua_State *L, int arg, const sonde_lua_type *type) {
  if (!sonde_lua_is(L, arg, type)) sonde_lua_fail(L, "a %s is needed here, not a %s", type->name, luaL_typename(L, arg));
  const sonde_lua_box *box = lua_touserdata(L, arg);
  if (!box->p) sonde_lua_fail(L, "this %s has been closed", type->name);
  return box->p;
}

void *sonde_lua_opt_handle(lua_State *L, int arg, const sonde_lua_type *type) {
  return lua_isnoneornil(L, arg) ? NULL : sonde_lua_handle(L, arg, type);
}

void sonde_lua_keep(lua_State *L, int box, int value, int slot) {
  box = lua_absindex(L, box);
  lua_pushvalue(L, value);
  lua_setiuservalue(L, box, slot);
}

/* ---- bytes ---- */

enum { BATCH = 1 << 20 };   /* a step per MiB: small tensors do not each pay for one */

void sonde_lua_account(lua_State *L, sonde_lua_box *box, int64_t bytes) {
  static int64_t debt;
  if (bytes > box->bytes) debt += bytes - box->bytes;
  box->bytes = bytes;
  if (debt < BATCH) return;
  int64_t kib = debt / 1024;
  debt = 0;
  lua_gc(L, LUA_GCSTEP, (int)(kib < 1 << 30 ? kib : 1 << 30));
}

/* ---- option tables ---- */

/* Pushes the field, or nil when there is no table. */
static int field(lua_State *L, int table, const char *key) {
  if (lua_isnoneornil(L, table)) {
    lua_pushnil(L);
    return LUA_TNIL;
  }
  return lua_getfield(L, table, key);
}

int64_t sonde_lua_field_int(lua_State *L, int table, const char *key, int64_t preset) {
  int64_t v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    int ok;
    v = lua_tointegerx(L, -1, &ok);
    if (!ok || lua_type(L, -1) != LUA_TNUMBER)
      sonde_lua_fail(L, "%s must be a whole number, not %s", key, luaL_tolstring(L, -1, NULL));
  }
  lua_pop(L, 1);
  return v;
}

double sonde_lua_field_number(lua_State *L, int table, const char *key, double preset) {
  double v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TNUMBER)
      sonde_lua_fail(L, "%s must be a number, not %s", key, luaL_tolstring(L, -1, NULL));
    v = lua_tonumber(L, -1);
  }
  lua_pop(L, 1);
  return v;
}

int sonde_lua_field_bool(lua_State *L, int table, const char *key, int preset) {
  int v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    if (!lua_isboolean(L, -1)) sonde_lua_fail(L, "%s must be true or false, not %s", key, luaL_tolstring(L, -1, NULL));
    v = lua_toboolean(L, -1);
  }
  lua_pop(L, 1);
  return v;
}

const char *sonde_lua_field_string(lua_State *L, int table, const char *key, const char *preset) {
  const char *v = preset;
  if (field(L, table, key) != LUA_TNIL) {
    if (lua_type(L, -1) != LUA_TSTRING)
      sonde_lua_fail(L, "%s must be a string, not %s", key, luaL_tolstring(L, -1, NULL));
    v = lua_tostring(L, -1);
  }
  lua_pop(L, 1);
  return v;
}

/* The length of a list argument, checked. */
static int list_length(lua_State *L, int arg, const char *what, int max) {
  if (lua_type(L, arg) != LUA_TTABLE) sonde_lua_fail(L, "%s must be a list, not a %s", what, luaL_typename(L, arg));
  lua_Unsigned n = lua_rawlen(L, arg);
  if (n > (lua_Unsigned)max) sonde_lua_fail(L, "%s has %d entries; at most %d are possible", what, (int)n, max);
  return (int)n;
}

int sonde_lua_integers(lua_State *L, int arg, const char *what, int64_t *out, int max) {
  int n = list_length(L, arg, what, max);
  for (int k = 0; k < n; k++) {
    int ok;
    lua_rawgeti(L, arg, k + 1);
    out[k] = lua_tointegerx(L, -1, &ok);
    if (!ok) sonde_lua_fail(L, "%s: entry %d must be a whole number, not %s", what, k + 1, luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
  }
  return n;
}

int sonde_lua_numbers(lua_State *L, int arg, const char *what, double *out, int max) {
  int n = list_length(L, arg, what, max);
  for (int k = 0; k < n; k++) {
    int ok;
    lua_rawgeti(L, arg, k + 1);
    out[k] = lua_tonumberx(L, -1, &ok);
    if (!ok) sonde_lua_fail(L, "%s: entry %d must be a number, not %s", what, k + 1, luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
  }
  return n;
}
