/* bind_plan.c - plans in Lua: planned once, run with tensors or tables, results read back. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "graph/plan.h"
#include "script/script.h"

/* A plan with what a script gave it. The plan itself keeps the graph's memory, so it runs on when the graph's handle
 * has been closed. The tensors that inputs were set to are used by the handle's box, in slots numbered like the inputs;
 * each run reads what they hold then. */
typedef struct planned {
  sonde_plan *plan;
  sonde_shape *out;              /* [n] shapes of the outputs */
  sonde_tensor **own;            /* [plan->n_input] the tensors that tables are copied into; NULL until the first */
  const sonde_tensor **set;      /* [plan->n_input] what each input was set to; NULL: nothing yet */
} planned;

static const sonde_lua_type plan_type;

static planned *to_planned(lua_State *L) { return sonde_lua_handle(L, 1, &plan_type); }
static sonde_plan *to_plan(lua_State *L) { return to_planned(L)->plan; }

static void free_plan(void *p) {
  planned *k = p;
  for (int32_t i = 0; k->own && i < k->plan->n_input; i++) sonde_tensor_free(k->own[i]);
  sonde_plan_free(k->plan);
  sonde_release(k->out), sonde_release(k->own), sonde_release(k->set), sonde_release(k);
}

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
  int n;
  sonde_error err = {0};
  lua_settop(L, 3);
  sonde_lua_options(L, 2);
  sonde_plan_opts opts = read_opts(L, 2);
  sonde_node **out = sonde_lua_nodes(L, 1, "the outputs", &n);
  if (!n) return sonde_lua_fail(L, "a plan needs at least one output");
  sonde_lua_options(L, 3);         /* with gaps */
  sonde_tensor **into = lua_newuserdatauv(L, (size_t)n * sizeof *into, 0);
  for (int k = 0; k < n; k++) {
    lua_rawgeti(L, 3, k + 1);
    into[k] = sonde_lua_opt_handle(L, -1, &sonde_lua_tensor);
    lua_pop(L, 1);
  }
  sonde_lua_box *box = sonde_lua_new(L, &plan_type, 0);
  planned *k = box->p = sonde_alloc(sizeof *k);
  if (!k || !(k->out = sonde_alloc((size_t)n * sizeof *k->out))) return sonde_lua_fail(L, "no memory for a plan");
  for (int i = 0; i < n; i++) k->out[i] = sonde_node_shape(out[i]);
  k->plan = sonde_plan_new(sonde_node_graph(out[0]), out, into, n, &opts, &err);
  if (!k->plan) sonde_lua_raise(L, &err);
  k->own = sonde_alloc((size_t)(k->plan->n_input + 1) * sizeof *k->own);
  k->set = sonde_alloc((size_t)(k->plan->n_input + 1) * sizeof *k->set);
  if (!k->own || !k->set) return sonde_lua_fail(L, "no memory for a plan");
  sonde_lua_slots(L, box, k->plan->n_input);
  sonde_plan_info info;
  sonde_plan_get_info(k->plan, &info);
  sonde_lua_account(L, box, info.arena_bytes);
  return 1;
}

/* The number of the input with that name; raises if there is none. */
static int32_t input_of(lua_State *L, sonde_plan *p, const char *name) {
  sonde_error err = {0};
  for (int32_t k = 0; k < p->n_input; k++)
    if (!strcmp(p->input[k].name, name)) return k;
  sonde_lua_check(L, sonde_plan_set_input(p, name, NULL, &err), &err);   /* says what inputs there are */
  return -1;
}

/* The plan's own tensor for input k, with the values of the table at `value`: made at the first table, so that a loop
 * over tables allocates once. */
static sonde_tensor *own_tensor(lua_State *L, planned *p, int32_t k, const sonde_shape *shape, int value) {
  sonde_error err = {0};
  if (!p->own[k] && !(p->own[k] = sonde_tensor_new(shape, &err))) sonde_lua_raise(L, &err);
  sonde_lua_fill(L, p->own[k], value);
  return p->own[k];
}

