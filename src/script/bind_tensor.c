/* bind_tensor.c - tensors in Lua: made, filled from a table, read back. */
#include "config.h"

#include <string.h>

#include "base/sha256.h"
#include "script/script.h"
#include "tensor/bf16.h"
#include "tensor/tensor.h"

static const char *const dtype_names[] = {"f32", "bf16", "i32"};

sonde_shape sonde_lua_to_shape(lua_State *L, int dtype_arg, int dims_arg) {
  int64_t dim[SONDE_MAX_RANK];
  const char *name = sonde_lua_string(L, dtype_arg);
  int dtype = -1;
  for (int k = 0; k < 3; k++)
    if (!strcmp(name, dtype_names[k])) dtype = k;
  if (dtype < 0) sonde_lua_fail(L, "unknown dtype '%s'; known: f32, bf16, i32", name);
  int rank = sonde_lua_integers(L, dims_arg, "a shape", dim, SONDE_MAX_RANK);
  return sonde_shape_make(dtype, rank, dim);
}

void sonde_lua_push_dims(lua_State *L, const sonde_shape *shape) {
  lua_createtable(L, shape->rank, 0);
  for (int k = 0; k < shape->rank; k++) {
    lua_pushinteger(L, shape->dim[k]);
    lua_rawseti(L, -2, k + 1);
  }
}

void sonde_lua_push_tensor(lua_State *L, sonde_tensor *t) {
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_tensor, 0);
  box->p = sonde_tensor_ref(t);
  sonde_lua_account(L, box, sonde_tensor_bytes(t));
}

sonde_tensor *sonde_lua_new_tensor(lua_State *L, const sonde_shape *shape) {
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_tensor, 0);
  sonde_tensor *t = box->p = sonde_tensor_new(shape, &err);
  if (!t) sonde_lua_raise(L, &err);
  sonde_lua_account(L, box, t->bytes);
  return t;
}

const void *sonde_lua_read(lua_State *L, const sonde_tensor *t) {
  sonde_error err = {0};
  const void *x = sonde_tensor_read(t, &err);
  if (!x) sonde_lua_raise(L, &err);
  return x;
}

void *sonde_lua_write(lua_State *L, sonde_tensor *t) {
  sonde_error err = {0};
  void *x = sonde_tensor_write(t, &err);
  if (!x) sonde_lua_raise(L, &err);
  return x;
}

static sonde_tensor *to_tensor(lua_State *L) { return sonde_lua_handle(L, 1, &sonde_lua_tensor); }

/* ---- one element ---- */

static void push_element(lua_State *L, const sonde_shape *s, const void *data, int64_t i) {
  if (s->dtype == SONDE_I32) lua_pushinteger(L, ((const int32_t *)data)[i]);
  else if (s->dtype == SONDE_BF16) lua_pushnumber(L, sonde_from_bf16(((const uint16_t *)data)[i]));
  else lua_pushnumber(L, ((const float *)data)[i]);
}

/* Stores the number on top of the stack. */
static void take_element(lua_State *L, sonde_tensor *t, int64_t i) {
  int ok;
  if (t->shape.dtype == SONDE_I32) {
    lua_Integer v = lua_tointegerx(L, -1, &ok);
    if (!ok || v != (int32_t)v)
      sonde_lua_fail(L, "element %lld of an i32 tensor cannot be %s", (long long)i + 1, sonde_lua_shown(L, -1));
    ((int32_t *)sonde_lua_write(L, t))[i] = (int32_t)v;
    return;
  }
  double v = lua_tonumberx(L, -1, &ok);
  if (!ok) sonde_lua_fail(L, "element %lld must be a number, not a %s", (long long)i + 1, luaL_typename(L, -1));
  if (t->shape.dtype == SONDE_BF16) ((uint16_t *)sonde_lua_write(L, t))[i] = sonde_to_bf16((float)v);
  else ((float *)sonde_lua_write(L, t))[i] = (float)v;
}

/* Copies the numbers of a table, nested `depth` deep so far, in row-major order; `at` is the next element. */
static void take_table(lua_State *L, int table, int depth, sonde_tensor *t, int64_t count, int64_t *at) {
  if (depth > SONDE_MAX_RANK)
    sonde_lua_fail(L, "values nested more than %d deep, or a table that holds itself", SONDE_MAX_RANK);
  luaL_checkstack(L, 4, "values nested too deeply");
  lua_Unsigned n = lua_rawlen(L, table);
  for (lua_Unsigned k = 1; k <= n; k++) {
    if (lua_rawgeti(L, table, (lua_Integer)k) == LUA_TTABLE) {
      take_table(L, lua_gettop(L), depth + 1, t, count, at);
    } else {
      if (*at >= count) sonde_lua_fail(L, "too many values: the tensor has %lld elements", (long long)count);
      take_element(L, t, (*at)++);
    }
    lua_pop(L, 1);
  }
}

/* ---- functions ---- */

