/* bind_graph.c - tracing and differentiating from Lua. Operators and methods of nodes are Lua
 * (lua/sonde/graph/node.lua); this file has the functions they call. */
#include "config.h"

#include <string.h>

#include "graph/graph.h"
#include "script/script.h"

/* A node belongs to its graph and needs no freeing. */
static const sonde_lua_type node_type = {"node", NULL, NULL};

static void free_graph(void *p) { sonde_graph_free(p); }

static sonde_graph *to_graph(lua_State *L, int arg) { return sonde_lua_handle(L, arg, &sonde_lua_graph); }

int sonde_lua_is_node(lua_State *L, int index) { return sonde_lua_is(L, index, &node_type); }

sonde_node *sonde_lua_to_node(lua_State *L, int arg) {
  sonde_node *n = sonde_lua_inner(L, arg, &node_type);
  if (!n) sonde_lua_fail(L, "a node is needed here, not a %s", luaL_typename(L, arg));
  lua_getiuservalue(L, arg, 1);
  to_graph(L, -1);
  lua_pop(L, 1);
  return n;
}

static int raise_first(lua_State *L, sonde_graph *g) {
  sonde_error err = {0};
  if (!sonde_graph_error(g, &err)) sonde_fail(&err, SONDE_EBUG, "an op failed without a reason");
  memset(&g->first, 0, sizeof g->first);
  sonde_lua_check(L, err.code, &err);
  return 0;
}

void sonde_lua_push_node(lua_State *L, int owner, sonde_node *n) {
  owner = lua_absindex(L, owner);
  if (sonde_lua_is_node(L, owner)) lua_getiuservalue(L, owner, 1);
  else lua_pushvalue(L, owner);
  if (!n) raise_first(L, to_graph(L, -1));
  sonde_lua_new_inner(L, &node_type, n, -1);
  lua_remove(L, -2);
}

static void *take_node(lua_State *L, int index) { return sonde_lua_to_node(L, index); }

sonde_node **sonde_lua_nodes(lua_State *L, int arg, const char *what, int *n) {
  return (sonde_node **)sonde_lua_handles(L, arg, what, n, take_node);
}

/* ---- the graph ---- */

