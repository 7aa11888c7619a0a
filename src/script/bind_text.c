/* bind_text.c - tokenizers and corpora in Lua. Token ids count from 0, as in every file. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "graph/graph.h"
#include "script/script.h"
#include "tensor/tensor.h"
#include "text/batch.h"
#include "text/bpe_train.h"
#include "text/corpus.h"
#include "text/lines.h"
#include "text/source.h"

/* ---- tokenizers -------------------------------------------------------------------------------------- */

/* The encoder is made at the first use. */
typedef struct lua_tokenizer {
  sonde_tokenizer *t;
  sonde_encoder *encoder;
} lua_tokenizer;

static void free_tokenizer(void *p) {
  lua_tokenizer *k = p;
  sonde_encoder_free(k->encoder);
  sonde_tokenizer_free(k->t);
  sonde_release(k);
}

static const sonde_lua_type tokenizer_type;

static lua_tokenizer *to_tokenizer(lua_State *L) { return sonde_lua_handle(L, 1, &tokenizer_type); }

/* An empty handle, so that what C makes next has an owner. */
static lua_tokenizer *new_tokenizer(lua_State *L) {
  sonde_lua_box *box = sonde_lua_new(L, &tokenizer_type, 0);
  box->p = sonde_alloc(sizeof(lua_tokenizer));
  if (!box->p) sonde_lua_fail(L, "no memory for a tokenizer");
  return box->p;
}

/* A file's bytes in the table at argument 2, pointing into Lua's own; NULL: it is not there. */
static const char *file_field(lua_State *L, const char *name, int64_t *n) {
  size_t bytes = 0;
  const char *data = NULL;
  if (lua_getfield(L, 2, name) != LUA_TNIL) data = sonde_lua_bytes(L, lua_gettop(L), &bytes);
  lua_pop(L, 1);
  *n = (int64_t)bytes;
  return data;
}

/* core.tokenizer(path[, {data, merges, config, special, added}]) -> tokenizer, from a tokenizer.json, tokenizer.model,
 * vocab.json, tokenizer.bin or a folder (text/tokenizer.h). With a table of the files' bytes nothing is read. */
static int core_tokenizer(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_tokenizer_files f = {.name = path};
  sonde_error err = {0};
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    sonde_lua_own(L, 2, "the files of a tokenizer");
    f.data = file_field(L, "data", &f.data_n);
    f.merges = file_field(L, "merges", &f.merges_n);
    f.config = file_field(L, "config", &f.config_n);
    f.special = file_field(L, "special", &f.special_n);
    f.added = file_field(L, "added", &f.added_n);
  }
  lua_tokenizer *k = new_tokenizer(L);
  k->t = f.data ? sonde_tokenizer_of(&f, &err) : sonde_tokenizer_load(path, &err);
  if (!k->t) sonde_lua_raise(L, &err);
  return 1;
}

/* The strings of the list at `arg`, pointing into Lua's own: the list keeps them. Pushes the memory. */
static sonde_text *list_of_texts(lua_State *L, int arg, const char *what, int64_t *n) {
  sonde_lua_own(L, arg, what);
  *n = (int64_t)lua_rawlen(L, arg);
  sonde_text *texts = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *texts, 0);
  for (int64_t i = 0; i < *n; i++) {
    size_t bytes;
    if (lua_rawgeti(L, arg, i + 1) != LUA_TSTRING)
      sonde_lua_fail(L, "%s %lld must be a string", what, (long long)i + 1);
    texts[i].data = lua_tolstring(L, -1, &bytes);
    texts[i].n = (int64_t)bytes;
    lua_pop(L, 1);
  }
  return texts;
}

/* core.tokenizer_train(texts, {vocab, special, min_count}) -> tokenizer. texts: a list of strings;
 * special: a list of special tokens, by default the end-of-text token alone. */
