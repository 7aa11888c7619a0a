/* bind_windows.c - token streams cut into windows for evaluation and probes: the validation text of a corpus, or ids
 * in a tensor. */
#include "config.h"

#include <stdbool.h>
#include "script/script.h"
#include "tensor/tensor.h"
#include "text/batch.h"
#include "text/corpus.h"

extern const sonde_lua_type sonde_lua_corpus;   /* bind_text.c */

typedef struct windows {
  sonde_stream stream;      /* borrowed from the source, which the handle keeps (slot 1) */
  int64_t context;
} windows;

/* The box owns nothing: its pointer is into a userdata that it keeps (slot 2). */
static const sonde_lua_type windows_type;

static windows *to_windows(lua_State *L) {
  windows *w = sonde_lua_handle(L, 1, &windows_type);
  lua_getiuservalue(L, 1, 1);
  sonde_lua_handle(L, -1, sonde_lua_is(L, -1, &sonde_lua_tensor) ? &sonde_lua_tensor : &sonde_lua_corpus);
  lua_pop(L, 1);
  return w;
}

/* core.windows(source, context, vocab) -> windows of `context` tokens. source: a corpus (its validation stream), or an
 * i32 tensor of ids below `vocab`. */
static int core_windows(lua_State *L) {
  sonde_stream stream = {0};
  int64_t context = luaL_checkinteger(L, 2), vocab = luaL_checkinteger(L, 3);
  lua_settop(L, 3);
  if (context < 1) return sonde_lua_fail(L, "a window must have at least 1 token, not %lld", (long long)context);
  if (sonde_lua_is(L, 1, &sonde_lua_tensor)) {
    const sonde_tensor *t = sonde_lua_handle(L, 1, &sonde_lua_tensor);
    if (t->shape.dtype != SONDE_I32) return sonde_lua_fail(L, "token ids come in an i32 tensor");
    stream = (sonde_stream){t->data, 4, sonde_shape_count(&t->shape), vocab};
  } else {
    stream = sonde_corpus_stream(sonde_lua_handle(L, 1, &sonde_lua_corpus), SONDE_VALIDATION);
    if (stream.vocab > vocab)
      return sonde_lua_fail(L, "the corpus has a vocabulary of %lld, the model one of %lld", (long long)stream.vocab,
                            (long long)vocab);
  }
  if (stream.tokens < 2)
    return sonde_lua_fail(L, "%lld tokens are too few: at least 2 are needed", (long long)stream.tokens);
  windows *w = lua_newuserdatauv(L, sizeof *w, 0);
  *w = (windows){stream, context};
  sonde_lua_box *box = sonde_lua_new(L, &windows_type, 2);
  sonde_lua_keep(L, -1, 1, 1);
  sonde_lua_keep(L, -1, 4, 2);
  box->p = w;
  return 1;
}

/* w:rows() -> how many windows; the last one may be short */
static int windows_rows(lua_State *L) {
  const windows *w = to_windows(L);
  lua_pushinteger(L, sonde_windows_count(w->stream.tokens, w->context));
  return 1;
}

/* w:tokens() -> tokens of the stream */
static int windows_tokens(lua_State *L) {
  lua_pushinteger(L, to_windows(L)->stream.tokens);
  return 1;
}

/* w:fill(row, tokens, targets) -> how many targets count. Windows row.. (from 0), or those of a list of B, into i32
 * tensors [B, T] and [B T]; past the end targets are -1. */
static int windows_fill(lua_State *L) {
  const windows *w = to_windows(L);
  bool listed = lua_istable(L, 2);
  int64_t row = listed ? 0 : luaL_checkinteger(L, 2);
  sonde_tensor *tokens = sonde_lua_handle(L, 3, &sonde_lua_tensor),
               *targets = sonde_lua_handle(L, 4, &sonde_lua_tensor);
  int64_t n = sonde_shape_count(&tokens->shape);
  if (tokens->shape.dtype != SONDE_I32 || targets->shape.dtype != SONDE_I32 || n % w->context ||
      sonde_shape_count(&targets->shape) != n)
    return sonde_lua_fail(L, "windows of %lld tokens need two i32 tensors of B x %lld elements", (long long)w->context,
                          (long long)w->context);
  int64_t T = w->context, batch = n / T, at_once = listed ? 1 : batch, counted = 0;
  for (int64_t k = 0; k < batch; k += at_once) {
    if (listed) {
      lua_geti(L, 2, k + 1);
      row = luaL_checkinteger(L, -1);
      lua_pop(L, 1);
    }
    sonde_error err = {0};
    int64_t count = sonde_windows_fill(&w->stream, T, row, at_once, (int32_t *)tokens->data + k * T,
                                       (int32_t *)targets->data + k * T, &err);
    if (count < 0) sonde_lua_check(L, (int)count, &err);
    counted += count;
  }
  lua_pushinteger(L, counted);
  return 1;
}

static const luaL_Reg windows_methods[] = {
    {"rows", windows_rows}, {"tokens", windows_tokens}, {"fill", windows_fill}, {NULL, NULL},
};

static const sonde_lua_type windows_type = {"windows", NULL, windows_methods};

void sonde_bind_windows(lua_State *L) {
  static const luaL_Reg functions[] = {{"windows", core_windows}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
