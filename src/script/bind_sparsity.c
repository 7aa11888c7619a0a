/* bind_sparsity.c - sparsity methods in Lua: those of plugins and those that a script has registered alike, and masks
 * by their scores. */
#include "config.h"

#include <string.h>

#include "graph/graph.h"
#include "plugin/host.h"
#include "plugin/registry.h"
#include "plugin/sparsity.h"
#include "script/script.h"
#include "tensor/tensor.h"

/* Arguments of the functions: a name, the options, a matrix. */
enum { ARG_NAME = 1, ARG_OPTIONS = 2, ARG_MATRIX = 3, ARG_MORE = 4 };

static const char *const scopes[] = {"row", "matrix", "model", NULL};

static const sonde_entry *find(lua_State *L, const char *name) {
  sonde_error err = {0};
  sonde_registry *r = sonde_registry_of(sonde_lua_ctx(L), &err);
  const sonde_entry *e = r ? sonde_registry_find(r, "sparsity", name, &err) : NULL;
  if (!e) sonde_lua_raise(L, &err);
  return e;
}

static const sonde_sparsity *functions_of(lua_State *L, const sonde_entry *e) {
  sonde_error err = {0};
  const sonde_sparsity *f = sonde_entry_functions(e, "sparsity", &err);
  if (!f) sonde_lua_raise(L, &err);
  return f;
}

/* core.sparsity(name) -> {norm, gram, gathers, prunes, scope} of a method that a plugin has; nil for one of a script */
static int core_sparsity(lua_State *L) {
  const sonde_entry *e = find(L, sonde_lua_string(L, ARG_NAME));
  if (!e->plugin) return lua_pushnil(L), 1;
  const sonde_sparsity *f = functions_of(L, e);
  lua_createtable(L, 0, 5);
  sonde_lua_set_flag(L, "norm", (f->needs & SONDE_NEEDS_NORM) != 0);
  sonde_lua_set_flag(L, "gram", (f->needs & SONDE_NEEDS_GRAM) != 0);
  sonde_lua_set_flag(L, "gathers", f->gather != NULL);
  sonde_lua_set_flag(L, "prunes", f->prune != NULL);
  lua_pushstring(L, scopes[f->scope]);
  lua_setfield(L, -2, "scope");
  return 1;
}

/* ---- a matrix ---------------------------------------------------------------------------------------------------- */

typedef struct matrix {
  sonde_sparse s;
  sonde_parameter is;
  sonde_call call;
  sonde_shape shape;           /* of the scores: [out, in] */
} matrix;

static sonde_tensor *tensor_of(lua_State *L, int at, const char *what, int64_t rows, int64_t columns) {
  sonde_tensor *t = sonde_lua_handle(L, at, &sonde_lua_tensor);
  if (t->shape.dtype != SONDE_F32 || sonde_shape_count(&t->shape) != rows * columns)
    sonde_lua_fail(L, "'%s' of a matrix must be f32 [%lld, %lld]", what, (long long)rows, (long long)columns);
  return t;
}

/* The tensor in that field, which stays on the stack; NULL: there is none. */
static const float *field(lua_State *L, const char *key, int64_t rows, int64_t columns) {
  if (lua_getfield(L, ARG_MATRIX, key) == LUA_TNIL) return NULL;
  return sonde_lua_read(L, tensor_of(L, lua_gettop(L), key, rows, columns));
}

/* The table of argument ARG_MATRIX: {name, role, weight, norm, gram, gathered, tokens, seed, sparsity, keep, group}.
 * What it points at lives as long as the stack. */
