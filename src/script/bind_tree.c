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

/* Marks a table as a list, which an empty one cannot show by itself. */
static const char list_key;

static void mark_list(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 0);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
  }
  lua_setmetatable(L, -2);
}

/* A null in an object is an absent key; in a list it is false, so that the places of the others stay. */
static void push_json(lua_State *L, const json_t *v, int depth) {
  luaL_checkstack(L, 6, "a tree nested too deeply");
  if (depth > 2 * MAX_DEPTH) sonde_lua_fail(L, "a tree nested too deeply");
  switch (json_typeof(v)) {
    case JSON_OBJECT: {
      const char *key;
      json_t *child;
      lua_createtable(L, 0, (int)json_object_size(v));
      json_object_foreach((json_t *)v, key, child) {
        if (json_is_null(child)) continue;
        push_json(L, child, depth + 1);
        lua_setfield(L, -2, key);
      }
      break;
    }
    case JSON_ARRAY:
      lua_createtable(L, (int)json_array_size(v), 0);
      for (size_t k = 0; k < json_array_size(v); k++) {
        push_json(L, json_array_get(v, k), depth + 1);
        lua_rawseti(L, -2, (lua_Integer)k + 1);
      }
      mark_list(L);
      break;
    case JSON_STRING: lua_pushlstring(L, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(v)); break;
    case JSON_REAL: lua_pushnumber(L, json_real_value(v)); break;
    case JSON_TRUE: lua_pushboolean(L, 1); break;
    default: lua_pushboolean(L, 0); break;
  }
}

static int is_list(lua_State *L, int index) {
  if (lua_rawlen(L, index) > 0) return 1;
  if (!lua_getmetatable(L, index)) return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
  int same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

static int to_json(lua_State *L, int index, int depth, json_t **out, const char **problem);

static int list_to_json(lua_State *L, int index, int depth, json_t *list, const char **problem) {
  lua_Unsigned n = lua_rawlen(L, index);
  for (lua_Unsigned k = 1; k <= n; k++) {
    json_t *entry;
    lua_rawgeti(L, index, (lua_Integer)k);
    int bad = to_json(L, lua_gettop(L), depth + 1, &entry, problem);
    lua_pop(L, 1);
    if (bad) return bad;
    if (json_array_append_new(list, entry)) return *problem = "no memory for a JSON tree", 1;
  }
  return 0;
}

static int compare_keys(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Keys in alphabetical order, so that equal tables give equal files. */
static int object_to_json(lua_State *L, int index, int depth, json_t *object, const char **problem) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1), n++)
    if (lua_type(L, -2) != LUA_TSTRING) {
      lua_pop(L, 2);
      return *problem = "a table with both a list and keys, or with keys that are no strings", 1;
    }
  const char **keys = calloc(n ? n : 1, sizeof *keys);
  if (!keys) return *problem = "no memory for a JSON tree", 1;
  n = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) keys[n++] = lua_tostring(L, -2);
  qsort(keys, n, sizeof *keys, compare_keys);
  int bad = 0;
  for (size_t k = 0; !bad && k < n; k++) {
    json_t *child;
    lua_pushstring(L, keys[k]);
    lua_rawget(L, index);
    bad = to_json(L, lua_gettop(L), depth + 1, &child, problem);
    lua_pop(L, 1);
    if (!bad && json_object_set_new(object, keys[k], child)) bad = 1, *problem = "a key that is not UTF-8";
  }
  free(keys);
  return bad;
}

/* Nothing here raises but for memory: trees under way are freed by hand. NaN and infinities, which JSON lacks, are
 * null. */
static int to_json(lua_State *L, int index, int depth, json_t **out, const char **problem) {
  json_t *v = NULL;
  size_t n;
  if (depth > MAX_DEPTH || !lua_checkstack(L, 6))
    return *problem = "a table nested too deeply, or one that holds itself", 1;
  switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: v = json_boolean(lua_toboolean(L, index)); break;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) v = json_integer(lua_tointeger(L, index));
      else v = isfinite(lua_tonumber(L, index)) ? json_real(lua_tonumber(L, index)) : json_null();
      break;
    case LUA_TSTRING: {
      const char *s = lua_tolstring(L, index, &n);
      v = json_stringn(s, n);
      if (!v) return *problem = "a string that is not UTF-8", 1;
      break;
    }
    case LUA_TTABLE: {
      int list = is_list(L, index);
      v = list ? json_array() : json_object();
      if (v && (list ? list_to_json : object_to_json)(L, index, depth, v, problem)) {
        json_decref(v);
        return 1;
      }
      break;
    }
    default: return *problem = "a value that is neither number, string, boolean nor table", 1;
  }
  *out = v;
  return v ? 0 : (*problem = "no memory for a JSON tree", 1);
}

