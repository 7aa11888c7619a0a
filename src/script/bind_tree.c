/* bind_tree.c - JSON and YAML trees as Lua tables and back. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/yaml.h"
#include "script/script.h"

enum { MAX_DEPTH = 64 };

/* ---- handles for what C owns while Lua values are made ---- */

static void free_json(void *p) { json_decref(p); }
static void free_doc(void *p) { sonde_doc_free(p); }
static void free_text(void *p) { sonde_release(p); }

static const sonde_lua_type tree_type = {"JSON tree", free_json, NULL};
static const sonde_lua_type text_type = {"text", free_text, NULL};

/* ---- json_t to Lua and back ---- */

/* Where nulls are not kept, one in an object is an absent key; in a list it is false, so that the places of the others
 * stay. Kept ones are core.null, which is written as null again. */
static void push_json(lua_State *L, const json_t *v, int nulls, int depth) {
  luaL_checkstack(L, 6, "a tree nested too deeply");
  if (depth > 2 * MAX_DEPTH) sonde_lua_fail(L, "a tree nested too deeply");
  switch (json_typeof(v)) {
    case JSON_OBJECT: {
      const char *key;
      json_t *child;
      lua_createtable(L, 0, (int)json_object_size(v));
      json_object_foreach((json_t *)v, key, child) {
        if (json_is_null(child) && !nulls) continue;
        push_json(L, child, nulls, depth + 1);
        lua_setfield(L, -2, key);
      }
      break;
    }
    case JSON_ARRAY:
      lua_createtable(L, (int)json_array_size(v), 0);
      for (size_t k = 0; k < json_array_size(v); k++) {
        push_json(L, json_array_get(v, k), nulls, depth + 1);
        lua_rawseti(L, -2, (lua_Integer)k + 1);
      }
      sonde_lua_mark_list(L);
      break;
    case JSON_STRING: lua_pushlstring(L, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(v)); break;
    case JSON_REAL: lua_pushnumber(L, json_real_value(v)); break;
    case JSON_TRUE: lua_pushboolean(L, 1); break;
    case JSON_NULL:
      if (nulls) lua_pushlightuserdata(L, NULL);
      else lua_pushboolean(L, 0);
      break;
    default: lua_pushboolean(L, 0); break;
  }
}

static int compare_keys(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void refuse(lua_State *L, const char *why) {
  sonde_lua_fail(L, "this cannot be written as JSON or YAML: %s", why);
}

static const char *text_at(lua_State *L, int index, size_t *n) {
  const char *s = lua_tolstring(L, index, n);
  if (strlen(s) != *n) refuse(L, "a string with a zero byte");
  return s;
}

/* Leaves on the stack the keys of a table, and memory with them in alphabetical order, so that equal tables give equal
 * files. The table of keys is our own and keeps the strings. */
static const char **sorted_keys(lua_State *L, int index, size_t *n) {
  size_t length, count = 0;
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, index);) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      refuse(L, "a table with both a list and keys, or with keys that are no strings");
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)++count);
  }
  const char **keys = lua_newuserdatauv(L, (count + 1) * sizeof *keys, 0);
  for (size_t k = 0; k < count; k++) {
    lua_rawgeti(L, -2, (lua_Integer)k + 1);
    keys[k] = text_at(L, -1, &length);
    lua_pop(L, 1);
  }
  qsort(keys, count, sizeof *keys, compare_keys);
  *n = count;
  return keys;
}

/* The value at `index`, of a table an empty one. NaN and infinities, which JSON lacks, are null. */
static json_t *shallow(lua_State *L, int index) {
  json_t *v = NULL;
  size_t n;
  switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: v = json_boolean(lua_toboolean(L, index)); break;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) v = json_integer(lua_tointeger(L, index));
      else v = sonde_json_number(lua_tonumber(L, index));
      break;
    case LUA_TSTRING: {
      const char *s = text_at(L, index, &n);
      if (!(v = json_stringn(s, n))) refuse(L, "a string that is not UTF-8");
      break;
    }
    case LUA_TTABLE:
      v = lua_rawlen(L, index) > 0 || sonde_lua_is_marked(L, index) ? json_array() : json_object();
      break;
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(L, index)) refuse(L, "a pointer");
      v = json_null();
      break;
    default: refuse(L, "a value that is neither number, string, boolean nor table");
  }
  if (!v) sonde_lua_fail(L, "no memory for a JSON tree");
  return v;
}

/* Fills what shallow made of the table at `index`; a child belongs to its tree before anything can raise. */
static void fill(lua_State *L, int index, int depth, json_t *to) {
  if (!json_is_array(to) && !json_is_object(to)) return;
  if (depth > MAX_DEPTH || !lua_checkstack(L, 8)) refuse(L, "a table nested too deeply, or one that holds itself");
  int top = lua_gettop(L);
  if (json_is_array(to)) {
    lua_Unsigned n = lua_rawlen(L, index);
    for (lua_Unsigned k = 1; k <= n; k++) {
      lua_rawgeti(L, index, (lua_Integer)k);
      json_t *child = shallow(L, top + 1);
      if (json_array_append_new(to, child)) sonde_lua_fail(L, "no memory for a JSON tree");
      fill(L, top + 1, depth + 1, child);
      lua_settop(L, top);
    }
    return;
  }
  size_t n;
  const char **keys = sorted_keys(L, index, &n);
  for (size_t k = 0; k < n; k++) {
    lua_pushstring(L, keys[k]);
    if (lua_rawget(L, index) == LUA_TNIL) refuse(L, "a table that changed while it was read");
    json_t *child = shallow(L, top + 3);
    if (json_object_set_new(to, keys[k], child)) refuse(L, "a key that is not UTF-8");
    fill(L, top + 3, depth + 1, child);
    lua_settop(L, top + 2);
  }
  lua_settop(L, top);
}