static void read_matrix(lua_State *L, matrix *m) {
  sonde_lua_own(L, ARG_MATRIX, "a matrix");
  luaL_checkstack(L, 12, "a matrix");
  lua_getfield(L, ARG_MATRIX, "weight");
  const sonde_tensor *w = sonde_lua_handle(L, lua_gettop(L), &sonde_lua_tensor);
  if (w->shape.rank < 2 || w->shape.dtype != SONDE_F32) sonde_lua_fail(L, "a matrix has a weight f32 [out, in]");
  const int64_t in = w->shape.dim[w->shape.rank - 1], out = sonde_shape_count(&w->shape) / in;
  lua_getfield(L, ARG_MATRIX, "role");
  const int role = lua_isnil(L, -1) ? SONDE_ROLE_OTHER : sonde_lua_to_role(L, lua_gettop(L));
  m->is = (sonde_parameter){sizeof m->is, role, sonde_lua_field_string(L, ARG_MATRIX, "name", "weight"), w->shape};
  m->call = (sonde_call){.size = sizeof m->call, .host = sonde_host_table(), .pool = sonde_lua_ctx(L)->pool};
  m->s = (sonde_sparse){.size = sizeof m->s, .parameter = &m->is, .out = out, .in = in, .w = sonde_lua_read(L, w),
                        .tokens = sonde_lua_field_int(L, ARG_MATRIX, "tokens", 0),
                        .seed = (uint64_t)sonde_lua_field_int(L, ARG_MATRIX, "seed", 0), .call = &m->call,
                        .sparsity = sonde_lua_field_number(L, ARG_MATRIX, "sparsity", 0),
                        .keep = (int32_t)sonde_lua_field_integer(L, ARG_MATRIX, "keep", 0, 0, INT32_MAX),
                        .group = (int32_t)sonde_lua_field_integer(L, ARG_MATRIX, "group", 0, 0, INT32_MAX)};
  m->s.norm = field(L, "norm", 1, in);
  m->s.gram = field(L, "gram", in, in);
  m->s.gathered = field(L, "gathered", out, in);
  const int64_t dim[2] = {out, in};
  m->shape = sonde_shape_make(SONDE_F32, 2, dim);
}

static void need(lua_State *L, const sonde_entry *e, const matrix *m, int gathers) {
  const sonde_sparsity *f = functions_of(L, e);
  if ((f->needs & SONDE_NEEDS_NORM && !m->s.norm) || (f->needs & SONDE_NEEDS_GRAM && !m->s.gram))
    sonde_lua_fail(L, "sparsity '%s' needs the inputs of %s", e->name, m->is.name);
  if (f->gather && !gathers && !m->s.gathered)
    sonde_lua_fail(L, "sparsity '%s' needs what it gathers of %s", e->name, m->is.name);
}

/* ---- scores ------------------------------------------------------------------------------------------------------ */

/* What the function of a script's method has returned, at the top of the stack. */
static const sonde_tensor *scores_of(lua_State *L, const sonde_entry *e, const sonde_sparse *s) {
  if (!sonde_lua_is(L, -1, &sonde_lua_tensor)) sonde_lua_fail(L, "sparsity '%s' gave no scores", e->name);
  return tensor_of(L, lua_gettop(L), "score", s->out, s->in);
}

/* core.sparsity_score(name, options, matrix) -> [out, in]: what each weight is worth */
static int core_score(lua_State *L) {
  const sonde_entry *e = find(L, sonde_lua_string(L, ARG_NAME));
  matrix m;
  sonde_error err = {0};
  lua_settop(L, ARG_MATRIX);
  if (!e->plugin) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, (lua_Integer)e->handle);
    lua_pushvalue(L, ARG_MATRIX);
    lua_pushvalue(L, ARG_OPTIONS);
    read_matrix(L, &m);
    lua_settop(L, ARG_MATRIX + 3);
    lua_call(L, 2, 1);
    scores_of(L, e, &m.s);
    return 1;
  }
  const sonde_value *values = sonde_lua_values(L, e, ARG_OPTIONS);
  read_matrix(L, &m);
  need(L, e, &m, 0);
  sonde_tensor *score = sonde_lua_new_tensor(L, &m.shape);
  int code = functions_of(L, e)->score(&m.s, values, sonde_lua_write(L, score), &err);
  if (code && !*err.text) sonde_fail(&err, code, "sparsity '%s' failed", e->name);
  sonde_lua_check(L, code, &err);
  return 1;
}