json_t *sonde_lua_to_tree(lua_State *L, int index) {
  const char *problem = NULL;
  luaL_checkany(L, index);
  index = lua_absindex(L, index);
  sonde_lua_box *box = sonde_lua_new(L, &tree_type, 0);
  json_t *tree = NULL;
  if (to_json(L, index, 0, &tree, &problem)) sonde_lua_fail(L, "this cannot be written as JSON or YAML: %s", problem);
  return box->p = tree;
}

/* ---- JSON ---- */

sonde_lua_box *sonde_lua_new_tree(lua_State *L) { return sonde_lua_new(L, &tree_type, 0); }

void sonde_lua_push_tree(lua_State *L, const json_t *tree) { push_json(L, tree, 0); }

static int push_tree(lua_State *L, sonde_lua_box *box, const sonde_error *err) {
  if (!box->p) sonde_lua_raise(L, err);
  push_json(L, box->p, 0);
  return 1;
}

/* core.json_decode(text[, name]) -> value; core.json_load(path) -> value */
static int json_decode(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n), *name = luaL_optstring(L, 2, "JSON text");
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &tree_type, 0);
  box->p = sonde_json_parse(text, (int64_t)n, name, &err);
  return push_tree(L, box, &err);
}

static int json_read(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &tree_type, 0);
  box->p = sonde_json_load(path, 0, &err);
  return push_tree(L, box, &err);
}

static int push_text(lua_State *L, sonde_lua_box *box, const char *what, const sonde_error *err) {
  if (!box->p && err->code) sonde_lua_raise(L, err);
  if (!box->p) return sonde_lua_fail(L, "no memory for %s", what);
  lua_pushstring(L, box->p);
  return 1;
}

/* core.json_encode(value[, indent]) -> text; indent 0 is one line */
static int json_encode(lua_State *L) {
  int indent = (int)luaL_optinteger(L, 2, 0);
  sonde_error err = {0};
  json_t *tree = sonde_lua_to_tree(L, 1);
  sonde_lua_box *text = sonde_lua_new(L, &text_type, 0);
  text->p = sonde_json_text(tree, indent);
  return push_text(L, text, "the JSON text", &err);
}

/* core.json_save(path, value): whole or not at all */
static int json_save(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_json_save(sonde_lua_to_tree(L, 2), path, 2, &err), &err);
  return 0;
}

/* core.list([t]) -> t, which JSON and YAML then write as a list even if it is empty */
static int core_list(lua_State *L) {
  if (lua_isnoneornil(L, 1)) lua_newtable(L);
  else luaL_checktype(L, 1, LUA_TTABLE), lua_settop(L, 1);
  mark_list(L);
  return 1;
}

/* ---- YAML ---- */

/* doc:where("train.lr") -> "config.yaml:12" */
static int doc_where(lua_State *L);
static const luaL_Reg doc_methods[] = {{"where", doc_where}, {NULL, NULL}};
static const sonde_lua_type doc_type = {"YAML document", free_doc, doc_methods};

static int doc_where(lua_State *L) {
  char buf[4400];
  lua_pushstring(L, sonde_doc_where(sonde_lua_handle(L, 1, &doc_type), luaL_checkstring(L, 2), buf, sizeof buf));
  return 1;
}

static int push_doc(lua_State *L, sonde_lua_box *box, const sonde_error *err) {
  if (!box->p) sonde_lua_raise(L, err);
  push_json(L, sonde_doc_root(box->p), 0);
  lua_insert(L, -2);
  return 2;
}

/* core.yaml_load(path) -> value, document (which knows the lines) */
static int yaml_load(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &doc_type, 0);
  box->p = sonde_yaml_load(path, &err);
  return push_doc(L, box, &err);
}

/* core.yaml_decode(text[, name]) -> value, document */
static int yaml_decode(lua_State *L) {
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n), *name = luaL_optstring(L, 2, "YAML text");
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

/* core.yaml_save(path, value) */
static int yaml_save(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_yaml_save(sonde_lua_to_tree(L, 2), path, &err), &err);
  return 0;
}

void sonde_bind_tree(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"json_decode", json_decode}, {"json_load", json_read}, {"json_encode", json_encode}, {"json_save", json_save},
      {"yaml_decode", yaml_decode}, {"yaml_load", yaml_load}, {"yaml_encode", yaml_encode}, {"yaml_save", yaml_save},
      {"list", core_list},          {NULL, NULL},
  };
  luaL_setfuncs(L, functions, 0);
}
