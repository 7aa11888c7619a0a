/* bind_plan.c - plans in Lua: planned once, run with tensors or tables, results read back. */
#include "config.h"

#include <string.h>

#include "graph/plan.h"
#include "script/script.h"

/* User values of a plan's handle: input values by name, and the output nodes. The plan itself keeps the graph's memory,
 * so it runs on when the graph's handle has been closed. */
enum { SLOT_INPUTS = 1, SLOT_OUTPUTS = 2, SLOT_OWN = 3, SLOTS = 3 };   /* own: the tensors that tables are copied into */

static sonde_plan *to_plan(lua_State *L) { return sonde_lua_handle(L, 1, &sonde_lua_plan); }

static sonde_plan_opts read_opts(lua_State *L, int table) {
  sonde_plan_opts o = {0};
  o.memory_budget = sonde_lua_field_int(L, table, "memory_budget", 0);
  const char *recompute = sonde_lua_field_string(L, table, "recompute", "budget");
  if (!strcmp(recompute, "never")) o.recompute = 0;
  else if (!strcmp(recompute, "budget")) o.recompute = 1;
  else if (!strcmp(recompute, "always")) o.recompute = 2;
  else sonde_lua_fail(L, "recompute cannot be '%s'; known: never, budget, always", recompute);
  const char *compute = sonde_lua_field_string(L, table, "compute", "f32");
  if (!strcmp(compute, "bf16")) o.compute = SONDE_BF16;
  else if (!strcmp(compute, "f32")) o.compute = SONDE_F32;
  else sonde_lua_fail(L, "compute cannot be '%s'; known: f32, bf16", compute);
  o.no_fuse = !sonde_lua_field_bool(L, table, "fuse", 1);
  o.hold = sonde_lua_field_bool(L, table, "hold", 0);
  return o;
}

/* core.plan(outputs[, opts[, tensors]]) -> plan. opts: memory_budget (bytes), recompute, compute, fuse, hold.
 * tensors[i], if given, is the tensor that output i is written to. */
