/* bind_teacher.c - distillation in Lua: divergences as numbers that the op "distill" takes, and teachers' caches. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "plugin/divergence.h"
#include "script/script.h"
#include "tensor/tensor.h"
#include "train/teacher_cache.h"

/* core.divergence(name[, options]) -> the number of the divergence of that name, for the op "distill" */
static int core_divergence(lua_State *L) {
  sonde_error err = {0};
  const char *name = sonde_lua_string(L, 1);
  lua_settop(L, 2);
  sonde_registry *r = sonde_registry_of(sonde_lua_ctx(L), &err);
  const sonde_entry *e = r ? sonde_registry_find(r, "distill", name, &err) : NULL;
  if (!e) sonde_lua_raise(L, &err);
  const sonde_value *values = sonde_lua_values(L, e, 2);
  int64_t number = sonde_divergence_of(sonde_lua_ctx(L), e, values, sonde_lua_call_module, L, &err);
  if (number < 0) sonde_lua_raise(L, &err);
  lua_pushinteger(L, number);
  return 1;
}

/* ---- caches ---- */

static void free_cache(void *p) { sonde_taught_free(p); }
static void free_writer(void *p) { sonde_taught_writer_close(p); }
static const sonde_lua_type writer_type;

static sonde_taught *to_cache(lua_State *L) { return sonde_lua_handle(L, 1, &sonde_lua_cache); }
static sonde_taught_writer *to_writer(lua_State *L) { return sonde_lua_handle(L, 1, &writer_type); }