/* core.sparsity_prune(name, options, matrix, mask) -> the pruned matrix, of the weight's shape; the mask is changed */
static int core_prune(lua_State *L) {
  const sonde_entry *e = find(L, sonde_lua_string(L, ARG_NAME));
  matrix m;
  sonde_error err = {0};
  lua_settop(L, ARG_MORE);
  const sonde_value *values = sonde_lua_values(L, e, ARG_OPTIONS);
  read_matrix(L, &m);
  need(L, e, &m, 0);
  float *mask = sonde_lua_write(L, tensor_of(L, ARG_MORE, "mask", m.s.out, m.s.in));
  sonde_tensor *pruned = sonde_lua_new_tensor(L, &m.is.shape);
  sonde_lua_check(L, sonde_sparsity_prune(functions_of(L, e), &m.s, values, sonde_lua_write(L, pruned), mask, &err),
                  &err);
  return 1;
}

/* core.sparsity_gather(name, options, matrix, gradient, scale, sum): adds what scale times the gradient says */
static int core_gather(lua_State *L) {
  const sonde_entry *e = find(L, sonde_lua_string(L, ARG_NAME));
  matrix m;
  lua_settop(L, ARG_MORE + 2);
  const double scale = sonde_lua_number(L, ARG_MORE + 1);
  const sonde_value *values = sonde_lua_values(L, e, ARG_OPTIONS);
  read_matrix(L, &m);
  need(L, e, &m, 1);
  const float *g = sonde_lua_read(L, tensor_of(L, ARG_MORE, "gradient", m.s.out, m.s.in));
  functions_of(L, e)->gather(&m.s, values, g, scale,
                             sonde_lua_write(L, tensor_of(L, ARG_MORE + 2, "sum", m.s.out, m.s.in)));
  return 0;
}

/* The weight in that field of the table at 5, if it has one, is 0 where the mask is. */
static void clear_weight(lua_State *L, const sonde_scored *m) {
  if (lua_getfield(L, 5, "weight") == LUA_TNIL) return;
  float *w = sonde_lua_write(L, tensor_of(L, lua_gettop(L), "weight", m->out, m->in));
  for (int64_t k = 0; k < m->out * m->in; k++) w[k] = m->mask[k] == 0 ? 0 : w[k];
}

/* core.mask_zeros(mask) -> how many of its numbers are 0 */
static int core_mask_zeros(lua_State *L) {
  const sonde_tensor *t = sonde_lua_handle(L, 1, &sonde_lua_tensor);
  const float *x = sonde_lua_read(L, tensor_of(L, 1, "mask", 1, sonde_shape_count(&t->shape)));
  lua_Integer zeros = 0;
  for (int64_t k = 0; k < sonde_shape_count(&t->shape); k++) zeros += x[k] == 0;
  lua_pushinteger(L, zeros);
  return 1;
}

/* core.mask_lowest(matrices, {scope, sparsity, keep, group}): takes out of the masks of a list of {name, score, mask,
 * weight} the weights of the lowest scores (sparsity.h), which become 0 where a weight is given */
static int core_mask_lowest(lua_State *L) {
  lua_settop(L, 2);
  sonde_lua_own(L, 1, "the matrices");
  sonde_lua_options(L, 2);
  const int n = (int)lua_rawlen(L, 1);
  const sonde_sparse_pattern p = {sonde_lua_field_number(L, 2, "sparsity", 0),
                           (int32_t)sonde_lua_field_integer(L, 2, "keep", 0, 0, INT32_MAX),
                           (int32_t)sonde_lua_field_integer(L, 2, "group", 0, 0, INT32_MAX)};
  lua_getfield(L, 2, "scope");
  const int scope = sonde_lua_choice(L, 3, "row", scopes);
  sonde_scored *all = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *all, 0);
  sonde_error err = {0};
  for (int k = 0; k < n; k++) {
    lua_settop(L, 4);
    lua_rawgeti(L, 1, k + 1);
    sonde_lua_own(L, 5, "a matrix");
    lua_getfield(L, 5, "score");
    lua_getfield(L, 5, "mask");
    const sonde_tensor *score = sonde_lua_handle(L, 6, &sonde_lua_tensor);
    if (score->shape.rank < 2) sonde_lua_fail(L, "the scores of a matrix are [out, in]");
    const int64_t in = score->shape.dim[score->shape.rank - 1], out = sonde_shape_count(&score->shape) / in;
    all[k] = (sonde_scored){sonde_lua_field_string(L, 5, "name", "weight"), out, in,
                            sonde_lua_read(L, tensor_of(L, 6, "score", out, in)),
                            sonde_lua_write(L, tensor_of(L, 7, "mask", out, in))};
  }
  sonde_lua_check(L, sonde_mask_lowest(all, n, &p, scope, &err), &err);
  for (int k = 0; k < n; k++) {
    lua_settop(L, 4);
    lua_rawgeti(L, 1, k + 1);
    clear_weight(L, &all[k]);
  }
  return 0;
}

