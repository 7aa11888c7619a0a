/* bind_weights.c - safetensors files in Lua: opened, listed, read into parameters, written from them. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "io/safetensors.h"
#include "script/script.h"
#include "tensor/tensor.h"

static void free_weights(void *p) { sonde_st_free(p); }

static const sonde_lua_type weights_type;

static sonde_st *to_weights(lua_State *L) { return sonde_lua_handle(L, 1, &weights_type); }

/* core.weights_open(path) -> weights: a file, an index with its shards, or a folder with either */
static int weights_open(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &weights_type, 0);
  box->p = sonde_st_open(path, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* w:names() -> list, in the order of the bytes */
static int weights_names(lua_State *L) {
  sonde_st *st = to_weights(L);
  lua_createtable(L, (int)sonde_st_count(st), 0);
  for (int64_t k = 0; k < sonde_st_count(st); k++) {
    lua_pushstring(L, sonde_st_at(st, k)->name);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* w:find(name) -> {dims, dtype, file}, or nil */
static int weights_find(lua_State *L) {
  const sonde_st_entry *e = sonde_st_find(to_weights(L), sonde_lua_string(L, 2));
  if (!e) return lua_pushnil(L), 1;
  lua_createtable(L, 0, 3);
  lua_createtable(L, e->rank, 0);
  for (int k = 0; k < e->rank; k++) {
    lua_pushinteger(L, e->dim[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "dims");
  lua_pushstring(L, sonde_st_dtype_name(e->dtype));
  lua_setfield(L, -2, "dtype");
  lua_pushstring(L, e->file);
  lua_setfield(L, -2, "file");
  return 1;
}

/* w:read(name, tensor): f32, f16 and bf16 become the tensor's dtype; the dims must be equal */
static int weights_read(lua_State *L) {
  sonde_st *st = to_weights(L);
  const char *name = sonde_lua_string(L, 2);
  sonde_tensor *t = sonde_lua_handle(L, 3, &sonde_lua_tensor);
  const sonde_st_entry *e = sonde_st_find(st, name);
  if (!e) return sonde_lua_fail(L, "there is no tensor '%s' among the weights", name);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_st_read_tensor(e, t, &err), &err);
  return 0;
}

/* w:equal(name, other) -> whether the two tensors have the same shape, dtype and bytes */
static int weights_equal(lua_State *L) {
  sonde_st *st = to_weights(L);
  const sonde_st_entry *a = sonde_st_find(st, sonde_lua_string(L, 2)), *b = sonde_st_find(st, sonde_lua_string(L, 3));
  lua_pushboolean(L, a && b && a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof a->dim) &&
                       (!a->bytes || !memcmp(a->data, b->data, (size_t)a->bytes)));
  return 1;
}

static const luaL_Reg weights_methods[] = {
    {"names", weights_names}, {"find", weights_find}, {"read", weights_read}, {"equal", weights_equal}, {NULL, NULL},
};

static const sonde_lua_type weights_type = {"weights file", free_weights, weights_methods};

/* The dtype that a tensor is saved as: what the text says, for f32 tensors. */
static void choose_dtype(lua_State *L, sonde_st_item *item, const sonde_tensor *t, const char *dtype) {
  int half = !strcmp(dtype, "f32")    ? 0
             : !strcmp(dtype, "bf16") ? SONDE_ST_BF16
             : !strcmp(dtype, "f16")  ? SONDE_ST_F16
                                      : -1;
  if (half < 0) sonde_lua_fail(L, "weights cannot be saved as '%s'; known: f32, bf16, f16", dtype);
  item->from_f32 = half && t->shape.dtype == SONDE_F32;
  item->dtype = item->from_f32 ? half : sonde_st_dtype_of(t->shape.dtype);
}

static void *take_tensor(lua_State *L, int index) { return sonde_lua_handle(L, index, &sonde_lua_tensor); }

/* core.weights_save(path, names, tensors[, dtypes]): whole or not at all. dtypes has "f32", "bf16" or "f16" for each,
 * to which f32 tensors are rounded; without it none is. */
static int weights_save(lua_State *L) {
  static const char *const meta[] = {"format", "pt", NULL};   /* required by Hugging Face's loader */
  lua_settop(L, 4);
  const char *path = sonde_lua_string(L, 1), **dtype = NULL;
  int n, n_tensors, n_dtypes;
  const char **name = sonde_lua_strings(L, 2, "the names", &n);
  sonde_tensor **tensor = (sonde_tensor **)sonde_lua_handles(L, 3, "the tensors", &n_tensors, take_tensor);
  if (n != n_tensors) return sonde_lua_fail(L, "%d names for %d tensors", n, n_tensors);
  if (!lua_isnil(L, 4)) {
    dtype = sonde_lua_strings(L, 4, "the dtypes", &n_dtypes);
    if (n != n_dtypes) return sonde_lua_fail(L, "%d dtypes for %d tensors", n_dtypes, n);
  }
  sonde_st_item *items = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *items, 0);
  memset(items, 0, (size_t)(n + 1) * sizeof *items);
  for (int k = 0; k < n; k++) {
    const sonde_tensor *t = tensor[k];
    items[k].name = name[k];
    items[k].rank = t->shape.rank;
    items[k].dim = t->shape.dim;
    items[k].data = sonde_lua_read(L, t);
    choose_dtype(L, &items[k], t, dtype ? dtype[k] : "f32");
  }
  sonde_error err = {0};
  sonde_lua_check(L, sonde_st_save(path, items, n, meta, &err), &err);
  return 0;
}

void sonde_bind_weights(lua_State *L) {
  static const luaL_Reg functions[] = {{"weights_open", weights_open}, {"weights_save", weights_save}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
