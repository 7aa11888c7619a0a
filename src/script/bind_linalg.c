/* bind_linalg.c - least squares and singular values in Lua. */
#include "config.h"

#include "cpu/linalg.h"
#include "script/script.h"
#include "tensor/tensor.h"

static void free_lstsq(void *p) { sonde_lstsq_free(p); }
static const sonde_lua_type lstsq_type;

static const sonde_tensor *to_f32(lua_State *L, int arg) {
  const sonde_tensor *t = sonde_lua_handle(L, arg, &sonde_lua_tensor);
  if (t->shape.dtype != SONDE_F32 || t->shape.rank < 1) sonde_lua_fail(L, "an f32 tensor with axes is needed");
  return t;
}

/* core.least_squares(in, out) -> s, for rows of so many inputs and outputs */
static int core_least_squares(lua_State *L) {
  int64_t in = sonde_lua_integer(L, 1, 1, INT32_MAX), out = sonde_lua_integer(L, 2, 1, INT32_MAX);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &lstsq_type, 0);
  box->p = sonde_lstsq_new(in, out, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  sonde_lua_account(L, box, sonde_lstsq_bytes(box->p));
  return 1;
}

/* s:add(x, y[, first, count]): rows x [.., in], y [.., out]; from `first` (from 1), `count` of them, or all */
static int lstsq_add(lua_State *L) {
  sonde_lstsq *s = sonde_lua_handle(L, 1, &lstsq_type);
  const sonde_tensor *x = to_f32(L, 2), *y = to_f32(L, 3);
  int64_t in = sonde_lstsq_in(s), out = sonde_lstsq_out(s);
  int64_t rows = sonde_shape_count(&x->shape) / in;
  if (x->shape.dim[x->shape.rank - 1] != in || y->shape.dim[y->shape.rank - 1] != out ||
      sonde_shape_count(&y->shape) != rows * out)
    return sonde_lua_fail(L, "least squares: rows of %lld inputs and %lld outputs are needed, as many of each",
                          (long long)in, (long long)out);
  int64_t first = sonde_lua_opt_integer(L, 4, 1, 1, INT64_MAX) - 1;
  int64_t count = sonde_lua_opt_integer(L, 5, rows - first, INT64_MIN, INT64_MAX);
  if (count < 0 || count > rows || first > rows - count)
    return sonde_lua_fail(L, "least squares: rows %lld.. are not among %lld", (long long)first + 1, (long long)rows);
  sonde_error err = {0};
  const float *from = sonde_lua_read(L, x), *to = sonde_lua_read(L, y);
  sonde_lua_check(L, sonde_lstsq_add(s, from + first * in, to + first * out,
                                     count, &err), &err);
  lua_settop(L, 1);
  return 1;
}

/* s:merge(other): joins the other's rows */
static int lstsq_merge(lua_State *L) {
  sonde_error err = {0};
  sonde_lstsq *s = sonde_lua_handle(L, 1, &lstsq_type);
  sonde_lua_check(L, sonde_lstsq_merge(s, sonde_lua_handle(L, 2, &lstsq_type), &err), &err);
  lua_settop(L, 1);
  return 1;
}

/* s:rows() -> how many were added */
static int lstsq_rows(lua_State *L) {
  lua_pushinteger(L, sonde_lstsq_rows(sonde_lua_handle(L, 1, &lstsq_type)));
  return 1;
}

/* s:solve() -> W [in, out], b [out], residual relative to the spread of Y */
static int lstsq_solve(lua_State *L) {
  const sonde_lstsq *s = sonde_lua_handle(L, 1, &lstsq_type);
  int64_t dim[2] = {sonde_lstsq_in(s), sonde_lstsq_out(s)};
  sonde_shape w_shape = sonde_shape_make(SONDE_F32, 2, dim), b_shape = sonde_shape_make(SONDE_F32, 1, dim + 1);
  sonde_tensor *w = sonde_lua_new_tensor(L, &w_shape), *b = sonde_lua_new_tensor(L, &b_shape);
  sonde_error err = {0};
  double residual = 0;
  sonde_lua_check(L, sonde_lstsq_solve(s, sonde_lua_write(L, w), sonde_lua_write(L, b), &residual, &err), &err);
  lua_pushnumber(L, residual);
  return 3;
}

static const luaL_Reg lstsq_methods[] = {
    {"add", lstsq_add}, {"merge", lstsq_merge}, {"rows", lstsq_rows}, {"solve", lstsq_solve}, {NULL, NULL},
};

static const sonde_lua_type lstsq_type = {"least squares", free_lstsq, lstsq_methods};

/* core.singular_values(x) -> [.., min(m, n)] for x [.., m, n], the largest first */
static int core_singular_values(lua_State *L) {
  const sonde_tensor *x = to_f32(L, 1);
  int rank = x->shape.rank;
  if (rank < 2) return sonde_lua_fail(L, "singular values: matrices are needed");
  int64_t m = x->shape.dim[rank - 2], n = x->shape.dim[rank - 1], k = m < n ? m : n;
  sonde_shape shape = sonde_shape_make(SONDE_F32, rank - 1, x->shape.dim);
  shape.dim[rank - 2] = k;
  sonde_tensor *values = sonde_lua_new_tensor(L, &shape);
  sonde_error err = {0};
  const float *from = sonde_lua_read(L, x);
  float *to = sonde_lua_write(L, values);
  for (int64_t i = 0, count = k ? sonde_shape_count(&shape) / k : 0; i < count; i++)
    sonde_lua_check(L, sonde_singular_values(from + i * m * n, m, n, to + i * k,
                                             &err), &err);
  return 1;
}

void sonde_bind_linalg(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"least_squares", core_least_squares}, {"singular_values", core_singular_values}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