/* ---- a script's method, called from C -----------------------------------------------------------------------------
 * */

typedef struct score_call {
  const sonde_entry *e;
  const sonde_sparse *s;
  const sonde_value *values;
  float *score;
} score_call;

static void set_tensor(lua_State *L, const char *key, const float *x, int64_t rows, int64_t columns) {
  const int64_t dim[2] = {rows, columns};
  const sonde_shape shape = sonde_shape_make(SONDE_F32, rows > 1 || !strcmp(key, "weight") ? 2 : 1,
                                             rows > 1 || !strcmp(key, "weight") ? dim : dim + 1);
  sonde_tensor *t = sonde_lua_new_tensor(L, &shape);
  memcpy(sonde_lua_write(L, t), x, (size_t)(rows * columns) * sizeof *x);
  lua_setfield(L, -2, key);
}

static int call_score(lua_State *L) {
  score_call *c = lua_touserdata(L, 1);
  const sonde_sparse *s = c->s;
  lua_rawgeti(L, LUA_REGISTRYINDEX, (lua_Integer)c->e->handle);
  lua_createtable(L, 0, 8);
  set_tensor(L, "weight", s->w, s->out, s->in);
  set_tensor(L, "norm", s->norm, 1, s->in);
  set_tensor(L, "gram", s->gram, s->in, s->in);
  set_tensor(L, "gathered", s->gathered, s->out, s->in);
  lua_pushstring(L, s->parameter->name), lua_setfield(L, -2, "name");
  lua_pushstring(L, sonde_lua_role_name(s->parameter->role)), lua_setfield(L, -2, "role");
  lua_pushinteger(L, s->tokens), lua_setfield(L, -2, "tokens");
  lua_pushinteger(L, (lua_Integer)s->seed), lua_setfield(L, -2, "seed");
  sonde_lua_push_values(L, c->e, c->values);
  lua_call(L, 2, 1);
  const sonde_tensor *score = scores_of(L, c->e, s);
  memcpy(c->score, sonde_lua_read(L, score), (size_t)(s->out * s->in) * sizeof *c->score);
  return 0;
}

int sonde_lua_call_score(void *state, const sonde_entry *e, const sonde_sparse *s, const sonde_value *values,
                         float *score, sonde_error *err) {
  lua_State *L = state;
  score_call c = {e, s, values, score};
  lua_pushcfunction(L, call_score);
  lua_pushlightuserdata(L, &c);
  int code = SONDE_OK;
  if (lua_pcall(L, 1, 0, 0)) {
    const char *text = lua_tostring(L, -1);
    code = sonde_fail(err, SONDE_EINVAL, "%s", text ? text : "an error that is no text");
    lua_pop(L, 1);
  }
  lua_gc(L, LUA_GCCOLLECT);
  return code;
}

void sonde_bind_sparsity(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"sparsity", core_sparsity},       {"sparsity_score", core_score},     {"sparsity_prune", core_prune},
      {"sparsity_gather", core_gather},  {"mask_lowest", core_mask_lowest},
      {"mask_zeros", core_mask_zeros},   {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