json_t *sonde_lua_to_tree(lua_State *L, int index) {
  if (lua_type(L, index) == LUA_TNONE) sonde_lua_refuse(L, index, "a value");
  index = lua_absindex(L, index);
  sonde_lua_box *box = sonde_lua_new(L, &tree_type, 0);
  box->p = shallow(L, index);
  fill(L, index, 0, box->p);
  return box->p;
}

/* ---- JSON ---- */

sonde_lua_box *sonde_lua_new_tree(lua_State *L) { return sonde_lua_new(L, &tree_type, 0); }

void sonde_lua_push_tree(lua_State *L, const json_t *tree, int nulls) { push_json(L, tree, nulls, 0); }

static int push_tree(lua_State *L, sonde_lua_box *box, int nulls, const sonde_error *err) {
  if (!box->p) sonde_lua_raise(L, err);
  push_json(L, box->p, nulls, 0);
  return 1;
}

/* core.json_decode(text[, name]) -> value; core.json_load(path[, nulls]) -> value; nulls: keep them, as core.null */
static int json_decode(lua_State *L) {
  size_t n;
  const char *text = sonde_lua_bytes(L, 1, &n), *name = sonde_lua_opt_string(L, 2, "JSON text");
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &tree_type, 0);
  box->p = sonde_json_parse(text, (int64_t)n, name, &err);
  return push_tree(L, box, 0, &err);
}

static int json_read(lua_State *L) {
  int nulls = lua_toboolean(L, 2);
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &tree_type, 0);
  box->p = sonde_json_load(path, 0, &err);
  return push_tree(L, box, nulls, &err);
}

static int push_text(lua_State *L, sonde_lua_box *box, const char *what, const sonde_error *err) {
  if (!box->p && err->code) sonde_lua_raise(L, err);
  if (!box->p) return sonde_lua_fail(L, "no memory for %s", what);
  lua_pushstring(L, box->p);
  return 1;
}

/* core.json_encode(value[, indent]) -> text; indent 0 is one line */
static int json_encode(lua_State *L) {
  int indent = (int)sonde_lua_opt_integer(L, 2, 0, 0, 31);
  sonde_error err = {0};
  json_t *tree = sonde_lua_to_tree(L, 1);
  sonde_lua_box *text = sonde_lua_new(L, &text_type, 0);
  text->p = sonde_json_text(tree, indent);
  return push_text(L, text, "the JSON text", &err);
}

/* core.json_save(path, value): atomically */
static int json_save(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_json_save(sonde_lua_to_tree(L, 2), path, 2, &err), &err);
  return 0;
}

/* core.list([t]) -> t, which JSON and YAML then write as a list even if it is empty */
static int core_list(lua_State *L) {
  if (lua_isnoneornil(L, 1)) lua_newtable(L);
  else if (lua_type(L, 1) != LUA_TTABLE) sonde_lua_refuse(L, 1, "a table");
  else lua_settop(L, 1);
  sonde_lua_mark_list(L);
  return 1;
}

/* ---- YAML ---- */

/* doc:where("train.lr") -> "config.yaml:12" */
static int doc_where(lua_State *L);
static const luaL_Reg doc_methods[] = {{"where", doc_where}, {NULL, NULL}};
static const sonde_lua_type doc_type = {"YAML document", free_doc, doc_methods};

static int doc_where(lua_State *L) {
  char buf[4400];
  lua_pushstring(L, sonde_doc_where(sonde_lua_handle(L, 1, &doc_type), sonde_lua_string(L, 2), buf, sizeof buf));
  return 1;
}

static int push_doc(lua_State *L, sonde_lua_box *box, const sonde_error *err) {
  if (!box->p) sonde_lua_raise(L, err);
  push_json(L, sonde_doc_root(box->p), 0, 0);
  lua_insert(L, -2);
  return 2;
}

/* core.yaml_load(path) -> value, document (which knows the lines) */
static int yaml_load(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &doc_type, 0);
  box->p = sonde_yaml_load(path, &err);
  return push_doc(L, box, &err);
}

/* core.yaml_decode(text[, name]) -> value, document */
static int yaml_decode(lua_State *L) {
  size_t n;
  const char *text = sonde_lua_bytes(L, 1, &n), *name = sonde_lua_opt_string(L, 2, "YAML text");
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &doc_type, 0);
  box->p = sonde_yaml_parse(text, (int64_t)n, name, &err);
  return push_doc(L, box, &err);
}

/* core.yaml_encode(value) -> text */
static int yaml_encode(lua_State *L) {
  sonde_error err = {0};
  json_t *tree = sonde_lua_to_tree(L, 1);
  sonde_lua_box *text = sonde_lua_new(L, &text_type, 0);
  text->p = sonde_yaml_text(tree, &err);
  return push_text(L, text, "the YAML text", &err);
}

void sonde_bind_tree(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"json_decode", json_decode}, {"json_load", json_read}, {"json_encode", json_encode}, {"json_save", json_save},
      {"yaml_decode", yaml_decode}, {"yaml_load", yaml_load}, {"yaml_encode", yaml_encode}, {"list", core_list},
      {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
}