static int core_tokenizer_train(lua_State *L) {
  int64_t n;
  sonde_error err = {0};
  lua_settop(L, 2);
  sonde_lua_options(L, 2);
  sonde_bpe_opts opts = {.vocab = sonde_lua_field_int(L, 2, "vocab", 8192),
                         .min_count = sonde_lua_field_int(L, 2, "min_count", 0)};
  const sonde_text *texts = list_of_texts(L, 1, "text", &n);
  if (lua_getfield(L, 2, "special") != LUA_TNIL) {
    opts.special = sonde_lua_strings(L, lua_gettop(L), "special tokens", &opts.n_special);
  }
  lua_tokenizer *k = new_tokenizer(L);
  k->t = sonde_bpe_train(texts, n, &opts, sonde_lua_ctx(L)->pool, &err);
  if (!k->t) sonde_lua_raise(L, &err);
  return 1;
}

static int tokenizer_save(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_tokenizer_save(to_tokenizer(L)->t, sonde_lua_string(L, 2), &err), &err);
  return 0;
}

static void free_ids(void *p) {
  sonde_ids_free(p);
  sonde_release(p);
}

static const sonde_lua_type ids_type = {"list of ids", free_ids, NULL};

/* Pushes the list as an i32 tensor, and frees it. */
static int push_ids(lua_State *L, sonde_lua_box *box) {
  sonde_ids *ids = box->p;
  sonde_shape shape = sonde_shape_make(SONDE_I32, 1, &ids->n);
  sonde_tensor *t = sonde_lua_new_tensor(L, &shape);
  if (ids->n) memcpy(sonde_lua_write(L, t), ids->id, (size_t)ids->n * sizeof *ids->id);
  box->p = NULL;
  free_ids(ids);
  return 1;
}

/* t:encode(text[, {plain, bare}]) -> i32 tensor [n]. plain: special tokens spelled in the text are text;
 * bare: without what the file's post-processor puts before and after. */
static int tokenizer_encode(lua_State *L) {
  size_t n;
  sonde_error err = {0};
  static const char *const keys[] = {"plain", "bare", NULL};
  lua_settop(L, 3);
  sonde_lua_options(L, 3);
  sonde_lua_known(L, 3, keys);
  lua_tokenizer *k = to_tokenizer(L);
  const char *text = sonde_lua_bytes(L, 2, &n);
  int flags = (sonde_lua_field_bool(L, 3, "plain", 0) ? SONDE_ENCODE_PLAIN : 0) |
              (sonde_lua_field_bool(L, 3, "bare", 0) ? SONDE_ENCODE_BARE : 0);
  if (!k->encoder && !(k->encoder = sonde_encoder_new(k->t, &err))) sonde_lua_raise(L, &err);
  sonde_lua_box *box = sonde_lua_new(L, &ids_type, 0);
  sonde_ids *ids = box->p = sonde_alloc(sizeof *ids);
  if (!ids) return sonde_lua_fail(L, "no memory for token ids");
  sonde_lua_check(L, sonde_encode(k->encoder, text, (int64_t)n, flags, ids, &err), &err);
  return push_ids(L, box);
}

static void free_documents(void *p) {
  sonde_documents_free(p);
  sonde_release(p);
}

static const sonde_lua_type documents_type = {"text", free_documents, NULL};

/* The documents as ids: with what the file's post-processor puts around a text, and where a file has several, each
 * ended by the end-of-text token, as in a corpus. */
static int encode_documents(lua_tokenizer *k, const sonde_documents *d, int flags, sonde_ids *ids, sonde_error *err) {
  int32_t eot = sonde_tokenizer_eot(k->t);
  for (int64_t i = 0; i < d->n; i++) {
    int rc = sonde_encode(k->encoder, d->text.data + d->start[i], d->start[i + 1] - d->start[i], flags, ids, err);
    if (rc) return rc;
    /* One that is there already is the post-processor's, where none can come from the text. */
    int ended = ids->n && ids->id[ids->n - 1] == eot && (flags & SONDE_ENCODE_PLAIN);
    if (d->marked && eot >= 0 && !ended && sonde_ids_push(ids, eot))
      return sonde_fail(err, SONDE_ENOMEM, "encoding: out of memory");
  }
  return 0;
}