static int core_plan(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 3);
  int n = (int)lua_rawlen(L, 1);
  if (!n) return sonde_lua_fail(L, "a plan needs at least one output");
  sonde_plan_opts opts = read_opts(L, 2);
  sonde_node **out = lua_newuserdatauv(L, (size_t)n * sizeof *out, 0);
  sonde_tensor **into = lua_newuserdatauv(L, (size_t)n * sizeof *into, 0);
  sonde_lua_nodes(L, 1, "the outputs", out, n);
  for (int k = 0; k < n; k++) {
    into[k] = NULL;
    if (lua_isnil(L, 3)) continue;
    if (lua_rawgeti(L, 3, k + 1) != LUA_TNIL) into[k] = sonde_lua_handle(L, -1, &sonde_lua_tensor);
    lua_pop(L, 1);
  }
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_plan, SLOTS);
  lua_newtable(L);
  lua_setiuservalue(L, -2, SLOT_INPUTS);
  lua_newtable(L);
  lua_setiuservalue(L, -2, SLOT_OWN);
  lua_createtable(L, n, 0);
  for (int k = 0; k < n; k++) {
    lua_rawgeti(L, 1, k + 1);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setiuservalue(L, -2, SLOT_OUTPUTS);
  sonde_error err = {0};
  box->p = sonde_plan_new(sonde_node_graph(out[0]), out, into, n, &opts, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  sonde_plan_info info;
  sonde_plan_get_info(box->p, &info);
  sonde_lua_account(L, box, info.arena_bytes);
  return 1;
}

/* The node of that name in the graph of the plan at stack index 1, or NULL. */
static sonde_node *named_node(lua_State *L, const char *name) {
  lua_getiuservalue(L, 1, SLOT_OUTPUTS);
  lua_rawgeti(L, -1, 1);
  sonde_node *n = sonde_find(sonde_node_graph(sonde_lua_kept_node(L, -1)), name);
  lua_pop(L, 2);
  return n;
}

/* Leaves on the stack the plan's own tensor for input `name`, with the values of the table at `value`. It is made at the
 * first table and kept in `own`, so that a loop over tables allocates once. */
static sonde_tensor *input_tensor(lua_State *L, int own, const char *name, int value) {
  if (lua_getfield(L, own, name) == LUA_TNIL) {
    lua_pop(L, 1);
    sonde_node *n = named_node(L, name);
    if (!n) {
      sonde_lua_fail(L, "the graph has no input '%s'", name);
      return NULL;
    }
    sonde_shape shape = sonde_node_shape(n);
    sonde_lua_new_tensor(L, &shape);
    lua_pushvalue(L, -1);
    lua_setfield(L, own, name);
  }
  lua_getfield(L, -1, "fill");
  lua_pushvalue(L, -2);
  lua_pushvalue(L, value);
  lua_call(L, 2, 0);
  return sonde_lua_handle(L, lua_gettop(L), &sonde_lua_tensor);
}

static void check_input(lua_State *L, const char *name, const sonde_tensor *t) {
  char have[160], want[160];
  sonde_node *n = named_node(L, name);
  if (!n) return;   /* sonde_plan_set_input says what inputs there are */
  sonde_shape s = sonde_node_shape(n);
  if (s.dtype != t->shape.dtype || !sonde_shape_equal(&s, &t->shape))
    sonde_lua_fail(L, "input '%s' is %s, and was given %s", name, sonde_shape_text(&s, want, sizeof want),
                   sonde_shape_text(&t->shape, have, sizeof have));
}

/* plan:set(name, tensor or table): the input's value for the runs to come */
static int plan_set(lua_State *L) {
  sonde_plan *p = to_plan(L);
  const char *name = luaL_checkstring(L, 2);
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, SLOT_INPUTS);
  lua_getiuservalue(L, 1, SLOT_OWN);
  sonde_tensor *t;
  if (lua_type(L, 3) == LUA_TTABLE) {
    t = input_tensor(L, 5, name, 3);
  } else {
    t = sonde_lua_handle(L, 3, &sonde_lua_tensor);
    check_input(L, name, t);
    lua_pushvalue(L, 3);
  }
  lua_setfield(L, 4, name);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_plan_set_input(p, name, sonde_tensor_data(t), &err), &err);
  return 0;
}

/* plan:reads(name) -> whether the plan has that input */
static int plan_reads(lua_State *L) {
  const sonde_plan *p = to_plan(L);
  const char *name = luaL_checkstring(L, 2);
  int found = 0;
  for (int32_t k = 0; k < p->n_input; k++) found |= !strcmp(p->input_name[k], name);
  lua_pushboolean(L, found);
  return 1;
}

/* The cached inputs are borrowed by the plan: a tensor that was closed since then must not be read. */
static void check_inputs_open(lua_State *L) {
  lua_getiuservalue(L, 1, SLOT_INPUTS);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    if (sonde_lua_is(L, -1, &sonde_lua_tensor) && !((sonde_lua_box *)lua_touserdata(L, -1))->p)
      sonde_lua_fail(L, "the tensor that input '%s' was set to has been closed", lua_tostring(L, -2));
  lua_pop(L, 1);
}

/* plan:run([inputs]): inputs is a table name -> tensor or table */
static int plan_run(lua_State *L) {
  sonde_plan *p = to_plan(L);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 2);) {
      if (lua_type(L, -2) != LUA_TSTRING) return sonde_lua_fail(L, "inputs are given by name");
      lua_pushcfunction(L, plan_set);
      lua_pushvalue(L, 1);
      lua_pushvalue(L, -4);
      lua_pushvalue(L, -4);
      lua_call(L, 3, 0);
      lua_pop(L, 1);
    }
  }
  check_inputs_open(L);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_plan_run(p, &err), &err);
  lua_settop(L, 1);
  return 1;
}

void sonde_lua_add_times(lua_State *L, const sonde_plan *plan) {
  double seconds;
  const char *op;
  for (int64_t s = 0; (op = sonde_plan_step_time(plan, s, &seconds)); s++) {
    double before = lua_getfield(L, -1, op) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
    lua_pushnumber(L, before + seconds);
    lua_setfield(L, -3, op);
    lua_pop(L, 1);
  }
}