/* plan:set(name, tensor or table): the input's value for the runs to come */
static int plan_set(lua_State *L) {
  sonde_lua_box *box = sonde_lua_box_of(L, 1, &plan_type);
  planned *p = box->p;
  char have[160], want[160];
  const char *name = sonde_lua_string(L, 2);
  int32_t k = input_of(L, p->plan, name);
  sonde_shape s = sonde_node_shape(sonde_find(p->plan->g, name));
  const sonde_tensor *t;
  lua_settop(L, 3);
  if (lua_type(L, 3) == LUA_TTABLE) {
    t = own_tensor(L, p, k, &s, 3);
    sonde_lua_leave(box, k);
  } else {
    t = sonde_lua_handle(L, 3, &sonde_lua_tensor);
    if (s.dtype != t->shape.dtype || !sonde_shape_equal(&s, &t->shape))
      return sonde_lua_fail(L, "input '%s' is %s, and was given %s", name, sonde_shape_text(&s, want, sizeof want),
                            sonde_shape_text(&t->shape, have, sizeof have));
    sonde_lua_keep(L, box, 3, k);
  }
  p->set[k] = t;
  return 0;
}

/* plan:reads(name) -> whether the plan has that input */
static int plan_reads(lua_State *L) {
  const sonde_plan *p = to_plan(L);
  const char *name = sonde_lua_string(L, 2);
  int found = 0;
  for (int32_t k = 0; k < p->n_input; k++) found |= !strcmp(p->input[k].name, name);
  lua_pushboolean(L, found);
  return 1;
}

/* plan:inputs() -> the names of its inputs */
static int plan_inputs(lua_State *L) {
  const sonde_plan *p = to_plan(L);
  lua_createtable(L, p->n_input, 0);
  for (int32_t k = 0; k < p->n_input; k++) {
    lua_pushstring(L, p->input[k].name);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* Sets the inputs of the table in argument 2. */
static void set_all(lua_State *L) {
  sonde_lua_own(L, 2, "the inputs");
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) sonde_lua_fail(L, "inputs are given by name");
    lua_pushcfunction(L, plan_set);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -4);
    lua_pushvalue(L, -4);
    lua_call(L, 3, 0);
  }
}

/* plan:run([inputs]): inputs is a table name -> tensor or table */
static int plan_run(lua_State *L) {
  sonde_lua_box *box = sonde_lua_box_of(L, 1, &plan_type);
  const planned *given = box->p;
  sonde_plan *p = given->plan;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) set_all(L);
  for (int k = 0; k < box->slots; k++)
    if (box->uses[k].box && box->uses[k].box->closed)
      return sonde_lua_fail(L, "the tensor that input '%s' was set to has been closed", p->input[k].name);
  sonde_error err = {0};
  for (int32_t k = 0; k < p->n_input; k++)
    if (given->set[k]) sonde_lua_check(L, plan_set_input(p, k, sonde_lua_read(L, given->set[k]), &err), &err);
  sonde_lua_check(L, sonde_plan_run(p, &err), &err);
  lua_settop(L, 1);
  return 1;
}

static void add_time(lua_State *L, int table, const char *key, double seconds) {
  double before = lua_getfield(L, table, key) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  lua_pop(L, 1);
  lua_pushnumber(L, before + seconds);
  lua_setfield(L, table, key);
}

void sonde_lua_add_times(lua_State *L, int ops, int modules, const sonde_plan *plan) {
  double seconds;
  const char *op;
  for (int64_t s = 0; (op = sonde_plan_step_time(plan, s, &seconds)); s++) {
    add_time(L, ops, op, seconds);
    add_time(L, modules, sonde_plan_step_module(plan, s), seconds);
  }
}

/* plan:profile() -> {op = seconds}, {module = seconds} of the runs since the first call, which begins it */
static int plan_profile(lua_State *L) {
  sonde_plan *p = to_plan(L);
  lua_settop(L, 1);
  lua_newtable(L);
  lua_newtable(L);
  sonde_lua_add_times(L, 2, 3, p);
  sonde_plan_profile(p, 1);
  return 2;
}

/* plan:hold(): computes the kept values now instead of in the first run, or again from what the leaves hold now */
static int plan_hold(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_plan_hold(to_plan(L), &err), &err);
  return 0;
}