/* t:read(path[, {field, skip, special}]) -> i32 tensor [n], bytes of text: a text file, .jsonl by its documents, packed
 * or not; "-" is standard input. special: special tokens spelled in the text are tokens. */
static int tokenizer_read(lua_State *L) {
  sonde_error err = {0};
  static const char *const keys[] = {"field", "skip", "special", NULL};
  lua_settop(L, 3);
  sonde_lua_options(L, 3);
  sonde_lua_known(L, 3, keys);
  lua_tokenizer *k = to_tokenizer(L);
  const char *path = sonde_lua_string(L, 2);
  const char *field = sonde_lua_field_string(L, 3, "field", NULL);
  sonde_reading how = {.field = field ? field : "text", .skip = sonde_lua_field_bool(L, 3, "skip", 0), .whole = 1,
                       .doing = "reading"};
  how.asked = sonde_reading_asked(field, how.skip);
  int flags = sonde_lua_field_bool(L, 3, "special", 0) ? 0 : SONDE_ENCODE_PLAIN;
  if (!k->encoder && !(k->encoder = sonde_encoder_new(k->t, &err))) sonde_lua_raise(L, &err);
  sonde_lua_box *text = sonde_lua_new(L, &documents_type, 0);
  sonde_documents *d = text->p = sonde_alloc(sizeof *d);
  sonde_lua_box *box = sonde_lua_new(L, &ids_type, 0);
  sonde_ids *ids = box->p = sonde_alloc(sizeof *ids);
  if (!d || !ids) return sonde_lua_fail(L, "no memory for a text");
  sonde_lua_check(L, sonde_source_read(path, &how, d, &err), &err);
  sonde_lua_check(L, encode_documents(k, d, flags, ids, &err), &err);
  push_ids(L, box);
  lua_pushinteger(L, d->text.n);
  return 2;
}

/* The ids of a list or an i32 tensor at `arg`; a list's memory is pushed. */
static const int32_t *list_of_ids(lua_State *L, int arg, int64_t *n) {
  if (sonde_lua_is(L, arg, &sonde_lua_tensor)) {
    const sonde_tensor *t = sonde_lua_handle(L, arg, &sonde_lua_tensor);
    if (t->shape.dtype != SONDE_I32) sonde_lua_fail(L, "token ids come in an i32 tensor or a list");
    *n = sonde_shape_count(&t->shape);
    return sonde_lua_read(L, t);
  }
  sonde_lua_own(L, arg, "the ids");
  *n = (int64_t)lua_rawlen(L, arg);
  int32_t *ids = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *ids, 0);
  for (int64_t i = 0; i < *n; i++) {
    int ok;
    lua_rawgeti(L, arg, i + 1);
    lua_Integer id = lua_tointegerx(L, -1, &ok);
    if (!ok || id != (int32_t)id) sonde_lua_fail(L, "token id %lld of the list is none", (long long)i + 1);
    ids[i] = (int32_t)id;
    lua_pop(L, 1);
  }
  return ids;
}

static const sonde_lua_type buffer_type = {"buffer", sonde_release, NULL};

/* t:decode(ids[, skip_special[, inside]]) -> string; ids: a list or an i32 tensor. inside: they continue a text, so
 * nothing is taken off its start or its end. */
static int tokenizer_decode(lua_State *L) {
  sonde_error err = {0};
  int64_t n, bytes;
  char *text = NULL;
  lua_tokenizer *k = to_tokenizer(L);
  int flags = (lua_toboolean(L, 3) ? SONDE_DECODE_SKIP_SPECIAL : 0) | (lua_toboolean(L, 4) ? SONDE_DECODE_INSIDE : 0);
  const int32_t *ids = list_of_ids(L, 2, &n);
  sonde_lua_box *box = sonde_lua_new(L, &buffer_type, 0);
  int rc = sonde_decode(k->t, ids, n, flags, &text, &bytes, &err);
  box->p = text;
  sonde_lua_check(L, rc, &err);
  lua_pushlstring(L, text, (size_t)bytes);
  box->p = NULL;
  sonde_release(text);
  return 1;
}