/* core.teacher_cache(path) -> cache */
static int core_teacher_cache(lua_State *L) {
  sonde_error err = {0};
  const char *path = sonde_lua_string(L, 1);
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_cache, 0);
  box->p = sonde_taught_open(path, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* c:info() -> {rows, context, vocab, k, temperature, seed, dtype, teacher, tokenizer, corpus}: "f32" or "bf16", of the
 * teacher's products; hashes in hex, "" if not known */
static int cache_info(lua_State *L) {
  const sonde_taught_info *i = sonde_taught_info_of(to_cache(L));
  lua_createtable(L, 0, 10);
  sonde_lua_set_integer(L, "rows", i->rows);
  sonde_lua_set_integer(L, "context", i->context);
  sonde_lua_set_integer(L, "vocab", i->vocab);
  sonde_lua_set_integer(L, "k", i->k);
  sonde_lua_set_number(L, "temperature", i->temperature);
  sonde_lua_set_integer(L, "seed", i->seed);
  sonde_lua_set_string(L, "dtype", i->bf16 ? "bf16" : "f32");
  sonde_lua_set_string(L, "teacher", i->teacher);
  sonde_lua_set_string(L, "tokenizer", i->tokenizer);
  sonde_lua_set_string(L, "corpus", i->corpus);
  return 1;
}

/* c:losses() -> {rest, entropy, rounding, worst}: means over all tokens (teacher_cache.h); reads and checks all rows */
static int cache_losses(lua_State *L) {
  sonde_error err = {0};
  sonde_taught_loss loss;
  sonde_lua_check(L, sonde_taught_losses(to_cache(L), &loss, &err), &err);
  lua_createtable(L, 0, 4);
  sonde_lua_set_number(L, "rest", loss.rest);
  sonde_lua_set_number(L, "entropy", loss.entropy);
  sonde_lua_set_number(L, "rounding", loss.rounding);
  sonde_lua_set_number(L, "worst", loss.worst);
  return 1;
}

static const luaL_Reg cache_methods[] = {{"info", cache_info}, {"losses", cache_losses}, {NULL, NULL}};
const sonde_lua_type sonde_lua_cache = {"teacher's cache", free_cache, cache_methods};

/* core.teacher_cache_writer(path, info) -> writer, rows that are there: info as c:info() gives it */
static int core_teacher_cache_writer(lua_State *L) {
  sonde_error err = {0};
  const char *path = sonde_lua_string(L, 1);
  lua_settop(L, 2);
  sonde_lua_options(L, 2);
  sonde_taught_info info = {
      .rows = sonde_lua_field_integer(L, 2, "rows", 0, 0, INT64_MAX),
      .context = sonde_lua_field_integer(L, 2, "context", 0, 0, INT64_MAX),
      .vocab = sonde_lua_field_integer(L, 2, "vocab", 0, 0, INT64_MAX),
      .k = sonde_lua_field_integer(L, 2, "k", 0, 0, INT64_MAX),
      .temperature = sonde_lua_field_number(L, 2, "temperature", 1),
      .seed = sonde_lua_field_int(L, 2, "seed", 0),
      .bf16 = !strcmp(sonde_lua_field_string(L, 2, "dtype", "f32"), "bf16"),
  };
  const char *hash[3] = {sonde_lua_field_string(L, 2, "teacher", ""), sonde_lua_field_string(L, 2, "tokenizer", ""),
                         sonde_lua_field_string(L, 2, "corpus", "")};
  char *to[3] = {info.teacher, info.tokenizer, info.corpus};
  for (int k = 0; k < 3; k++) snprintf(to[k], sizeof info.teacher, "%s", hash[k]);
  int64_t done = 0;
  sonde_lua_box *box = sonde_lua_new(L, &writer_type, 0);
  box->p = sonde_taught_writer_open(path, &info, &done, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  lua_pushinteger(L, done);
  return 2;
}

static const void *numbers(lua_State *L, int arg, int dtype) {
  const sonde_tensor *t = sonde_lua_handle(L, arg, &sonde_lua_tensor);
  if (t->shape.dtype != dtype) sonde_lua_fail(L, "a cache takes classes of i32, and logarithms and entropies of f32");
  return sonde_lua_read(L, t);
}

/* w:append(ids, logs, entropy, rows): that many rows, one after the other in the tensors [rows T, ..] */
static int writer_append(lua_State *L) {
  sonde_error err = {0};
  sonde_taught_writer *w = to_writer(L);
  const int32_t *ids = numbers(L, 2, SONDE_I32);
  const float *logs = numbers(L, 3, SONDE_F32), *entropy = numbers(L, 4, SONDE_F32);
  const int64_t rows = sonde_lua_integer(L, 5, 1, INT64_MAX),
                all = sonde_tensor_bytes(sonde_lua_handle(L, 4, &sonde_lua_tensor)) / (int64_t)sizeof *entropy;
  const sonde_tensor *t = sonde_lua_handle(L, 2, &sonde_lua_tensor);
  if (t->shape.rank != 2) return sonde_lua_fail(L, "the classes are i32 [rows T, K]");
  const int64_t context = sonde_taught_writer_context(w), k = t->shape.dim[1];
  if (rows > all / context) return sonde_lua_fail(L, "%lld rows are not in the tensors", (long long)rows);
  for (int64_t row = 0; row < rows; row++)
    sonde_lua_check(L, sonde_taught_append(w, ids + row * context * k, logs + row * context * (k + 1),
                                          entropy + row * context, &err), &err);
  return 0;
}

/* w:commit(): the file is whole; the handle is empty then */
static int writer_commit(lua_State *L) {
  sonde_error err = {0};
  sonde_taught_writer *w = to_writer(L);
  sonde_lua_box_of(L, 1, &writer_type)->p = NULL;
  sonde_lua_check(L, sonde_taught_commit(w, &err), &err);
  return 0;
}

static const luaL_Reg writer_methods[] = {{"append", writer_append}, {"commit", writer_commit}, {NULL, NULL}};
static const sonde_lua_type writer_type = {"writer of a teacher's cache", free_writer, writer_methods};

void sonde_bind_teacher(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"divergence", core_divergence}, {"teacher_cache", core_teacher_cache},
      {"teacher_cache_writer", core_teacher_cache_writer}, {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
