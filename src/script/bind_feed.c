/* bind_feed.c - where a training gets its data, in Lua: feeds of tokens, of arrays, and of samples. */
#include "config.h"

#include "base/mem.h"
#include "script/script.h"
#include "tensor/tensor.h"
#include "text/corpus.h"
#include "train/feed.h"

static void free_feed(void *p) { sonde_feed_free(p); }

static const sonde_feed *to_feed(lua_State *L) { return sonde_lua_handle(L, 1, &sonde_lua_feed); }

/* The training text; into *valid the validation text, empty when the text is a tensor of tokens. */
static sonde_stream read_streams(lua_State *L, sonde_stream *valid) {
  *valid = (sonde_stream){.width = 4};
  if (!sonde_lua_is(L, 1, &sonde_lua_tensor)) {
    const sonde_corpus *corpus = sonde_lua_handle(L, 1, &sonde_lua_corpus);
    *valid = sonde_corpus_stream(corpus, SONDE_VALIDATION);
    return sonde_corpus_stream(corpus, SONDE_TRAIN);
  }
  const sonde_tensor *tokens = sonde_lua_handle(L, 1, &sonde_lua_tensor);
  if (tokens->shape.dtype != SONDE_I32 || tokens->shape.rank != 1)
    sonde_lua_fail(L, "training text is a corpus or an i32 tensor of one axis");
  const void *data = sonde_lua_read(L, tokens);
  return (sonde_stream){.data = data, .width = 4, .tokens = tokens->shape.dim[0], .vocab = INT32_MAX};
}

enum { MOST_CACHES = (SONDE_FEED_INPUTS - 2) / 2 };

/* Puts the caches of the list at index 4, {cache =, ids =, logs =} each, behind the feed's inputs. */
static void add_caches(lua_State *L, sonde_lua_box *box, int n) {
  sonde_error err = {0};
  for (int k = 0; k < n; k++) {
    lua_rawgeti(L, 4, k + 1);
    int at = lua_gettop(L);
    sonde_lua_own(L, at, "a teacher's cache");
    const char *ids = sonde_lua_field_string(L, at, "ids", ""), *logs = sonde_lua_field_string(L, at, "logs", "");
    lua_getfield(L, at, "cache");
    const sonde_taught *cache = sonde_lua_handle(L, at + 1, &sonde_lua_cache);
    sonde_lua_borrow(L, box, at + 1, 1 + k);
    sonde_feed *with = sonde_feed_teacher(box->p, cache, ids, logs, &err);
    if (!with) sonde_lua_raise(L, &err);
    box->p = with;
    lua_settop(L, at - 1);
  }
}

/* core.feed_tokens(corpus or i32 tensor of tokens, context, seed[, caches]) -> feed of the inputs "tokens" and
 * "targets", and of two for each cache; evaluation is the corpus's validation text */
static int core_feed_tokens(lua_State *L) {
  lua_settop(L, 4);
  sonde_error err = {0};
  sonde_stream valid, train = read_streams(L, &valid);
  int64_t context = sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX);
  uint64_t seed = (uint64_t)sonde_lua_integer(L, 3, INT64_MIN, INT64_MAX);
  sonde_batches batches;
  sonde_lua_check(L, sonde_batches_init(&batches, train, context, seed, &err), &err);
  int caches = 0;
  if (!lua_isnil(L, 4)) {
    sonde_lua_own(L, 4, "the caches");
    caches = (int)lua_rawlen(L, 4);
    if (caches > MOST_CACHES) return sonde_lua_fail(L, "%d caches; at most %d are possible", caches, MOST_CACHES);
  }
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_feed, 1 + caches);
  sonde_lua_borrow(L, box, 1, 0);
  box->p = sonde_feed_tokens(&batches, &valid, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  add_caches(L, box, caches);
  return 1;
}

/* core.feed_arrays(arrays, seed) -> feed of a list of {name, train = tensor, valid = tensor or nil}, whose first axes
 * count rows */
