/* bind_eval.c - what evaluation as other programs do it needs of them, in Lua: Python's random numbers, bootstrapped
 * errors, capital letters. */
#include "config.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/mt19937.h"
#include "graph/graph.h"
#include "io/bytes.h"
#include "script/script.h"

static const luaL_Reg random_methods[];
static const sonde_lua_type random_type = {"random", sonde_release, random_methods};

/* core.python_random(seed) -> random.Random(seed) */
static int core_python_random(lua_State *L) {
  int64_t seed = sonde_lua_integer(L, 1, 0, INT64_MAX);
  sonde_lua_box *box = sonde_lua_new(L, &random_type, 0);
  box->p = sonde_alloc(sizeof(sonde_mt));
  if (!box->p) return sonde_lua_fail(L, "no memory for random numbers");
  sonde_mt_seed(box->p, (uint64_t)seed);
  return 1;
}

/* r:sample(n, k) -> list of k of 0 .. n-1, at most 65536 */
static int random_sample(lua_State *L) {
  int64_t n = sonde_lua_integer(L, 2, 1, INT32_MAX), k = sonde_lua_integer(L, 3, 0, n < 65536 ? n : 65536);
  sonde_mt *m = sonde_lua_handle(L, 1, &random_type);
  int64_t *drawn = lua_newuserdatauv(L, (size_t)(k + 1) * sizeof *drawn, 0);
  if (sonde_mt_sample(m, n, k, drawn)) return sonde_lua_fail(L, "no memory for a sample");
  lua_createtable(L, (int)k, 0);
  for (int64_t i = 0; i < k; i++) {
    lua_pushinteger(L, drawn[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static const luaL_Reg random_methods[] = {{"sample", random_sample}, {NULL, NULL}};

/* core.bootstrap("perplexity" or "f1", values[, resamples]) -> the statistic; with resamples also its standard error */
static int core_bootstrap(lua_State *L) {
  static const char *const names[] = {"perplexity", "f1", NULL};
  sonde_statistic what = sonde_lua_choice(L, 1, NULL, names) ? SONDE_F1 : SONDE_PERPLEXITY;
  int64_t resamples = sonde_lua_opt_integer(L, 3, 0, 0, 10000000);
  sonde_error err = {0};
  double error = 0;
  lua_settop(L, 3);
  sonde_lua_own(L, 2, "the values");
  int n = (int)lua_rawlen(L, 2);
  double *x = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *x, 0);
  if (n == 0) return sonde_lua_fail(L, "a bootstrap needs at least one value");
  for (int i = 0; i < n; i++) {
    int ok;
    lua_rawgeti(L, 2, i + 1);
    x[i] = lua_tonumberx(L, -1, &ok);
    if (!ok) return sonde_lua_fail(L, "value %d of a bootstrap is no number", i + 1);
    lua_pop(L, 1);
  }
  lua_pushnumber(L, sonde_statistic_of(what, x, n));
  if (resamples == 0) return 1;
  sonde_lua_check(L, sonde_bootstrap(what, x, n, resamples, sonde_lua_ctx(L)->pool, &error, &err), &err);
  lua_pushnumber(L, error);
  return 2;
}

static void free_bytes(void *p) {
  sonde_bytes_free(p);
  sonde_release(p);
}
static const sonde_lua_type bytes_type = {"text", free_bytes, NULL};

/* Its characters lowered, the first one in title case if `title`, letter by letter: no letter becomes several. Bytes
 * that are no UTF-8 stay. */
static int change_case(lua_State *L, int title) {
  size_t n;
  const char *text = sonde_lua_bytes(L, 1, &n);
  sonde_lua_box *box = sonde_lua_new(L, &bytes_type, 0);
  sonde_bytes *out = box->p = sonde_alloc(sizeof *out);
  int rc = out ? 0 : SONDE_ENOMEM;
  for (size_t at = 0, used; !rc && at < n; at += used) {
    utf8proc_int32_t c;
    utf8proc_uint8_t to[4];
    utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(n - at), &c);
    used = got > 0 ? (size_t)got : 1;
    if (got <= 0) {
      rc = sonde_bytes_add(out, text + at, 1);
      continue;
    }
    utf8proc_ssize_t size = utf8proc_encode_char(title && at == 0 ? utf8proc_totitle(c) : utf8proc_tolower(c), to);
    rc = sonde_bytes_add(out, to, size);
  }
  if (rc) return sonde_lua_fail(L, "no memory for a text");
  lua_pushlstring(L, out->data ? out->data : "", (size_t)out->n);
  return 1;
}

/* core.capitalize(text): as str.capitalize; core.lower(text): as str.lower */
static int core_capitalize(lua_State *L) { return change_case(L, 1); }
static int core_lower(lua_State *L) { return change_case(L, 0); }

void sonde_bind_eval(lua_State *L) {
  static const luaL_Reg functions[] = {{"python_random", core_python_random}, {"bootstrap", core_bootstrap},
                                       {"capitalize", core_capitalize}, {"lower", core_lower}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