/* plan:output(i) -> a tensor with a copy of output i of the last run */
static int plan_output(lua_State *L) {
  const planned *p = to_planned(L);
  int64_t i = sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX);
  if (i < 1 || i > p->plan->n_out) return sonde_lua_fail(L, "the plan has no output %lld", (long long)i);
  const void *data = sonde_plan_output(p->plan, (int)i - 1);
  if (!data) return sonde_lua_fail(L, "output %d has no value: the plan has not run", (int)i);
  sonde_tensor *t = sonde_lua_new_tensor(L, &p->out[i - 1]);
  memcpy(sonde_lua_write(L, t), data, (size_t)t->bytes);
  return 1;
}

const float *sonde_lua_logits(lua_State *L, int arg, int64_t output, int64_t rows, int64_t vocab) {
  const planned *p = sonde_lua_handle(L, arg, &plan_type);
  if (output < 1 || output > p->plan->n_out) sonde_lua_fail(L, "the plan has no output %lld", (long long)output);
  const sonde_shape *s = &p->out[output - 1];
  if (s->dtype != SONDE_F32 || sonde_shape_count(s) != rows * vocab)
    sonde_lua_fail(L, "output %lld of the plan is not the f32 logits of %lld rows and %lld tokens", (long long)output,
                   (long long)rows, (long long)vocab);
  const float *logits = sonde_plan_output(p->plan, (int)output - 1);
  if (!logits) sonde_lua_fail(L, "the plan has not run");
  return logits;
}

/* plan:outputs() -> how many */
static int plan_outputs(lua_State *L) {
  lua_pushinteger(L, to_plan(L)->n_out);
  return 1;
}

/* plan:set_step(n): what random ops count by */
static int plan_set_step(lua_State *L) {
  sonde_plan *p = to_plan(L);
  sonde_plan_set_step(p, (uint64_t)sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX));
  return 0;
}

/* plan:info() -> table: nodes, steps, arena_bytes, leaf_bytes, flops, model_flops, bytes, recomputed_blocks */
static int plan_info(lua_State *L) {
  sonde_plan_info info;
  sonde_plan_get_info(to_plan(L), &info);
  lua_createtable(L, 0, 8);
  lua_pushinteger(L, info.nodes), lua_setfield(L, -2, "nodes");
  lua_pushinteger(L, info.steps), lua_setfield(L, -2, "steps");
  lua_pushinteger(L, info.arena_bytes), lua_setfield(L, -2, "arena_bytes");
  lua_pushinteger(L, info.leaf_bytes), lua_setfield(L, -2, "leaf_bytes");
  lua_pushnumber(L, info.flops), lua_setfield(L, -2, "flops");
  lua_pushnumber(L, to_plan(L)->model_flops), lua_setfield(L, -2, "model_flops");
  lua_pushnumber(L, info.bytes), lua_setfield(L, -2, "bytes");
  lua_pushinteger(L, info.recomputed_blocks), lua_setfield(L, -2, "recomputed_blocks");
  return 1;
}

static void free_dump(void *p) { free(p); }   /* of open_memstream */
static const sonde_lua_type dump_type = {"text", free_dump, NULL};

/* plan:dump(path[, "dot"]): the schedule as text, or the graph for Graphviz; without a path (nil) it is returned */
static int plan_dump(lua_State *L) {
  sonde_plan *p = to_plan(L);
  const char *path = sonde_lua_opt_string(L, 2, NULL), *form = sonde_lua_opt_string(L, 3, "text");
  sonde_error err = {0};
  if (path) {
    sonde_lua_check(L, sonde_plan_dump(p, path, !strcmp(form, "dot"), &err), &err);
    return 0;
  }
  sonde_lua_box *box = sonde_lua_new(L, &dump_type, 0);
  box->p = sonde_plan_text(p, !strcmp(form, "dot"), &err);
  if (!box->p) sonde_lua_raise(L, &err);
  lua_pushstring(L, box->p);
  return 1;
}

static const luaL_Reg plan_methods[] = {
    {"set", plan_set},           {"run", plan_run},   {"output", plan_output}, {"outputs", plan_outputs},
    {"set_step", plan_set_step}, {"info", plan_info}, {"dump", plan_dump},     {"reads", plan_reads},
    {"hold", plan_hold},         {"profile", plan_profile}, {"inputs", plan_inputs},
    {NULL, NULL},
};

static const sonde_lua_type plan_type = {"plan", free_plan, plan_methods};

void sonde_bind_plan(lua_State *L) {
  static const luaL_Reg functions[] = {{"plan", core_plan}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