void sonde_lua_fill(lua_State *L, sonde_tensor *t, int values) {
  int64_t count = sonde_shape_count(&t->shape), at = 0;
  if (lua_type(L, values) == LUA_TNUMBER) {
    lua_pushvalue(L, values);
    for (; at < count; at++) take_element(L, t, at);
    lua_pop(L, 1);
    return;
  }
  if (lua_type(L, values) != LUA_TTABLE)
    sonde_lua_refuse(L, values, "a list of numbers, nested or flat, or one number");
  take_table(L, values, 1, t, count, &at);
  if (at != count) sonde_lua_fail(L, "%lld values for a tensor of %lld elements", (long long)at, (long long)count);
}

/* t:fill(values): a list, nested or flat, in row-major order, or one number for all */
static int tensor_fill(lua_State *L) {
  sonde_lua_fill(L, to_tensor(L), 2);
  lua_settop(L, 1);
  return 1;
}

/* core.tensor(dtype, dims[, values]) -> tensor, zero-filled without values */
static int core_tensor(lua_State *L) {
  lua_settop(L, 3);
  sonde_shape shape = sonde_lua_to_shape(L, 1, 2);
  sonde_tensor *t = sonde_lua_new_tensor(L, &shape);
  if (!lua_isnil(L, 3)) sonde_lua_fill(L, t, 3);
  return 1;
}

static int64_t element_arg(lua_State *L, const sonde_tensor *t) {
  int64_t i = sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX);
  int64_t count = sonde_shape_count(&t->shape);
  if (i < 1 || i > count)
    sonde_lua_fail(L, "element %lld of a tensor of %lld elements", (long long)i, (long long)count);
  return i - 1;
}

/* t:get(i) -> the i-th element in row-major order, from 1 */
static int tensor_get(lua_State *L) {
  sonde_tensor *t = to_tensor(L);
  push_element(L, &t->shape, sonde_lua_read(L, t), element_arg(L, t));
  return 1;
}

/* t:set(i, value) */
static int tensor_set(lua_State *L) {
  sonde_tensor *t = to_tensor(L);
  int64_t i = element_arg(L, t);
  if (t->lacks == SONDE_LACKS_VALUES)
    return sonde_lua_fail(L, "the parameter has no values yet, so none of them can be set alone; call model:init() "
                             "first, or fill all");
  lua_settop(L, 3);
  take_element(L, t, i);
  return 0;
}

/* t:copy(from): takes the elements of a tensor of the same dtype and shape */
static int tensor_copy(lua_State *L) {
  sonde_tensor *t = to_tensor(L);
  const sonde_tensor *from = sonde_lua_handle(L, 2, &sonde_lua_tensor);
  if (t->shape.dtype != from->shape.dtype || !sonde_shape_equal(&t->shape, &from->shape))
    return sonde_lua_fail(L, "a tensor is copied from one of the same dtype and shape");
  memmove(sonde_lua_write(L, t), sonde_lua_read(L, from), (size_t)t->bytes);
  return 0;
}

/* t:values() -> all elements as a flat list */
static int tensor_values(lua_State *L) {
  sonde_tensor *t = to_tensor(L);
  int64_t count = sonde_shape_count(&t->shape);
  if (count > 1 << 26) return sonde_lua_fail(L, "%lld elements are too many for a Lua table", (long long)count);
  lua_createtable(L, (int)count, 0);
  for (int64_t k = 0; k < count; k++) {
    push_element(L, &t->shape, sonde_lua_read(L, t), k);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* t:dims() -> list */
static int tensor_dims(lua_State *L) {
  sonde_lua_push_dims(L, &to_tensor(L)->shape);
  return 1;
}

/* t:dtype() -> "f32", "bf16", "i32" */
static int tensor_dtype(lua_State *L) {
  lua_pushstring(L, sonde_dtype_name(to_tensor(L)->shape.dtype));
  return 1;
}

/* t:count() -> elements */
static int tensor_count(lua_State *L) {
  lua_pushinteger(L, sonde_shape_count(&to_tensor(L)->shape));
  return 1;
}

/* t:sha256() -> hex, over dtype, shape and elements */
static int tensor_sha256(lua_State *L) {
  const sonde_tensor *t = to_tensor(L);
  char hex[65];
  sonde_sha256 s;
  sonde_sha256_init(&s);
  sonde_sha256_add(&s, &t->shape.dtype, sizeof t->shape.dtype);
  sonde_sha256_add(&s, t->shape.dim, (size_t)t->shape.rank * sizeof t->shape.dim[0]);
  sonde_sha256_add(&s, sonde_lua_read(L, t), (size_t)t->bytes);
  sonde_sha256_hex(&s, hex);
  lua_pushstring(L, hex);
  return 1;
}

static void free_tensor(void *p) { sonde_tensor_free(p); }

static const luaL_Reg tensor_methods[] = {
    {"copy", tensor_copy},   {"fill", tensor_fill},     {"get", tensor_get},
    {"set", tensor_set},     {"values", tensor_values}, {"dims", tensor_dims},
    {"dtype", tensor_dtype}, {"count", tensor_count},   {"sha256", tensor_sha256},
    {NULL, NULL},
};

const sonde_lua_type sonde_lua_tensor = {"tensor", free_tensor, tensor_methods};

void sonde_bind_tensor(lua_State *L) {
  static const luaL_Reg functions[] = {{"tensor", core_tensor}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
