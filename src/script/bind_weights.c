/* bind_weights.c - files of weights in Lua: opened, listed, read into parameters, written from them. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "io/bitmask.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "script/script.h"
#include "tensor/tensor.h"

static void free_weights(void *p) { sonde_st_free(p); }

static const sonde_lua_type weights_type;

static sonde_st *to_weights(lua_State *L) { return sonde_lua_handle(L, 1, &weights_type); }

/* core.weights_open(path) -> weights: a file (of llama2.c too), an index with its shards, or a folder with either */
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

/* w:read_sparse(name, tensor, mask): the matrix of the tensors NAME.bitmask and NAME.values (bitmask.h), and which of
 * its weights they hold; both f32 of its dims */
static int weights_read_sparse(lua_State *L) {
  const sonde_st *st = to_weights(L);
  const char *name = sonde_lua_string(L, 2);
  sonde_tensor *t = sonde_lua_handle(L, 3, &sonde_lua_tensor), *mask = sonde_lua_handle(L, 4, &sonde_lua_tensor);
  if (t->shape.dtype != SONDE_F32 || mask->shape.dtype != SONDE_F32 || t->shape.rank < 1 ||
      !sonde_shape_equal(&t->shape, &mask->shape))
    return sonde_lua_fail(L, "a sparse matrix is read into f32 tensors of one shape");
  sonde_error err = {0};
  sonde_lua_check(L, sonde_bitmask_read(st, name, &t->shape, sonde_lua_write(L, t), sonde_lua_write(L, mask), &err),
                  &err);
  return 0;
}

/* w:meta(key) -> what a file's header says under it, or nil */
static int weights_meta(lua_State *L) {
  lua_pushstring(L, sonde_st_meta(to_weights(L), sonde_lua_string(L, 2)));
  return 1;
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
    {"names", weights_names}, {"find", weights_find}, {"read", weights_read}, {"equal", weights_equal},
    {"meta", weights_meta},   {"read_sparse", weights_read_sparse}, {NULL, NULL},
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

/* Names, tensors and dtypes (nil: none is rounded) in arguments `from`, from + 1, from + 2 -> items, on the stack */
static sonde_st_item *take_items(lua_State *L, int from, int *count) {
  const char **dtype = NULL;
  int n, n_tensors, n_dtypes;
  const char **name = sonde_lua_strings(L, from, "the names", &n);
  sonde_tensor **tensor = (sonde_tensor **)sonde_lua_handles(L, from + 1, "the tensors", &n_tensors, take_tensor);
  if (n != n_tensors) sonde_lua_fail(L, "%d names for %d tensors", n, n_tensors);
  if (!lua_isnil(L, from + 2)) {
    dtype = sonde_lua_strings(L, from + 2, "the dtypes", &n_dtypes);
    if (n != n_dtypes) sonde_lua_fail(L, "%d dtypes for %d tensors", n_dtypes, n);
  }
  const size_t room = 2 * (size_t)n + 1;      /* a sparse matrix is two items */
  sonde_st_item *items = lua_newuserdatauv(L, room * sizeof *items, 0);
  memset(items, 0, room * sizeof *items);
  for (int k = 0; k < n; k++) {
    const sonde_tensor *t = tensor[k];
    items[k].name = name[k];
    items[k].rank = t->shape.rank;
    items[k].dim = t->shape.dim;
    items[k].data = sonde_lua_read(L, t);
    choose_dtype(L, &items[k], t, dtype ? dtype[k] : "f32");
  }
  *count = n;
  return items;
}

/* Puts the two tensors of a sparse matrix in the place of items[k] and at items[n]; what they point at is pushed. */
static void make_sparse(lua_State *L, sonde_st_item *items, int k, int n, const sonde_tensor *mask) {
  sonde_st_item *values = &items[k], *bits = &items[n];
  const int rank = values->rank;
  if (rank < 1 || !values->from_f32 == (values->dtype != SONDE_ST_F32) || mask->shape.dtype != SONDE_F32 ||
      mask->shape.rank != rank || memcmp(mask->shape.dim, values->dim, (size_t)rank * sizeof *values->dim))
    sonde_lua_fail(L, "a mask is f32 and has the dims of an f32 tensor");
  const int64_t in = values->dim[rank - 1], rows = sonde_shape_count(&mask->shape) / in;
  luaL_checkstack(L, 8, "a sparse matrix");
  uint8_t *packed = lua_newuserdatauv(L, (size_t)(rows * sonde_bitmask_bytes(in)), 0);
  int64_t *dim = lua_newuserdatauv(L, (size_t)(rank + 2) * sizeof *dim, 0);
  int even;
  const int64_t count = sonde_bitmask_pack(sonde_lua_read(L, mask), rows, in, packed, &even);
  float *taken = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *taken, 0);
  sonde_bitmask_take(values->data, packed, rows, in, taken);
  memcpy(dim, values->dim, (size_t)rank * sizeof *dim);
  dim[rank - 1] = sonde_bitmask_bytes(in);
  dim[rank] = even ? rows : count;
  dim[rank + 1] = even ? count / rows : 1;
  *bits = (sonde_st_item){lua_pushfstring(L, "%s.bitmask", values->name), SONDE_ST_U8, rank, dim, packed, 0};
  *values = (sonde_st_item){lua_pushfstring(L, "%s.values", values->name), values->dtype, even ? 2 : 1, dim + rank,
                            taken, values->from_f32};
}