static int core_feed_arrays(lua_State *L) {
  lua_settop(L, 2);
  sonde_lua_own(L, 1, "the arrays");
  sonde_array array[SONDE_FEED_INPUTS];
  int64_t n = (int64_t)lua_rawlen(L, 1);
  uint64_t seed = (uint64_t)sonde_lua_integer(L, 2, INT64_MIN, INT64_MAX);
  if (n > SONDE_FEED_INPUTS)
    return sonde_lua_fail(L, "%lld arrays; at most %d are possible", (long long)n, SONDE_FEED_INPUTS);
  for (int64_t k = 0; k < n; k++) {
    lua_rawgeti(L, 1, k + 1);
    int at = lua_gettop(L);
    sonde_lua_own(L, at, "an array");
    array[k].name = sonde_lua_field_string(L, at, "name", "");
    lua_getfield(L, at, "train");
    array[k].train = sonde_lua_handle(L, at + 1, &sonde_lua_tensor);
    lua_getfield(L, at, "valid");
    array[k].valid = sonde_lua_opt_handle(L, at + 2, &sonde_lua_tensor);
  }
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_feed, 0);
  box->p = sonde_feed_arrays(array, (int32_t)n, seed, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* core.feed_samples(feed, {share =, seed =, rows =, batches =, prompt =, tokens =}, text) -> a feed of tokens in which
 * samples of the model take the place of some micro-batches' text (sonde_feed_samples) */
static int core_feed_samples(lua_State *L) {
  sonde_error err = {0};
  const sonde_feed *inner = sonde_lua_handle(L, 1, &sonde_lua_feed);
  const char *text = sonde_lua_string(L, 3);
  sonde_lua_options(L, 2);
  const sonde_sampled how = {
      .share = sonde_lua_field_number(L, 2, "share", 0), .seed = (uint64_t)sonde_lua_field_int(L, 2, "seed", 0),
      .rows = sonde_lua_field_int(L, 2, "rows", 0), .batches = sonde_lua_field_int(L, 2, "batches", 1),
      .prompt = sonde_lua_field_int(L, 2, "prompt", 0), .tokens = sonde_lua_field_int(L, 2, "tokens", 0)};
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_feed, 1);
  sonde_lua_borrow(L, box, 1, 0);
  box->p = sonde_feed_samples(inner, &how, text, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* The feed of argument 1, which must be one of samples, and where its micro-batch of argument 2 begins. */
static sonde_feed *to_samples(lua_State *L, const sonde_sampled **how, int64_t *sequence) {
  sonde_feed *f = sonde_lua_handle(L, 1, &sonde_lua_feed);
  *sequence = sonde_lua_integer(L, 2, 0, INT64_MAX / 2);
  *how = sonde_feed_sampled(f);
  if (!*how) sonde_lua_fail(L, "this feed has no samples");
  return f;
}

/* feed:wants(sequence) -> whether the micro-batch that begins with this row is one of samples which nobody has put */
static int feed_wants(lua_State *L) {
  const sonde_sampled *how;
  int64_t sequence;
  const sonde_feed *f = to_samples(L, &how, &sequence);
  lua_pushboolean(L, sonde_feed_wants(f, sequence));
  return 1;
}

static int32_t *ids_of(lua_State *L, int arg, int64_t n) {
  sonde_tensor *t = sonde_lua_handle(L, arg, &sonde_lua_tensor);
  if (t->shape.dtype != SONDE_I32 || sonde_shape_count(&t->shape) != n)
    sonde_lua_fail(L, "a tensor of %lld i32 is needed", (long long)n);
  return sonde_lua_write(L, t);
}

/* feed:prompts(sequence, tensor): what samples of that micro-batch continue, i32 [rows, prompt] */
static int feed_prompts(lua_State *L) {
  const sonde_sampled *how;
  int64_t sequence;
  sonde_error err = {0};
  const sonde_feed *f = to_samples(L, &how, &sequence);
  sonde_lua_check(L, sonde_feed_prompts(f, sequence, ids_of(L, 3, how->rows * how->prompt), &err), &err);
  return 0;
}

/* feed:put(sequence, tensor): the samples of that micro-batch, i32 [rows, tokens] */
static int feed_put(lua_State *L) {
  const sonde_sampled *how;
  int64_t sequence;
  sonde_feed *f = to_samples(L, &how, &sequence);
  sonde_feed_put(f, sequence, ids_of(L, 3, how->rows * how->tokens));
  return 0;
}

/* feed:inputs() -> list of {name, dtype, dims}, of one row */
static int feed_inputs(lua_State *L) {
  const sonde_feed *f = to_feed(L);
  lua_createtable(L, f->inputs, 0);
  for (int32_t k = 0; k < f->inputs; k++) {
    lua_createtable(L, 0, 3);
    lua_pushstring(L, f->input[k].name), lua_setfield(L, -2, "name");
    lua_pushstring(L, sonde_dtype_name(f->input[k].shape.dtype)), lua_setfield(L, -2, "dtype");
    sonde_lua_push_dims(L, &f->input[k].shape), lua_setfield(L, -2, "dims");
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* feed:rows() -> rows of evaluation */
static int feed_rows(lua_State *L) {
  lua_pushinteger(L, to_feed(L)->valid_rows);
  return 1;
}

/* The rows that tensors of the table in argument `arg` ({input = tensor}) take, and where their data are. */
static int64_t read_targets(lua_State *L, int arg, const sonde_feed *f, void *data[SONDE_FEED_INPUTS]) {
  char have[160], want[160];
  int64_t rows = -1;
  sonde_lua_own(L, arg, "the inputs");
  for (int32_t k = 0; k < f->inputs; k++) {
    const sonde_feed_input *in = &f->input[k];
    lua_getfield(L, arg, in->name);
    sonde_tensor *t = sonde_lua_opt_handle(L, lua_gettop(L), &sonde_lua_tensor);
    if (!t) sonde_lua_fail(L, "there is no tensor for the input '%s'", in->name);
    data[k] = sonde_lua_write(L, t);
    int64_t all = sonde_shape_count(&t->shape), row = sonde_shape_count(&in->shape);
    if (rows < 0 && row) rows = all / row;
    if (t->shape.dtype != in->shape.dtype || all != rows * row)
      sonde_lua_fail(L, "a tensor %s does not take rows %s of '%s'", sonde_shape_text(&t->shape, have, sizeof have),
                     sonde_shape_text(&in->shape, want, sizeof want), in->name);
  }
  return rows;
}

/* feed:train(sequence, {input = tensor}): rows sequence, sequence + 1, ... (from 0, on through the epochs) of
 * training */
static int feed_train(lua_State *L) {
  void *data[SONDE_FEED_INPUTS];
  const sonde_feed *f = to_feed(L);
  int64_t sequence = sonde_lua_integer(L, 2, 0, INT64_MAX), rows = read_targets(L, 3, f, data);
  sonde_error err = {0};
  sonde_lua_check(L, f->train(f, sequence, rows, data, &err), &err);
  return 0;
}

/* feed:valid(row, {input = tensor}) -> rows that were filled: row (from 0), row + 1, ... of evaluation, as far as there
 * are any */
static int feed_valid(lua_State *L) {
  void *data[SONDE_FEED_INPUTS];
  const sonde_feed *f = to_feed(L);
  int64_t row = sonde_lua_integer(L, 2, 0, INT64_MAX), rows = read_targets(L, 3, f, data);
  sonde_error err = {0};
  int64_t left = row < f->valid_rows ? f->valid_rows - row : 0;
  if (rows > left) rows = left;
  sonde_lua_check(L, rows ? f->valid(f, row, rows, data, &err) : SONDE_OK, &err);
  lua_pushinteger(L, rows);
  return 1;
}

static const luaL_Reg feed_methods[] = {{"inputs", feed_inputs}, {"rows", feed_rows}, {"train", feed_train},
                                        {"valid", feed_valid}, {"wants", feed_wants}, {"prompts", feed_prompts},
                                        {"put", feed_put}, {NULL, NULL}};

const sonde_lua_type sonde_lua_feed = {"feed", free_feed, feed_methods};

void sonde_bind_feed(lua_State *L) {
  static const luaL_Reg functions[] = {{"feed_tokens", core_feed_tokens}, {"feed_arrays", core_feed_arrays},
                                       {"feed_samples", core_feed_samples}, {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
