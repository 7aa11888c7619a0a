/* bind_plugin.c - plugins as files: listing, loading, and the conformance kit. Building what they bring is in
 * bind_module.c. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "graph/ops.h"
#include "plugin/conformance.h"
#include "plugin/kind.h"
#include "script/script.h"

static sonde_registry *registry(lua_State *L) {
  sonde_error err = {0};
  sonde_registry *r = sonde_registry_of(sonde_lua_ctx(L), &err);
  if (!r) sonde_lua_raise(L, &err);
  return r;
}

static int push_entry(lua_State *L, const sonde_entry *e) {
  sonde_lua_box *box = sonde_lua_new_tree(L);
  box->p = sonde_entry_json(e);
  if (!box->p) return sonde_lua_fail(L, "no memory for the description of %s", e->path);
  sonde_lua_push_tree(L, box->p, 0);
  lua_remove(L, -2);
  return 1;
}

/* core.plugins() -> list of everything registered, and of the files that were skipped, as tables */
static int core_plugins(lua_State *L) {
  sonde_registry *r = registry(L);
  int64_t n = sonde_registry_count(r);
  lua_createtable(L, (int)n, 0);
  for (int64_t k = 0; k < n; k++) {
    push_entry(L, sonde_registry_at(r, k));
    lua_rawseti(L, -2, (lua_Integer)k + 1);
  }
  return 1;
}

/* core.plugin("rmsnorm" or "norm/rmsnorm") -> its description; raises if there is none */
static int core_plugin(lua_State *L) {
  const char *name = sonde_lua_string(L, 1), *slash = strchr(name, '/');
  char kind[64] = "";
  sonde_error err = {0};
  if (slash) snprintf(kind, sizeof kind, "%.*s", (int)(slash - name), name);
  const sonde_entry *e = sonde_registry_find(registry(L), slash ? kind : NULL, slash ? slash + 1 : name, &err);
  sonde_lua_check(L, e ? SONDE_OK : err.code, &err);
  return e ? push_entry(L, e) : 0;
}

/* core.kinds() -> list of the kinds of plugins: {name, doc, preset, scripts, ops}; scripts: they may register one */
static int core_kinds(lua_State *L) {
  const sonde_kind *kind;
  lua_newtable(L);
  for (int k = 0; (kind = sonde_kind_at(k)); k++) {
    lua_createtable(L, 0, 5);
    lua_pushstring(L, kind->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, kind->doc);
    lua_setfield(L, -2, "doc");
    lua_pushstring(L, kind->preset);
    lua_setfield(L, -2, "preset");
    sonde_lua_set_flag(L, "scripts", sonde_kind_is_scripted(kind));
    sonde_lua_set_flag(L, "ops", (kind->flags & SONDE_KIND_OPS) != 0);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

static void push_op(lua_State *L, const sonde_op_def *d) {
  lua_createtable(L, 0, 8);
  lua_pushstring(L, d->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, d->doc ? d->doc : "");
  lua_setfield(L, -2, "doc");
  lua_pushinteger(L, d->min_in);
  lua_setfield(L, -2, "min_inputs");
  lua_pushinteger(L, d->max_in);
  lua_setfield(L, -2, "max_inputs");
  lua_pushinteger(L, d->n_out);
  lua_setfield(L, -2, "outputs");
  sonde_lua_set_flag(L, "gradient", d->grad != NULL);
  sonde_lua_set_flag(L, "elementwise", (d->flags & SONDE_OP_ELEMENTWISE) != 0);
  sonde_lua_set_flag(L, "random", (d->flags & SONDE_OP_RANDOM) != 0);
}

/* core.ops() -> list of all ops that can be appended, those of plugins last: {name, doc, min_inputs,
 * max_inputs, outputs, gradient, elementwise, random} */
static int core_ops(lua_State *L) {
  sonde_ctx *ctx = sonde_lua_ctx(L);
  registry(L);
  lua_newtable(L);
  for (int k = 0; k < sonde_ops_count(ctx); k++) {
    push_op(L, sonde_ops_at(ctx, k));
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

static void push_check(lua_State *L, const sonde_check *c) {
  static const char *const outcomes[] = {"pass", "fail", "skip"};
  lua_createtable(L, 0, 3);
  lua_pushstring(L, c->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, outcomes[c->outcome]);
  lua_setfield(L, -2, "outcome");
  lua_pushstring(L, c->text);
  lua_setfield(L, -2, "text");
}

/* ---- the kit ---- */

/* Runs a script in this state with the runtime of a check: it registers the one module that is to be tested. */
static int load_script(void *user, sonde_ctx *ctx, const char *path, const sonde_entry **entry, sonde_error *err) {
  lua_State *L = user;
  sonde_lua_borrow_ctx(L, ctx);
  if (luaL_loadfile(L, path) || lua_pcall(L, 0, 0, 0)) {
    const char *text = lua_tostring(L, -1);
    int rc = sonde_fail(err, SONDE_EINVAL, "%s", text ? text : "the script failed with an error that is no text");
    lua_pop(L, 1);
    return rc;
  }
  int found = 0;
  sonde_registry *r = sonde_registry_of(ctx, err);
  for (int64_t k = 0; r && k < sonde_registry_count(r); k++) {
    const sonde_entry *e = sonde_registry_at(r, k);
    if (!strcmp(e->language, "lua") && !e->skipped) *entry = e, found++;
  }
  return found == 1
             ? SONDE_OK
             : sonde_fail(err, SONDE_EINVAL, "%s: it registers %d modules; the kit takes one a file", path, found);
}

/* core.plugin_test(path, list of "option=value"[, check]) -> {kind, name, speed, checks = list of {name, outcome,
 * text}} */
static int plugin_test(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_conform_opts opts = {.only = sonde_lua_opt_string(L, 3, NULL), .load = load_script,
                             .build = sonde_lua_call_module, .score = sonde_lua_call_score, .user = L};
  sonde_lua_holds_nothing();
  opts.pair = sonde_lua_strings(L, 2, "the options", &opts.n_pair);
  sonde_error err = {0};
  sonde_conformance *found = lua_newuserdatauv(L, sizeof *found, 0);
  sonde_lua_check(L, sonde_conform(path, &opts, found, &err), &err);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, found->kind);
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, found->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, found->speed);
  lua_setfield(L, -2, "speed");
  lua_createtable(L, found->n, 0);
  for (int k = 0; k < found->n; k++) {
    push_check(L, &found->check[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "checks");
  return 1;
}

void sonde_bind_plugin(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"kinds", core_kinds},        {"ops", core_ops},           {"plugins", core_plugins}, {"plugin", core_plugin},
      {"plugin_test", plugin_test}, {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
