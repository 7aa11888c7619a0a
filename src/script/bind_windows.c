/* bind_windows.c - token streams cut into windows for evaluation and probes: the validation text of a corpus, or ids
 * in a tensor. */
#include "config.h"

#include "base/mem.h"
#include "script/script.h"
#include "tensor/tensor.h"
#include "text/batch.h"
#include "text/corpus.h"

typedef struct windows {
  sonde_stream stream;      /* of the source, which the handle borrows */
  int64_t context;
} windows;

static const sonde_lua_type windows_type;

static const windows *to_windows(lua_State *L) { return sonde_lua_handle(L, 1, &windows_type); }

/* core.windows(source, context, vocab) -> windows of `context` tokens. source: a corpus (its validation stream), or an
 * i32 tensor of ids below `vocab`. */
static int core_windows(lua_State *L) {
  sonde_stream stream = {0};
  int64_t context = sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX), vocab = sonde_lua_integer(L, 3, 1, INT64_MAX);
  lua_settop(L, 3);
  if (context < 1) return sonde_lua_fail(L, "a window must have at least 1 token, not %lld", (long long)context);
  if (sonde_lua_is(L, 1, &sonde_lua_tensor)) {
    const sonde_tensor *t = sonde_lua_handle(L, 1, &sonde_lua_tensor);
    if (t->shape.dtype != SONDE_I32) return sonde_lua_fail(L, "token ids come in an i32 tensor");
    const void *data = sonde_lua_read(L, t);
    stream = (sonde_stream){.data = data, .width = 4, .tokens = sonde_shape_count(&t->shape), .vocab = vocab};
  } else {
    stream = sonde_corpus_stream(sonde_lua_handle(L, 1, &sonde_lua_corpus), SONDE_VALIDATION);
    if (stream.vocab > vocab)
      return sonde_lua_fail(L, "the corpus has a vocabulary of %lld, the model one of %lld", (long long)stream.vocab,
                            (long long)vocab);
  }
  if (stream.tokens < 2)
    return sonde_lua_fail(L, "%lld tokens are too few: at least 2 are needed", (long long)stream.tokens);
  sonde_lua_box *box = sonde_lua_new(L, &windows_type, 1);
  sonde_lua_borrow(L, box, 1, 0);
  windows *w = box->p = sonde_alloc(sizeof *w);
  if (!w) return sonde_lua_fail(L, "no memory for windows");
  *w = (windows){stream, context};
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
  int64_t n_listed = 0;
  lua_settop(L, 4);
  const int64_t *list = lua_istable(L, 2) ? sonde_lua_new_integers(L, 2, "the windows", &n_listed) : NULL;
  int64_t row = list ? 0 : sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX);
  const windows *w = to_windows(L);
  sonde_tensor *tokens = sonde_lua_handle(L, 3, &sonde_lua_tensor),
               *targets = sonde_lua_handle(L, 4, &sonde_lua_tensor);
  int64_t n = sonde_shape_count(&tokens->shape);
  if (tokens->shape.dtype != SONDE_I32 || targets->shape.dtype != SONDE_I32 || n % w->context ||
      sonde_shape_count(&targets->shape) != n)
    return sonde_lua_fail(L, "windows of %lld tokens need two i32 tensors of B x %lld elements", (long long)w->context,
                          (long long)w->context);
  int64_t T = w->context, batch = n / T, at_once = list ? 1 : batch, counted = 0;
  if (list && n_listed != batch)
    return sonde_lua_fail(L, "%lld windows are listed for %lld rows", (long long)n_listed, (long long)batch);
  for (int64_t k = 0; k < batch; k += at_once) {
    if (list) row = list[k];
    sonde_error err = {0};
    int64_t count = sonde_windows_fill(&w->stream, T, row, at_once, (int32_t *)sonde_lua_write(L, tokens) + k * T,
                                       (int32_t *)sonde_lua_write(L, targets) + k * T, &err);
    if (count < 0) sonde_lua_check(L, (int)count, &err);
    counted += count;
  }
  lua_pushinteger(L, counted);
  return 1;
}

static const luaL_Reg windows_methods[] = {
    {"rows", windows_rows}, {"tokens", windows_tokens}, {"fill", windows_fill}, {NULL, NULL},
};

static const sonde_lua_type windows_type = {"windows", sonde_release, windows_methods};

void sonde_bind_windows(lua_State *L) {
  static const luaL_Reg functions[] = {{"windows", core_windows}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
