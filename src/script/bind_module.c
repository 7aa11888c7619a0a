/* bind_module.c - building a model's modules from Lua: blocks, sites, and the norms, attentions and feed-forward layers
 * of the registry, those of plugins and those that a script registers alike. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph.h"
#include "plugin/kind.h"
#include "plugin/registry.h"
#include "script/script.h"

/* ---- blocks ---- */

static void free_block(void *p) { sonde_block_free(p); }
static const sonde_lua_type block_type;

/* block:published(graph) -> list of {name, node}, in the order in which they were published */
static int block_published(lua_State *L) {
  const sonde_block *b = sonde_lua_handle(L, 1, &block_type);
  const sonde_graph *g = sonde_lua_handle(L, 2, &sonde_lua_graph);
  lua_Integer n = 0;
  lua_newtable(L);
  for (int64_t k = 0; k < sonde_block_count(b); k++) {
    const char *name;
    sonde_node *node = sonde_block_at(b, k, &name);
    if (sonde_node_graph(node) != g) continue;
    lua_createtable(L, 0, 2);
    lua_pushstring(L, name), lua_setfield(L, -2, "name");
    sonde_lua_push_node(L, 2, node), lua_setfield(L, -2, "node");
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static const luaL_Reg block_methods[] = {{"published", block_published}, {NULL, NULL}};
static const sonde_lua_type block_type = {"block", free_block, block_methods};

/* core.block() -> what the modules of one call of a block have published */
static int core_block(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &block_type, 0);
  box->p = sonde_block_new(&err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* ---- sites ---- */

enum { USED_GRAPH, USED_PARAMS, USED };

static void free_site(void *p) { sonde_site_free(p); }
static const sonde_lua_type site_type;

static sonde_site *to_site(lua_State *L, int arg) { return sonde_lua_handle(L, arg, &site_type); }

static void read_policy(lua_State *L, int table, sonde_policy *policy) {
  *policy = sonde_policy_normal(0.02);
  if (lua_getfield(L, table, "policy") != LUA_TNIL) {
    sonde_lua_own(L, lua_gettop(L), "the policy");
    for (int role = 0; role < SONDE_ROLE_COUNT; role++) {
      if (lua_getfield(L, -1, sonde_lua_role_name(role)) != LUA_TNIL)
        policy->init[role] = sonde_lua_to_init(L, lua_gettop(L));
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

/* core.site{graph, params, block, policy, layer, depth, number, slot, prefix, width, batch, context, trained_context}
 * -> site */
static int core_site(lua_State *L) {
  enum { GRAPH = 2, PARAMS, BLOCK };
  lua_settop(L, 1);
  sonde_lua_options(L, 1);
  sonde_site_spec spec = {0};
  lua_getfield(L, 1, "graph");
  lua_getfield(L, 1, "params");
  lua_getfield(L, 1, "block");
  read_policy(L, 1, &spec.policy);
  spec.graph = sonde_lua_handle(L, GRAPH, &sonde_lua_graph);
  spec.params = sonde_lua_handle(L, PARAMS, &sonde_lua_params);
  spec.block = sonde_lua_opt_handle(L, BLOCK, &block_type);
  spec.layer = (int)sonde_lua_field_integer(L, 1, "layer", 0, 0, INT32_MAX);
  spec.depth = (int)sonde_lua_field_integer(L, 1, "depth", 0, 0, INT32_MAX);
  spec.number = (int)sonde_lua_field_integer(L, 1, "number", 0, 0, INT32_MAX);
  spec.slot = sonde_lua_field_string(L, 1, "slot", "");
  spec.prefix = sonde_lua_field_string(L, 1, "prefix", "");
  spec.width = sonde_lua_field_int(L, 1, "width", 0);
  spec.batch = sonde_lua_field_int(L, 1, "batch", 0);
  spec.context = sonde_lua_field_int(L, 1, "context", 0);
  spec.trained_context = sonde_lua_field_int(L, 1, "trained_context", 0);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &site_type, USED);
  lua_pushvalue(L, GRAPH);
  lua_setiuservalue(L, -2, 1);
  sonde_lua_borrow(L, box, GRAPH, USED_GRAPH);
  sonde_lua_borrow(L, box, PARAMS, USED_PARAMS);
  box->p = sonde_site_new(&spec, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* User value 1 of a site's handle is its graph's. */
static int push_site_node(lua_State *L, sonde_node *n) {
  lua_getiuservalue(L, 1, 1);
  sonde_lua_push_node(L, -1, n);
  return 1;
}

/* site:param(name, dims, role[, value]) -> node: the parameter, made at the first trace; value is a gain's or bias's */
static int site_param(lua_State *L) {
  sonde_site *site = to_site(L, 1);
  const char *name = sonde_lua_string(L, 2);
  int64_t dim[SONDE_MAX_RANK];
  int rank = sonde_lua_integers(L, 3, "a shape", dim, SONDE_MAX_RANK);
  int role = sonde_lua_to_role(L, 4);
  double value = sonde_lua_opt_number(L, 5, role == SONDE_ROLE_GAIN);
  return push_site_node(L, sonde_site_param(site, name, dim, rank, role, value));
}

/* site:input(name, dtype, dims) -> node: the graph's input of that name, made if it is not there */
static int site_input(lua_State *L) {
  sonde_site *site = to_site(L, 1);
  const char *name = sonde_lua_string(L, 2);
  sonde_shape shape = sonde_lua_to_shape(L, 3, 4);
  return push_site_node(L, sonde_site_input(site, name, &shape));
}

/* site:publish(name, node) -> node */
static int site_publish(lua_State *L) {
  sonde_site *site = to_site(L, 1);
  const char *name = sonde_lua_string(L, 2);
  return push_site_node(L, sonde_site_publish(site, name, sonde_lua_to_node(L, 3)));
}

/* site:lookup(name) -> node, or nil */
static int site_lookup(lua_State *L) {
  sonde_node *n = sonde_site_lookup(to_site(L, 1), sonde_lua_string(L, 2));
  if (n) return push_site_node(L, n);
  lua_pushnil(L);
  return 1;
}

/* site:refresh(buffer, value[, every]) -> buffer: how a parameter of role "buffer" gets its value (sonde_plugin.h) */
static int site_refresh(lua_State *L) {
  sonde_site *site = to_site(L, 1);
  sonde_node *buffer = sonde_lua_to_node(L, 2), *value = sonde_lua_to_node(L, 3);
  return push_site_node(L, sonde_site_refresh(site, buffer, value, sonde_lua_opt_integer(L, 4, 0, 0, INT64_MAX)));
}

static const luaL_Reg site_methods[] = {
    {"param", site_param}, {"input", site_input}, {"publish", site_publish}, {"lookup", site_lookup},
    {"refresh", site_refresh}, {NULL, NULL},
};

static const sonde_lua_type site_type = {"site", free_site, site_methods};

/* site.layer, .depth, .slot, .width, .batch, .context, .trained_context; or a method (upvalue 2) */
static int site_index(lua_State *L) {
  const char *key = sonde_lua_string(L, 2);
  lua_getfield(L, lua_upvalueindex(2), key);
  if (!lua_isnil(L, -1)) return 1;
  const sonde_place *at = sonde_site_place(to_site(L, 1));
  if (!strcmp(key, "layer")) lua_pushinteger(L, at->layer);
  else if (!strcmp(key, "depth")) lua_pushinteger(L, at->depth);
  else if (!strcmp(key, "slot")) lua_pushstring(L, at->slot);
  else if (!strcmp(key, "width")) lua_pushinteger(L, at->width);
  else if (!strcmp(key, "batch")) lua_pushinteger(L, at->batch);
  else if (!strcmp(key, "context")) lua_pushinteger(L, at->context);
  else if (!strcmp(key, "trained_context")) lua_pushinteger(L, at->trained_context);
  else
    return sonde_lua_fail(L,
                          "a site has no '%s'; it has layer, depth, slot, width, batch, context, trained_context and "
                          "the functions param, input, publish, lookup, refresh",
                          key);
  return 1;
}

/* ---- modules ---- */

static void free_values(void *p) { sonde_release(p); }
static const sonde_lua_type values_type = {"option values", free_values, NULL};

static sonde_registry *registry(lua_State *L) {
  sonde_error err = {0};
  sonde_registry *r = sonde_registry_of(sonde_lua_ctx(L), &err);
  if (!r) sonde_lua_raise(L, &err);
  return r;
}

static const sonde_entry *find(lua_State *L, const char *kind, const char *name) {
  sonde_error err = {0};
  const sonde_entry *e = sonde_registry_find(registry(L), kind, name, &err);
  if (!e) sonde_lua_raise(L, &err);
  return e;
}

/* core.modules([kind]) -> list of the usable modules' names, of that kind or as "kind/name" */
static int core_modules(lua_State *L) {
  const char *kind = sonde_lua_opt_string(L, 1, NULL);
  sonde_registry *r = registry(L);
  lua_newtable(L);
  lua_Integer n = 0;
  for (int64_t k = 0; k < sonde_registry_count(r); k++) {
    const sonde_entry *e = sonde_registry_at(r, k);
    if (e->skipped || (kind && strcmp(e->kind, kind))) continue;
    if (kind) lua_pushstring(L, e->name);
    else lua_pushfstring(L, "%s/%s", e->kind, e->name);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* core.module(kind, name) -> {kind, name, version, summary, citation, options, ...} */
static int core_module(lua_State *L) {
  const sonde_entry *e = find(L, sonde_lua_string(L, 1), sonde_lua_string(L, 2));
  sonde_lua_box *box = sonde_lua_new_tree(L);
  box->p = sonde_entry_json(e);
  if (!box->p) return sonde_lua_fail(L, "no memory for a module's description");
  sonde_lua_push_tree(L, box->p, 0);
  return 1;
}

void sonde_lua_push_values(lua_State *L, const sonde_entry *e, const sonde_value *values) {
  lua_createtable(L, 0, e->n_options);
  for (int k = 0; k < e->n_options; k++) {
    switch (e->options[k].type) {
      case 'i': lua_pushinteger(L, values[k].i); break;
      case 'f': lua_pushnumber(L, values[k].f); break;
      case 'b': lua_pushboolean(L, values[k].i != 0); break;
      default: lua_pushstring(L, values[k].s); break;
    }
    lua_setfield(L, -2, e->options[k].name);
  }
}

/* Options are passed as JSON, which has no NaN or infinity. */
static void refuse_infinite(lua_State *L, const sonde_entry *e, int index) {
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    if (lua_type(L, -1) == LUA_TNUMBER && !isfinite(lua_tonumber(L, -1)))
      sonde_lua_fail(L, "%s '%s': option '%s' must be a finite number, not %s", e->kind, e->name,
                     lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?",
                     isnan(lua_tonumber(L, -1)) ? "NaN" : "infinity");
}

/* The options in the table (or nil) at `index`, checked and completed, in a handle that is pushed. */
static sonde_lua_box *read_values(lua_State *L, const sonde_entry *e, int index) {
  sonde_error err = {0};
  const json_t *given = NULL;
  if (!lua_isnoneornil(L, index)) {
    sonde_lua_own(L, index, "the options");
    refuse_infinite(L, e, index);
    given = sonde_lua_to_tree(L, index);
  }
  sonde_lua_box *box = sonde_lua_new(L, &values_type, 0);
  box->p = sonde_entry_values(e, given, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return box;
}

const sonde_value *sonde_lua_values(lua_State *L, const sonde_entry *e, int index) {
  return read_values(L, e, index)->p;
}

/* core.module_values(kind, name[, options]) -> the values of all options of the module; raises on errors */
static int module_values(lua_State *L) {
  const sonde_entry *e = find(L, sonde_lua_string(L, 1), sonde_lua_string(L, 2));
  sonde_lua_push_values(L, e, read_values(L, e, 3)->p);
  return 1;
}

/* What a script's module has returned, at the top of the stack: NULL if it is no node, with the reason in the site's
 * graph (for nil sonde_entry_end has one). */
static sonde_node *result_of(lua_State *L, sonde_site *site) {
  if (sonde_lua_is_node(L, -1)) return sonde_lua_to_node(L, -1);
  if (!lua_isnil(L, -1)) sonde_site_refuse(site, "its result is a %s, not a node", luaL_typename(L, -1));
  return NULL;
}

/* core.module_build(kind, name, site, x[, options]) -> node */
static int module_build(lua_State *L) {
  const sonde_entry *e = find(L, sonde_lua_string(L, 1), sonde_lua_string(L, 2));
  lua_settop(L, 5);
  sonde_site *site = to_site(L, 3);
  sonde_node *x = sonde_lua_to_node(L, 4);
  const sonde_lua_box *box = read_values(L, e, 5);
  sonde_node *y;
  if (e->plugin) {
    y = sonde_entry_build(e, site, box->p, x);
  } else {
    if (sonde_entry_begin(e, site, x)) sonde_lua_push_node(L, 4, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, (lua_Integer)e->handle);
    lua_pushvalue(L, 3);
    sonde_lua_push_values(L, e, box->p);
    lua_pushvalue(L, 4);
    lua_call(L, 3, 1);
    y = sonde_entry_end(site, x, result_of(L, site));
  }
  sonde_lua_push_node(L, 4, y);
  return 1;
}

/* A call of a script's module from C. Its handles are made for it and are empty afterwards: what they point at is the
 * caller's. */
typedef struct module_call {
  const sonde_entry *e;
  sonde_site *site;
  const sonde_value *values;
  sonde_node *x, *y;
  sonde_lua_box *box[3];
} module_call;

static int call_module(lua_State *L) {
  module_call *c = lua_touserdata(L, 1);
  enum { GRAPH = 2, PARAMS, SITE };
  c->box[0] = sonde_lua_new(L, &sonde_lua_graph, 1);
  c->box[1] = sonde_lua_new(L, &sonde_lua_params, 0);
  c->box[2] = sonde_lua_new(L, &site_type, USED);
  sonde_lua_lend(c->box[0], sonde_site_graph(c->site));
  sonde_lua_lend(c->box[1], sonde_site_params(c->site));
  sonde_lua_lend(c->box[2], c->site);
  sonde_lua_borrow(L, c->box[2], GRAPH, USED_GRAPH);
  sonde_lua_borrow(L, c->box[2], PARAMS, USED_PARAMS);
  lua_pushvalue(L, GRAPH);
  lua_setiuservalue(L, SITE, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, (lua_Integer)c->e->handle);
  lua_pushvalue(L, SITE);
  sonde_lua_push_values(L, c->e, c->values);
  sonde_lua_push_node(L, GRAPH, c->x);
  lua_call(L, 3, 1);
  c->y = result_of(L, c->site);
  return 0;
}

sonde_node *sonde_lua_call_module(void *state, const sonde_entry *e, sonde_site *site, const sonde_value *values,
                                  sonde_node *x) {
  lua_State *L = state;
  module_call c = {.e = e, .site = site, .values = values, .x = x};
  lua_pushcfunction(L, call_module);
  lua_pushlightuserdata(L, &c);
  int failed = lua_pcall(L, 1, 0, 0);
  for (int k = 0; k < 3; k++)
    if (c.box[k]) sonde_lua_unlend(c.box[k]);
  if (failed) {
    sonde_site_refuse(site, "%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no text");
    lua_pop(L, 1);
  }
  lua_gc(L, LUA_GCCOLLECT);
  return c.y;
}

/* ---- modules of a script ---- */

#define BOUND 1e300   /* in place of a missing bound of a range */

/* Keeps the value on top of the stack in the table at `anchors`, and pops it. */
static void anchor(lua_State *L, int anchors) { lua_rawseti(L, anchors, (lua_Integer)lua_rawlen(L, anchors) + 1); }

/* The value on top of the stack as the text of a preset. */
static const char *preset_text(lua_State *L) {
  char text[40];
  if (lua_type(L, -1) == LUA_TBOOLEAN) return lua_pushstring(L, lua_toboolean(L, -1) ? "true" : "false");
  if (lua_type(L, -1) == LUA_TSTRING) return lua_pushvalue(L, -1), lua_tostring(L, -1);
  if (lua_isinteger(L, -1)) return lua_pushfstring(L, "%I", (LUAI_UACINT)lua_tointeger(L, -1));
  if (lua_type(L, -1) != LUA_TNUMBER) sonde_lua_fail(L, "an option's preset cannot be %s", sonde_lua_shown(L, -1));
  snprintf(text, sizeof text, "%.17g", lua_tonumber(L, -1));
  return lua_pushstring(L, text);
}

/* The option at the top of the stack, which stays there; its texts are kept alive in the table at `anchors`. */
static sonde_option read_option(lua_State *L, int anchors) {
  int at = lua_gettop(L), n;
  sonde_option o = {0};
  sonde_lua_own(L, at, "an option");
  lua_pushvalue(L, at);
  anchor(L, anchors);              /* the copy, which has the strings */
  o.name = sonde_lua_field_string(L, at, "name", NULL);
  o.doc = sonde_lua_field_string(L, at, "doc", NULL);
  const char *type = sonde_lua_field_string(L, at, "type", "number");
  o.type = !strcmp(type, "integer") ? 'i' : !strcmp(type, "number") ? 'f' : !strcmp(type, "boolean") ? 'b'
           : !strcmp(type, "string") ? 's' : 0;
  if (!o.name) sonde_lua_fail(L, "an option without a name");
  if (!o.type)
    sonde_lua_fail(L, "option '%s': unknown type '%s'; known: integer, number, boolean, string", o.name, type);
  o.min = sonde_lua_field_number(L, at, "min", -BOUND);
  o.max = sonde_lua_field_number(L, at, "max", BOUND);
  if (o.min == -BOUND && o.max == BOUND) o.min = o.max = 0;   /* any */
  if (lua_getfield(L, at, "preset") != LUA_TNIL) {
    o.preset = preset_text(L);
    anchor(L, anchors);
  }
  lua_settop(L, at);
  if (lua_getfield(L, at, "choices") != LUA_TNIL) {
    luaL_Buffer b;
    const char **choice = sonde_lua_strings(L, at + 1, "choices", &n);
    luaL_buffinit(L, &b);
    for (int k = 0; k < n; k++) {
      if (k) luaL_addchar(&b, '|');
      luaL_addstring(&b, choice[k]);
    }
    luaL_pushresult(&b);
    o.choices = lua_tostring(L, -1);
    anchor(L, anchors);
  }
  lua_settop(L, at);
  return o;
}

/* core.module_register(kind, name, info, build): info has options (a schema), summary, citation, suggests.
 * build(site, options, x) gives the module's result; of a sparsity method,
 * build(matrix, options) gives the scores [out, in] as a tensor. */
static int module_register(lua_State *L) {
  sonde_entry e = {0};
  e.kind = sonde_lua_string(L, 1);
  e.name = sonde_lua_string(L, 2);
  lua_settop(L, 4);
  sonde_lua_own(L, 3, "the description");
  if (lua_type(L, 4) != LUA_TFUNCTION) sonde_lua_refuse(L, 4, "a function");
  const sonde_kind *kind = sonde_kind_find(e.kind);
  if (!kind || !sonde_kind_is_scripted(kind)) return sonde_lua_fail(L, "a script cannot register a '%s'", e.kind);
  e.summary = sonde_lua_field_string(L, 3, "summary", "");
  e.citation = sonde_lua_field_string(L, 3, "citation", "");
  e.version = sonde_lua_field_string(L, 3, "version", "1.0");
  e.suggests = sonde_lua_field_string(L, 3, "suggests", NULL);
  e.language = "lua";
  sonde_lua_where(L);
  size_t length;
  const char *where = lua_tolstring(L, 5, &length);
  e.path = length > 2 ? lua_pushlstring(L, where, length - 2) : where;   /* without the colon and the blank */
  lua_settop(L, 6);
  lua_replace(L, 5);
  lua_newtable(L);
  if (lua_getfield(L, 3, "options") != LUA_TNIL) {
    sonde_lua_own(L, 7, "options");
    e.n_options = (int)lua_rawlen(L, 7);
  }
  sonde_option *options = lua_newuserdatauv(L, (size_t)(e.n_options + 1) * sizeof *options, 0);
  for (int k = 0; k < e.n_options; k++) {
    lua_rawgeti(L, 7, k + 1);
    options[k] = read_option(L, 6);
    lua_pop(L, 1);
  }
  e.options = options;
  lua_pushvalue(L, 4);
  e.handle = luaL_ref(L, LUA_REGISTRYINDEX);
  sonde_error err = {0};
  const sonde_entry *entry;
  int rc = sonde_registry_add(registry(L), &e, &entry, &err);
  if (rc) luaL_unref(L, LUA_REGISTRYINDEX, (int)e.handle);
  sonde_lua_check(L, rc, &err);
  return 0;
}

void sonde_bind_module(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"block", core_block},           {"site", core_site},           {"modules", core_modules},
      {"module", core_module},         {"module_build", module_build}, {"module_values", module_values},
      {"module_register", module_register}, {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
  sonde_lua_metatable(L, &site_type);
  lua_getfield(L, -1, "__index");
  sonde_lua_push_function(L, "site", site_index, NULL, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