/* core.weights_save(path, names, tensors[, dtypes[, masks]]): whole or not at all. dtypes has "f32", "bf16" or "f16"
 * for each, to which f32 tensors are rounded; without it none is. masks, a table with gaps, has f32 tensors: what is 0
 * there is left out, in the form of bitmask.h. */
static int weights_save(lua_State *L) {
  static const char *const meta[] = {"format", "pt", NULL};   /* required by Hugging Face's loader */
  int n, all;
  lua_settop(L, 5);
  sonde_lua_options(L, 5);
  const char *path = sonde_lua_string(L, 1);
  sonde_st_item *items = take_items(L, 2, &n);
  all = n;
  for (int k = 0; k < n; k++) {
    if (lua_rawgeti(L, 5, k + 1) == LUA_TNIL) lua_pop(L, 1);
    else make_sparse(L, items, k, all++, sonde_lua_handle(L, lua_gettop(L), &sonde_lua_tensor));
  }
  n = all;
  sonde_error err = {0};
  sonde_lua_check(L, sonde_st_save(path, items, n, meta, &err), &err);
  return 0;
}

/* ---- GGUF --------------------------------------------------------------------------------------------------- */

static void free_gguf(void *p) {
  sonde_gguf_free(p);
  sonde_release(p);
}

static const sonde_lua_type gguf_type;

static sonde_gguf *to_gguf(lua_State *L) { return sonde_lua_handle(L, 1, &gguf_type); }

/* core.gguf() -> the keys of a GGUF file, none yet */
static int gguf_new(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &gguf_type, 0);
  box->p = sonde_alloc(sizeof(sonde_gguf));
  if (!box->p) sonde_lua_check(L, sonde_fail(&err, SONDE_ENOMEM, "no memory for a GGUF file"), &err);
  memset(box->p, 0, sizeof(sonde_gguf));
  return 1;
}

/* g:u32(key, value), g:f32(key, value), g:bool(key, value), g:string(key, value) */
static int gguf_u32(lua_State *L) {
  int64_t value = sonde_lua_integer(L, 3, 0, UINT32_MAX);
  const char *key = sonde_lua_string(L, 2);
  sonde_gguf_u32(to_gguf(L), key, (uint32_t)value);
  return 0;
}
static int gguf_f32(lua_State *L) {
  double value = sonde_lua_number(L, 3);
  const char *key = sonde_lua_string(L, 2);
  sonde_gguf_f32(to_gguf(L), key, (float)value);
  return 0;
}
static int gguf_bool(lua_State *L) {
  const char *key = sonde_lua_string(L, 2);
  sonde_gguf_bool(to_gguf(L), key, lua_toboolean(L, 3));
  return 0;
}
static int gguf_string(lua_State *L) {
  const char *key = sonde_lua_string(L, 2), *value = sonde_lua_string(L, 3);
  sonde_gguf_string(to_gguf(L), key, value);
  return 0;
}

/* g:strings(key, list), g:i32s(key, list), g:f32s(key, list) */
static int gguf_strings(lua_State *L) {
  int n;
  lua_settop(L, 3);
  const char **value = sonde_lua_strings(L, 3, "the strings", &n);
  const char *key = sonde_lua_string(L, 2);
  sonde_gguf_strings(to_gguf(L), key, value, n);
  return 0;
}
static int gguf_i32s(lua_State *L) {
  int64_t n;
  lua_settop(L, 3);
  const int64_t *value = sonde_lua_new_integers(L, 3, "the numbers", &n);
  for (int64_t k = 0; k < n; k++)
    if (value[k] < INT32_MIN || value[k] > INT32_MAX) return sonde_lua_refuse(L, 3, "a list of 32-bit numbers");
  const char *key = sonde_lua_string(L, 2);
  sonde_gguf_i32s(to_gguf(L), key, value, n);
  return 0;
}
static int gguf_f32s(lua_State *L) {
  lua_settop(L, 3);
  int room = lua_istable(L, 3) && lua_rawlen(L, 3) < INT32_MAX ? (int)lua_rawlen(L, 3) : 0;
  double *value = lua_newuserdatauv(L, (size_t)(room + 1) * sizeof *value, 0);
  int n = sonde_lua_numbers(L, 3, "the numbers", value, room);
  const char *key = sonde_lua_string(L, 2);
  sonde_gguf_f32s(to_gguf(L), key, value, n);
  return 0;
}

/* g:save(path, names, tensors[, dtypes]): as core.weights_save */
static int gguf_save(lua_State *L) {
  int n;
  lua_settop(L, 5);
  const char *path = sonde_lua_string(L, 2);
  const sonde_st_item *items = take_items(L, 3, &n);
  sonde_error err = {0};
  sonde_lua_check(L, sonde_gguf_save(to_gguf(L), path, items, n, &err), &err);
  return 0;
}

static const luaL_Reg gguf_methods[] = {
    {"u32", gguf_u32},         {"f32", gguf_f32},   {"bool", gguf_bool}, {"string", gguf_string},
    {"strings", gguf_strings}, {"i32s", gguf_i32s}, {"f32s", gguf_f32s}, {"save", gguf_save},
    {NULL, NULL},
};

static const sonde_lua_type gguf_type = {"GGUF file", free_gguf, gguf_methods};

void sonde_bind_weights(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"weights_open", weights_open}, {"weights_save", weights_save}, {"gguf", gguf_new}, {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