/* plan:profile() -> {op = seconds} of the runs since the first call, which begins it */
static int plan_profile(lua_State *L) {
  sonde_plan *p = to_plan(L);
  lua_newtable(L);
  sonde_lua_add_times(L, p);
  sonde_plan_profile(p, 1);
  return 1;
}

/* plan:hold(): computes what the plan holds, as its first run does otherwise */
static int plan_hold(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_plan_hold(to_plan(L), &err), &err);
  return 0;
}

/* plan:output(i) -> a tensor with a copy of output i of the last run */
static int plan_output(lua_State *L) {
  sonde_plan *p = to_plan(L);
  lua_Integer i = luaL_checkinteger(L, 2);
  lua_getiuservalue(L, 1, SLOT_OUTPUTS);
  if (i < 1 || lua_rawgeti(L, -1, i) == LUA_TNIL) return sonde_lua_fail(L, "the plan has no output %d", (int)i);
  sonde_shape shape = sonde_node_shape(sonde_lua_kept_node(L, -1));
  const void *data = sonde_plan_output(p, (int)i - 1);
  if (!data) return sonde_lua_fail(L, "output %d has no value: the plan has not run", (int)i);
  sonde_tensor *t = sonde_lua_new_tensor(L, &shape);
  memcpy(t->data, data, (size_t)t->bytes);
  return 1;
}

/* plan:outputs() -> how many */
static int plan_outputs(lua_State *L) {
  to_plan(L);
  lua_getiuservalue(L, 1, SLOT_OUTPUTS);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
  return 1;
}

/* plan:set_step(n): what random ops count by */
static int plan_set_step(lua_State *L) {
  sonde_plan *p = to_plan(L);
  sonde_plan_set_step(p, (uint64_t)luaL_checkinteger(L, 2));
  return 0;
}

/* plan:info() -> table: nodes, steps, arena_bytes, leaf_bytes, flops, bytes, recomputed_blocks */
static int plan_info(lua_State *L) {
  sonde_plan_info info;
  sonde_plan_get_info(to_plan(L), &info);
  lua_createtable(L, 0, 7);
  lua_pushinteger(L, info.nodes), lua_setfield(L, -2, "nodes");
  lua_pushinteger(L, info.steps), lua_setfield(L, -2, "steps");
  lua_pushinteger(L, info.arena_bytes), lua_setfield(L, -2, "arena_bytes");
  lua_pushinteger(L, info.leaf_bytes), lua_setfield(L, -2, "leaf_bytes");
  lua_pushnumber(L, info.flops), lua_setfield(L, -2, "flops");
  lua_pushnumber(L, info.bytes), lua_setfield(L, -2, "bytes");
  lua_pushinteger(L, info.recomputed_blocks), lua_setfield(L, -2, "recomputed_blocks");
  return 1;
}

/* plan:dump(path[, "dot"]): the schedule as text, or the graph for Graphviz */
static int plan_dump(lua_State *L) {
  sonde_plan *p = to_plan(L);
  const char *path = luaL_checkstring(L, 2), *form = luaL_optstring(L, 3, "text");
  sonde_error err = {0};
  sonde_lua_check(L, sonde_plan_dump(p, path, !strcmp(form, "dot"), &err), &err);
  return 0;
}

static void free_plan(void *p) { sonde_plan_free(p); }

static const luaL_Reg plan_methods[] = {
    {"set", plan_set},           {"run", plan_run},   {"output", plan_output}, {"outputs", plan_outputs},
    {"set_step", plan_set_step}, {"info", plan_info}, {"dump", plan_dump},     {"reads", plan_reads},
    {"hold", plan_hold},         {"profile", plan_profile},
    {NULL, NULL},
};

const sonde_lua_type sonde_lua_plan = {"plan", free_plan, plan_methods};

void sonde_bind_plan(lua_State *L) {
  static const luaL_Reg functions[] = {{"plan", core_plan}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
