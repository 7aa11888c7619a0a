/* bind_params.c - the named parameters of a model in Lua. */
#include "config.h"

#include <string.h>

#include "graph/refresh.h"
#include "graph/views.h"
#include "script/script.h"
#include "tensor/tensor.h"

static const char *const role_names[SONDE_ROLE_COUNT] = {
    "embed", "head", "qk", "v", "attn_out", "ffn_in", "ffn_out", "gain", "bias", "other",
    "buffer", "router",
};

static sonde_params *to_params(lua_State *L) { return sonde_lua_handle(L, 1, &sonde_lua_params); }

/* core.params(seed) -> params, empty */
static int core_params(lua_State *L) {
  int64_t seed = sonde_lua_integer(L, 1, INT64_MIN, INT64_MAX);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_params, 0);
  box->p = sonde_params_new((uint64_t)seed, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

const char *sonde_lua_role_name(int role) { return role_names[role]; }

int sonde_lua_to_role(lua_State *L, int arg) {
  const char *name = sonde_lua_string(L, arg);
  for (int k = 0; k < SONDE_ROLE_COUNT; k++)
    if (!strcmp(name, role_names[k])) return k;
  const char *near = sonde_nearest(name, role_names, SONDE_ROLE_COUNT);
  if (near) return sonde_lua_fail(L, "unknown role '%s'; did you mean '%s'?", name, near);
  luaL_Buffer known;
  luaL_buffinit(L, &known);
  for (int k = 0; k < SONDE_ROLE_COUNT; k++) {
    if (k) luaL_addstring(&known, ", ");
    luaL_addstring(&known, role_names[k]);
  }
  luaL_pushresult(&known);
  return sonde_lua_fail(L, "unknown role '%s'; known: %s", name, lua_tostring(L, -1));
}

sonde_init sonde_lua_to_init(lua_State *L, int arg) {
  sonde_lua_own(L, arg, "first values");
  const char *kind = sonde_lua_field_string(L, arg, "kind", "normal");
  sonde_init init = {SONDE_INIT_NORMAL, sonde_lua_field_number(L, arg, "a", 0), sonde_lua_field_number(L, arg, "b", 0)};
  if (!strcmp(kind, "xavier")) init.kind = SONDE_INIT_XAVIER;
  else if (!strcmp(kind, "fan_in")) init.kind = SONDE_INIT_FAN_IN;
  else if (!strcmp(kind, "fill")) init.kind = SONDE_INIT_FILL;
  else if (strcmp(kind, "normal"))
    sonde_lua_fail(L, "unknown initialisation '%s'; known: normal, xavier, fan_in, fill", kind);
  return init;
}

/* p:need(name, dims, role, init[, block]) -> tensor: the parameter of that name, made if absent */
static int params_need(lua_State *L) {
  sonde_params *p = to_params(L);
  const char *name = sonde_lua_string(L, 2);
  int64_t dim[SONDE_MAX_RANK];
  int rank = sonde_lua_integers(L, 3, "a shape", dim, SONDE_MAX_RANK);
  sonde_shape shape = sonde_shape_make(SONDE_F32, rank, dim);
  int role = sonde_lua_to_role(L, 4);
  sonde_init init = sonde_lua_to_init(L, 5);
  int block = (int)sonde_lua_opt_integer(L, 6, -1, -1, INT32_MAX);
  sonde_error err = {0};
  const sonde_param *param = sonde_params_need(p, name, &shape, role, init, block, &err);
  if (!param) sonde_lua_raise(L, &err);
  sonde_lua_push_tensor(L, param->value);
  return 1;
}

/* p:extend(name, dims, role, init): a parameter of a training beside the model's (params.h) */
static int params_extend(lua_State *L) {
  sonde_params *p = to_params(L);
  const char *name = sonde_lua_string(L, 2);
  int64_t dim[SONDE_MAX_RANK];
  int rank = sonde_lua_integers(L, 3, "a shape", dim, SONDE_MAX_RANK);
  sonde_shape shape = sonde_shape_make(SONDE_F32, rank, dim);
  sonde_error err = {0};
  if (!sonde_params_extend(p, name, &shape, sonde_lua_to_role(L, 4), sonde_lua_to_init(L, 5), &err))
    sonde_lua_raise(L, &err);
  return 0;
}

/* p:find(name) -> tensor, or nil */
static int params_find(lua_State *L) {
  const sonde_param *param = sonde_params_find(to_params(L), sonde_lua_string(L, 2));
  if (param) sonde_lua_push_tensor(L, param->value);
  else lua_pushnil(L);
  return 1;
}

static void push_param(lua_State *L, const sonde_param *param) {
  static const char *const kind[] = {"share", "mask", "low_rank", "freeze"};
  const sonde_view *share = sonde_param_view(param, SONDE_VIEW_SHARE);
  const sonde_view *factors = sonde_param_view(param, SONDE_VIEW_LOW_RANK);
  lua_createtable(L, 0, 9);
  lua_pushstring(L, param->name), lua_setfield(L, -2, "name");
  sonde_lua_push_dims(L, &param->value->shape), lua_setfield(L, -2, "dims");
  lua_pushstring(L, role_names[param->role]), lua_setfield(L, -2, "role");
  lua_pushinteger(L, param->block), lua_setfield(L, -2, "block");
  lua_createtable(L, param->views, 0);
  for (int32_t k = 0; k < param->views; k++) {
    lua_pushstring(L, kind[param->view[k].kind]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "views");
  lua_pushstring(L, share ? share->a->name : NULL), lua_setfield(L, -2, "shares");
  if (factors) {
    lua_pushinteger(L, factors->a->value->shape.dim[factors->a->value->shape.rank - 2]), lua_setfield(L, -2, "rank");
    lua_pushnumber(L, factors->scale), lua_setfield(L, -2, "scale");
  }
  lua_pushstring(L, param->of ? param->of->name : NULL), lua_setfield(L, -2, "of");
}

/* p:list() -> list of {name, dims, role, block, views, of} of those with values of their own, in the order they were
 * made: what is trained and kept in checkpoints; `of` is the parameter whose view one serves; of one with low-rank
 * factors also {rank, scale} */
static int params_list(lua_State *L) {
  sonde_params *p = to_params(L);
  int64_t n = sonde_params_count(p);
  lua_createtable(L, (int)n, 0);
  for (int64_t k = 0; k < n; k++) {
    push_param(L, sonde_params_at(p, k));
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* p:weights() -> the same of what modules read (p:read gives its values): those that share another's value (`shares`)
 * too, none that serves a view */
static int params_weights(lua_State *L) {
  sonde_params *p = to_params(L);
  lua_Integer n = 0;
  lua_createtable(L, (int)sonde_params_names(p), 0);
  for (int64_t k = 0; k < sonde_params_names(p); k++) {
    if (sonde_params_named(p, k)->of) continue;
    push_param(L, sonde_params_named(p, k));
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static const sonde_param *to_param(lua_State *L, const sonde_params *p, int arg) {
  const char *name = sonde_lua_string(L, arg);
  const sonde_param *param = sonde_params_find(p, name);
  if (!param) sonde_lua_fail(L, "there is no parameter '%s'", name);
  return param;
}

/* p:read(name) -> tensor: what modules read of the parameter, through its views. Its own tensor where they change
 * nothing */
static int params_read(lua_State *L) {
  sonde_error err = {0};
  sonde_tensor *t = sonde_param_read(sonde_lua_ctx(L), to_param(L, to_params(L), 2), &err);
  if (!t) sonde_lua_raise(L, &err);
  sonde_lua_push_tensor(L, t);
  sonde_tensor_free(t);
  return 1;
}

/* p:node(graph, name) -> node: what modules read of the parameter */
static int params_node(lua_State *L) {
  sonde_graph *g = sonde_lua_handle(L, 2, &sonde_lua_graph);
  sonde_lua_push_node(L, 2, sonde_param_node(g, to_param(L, to_params(L), 3)));
  return 1;
}

/* p:elements() -> numbers in all of them */
static int params_elements(lua_State *L) {
  lua_pushinteger(L, sonde_params_elements(to_params(L)));
  return 1;
}

/* p:init(): first values for those that have none */
static int params_init(lua_State *L) {
  sonde_params *p = to_params(L);
  sonde_params_init(p, sonde_lua_ctx(L));
  sonde_lua_account(L, sonde_lua_box_of(L, 1, &sonde_lua_params), sonde_params_elements(p) * (int64_t)sizeof(float));
  return 0;
}

/* p:refresh(graph[, all]): computes the buffers that the graph declares and that have no values yet, or all of them */
static int params_refresh(lua_State *L) {
  sonde_params *p = to_params(L);
  sonde_graph *g = sonde_lua_handle(L, 2, &sonde_lua_graph);
  sonde_error err = {0};
  sonde_refresh *r = sonde_refresh_new(g, p, 0, NULL, &err);
  int code = !r ? err.code : lua_toboolean(L, 3) ? sonde_refresh_all(r, &err) : sonde_refresh_first(r, &err);
  sonde_refresh_free(r);
  sonde_lua_check(L, code, &err);
  return 0;
}

/* p:not_finite() -> the name of the first parameter with a NaN or infinite value, or nil */
static int params_not_finite(lua_State *L) {
  const sonde_param *param = sonde_params_not_finite(to_params(L));
  lua_pushstring(L, param ? param->name : NULL);
  return 1;
}

/* p:seal(): no later need makes a parameter */
static int params_seal(lua_State *L) {
  sonde_params_seal(to_params(L));
  return 0;
}

/* Views on a parameter (params.h); traces made from then on read them. */

/* p:mask(name) -> tensor: the mask, of ones, to be written */
static int params_mask(lua_State *L) {
  sonde_error err = {0};
  sonde_params *p = to_params(L);
  const char *name = sonde_lua_string(L, 2);
  sonde_lua_check(L, sonde_params_mask(p, name, &err), &err);
  sonde_lua_push_tensor(L, sonde_param_view(sonde_params_find(p, name), SONDE_VIEW_MASK)->a->value);
  return 1;
}

/* p:gather(name): room for what a sparsity method sums up of its gradients */
static int params_gather(lua_State *L) {
  sonde_error err = {0};
  sonde_params *p = to_params(L);
  sonde_lua_check(L, sonde_params_gather(p, sonde_lua_string(L, 2), &err), &err);
  return 0;
}

/* p:low_rank(name, rank, scale) */
static int params_low_rank(lua_State *L) {
  sonde_error err = {0};
  sonde_params *p = to_params(L);
  const char *name = sonde_lua_string(L, 2);
  int64_t rank = sonde_lua_integer(L, 3, INT64_MIN, INT64_MAX);
  sonde_lua_check(L, sonde_params_low_rank(p, sonde_lua_ctx(L), name, rank, sonde_lua_number(L, 4), &err), &err);
  return 0;
}

/* p:share(name, source): name gives up its own value for that of source */
static int params_share(lua_State *L) {
  sonde_error err = {0};
  sonde_params *p = to_params(L);
  const char *name = sonde_lua_string(L, 2);
  sonde_lua_check(L, sonde_params_share(p, name, sonde_lua_string(L, 3), &err), &err);
  return 0;
}

/* p:freeze(name[, on]): on false takes it off */
static int params_freeze(lua_State *L) {
  sonde_error err = {0};
  sonde_params *p = to_params(L);
  const char *name = sonde_lua_string(L, 2);
  sonde_lua_check(L, sonde_params_freeze(p, name, lua_isnone(L, 3) || lua_toboolean(L, 3), &err), &err);
  return 0;
}

/* p:sha256() -> hex, over names, shapes and values */
static int params_sha256(lua_State *L) {
  char hex[65];
  sonde_error err = {0};
  if (sonde_params_sha256(to_params(L), hex)) sonde_lua_check(L, SONDE_ENOMEM, &err);
  lua_pushstring(L, hex);
  return 1;
}

/* p:given_sha256() -> hex, over those that hold other values than their initialisation's (params.h); nil: none does */
static int params_given_sha256(lua_State *L) {
  char hex[65];
  sonde_error err = {0};
  if (sonde_params_given_sha256(to_params(L), hex)) sonde_lua_check(L, SONDE_ENOMEM, &err);
  lua_pushstring(L, *hex ? hex : NULL);
  return 1;
}

/* core.roles() -> list of the names of roles */
static int core_roles(lua_State *L) {
  lua_createtable(L, SONDE_ROLE_COUNT, 0);
  for (int k = 0; k < SONDE_ROLE_COUNT; k++) {
    lua_pushstring(L, role_names[k]);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

static void free_params(void *p) { sonde_params_free(p); }

static const luaL_Reg params_methods[] = {
    {"extend", params_extend},     {"need", params_need},         {"find", params_find},       {"list", params_list},
    {"elements", params_elements}, {"init", params_init},       {"given_sha256", params_given_sha256},
    {"sha256", params_sha256},     {"refresh", params_refresh}, {"weights", params_weights},
    {"seal", params_seal},         {"not_finite", params_not_finite}, {"read", params_read}, {"node", params_node},
    {"mask", params_mask},         {"gather", params_gather},   {"low_rank", params_low_rank},
    {"share", params_share}, {"freeze", params_freeze},
    {NULL, NULL},
};

const sonde_lua_type sonde_lua_params = {"params", free_params, params_methods};

void sonde_bind_params(lua_State *L) {
  static const luaL_Reg functions[] = {{"params", core_params}, {"roles", core_roles}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
