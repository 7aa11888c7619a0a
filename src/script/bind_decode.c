/* bind_decode.c - generation in Lua: the key-value cache, and the choice of tokens from a plan's logits. */
#include "config.h"

#include <math.h>

#include "base/mem.h"
#include "script/script.h"
#include "train/decode.h"
#include "train/sample.h"

static void free_cache(void *p) { sonde_cache_free(p); }
static const luaL_Reg cache_methods[];
static const sonde_lua_type cache_type = {"cache", free_cache, cache_methods};

/* core.cache(batch, capacity) -> cache */
static int core_cache(lua_State *L) {
  int64_t batch = sonde_lua_integer(L, 1, 1, INT32_MAX), capacity = sonde_lua_integer(L, 2, 1, INT32_MAX);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &cache_type, 0);
  box->p = sonde_cache_new(batch, capacity, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* cache:attach(graph, prefill): for the model traced into the graph next, which keeps the cache */
static int cache_attach(lua_State *L) {
  sonde_cache *c = sonde_lua_handle(L, 1, &cache_type);
  sonde_lua_box *graph = sonde_lua_box_of(L, 2, &sonde_lua_graph);
  sonde_graph *g = graph->p;
  sonde_error err = {0};
  sonde_lua_check(L, sonde_cache_attach(c, g, lua_toboolean(L, 3), &err), &err);
  sonde_lua_keep(L, graph, 1, 0);
  return 0;
}

/* cache:outputs(graph) -> the nodes that write the cache, and the tensors they are written to */
static int cache_outputs(lua_State *L) {
  sonde_cache *c = sonde_lua_handle(L, 1, &cache_type);
  const sonde_graph *g = sonde_lua_handle(L, 2, &sonde_lua_graph);
  sonde_node **out = lua_newuserdatauv(L, SONDE_CACHE_TENSORS * sizeof *out, 0);
  sonde_tensor **tensor = lua_newuserdatauv(L, SONDE_CACHE_TENSORS * sizeof *tensor, 0);
  int n = sonde_cache_outputs(c, g, out, tensor);
  if (n < 0) return sonde_lua_fail(L, "the cache was attached to another graph last");
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

/* Chooses tokens for the rows of a plan's logits. `row` says which stream of random numbers a row draws from, so that
 * its choices do not depend on what else is in the batch. */
typedef struct sampler {
  sonde_sampling how;
  sonde_rng rng;
  int64_t vocab, rows, *row;
  sonde_candidates scratch;
} sampler;

static void free_sampler(void *p) {
  sampler *s = p;
  sonde_release(s->row), sonde_release(s->scratch.weight), sonde_release(s->scratch.token), sonde_release(s);
}
static const luaL_Reg sampler_methods[];
static const sonde_lua_type sampler_type = {"sampler", free_sampler, sampler_methods};

/* core.sampler(vocab, rows, options) -> sampler. rows: the stream of each, from 0; options: temperature, top_k, top_p,
 * seed */
static int core_sampler(lua_State *L) {
  int64_t rows, vocab = sonde_lua_integer(L, 1, 1, 1 << 26);
  lua_settop(L, 3);
  sonde_lua_options(L, 3);
  const int64_t *row = sonde_lua_new_integers(L, 2, "the rows", &rows);
  sonde_lua_box *box = sonde_lua_new(L, &sampler_type, 0);
  sampler *s = box->p = sonde_alloc(sizeof *s);
  if (!s) return sonde_lua_fail(L, "no memory for choosing tokens");
  s->how = (sonde_sampling){sonde_lua_field_number(L, 3, "temperature", 0), sonde_lua_field_int(L, 3, "top_k", 0),
                            sonde_lua_field_number(L, 3, "top_p", 1)};
  s->rng = sonde_rng_stream((uint64_t)sonde_lua_field_int(L, 3, "seed", 0), "sampling");
  s->vocab = vocab, s->rows = rows;
  s->row = sonde_alloc((size_t)rows * sizeof *s->row);
  s->scratch.weight = sonde_alloc((size_t)vocab * sizeof *s->scratch.weight);
  s->scratch.token = sonde_alloc((size_t)vocab * sizeof *s->scratch.token);
  if (!s->row || !s->scratch.weight || !s->scratch.token) return sonde_lua_fail(L, "no memory for choosing tokens");
  for (int64_t r = 0; r < rows; r++) s->row[r] = row[r];
  return 1;
}

/* sampler:choose(plan, output, index, tokens): the index-th choice (from 0) of each row, from the logits that are that
 * output of the plan, into the i32 tensor `tokens`. Allocates nothing. */
static int sampler_choose(lua_State *L) {
  const sampler *s = sonde_lua_handle(L, 1, &sampler_type);
  const float *logits = sonde_lua_logits(L, 2, sonde_lua_integer(L, 3, INT64_MIN, INT64_MAX), s->rows, s->vocab);
  uint64_t index = (uint64_t)sonde_lua_integer(L, 4, 0, INT64_MAX);
  sonde_tensor *tokens = sonde_lua_handle(L, 5, &sonde_lua_tensor);
  sonde_shape shape = sonde_tensor_shape(tokens);
  int32_t *to = sonde_lua_write(L, tokens);
  if (shape.dtype != SONDE_I32 || sonde_shape_count(&shape) != s->rows)
    return sonde_lua_fail(L, "tokens are an i32 tensor with one for each row");
  for (int64_t r = 0; r < s->rows; r++) {
    uint64_t draw = ((uint64_t)s->row[r] << 32) + index;
    to[r] = sonde_sample(logits + r * s->vocab, s->vocab, &s->how, s->rng, draw, s->scratch);
    if (to[r] < 0)
      return sonde_lua_fail(L, "the logits are not finite: the weights hold NaN or infinite values, or are too large");
  }
  return 0;
}

static const luaL_Reg sampler_methods[] = {{"choose", sampler_choose}, {NULL, NULL}};

/* Sets entry i of the list at `list`. */
static void set_number(lua_State *L, int list, int64_t i, double x) {
  lua_pushnumber(L, x);
  lua_rawseti(L, list, i);
}

/* core.logprobs(plan, output, vocab, targets, k) -> log-probabilities of the rows' targets, false where there is none
 * (a target below 0); the k likeliest tokens of each row, and their log-probabilities, both as one flat list. The rows
 * are the logits that are that output of the plan. A row whose target is below -1 is skipped. */
static int core_logprobs(lua_State *L) {
  int64_t rows, vocab = sonde_lua_integer(L, 3, 1, 1 << 26), k = sonde_lua_integer(L, 5, 0, vocab);
  lua_settop(L, 5);
  const int64_t *target = sonde_lua_new_integers(L, 4, "the targets", &rows);
  const float *logits = sonde_lua_logits(L, 1, sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX), rows, vocab);
  float *weight = lua_newuserdatauv(L, (size_t)vocab * sizeof *weight, 0);
  int32_t *likely = lua_newuserdatauv(L, (size_t)(k + 1) * sizeof *likely, 0);
  int list = lua_gettop(L) + 1;
  for (int i = 0; i < 3; i++) lua_createtable(L, (int)(i ? rows * k : rows), 0);
  for (int64_t r = 0; r < rows; r++) {
    const float *row = logits + r * vocab;
    double sum = target[r] < -1 ? 0 : sonde_log_sum_exp(row, vocab, weight);
    if (target[r] >= vocab) return sonde_lua_fail(L, "target %lld is outside the vocabulary", (long long)target[r]);
    if (isnan(sum))
      return sonde_lua_fail(L, "the logits are not finite: the weights hold NaN or infinite values, or are too large");
    if (target[r] >= 0) {
      set_number(L, list, r + 1, (double)row[target[r]] - sum);
    } else {
      lua_pushboolean(L, 0);
      lua_rawseti(L, list, r + 1);
    }
    if (target[r] >= -1) sonde_likeliest(row, vocab, k, likely);
    for (int64_t j = 0; j < k; j++) {
      int64_t token = target[r] < -1 ? 0 : likely[j];
      lua_pushinteger(L, token);
      lua_rawseti(L, list + 1, r * k + j + 1);
      set_number(L, list + 2, r * k + j + 1, target[r] < -1 ? 0 : (double)row[token] - sum);
    }
  }
  return 3;
}

void sonde_bind_decode(lua_State *L) {
  static const luaL_Reg functions[] = {{"cache", core_cache}, {"sampler", core_sampler}, {"logprobs", core_logprobs},
                                        {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
