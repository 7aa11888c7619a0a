/* bind_params.c - the named parameters of a model in Lua. */
#include "config.h"

#include <string.h>

#include "graph/refresh.h"
#include "script/script.h"
#include "tensor/tensor.h"

static const char *const role_names[SONDE_ROLE_COUNT] = {
    "embed", "head", "qk", "v", "attn_out", "ffn_in", "ffn_out", "gain", "bias", "other",
    "buffer",
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
  return sonde_lua_fail(L, "unknown role '%s'%s%s%s", name, near ? "; did you mean '" : "", near ? near : "",
                        near ? "'?" : "");
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

/* p:find(name) -> tensor, or nil */
static int params_find(lua_State *L) {
  const sonde_param *param = sonde_params_find(to_params(L), sonde_lua_string(L, 2));
  if (param) sonde_lua_push_tensor(L, param->value);
  else lua_pushnil(L);
  return 1;
}

/* p:list() -> list of {name, dims, role, block} in the order they were made */
static int params_list(lua_State *L) {
  sonde_params *p = to_params(L);
  int64_t n = sonde_params_count(p);
  lua_createtable(L, (int)n, 0);
  for (int64_t k = 0; k < n; k++) {
    const sonde_param *param = sonde_params_at(p, k);
    lua_createtable(L, 0, 4);
    lua_pushstring(L, param->name), lua_setfield(L, -2, "name");
    sonde_lua_push_dims(L, &param->value->shape), lua_setfield(L, -2, "dims");
    lua_pushstring(L, role_names[param->role]), lua_setfield(L, -2, "role");
    lua_pushinteger(L, param->block), lua_setfield(L, -2, "block");
    lua_rawseti(L, -2, k + 1);
  }
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

/* p:not_finite() -> the name of the first that holds NaN or an infinite value, or nil */
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

/* p:adapt(name, rank, scale): low-rank adapters on a matrix; traces made from then on have them (params.h) */
static int params_adapt(lua_State *L) {
  sonde_error err = {0};
  sonde_params *p = to_params(L);
  sonde_lua_check(L, sonde_params_adapt(p, sonde_lua_string(L, 2), sonde_lua_integer(L, 3, INT64_MIN, INT64_MAX), sonde_lua_number(L, 4), &err),
                  &err);
  return 0;
}

/* p:loaded(name): its values were written, init leaves them */
static int params_loaded(lua_State *L) {
  sonde_params_loaded(to_params(L), sonde_lua_string(L, 2));
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
    {"need", params_need},         {"find", params_find},       {"list", params_list},
    {"elements", params_elements}, {"init", params_init},       {"loaded", params_loaded},
    {"sha256", params_sha256},     {"refresh", params_refresh}, {"adapt", params_adapt},
    {"seal", params_seal},         {"not_finite", params_not_finite},
    {NULL, NULL},
};

const sonde_lua_type sonde_lua_params = {"params", free_params, params_methods};

void sonde_bind_params(lua_State *L) {
  static const luaL_Reg functions[] = {{"params", core_params}, {"roles", core_roles}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