static int add_line(void *arg, const char *line, int64_t n) {
  while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
  return sonde_documents_add(arg, line, n);
}

/* core.text_lines(path) -> the lines of a text file that are not empty, without their ends; packed or not, "-" too */
static int core_text_lines(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_box *text = sonde_lua_new(L, &documents_type, 0);
  sonde_documents *d = text->p = sonde_alloc(sizeof *d);
  if (!d) return sonde_lua_fail(L, "no memory for a text");
  int rc = sonde_text_lines(path, add_line, d, &err);
  if (rc && !err.code) sonde_fail(&err, rc, "%s: out of memory", path);
  sonde_lua_check(L, rc, &err);
  lua_newtable(L);
  for (int64_t i = 0; i < d->n; i++) {
    lua_pushlstring(L, d->text.data + d->start[i], (size_t)(d->start[i + 1] - d->start[i]));
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int tokenizer_vocab(lua_State *L) {
  lua_pushinteger(L, sonde_tokenizer_vocab(to_tokenizer(L)->t));
  return 1;
}

static int tokenizer_hash(lua_State *L) {
  lua_pushstring(L, sonde_tokenizer_hash(to_tokenizer(L)->t));
  return 1;
}

static void push_id(lua_State *L, int32_t id) {
  if (id < 0) lua_pushnil(L);
  else lua_pushinteger(L, id);
}

/* t:unused() -> the settings of its file that are not used, or "" */
static int tokenizer_unused(lua_State *L) {
  lua_pushstring(L, sonde_tokenizer_unused(to_tokenizer(L)->t));
  return 1;
}

/* t:same(other) -> whether both give every text the same ids */
static int tokenizer_same(lua_State *L) {
  const lua_tokenizer *other = sonde_lua_handle(L, 2, &tokenizer_type);
  lua_pushboolean(L, sonde_tokenizer_same(to_tokenizer(L)->t, other->t));
  return 1;
}

/* t:special(text) -> the id of that added token, or nil */
static int tokenizer_special(lua_State *L) {
  push_id(L, sonde_tokenizer_special(to_tokenizer(L)->t, sonde_lua_string(L, 2)));
  return 1;
}

/* t:eot() -> the id of the end-of-text token, or nil */
static int tokenizer_eot(lua_State *L) {
  push_id(L, sonde_tokenizer_eot(to_tokenizer(L)->t));
  return 1;
}

/* t:end_with(text): the added token that ends a text, which its file cannot say */
static int tokenizer_end_with(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_check(L, sonde_tokenizer_end_with(to_tokenizer(L)->t, sonde_lua_string(L, 2), &err), &err);
  return 0;
}

static const luaL_Reg tokenizer_methods[] = {
  {"save", tokenizer_save},     {"encode", tokenizer_encode},
  {"decode", tokenizer_decode}, {"vocab", tokenizer_vocab},
  {"hash", tokenizer_hash},     {"special", tokenizer_special},
  {"eot", tokenizer_eot},       {"read", tokenizer_read},
  {"same", tokenizer_same},     {"unused", tokenizer_unused},
  {"end_with", tokenizer_end_with}, {NULL, NULL},
};

static const sonde_lua_type tokenizer_type = {"tokenizer", free_tokenizer, tokenizer_methods};

/* ---- corpora ----------------------------------------------------------------------------------------- */

static void free_corpus(void *p) { sonde_corpus_free(p); }

static sonde_corpus *to_corpus(lua_State *L) { return sonde_lua_handle(L, 1, &sonde_lua_corpus); }

/* The parts of a corpus in argument 1: a source, or a list of {sources = {...}, weight}. What is pushed keeps them. */
static const sonde_corpus_part *list_of_parts(lua_State *L, int64_t *n) {
  int one = lua_type(L, 1) == LUA_TSTRING, sources;
  if (!one) sonde_lua_own(L, 1, "parts of a corpus");
  *n = one ? 1 : (int64_t)lua_rawlen(L, 1);
  if (*n > SONDE_CORPUS_PARTS) sonde_lua_fail(L, "%lld parts of a corpus are too many", (long long)*n);
  sonde_corpus_part *part = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *part, 0);
  luaL_checkstack(L, 4 * (int)*n + 8, "parts of a corpus");
  if (one) {
    const char **name = lua_newuserdatauv(L, sizeof *name, 0);
    *name = sonde_lua_string(L, 1);
    *part = (sonde_corpus_part){name, 1, 1};
    return part;
  }
  for (int64_t k = 0; k < *n; k++) {
    lua_rawgeti(L, 1, k + 1);
    int table = lua_gettop(L);
    sonde_lua_own(L, table, "a part of a corpus");
    part[k].weight = sonde_lua_field_number(L, table, "weight", 1);
    lua_getfield(L, table, "sources");
    part[k].source = sonde_lua_strings(L, lua_gettop(L), "sources", &sources);
    part[k].sources = sources;
  }
  return part;
}

/* core.corpus(source or parts[, {tokenizer, vocab, validation, field, skip, special, end_of_text, max_bytes, cache}]);
 * validation 0: none */
static int core_corpus(lua_State *L) {
  sonde_error err = {0};
  int64_t parts;
  lua_settop(L, 2);
  sonde_lua_options(L, 2);
  sonde_corpus_opts opts = {.tokenizer = sonde_lua_field_string(L, 2, "tokenizer", NULL),
                            .vocab = sonde_lua_field_int(L, 2, "vocab", 0),
                            .validation = sonde_lua_field_number(L, 2, "validation", -2),
                            .field = sonde_lua_field_string(L, 2, "field", NULL),
                            .skip = sonde_lua_field_bool(L, 2, "skip", 0),
                            .special = sonde_lua_field_bool(L, 2, "special", 0),
                            .end_of_text = sonde_lua_field_string(L, 2, "end_of_text", NULL),
                            .max_bytes = sonde_lua_field_int(L, 2, "max_bytes", 0),
                            .cache = sonde_lua_field_string(L, 2, "cache", NULL)};
  opts.validation = opts.validation == -2 ? 0 : opts.validation == 0 ? -1 : opts.validation;
  const sonde_corpus_part *part = list_of_parts(L, &parts);
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_corpus, 0);
  box->p = sonde_corpus_open(part, parts, &opts, sonde_lua_ctx(L)->pool, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

static void push_split(lua_State *L, const sonde_corpus *c, sonde_split split) {
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, sonde_corpus_stream(c, split).tokens);
  lua_setfield(L, -2, "tokens");
  lua_pushinteger(L, sonde_corpus_documents(c, split));
  lua_setfield(L, -2, "documents");
  lua_pushinteger(L, sonde_corpus_text_bytes(c, split));
  lua_setfield(L, -2, "bytes");
}

/* c:facts() -> {spec, vocab, hash, tokenizer_hash, train = {tokens, documents, bytes}, validation = {...}}; documents
 * and bytes are 0, and tokenizer_hash "", where they are not known */
static int corpus_facts(lua_State *L) {
  const sonde_corpus *c = to_corpus(L);
  lua_createtable(L, 0, 6);
  lua_pushstring(L, sonde_corpus_spec(c));
  lua_setfield(L, -2, "spec");
  lua_pushstring(L, sonde_corpus_tokenizer_hash(c));
  lua_setfield(L, -2, "tokenizer_hash");
  lua_pushinteger(L, sonde_corpus_vocab(c));
  lua_setfield(L, -2, "vocab");
  lua_pushstring(L, sonde_corpus_hash(c));
  lua_setfield(L, -2, "hash");
  push_split(L, c, SONDE_TRAIN);
  lua_setfield(L, -2, "train");
  push_split(L, c, SONDE_VALIDATION);
  lua_setfield(L, -2, "validation");
  return 1;
}

/* c:tokenizer() -> tokenizer, or nil for bare shards */
static int corpus_tokenizer(lua_State *L) {
  sonde_tokenizer *t = sonde_corpus_tokenizer(to_corpus(L));
  if (!t) return lua_pushnil(L), 1;
  new_tokenizer(L)->t = sonde_tokenizer_ref(t);
  return 1;
}

static sonde_stream to_stream(lua_State *L, int corpus, int split) {
  static const char *const names[] = {"train", "validation", NULL};
  return sonde_corpus_stream(sonde_lua_handle(L, corpus, &sonde_lua_corpus),
                             sonde_lua_choice(L, split, "train", names));
}

/* c:tokens(split, from, n) -> i32 tensor [n] of the tokens from..from + n - 1, counted from 0 */
static int corpus_tokens(lua_State *L) {
  sonde_stream s = to_stream(L, 1, 2);
  int64_t from = sonde_lua_integer(L, 3, INT64_MIN, INT64_MAX), n = sonde_lua_integer(L, 4, INT64_MIN, INT64_MAX);
  sonde_error err = {0};
  if (n < 0 || n > s.tokens)
    return sonde_lua_fail(L, "%lld tokens are requested; this part of the corpus has %lld", (long long)n,
                          (long long)s.tokens);
  sonde_shape shape = sonde_shape_make(SONDE_I32, 1, &n);
  sonde_tensor *t = sonde_lua_new_tensor(L, &shape);
  sonde_lua_check(L, sonde_stream_read(&s, from, n, sonde_lua_write(L, t), &err), &err);
  return 1;
}

static const luaL_Reg corpus_methods[] = {
    {"facts", corpus_facts}, {"tokenizer", corpus_tokenizer}, {"tokens", corpus_tokens}, {NULL, NULL},
};

const sonde_lua_type sonde_lua_corpus = {"corpus", free_corpus, corpus_methods};

/* core.shard_write(path, ids, offsets, {vocab =, text_bytes =, tokenizer =}): a token shard of the i32 tensor; offsets
 * lists the first token of each document, and the end */
static int core_shard_write(lua_State *L) {
  int64_t n;
  sonde_error err = {0};
  const char *path = sonde_lua_string(L, 1);
  const sonde_tensor *ids = sonde_lua_handle(L, 2, &sonde_lua_tensor);
  if (ids->shape.dtype != SONDE_I32) return sonde_lua_fail(L, "the ids are an i32 tensor");
  sonde_lua_options(L, 4);
  const int64_t *offsets = sonde_lua_new_integers(L, 3, "the offsets", &n), count = sonde_shape_count(&ids->shape);
  int ordered = n >= 1 && offsets[0] == 0 && offsets[n - 1] == count;
  for (int64_t i = 1; i < n; i++) ordered &= offsets[i] >= offsets[i - 1];
  if (!ordered) return sonde_lua_fail(L, "the offsets do not go from 0 to the %lld tokens in order", (long long)count);
  const sonde_shard_info info = {.vocab = sonde_lua_field_int(L, 4, "vocab", 0),
                                 .text_bytes = sonde_lua_field_int(L, 4, "text_bytes", 0),
                                 .tokenizer = sonde_lua_field_string(L, 4, "tokenizer", "")};
  sonde_lua_check(L, sonde_shard_write(path, sonde_lua_read(L, ids), count, offsets, n - 1, &info, &err), &err);
  return 0;
}

void sonde_bind_text(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"tokenizer", core_tokenizer}, {"tokenizer_train", core_tokenizer_train},
      {"corpus", core_corpus},
      {"text_lines", core_text_lines},
      {"shard_write", core_shard_write},
      {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
