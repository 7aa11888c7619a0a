/* bind_decode.c - generation in Lua: the key-value cache, and the choice of tokens from a plan's logits. */
#include "config.h"

#include "base/mem.h"
#include "script/script.h"
#include "train/decode.h"

static void free_cache(void *p) { sonde_cache_free(p); }
static const luaL_Reg cache_methods[];
static const sonde_lua_type cache_type = {"cache", free_cache, cache_methods};

/* core.cache(batch, capacity) -> cache */
static int core_cache(lua_State *L) {
  int64_t batch = luaL_checkinteger(L, 1), capacity = luaL_checkinteger(L, 2);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &cache_type, 1);
  box->p = sonde_cache_new(batch, capacity, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* cache:attach(graph, prefill): for the model traced into the graph next */
static int cache_attach(lua_State *L) {
  sonde_cache *c = sonde_lua_handle(L, 1, &cache_type);
  sonde_graph *g = sonde_lua_handle(L, 2, &sonde_lua_graph);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_cache_attach(c, g, lua_toboolean(L, 3), &err), &err);
  sonde_lua_keep(L, 1, 2, 1);
  return 0;
}

/* cache:outputs(graph) -> the nodes that write the cache, and the tensors they are written to */
static int cache_outputs(lua_State *L) {
  sonde_cache *c = sonde_lua_handle(L, 1, &cache_type);
  sonde_lua_handle(L, 2, &sonde_lua_graph);
  sonde_node **out = lua_newuserdatauv(L, 2 * SONDE_CACHE_LAYERS * sizeof *out, 0);
  sonde_tensor **tensor = lua_newuserdatauv(L, 2 * SONDE_CACHE_LAYERS * sizeof *tensor, 0);
  int n = sonde_cache_outputs(c, out, tensor);
  lua_createtable(L, n, 0);
  lua_createtable(L, n, 0);
  for (int k = 0; k < n; k++) {
    sonde_lua_push_node(L, 2, out[k]);
    lua_rawseti(L, -3, k + 1);
    sonde_lua_push_tensor(L, tensor[k]);
    lua_rawseti(L, -2, k + 1);
  }
  return 2;
}

static const luaL_Reg cache_methods[] = {{"attach", cache_attach}, {"outputs", cache_outputs}, {NULL, NULL}};

/* core.sample(plan, output, vocab, tokens, options): a token for each row of the output's logits, into the i32 tensor
 * `tokens`. options: temperature, top_k, top_p, seed, index. Allocates nothing but one row's worth of Lua scratch. */
static int core_sample(lua_State *L) {
  sonde_plan *p = sonde_lua_handle(L, 1, &sonde_lua_plan);
  int64_t output = luaL_checkinteger(L, 2), vocab = luaL_checkinteger(L, 3);
  sonde_tensor *tokens = sonde_lua_handle(L, 4, &sonde_lua_tensor);
  const float *logits = sonde_plan_output(p, (int)output - 1);
  if (!logits) return sonde_lua_fail(L, "the plan has not run, or has no output %d", (int)output);
  sonde_sampling s = {sonde_lua_field_number(L, 5, "temperature", 0), sonde_lua_field_int(L, 5, "top_k", 0),
                      sonde_lua_field_number(L, 5, "top_p", 1)};
  sonde_rng rng = sonde_rng_stream((uint64_t)sonde_lua_field_int(L, 5, "seed", 0), "sampling");
  uint64_t index = (uint64_t)sonde_lua_field_int(L, 5, "index", 0);
  sonde_shape shape = sonde_tensor_shape(tokens);
  int64_t rows = sonde_shape_count(&shape);
  if (shape.dtype != SONDE_I32) return sonde_lua_fail(L, "tokens are an i32 tensor");
  int32_t *order = lua_newuserdatauv(L, (size_t)vocab * sizeof *order, 0), *to = sonde_tensor_data(tokens);
  for (int64_t r = 0; r < rows; r++) {
    to[r] = sonde_sample(logits + r * vocab, vocab, &s, rng, index * (uint64_t)rows + (uint64_t)r, order);
    if (to[r] < 0) return sonde_lua_fail(L, "the logits are not finite; the weights hold NaN or infinite values");
  }
  return 0;
}

void sonde_bind_decode(lua_State *L) {
  static const luaL_Reg functions[] = {{"cache", core_cache}, {"sample", core_sample}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