/* core.graph() -> graph */
static int core_graph(lua_State *L) {
  sonde_ctx *ctx = sonde_lua_ctx(L);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_graph, 1);
  box->p = sonde_graph_new(ctx, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* g:input(name, dtype, dims) -> node */
static int graph_input(lua_State *L) {
  sonde_graph *g = to_graph(L, 1);
  const char *name = sonde_lua_string(L, 2);
  sonde_shape shape = sonde_lua_to_shape(L, 3, 4);
  sonde_lua_push_node(L, 1, sonde_input(g, name, &shape));
  return 1;
}

/* g:leaf(name, tensor) -> node */
static int graph_leaf(lua_State *L) {
  sonde_graph *g = to_graph(L, 1);
  const char *name = sonde_lua_string(L, 2);
  sonde_lua_push_node(L, 1, sonde_leaf(g, name, sonde_lua_handle(L, 3, &sonde_lua_tensor)));
  return 1;
}

/* g:constant(value, dims) -> node of f32 */
static int graph_constant(lua_State *L) {
  sonde_graph *g = to_graph(L, 1);
  double value = sonde_lua_number(L, 2);
  lua_settop(L, 3);
  lua_pushliteral(L, "f32");
  sonde_shape shape = sonde_lua_to_shape(L, 4, 3);
  sonde_lua_push_node(L, 1, sonde_constant(g, &shape, value));
  return 1;
}

/* g:scope(path, block): scope and block of the following nodes; block -1: none */
static int graph_scope(lua_State *L) {
  sonde_graph *g = to_graph(L, 1);
  sonde_graph_scope(g, sonde_lua_opt_string(L, 2, NULL), (int)sonde_lua_opt_integer(L, 3, -1, -1, INT32_MAX));
  return 0;
}

/* g:prefix(text): in front of the names of leaves and scopes from now on; nil: no longer (graph.h) */
static int graph_prefix(lua_State *L) {
  sonde_graph_prefix(to_graph(L, 1), sonde_lua_opt_string(L, 2, NULL));
  return 0;
}

/* g:find(name) -> node, or nil */
static int graph_find(lua_State *L) {
  sonde_node *n = sonde_find(to_graph(L, 1), sonde_lua_string(L, 2));
  if (n) sonde_lua_push_node(L, 1, n);
  else lua_pushnil(L);
  return 1;
}

/* g:inputs() -> list of the names of its inputs, in the order they were made */
static int graph_inputs(lua_State *L) {
  const sonde_graph *g = to_graph(L, 1);
  lua_Integer n = 0;
  lua_newtable(L);
  for (int64_t k = 0; k < sonde_map_count(g->names); k++) {
    const sonde_node *node = sonde_map_value(g->names, k);
    if (node->kind != SONDE_KIND_INPUT) continue;
    lua_pushstring(L, sonde_map_key(g->names, k));
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* g:names() -> list of the names that values have, in the order they were given */
static int graph_names(lua_State *L) {
  sonde_graph *g = to_graph(L, 1);
  int64_t n = sonde_map_count(g->names);
  lua_createtable(L, (int)n, 0);
  for (int64_t k = 0; k < n; k++) {
    lua_pushstring(L, sonde_map_key(g->names, k));
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

static const luaL_Reg graph_methods[] = {
    {"input", graph_input}, {"leaf", graph_leaf}, {"constant", graph_constant}, {"scope", graph_scope},
    {"find", graph_find},   {"names", graph_names}, {"prefix", graph_prefix}, {"inputs", graph_inputs},
    {NULL, NULL},
};

const sonde_lua_type sonde_lua_graph = {"graph", free_graph, graph_methods};

/* ---- ops and nodes ---- */

/* core.op(name, nodes[, numbers[, integers]]) -> node: attributes f0.. and i0.. of sonde_build.h */
static int core_op(lua_State *L) {
  const char *name = sonde_lua_string(L, 1);
  sonde_attr attr = {{0}, {0}};
  int n;
  lua_settop(L, 4);
  sonde_node **in = sonde_lua_nodes(L, 2, "the inputs", &n);
  if (!n || n > SONDE_MAX_IN)
    return sonde_lua_fail(L, "%s: %d inputs; from 1 to %d are possible", name, n, SONDE_MAX_IN);
  if (!lua_isnoneornil(L, 3)) sonde_lua_numbers(L, 3, "the numbers", attr.f, 4);
  if (!lua_isnoneornil(L, 4)) sonde_lua_integers(L, 4, "the integers", attr.i, 8);
  lua_rawgeti(L, 2, 1);   /* the list is our own: in[0]'s handle */
  sonde_node *result = sonde_op(sonde_node_graph(in[0]), name, in, n, &attr);
  sonde_lua_push_node(L, -1, result);
  return 1;
}

/* core.result(node, i) -> the further result i (from 1) of an op that has several */
static int core_result(lua_State *L) {
  sonde_node *n = sonde_lua_to_node(L, 1);
  sonde_lua_push_node(L, 1, sonde_result(n, (int)sonde_lua_integer(L, 2, 1, SONDE_MAX_OUT) - 1));
  return 1;
}

/* core.grad(y, wrt[, dy]) -> list of nodes d(sum(y dy))/d(wrt) */
static int core_grad(lua_State *L) {
  sonde_node *y = sonde_lua_to_node(L, 1);
  sonde_node *dy = lua_isnoneornil(L, 3) ? NULL : sonde_lua_to_node(L, 3);
  int n;
  lua_settop(L, 3);
  sonde_node **wrt = sonde_lua_nodes(L, 2, "what to differentiate by", &n);
  sonde_node **by = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *by, 0);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_grad(y, dy, wrt, n, by, &err), &err);
  lua_createtable(L, n, 0);
  for (int k = 0; k < n; k++) {
    sonde_lua_push_node(L, 1, by[k]);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* core.node_dims(node) -> list */
static int node_dims(lua_State *L) {
  sonde_shape s = sonde_node_shape(sonde_lua_to_node(L, 1));
  sonde_lua_push_dims(L, &s);
  return 1;
}

static int node_dtype(lua_State *L) {
  lua_pushstring(L, sonde_dtype_name(sonde_node_shape(sonde_lua_to_node(L, 1)).dtype));
  return 1;
}

static int node_op(lua_State *L) {
  lua_pushstring(L, sonde_node_op(sonde_lua_to_node(L, 1)));
  return 1;
}

static int node_id(lua_State *L) {
  lua_pushinteger(L, sonde_node_id(sonde_lua_to_node(L, 1)));
  return 1;
}

/* core.node_name(node, name) -> node: names the value (a tap) */
static int node_name(lua_State *L) {
  sonde_node *n = sonde_lua_to_node(L, 1);
  sonde_lua_push_node(L, 1, sonde_name(n, sonde_lua_string(L, 2)));
  return 1;
}

/* core.node_inputs(node) -> list */
static int node_inputs(lua_State *L) {
  sonde_node *in[SONDE_MAX_IN];
  int n = sonde_node_inputs(sonde_lua_to_node(L, 1), in);
  lua_createtable(L, n, 0);
  for (int k = 0; k < n; k++) {
    sonde_lua_push_node(L, 1, in[k]);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* core.node_attributes(node) -> list of f0.., list of i0.. */
static int node_attributes(lua_State *L) {
  const sonde_attr *attr = sonde_node_attr(sonde_lua_to_node(L, 1));
  const int numbers = (int)(sizeof attr->f / sizeof *attr->f), integers = (int)(sizeof attr->i / sizeof *attr->i);
  lua_createtable(L, numbers, 0);
  for (int k = 0; k < numbers; k++) {
    lua_pushnumber(L, attr->f[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_createtable(L, integers, 0);
  for (int k = 0; k < integers; k++) {
    lua_pushinteger(L, attr->i[k]);
    lua_rawseti(L, -2, k + 1);
  }
  return 2;
}

/* core.node_graph(node) -> the graph's handle */
static int node_graph(lua_State *L) {
  sonde_lua_to_node(L, 1);
  lua_getiuservalue(L, 1, 1);
  return 1;
}

/* core.is_node(value) */
static int is_node(lua_State *L) {
  lua_pushboolean(L, sonde_lua_is_node(L, 1));
  return 1;
}

static int node_equal(lua_State *L) {
  const void *a = sonde_lua_inner(L, 1, &node_type);
  lua_pushboolean(L, a && a == sonde_lua_inner(L, 2, &node_type));
  return 1;
}

static int is_open(lua_State *L) {
  lua_getiuservalue(L, 1, 1);
  int open = sonde_lua_is_open(L, -1, &sonde_lua_graph);
  lua_pop(L, 1);
  return open;
}

static int node_tostring(lua_State *L) {
  if (sonde_lua_is(L, 1, &node_type) && !is_open(L)) {
    lua_pushliteral(L, "node (of a closed graph)");
    return 1;
  }
  sonde_node *n = sonde_lua_to_node(L, 1);
  sonde_shape s = sonde_node_shape(n);
  char text[160];
  lua_pushfstring(L, "node %d: %s %s", (int)sonde_node_id(n), sonde_node_op(n),
                  sonde_shape_text(&s, text, sizeof text));
  return 1;
}

/* core.ops() -> list of the names of all ops */
static int core_ops(lua_State *L) {
  sonde_ctx *ctx = sonde_lua_ctx(L);
  int n = sonde_ops_count(ctx);
  lua_createtable(L, n, 0);
  for (int k = 0; k < n; k++) {
    lua_pushstring(L, sonde_ops_at(ctx, k)->name);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* core.node_operators(table): the operators and methods of nodes, {__index =, __add =, ...}, which are Lua
 * (node.lua) */
static int node_operators(lua_State *L) {
  static const char *const names[] = {"__index", "__add", "__sub", "__mul", "__div", "__pow", "__unm", NULL};
  sonde_lua_own(L, 1, "the operators");
  sonde_lua_metatable(L, &node_type);
  for (int k = 0; names[k]; k++) {
    lua_getfield(L, 1, names[k]);
    lua_setfield(L, -2, names[k]);
  }
  return 0;
}

void sonde_bind_graph(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"graph", core_graph},         {"op", core_op},             {"result", core_result},         {"grad", core_grad},
      {"node_dims", node_dims},      {"node_dtype", node_dtype},  {"node_op", node_op},            {"node_id", node_id},
      {"node_name", node_name},      {"node_graph", node_graph},  {"node_inputs", node_inputs},    {"is_node", is_node},
      {"ops", core_ops},             {"node_operators", node_operators}, {"node_attributes", node_attributes},
      {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
  sonde_lua_metatable(L, &node_type);
  sonde_lua_push_function(L, "nodes' ==", node_equal, NULL, 0);
  lua_setfield(L, -2, "__eq");
  sonde_lua_push_function(L, "tostring", node_tostring, NULL, 0);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}
