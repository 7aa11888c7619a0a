/* tokenizer_load.c - tokenizer.json: vocabulary and merges. The rest: tokenizer_pipeline.c. */
#include "config.h"

#include <string.h>
#include "base/file.h"
#include "base/sha256.h"
#include "io/json.h"
#include "text/tokenizer_internal.h"

enum { SPARE_IDS = 65536 };

typedef sonde_tokenizer_loader loader;

/* ---- vocabulary ---------------------------------------------------------------------------------------- */

/* Largest id + 1 over model and added tokens; ids may have gaps, but not so many that a small file fills
 * the memory. */
static int count_ids(const loader *l, json_t *vocab, const json_t *added, int64_t *count) {
  const char *key;
  json_t *v;
  size_t i;
  int64_t most = -1, entries = (int64_t)(json_object_size(vocab) + json_array_size(added));
  json_object_foreach(vocab, key, v) {
    if (!json_is_integer(v) || json_integer_value(v) < 0)
      return sonde_fail(l->err, SONDE_EFORMAT, "%s: the id of token '%s' is not a count", l->name, key);
    if (json_integer_value(v) > most) most = json_integer_value(v);
  }
  json_array_foreach(added, i, v) {
    json_t *id = json_object_get(v, "id");
    if (!json_is_integer(id) || json_integer_value(id) < 0)
      return sonde_fail(l->err, SONDE_EFORMAT, "%s: added token %zu has no id", l->name, i);
    if (json_integer_value(id) > most) most = json_integer_value(id);
  }
  if (most >= 8 * entries + SPARE_IDS)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: the id %lld in a vocabulary of %lld", l->name,
                      (long long)most, (long long)entries);
  *count = most + 1;
  return 0;
}

static int read_vocab(const loader *l, json_t *vocab) {
  sonde_tokenizer *t = l->t;
  const char *key;
  json_t *v;
  json_object_foreach(vocab, key, v) {
    sonde_token *token = &t->token[json_integer_value(v)];
    int64_t n = (int64_t)strlen(key);
    char *bytes = sonde_arena_alloc(t->arena, (size_t)n + 1);
    if (!bytes) return sonde_tokenizer_no_memory(l);
    if (token->bytes)
      return sonde_fail(l->err, SONDE_EFORMAT, "%s: two tokens have the id %lld", l->name,
                        (long long)json_integer_value(v));
    token->bytes = bytes;
    token->n = sonde_alphabet_bytes(key, n, bytes);
  }
  for (int c = 0; c < 256; c++) {
    char letter[3];
    sonde_byte_char((unsigned char)c, letter);
    json_t *id = json_object_get(vocab, letter);
    t->byte_id[c] = id ? (int32_t)json_integer_value(id) : -1;
  }
  return 0;
}

static int read_whole_tokens(const loader *l) {
  sonde_tokenizer *t = l->t;
  t->whole_id = sonde_alloc((size_t)(t->vocab + 1) * sizeof *t->whole_id);
  if (!t->whole_id) return sonde_tokenizer_no_memory(l);
  for (int64_t id = 0; id < t->vocab; id++) {
    const sonde_token *token = &t->token[id];
    if (!token->bytes) continue;
    int64_t at =
      sonde_intern_add(&t->whole, token->bytes, token->n, sonde_intern_hash(token->bytes, token->n));
    if (at < 0) return sonde_tokenizer_no_memory(l);
    t->whole_id[at] = (int32_t)id;
  }
  return 0;
}

/* ---- merges -------------------------------------------------------------------------------------------- */

/* "a b" or ["a", "b"]; the string is copied into buf, and *b comes from its middle. */
static int read_sides(const loader *l, const json_t *v, size_t rank, sonde_bytes *buf, const char **a, const char **b) {
  const char *s = json_string_value(v);
  buf->n = 0;
  if (s) {
    const char *space = strchr(s, ' ');
    if (!space || strchr(space + 1, ' '))
      return sonde_fail(l->err, SONDE_EFORMAT, "%s: merge %zu is not two tokens", l->name, rank);
    if (sonde_bytes_add(buf, s, (int64_t)json_string_length(v))) return sonde_tokenizer_no_memory(l);
    buf->data[space - s] = '\0';
    *a = buf->data;
    *b = buf->data + (space - s) + 1;
    return 0;
  }
  *a = json_string_value(json_array_get(v, 0));
  *b = json_string_value(json_array_get(v, 1));
  if (json_array_size(v) == 2 && *a && *b) return 0;
  return sonde_fail(l->err, SONDE_EFORMAT, "%s: merge %zu is not two tokens", l->name, rank);
}

static int find_id(const loader *l, const json_t *vocab, const char *spelling, size_t rank, int32_t *id) {
  const json_t *v = json_object_get(vocab, spelling);
  if (!v)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: merge %zu: '%s' is not in the vocabulary", l->name, rank,
                      spelling);
  *id = (int32_t)json_integer_value(v);
  return 0;
}

/* buf: memory for the two sides, and for both in one. */
static int read_merge(const loader *l, const json_t *vocab, const json_t *v, size_t rank, sonde_bytes buf[2],
                      sonde_merge *m) {
  const char *a = NULL, *b = NULL;
  int rc = read_sides(l, v, rank, &buf[0], &a, &b);
  if (rc) return rc;
  buf[1].n = 0;
  if (sonde_bytes_add(&buf[1], a, (int64_t)strlen(a)) || sonde_bytes_add(&buf[1], b, (int64_t)strlen(b)))
    return sonde_tokenizer_no_memory(l);
  m->rank = (int32_t)rank;
  rc = find_id(l, vocab, a, rank, &m->a);
  if (!rc) rc = find_id(l, vocab, b, rank, &m->b);
  return rc ? rc : find_id(l, vocab, buf[1].data, rank, &m->id);
}

/* A pair that is listed twice has its last rank, as in the library these files come from. */
static void place_merge(sonde_tokenizer *t, const sonde_merge *m) {
  sonde_merge *known = (sonde_merge *)sonde_find_merge(t, m->a, m->b);
  if (known) {
    *known = *m;
    return;
  }
  uint64_t h = ((uint64_t)(uint32_t)m->a << 32 | (uint32_t)m->b) * 0x9e3779b97f4a7c15u, i = h >> 32;
  while (t->merge[i & (uint64_t)(t->merge_slots - 1)].rank >= 0) i++;
  t->merge[i & (uint64_t)(t->merge_slots - 1)] = *m;
}

static int read_merges(const loader *l, const json_t *vocab, const json_t *merges) {
  sonde_tokenizer *t = l->t;
  size_t rank;
  json_t *v;
  if (!json_is_array(merges))
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: the model has no merges", l->name);
  if (json_array_size(merges) > INT32_MAX / 4)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: %zu merges are too many", l->name, json_array_size(merges));
  t->merge_slots = 16;
  while (t->merge_slots < 2 * (int64_t)json_array_size(merges)) t->merge_slots *= 2;
  t->merge = sonde_alloc((size_t)t->merge_slots * sizeof *t->merge);
  sonde_bytes buf[2] = {{0}, {0}};
  int rc = t->merge ? 0 : sonde_tokenizer_no_memory(l);
  for (int64_t i = 0; i < t->merge_slots && !rc; i++) t->merge[i].rank = -1;
  if (!rc) json_array_foreach(merges, rank, v) {
    sonde_merge m;
    if ((rc = read_merge(l, vocab, v, rank, buf, &m))) break;
    place_merge(t, &m);
  }
  sonde_bytes_free(&buf[0]);
  sonde_bytes_free(&buf[1]);
  return rc;
}

/* ---- the model ----------------------------------------------------------------------------------------- */

/* Options of the model that change ids in ways that byte-level BPE does not support. */
static int check_model(const loader *l, const json_t *model) {
  static const char *const absent[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
  const char *type = json_string_value(json_object_get(model, "type"));
  if (type && strcmp(type, "BPE"))
    return sonde_fail(l->err, SONDE_EUNSUP, "%s: a model of type '%s'; only byte-level BPE is read", l->name,
                      type);
  for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
    const json_t *v = json_object_get(model, absent[i]);
    if (v && !json_is_null(v) && !(json_is_string(v) && !json_string_length(v)) &&
        !(json_is_number(v) && json_number_value(v) == 0))
      return sonde_fail(l->err, SONDE_EUNSUP, "%s: the model's '%s' is not supported", l->name, absent[i]);
  }
  return sonde_json_bool_or(model, "ignore_merges", 0, l->name, &l->t->whole_first, l->err);
}

/* The fallback for bytes without a token: with tokens for all 256 it is unused. */
static int check_unknown(const loader *l, const json_t *model) {
  int fallback, rc = sonde_json_bool_or(model, "byte_fallback", 0, l->name, &fallback, l->err);
  if (rc) return rc;
  const char *what = fallback                                              ? "byte_fallback"
                     : json_is_string(json_object_get(model, "unk_token")) ? "unk_token"
                                                                           : NULL;
  for (int c = 0; c < 256 && what; c++)
    if (l->t->byte_id[c] < 0)
      return sonde_fail(l->err, SONDE_EUNSUP, "%s: the model's '%s' is not supported where bytes have no token",
                        l->name, what);
  return fallback && sonde_tokenizer_idle(l->t, "byte_fallback") ? sonde_tokenizer_no_memory(l) : 0;
}

static int read_file(const loader *l, json_t *tree) {
  sonde_tokenizer *t = l->t;
  json_t *model = json_object_get(tree, "model"), *vocab = json_object_get(model, "vocab");
  int rc;
  if (!json_is_object(vocab))
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: no model with a vocabulary: not a tokenizer.json", l->name);
  if ((rc = check_model(l, model)) ||
      (rc = count_ids(l, vocab, json_object_get(tree, "added_tokens"), &t->vocab)))
    return rc;
  t->token = sonde_alloc((size_t)(t->vocab + 1) * sizeof *t->token);
  if (!t->token) return sonde_tokenizer_no_memory(l);
  if ((rc = read_vocab(l, vocab)) || (rc = check_unknown(l, model))) return rc;
  if ((rc = read_merges(l, vocab, json_object_get(model, "merges")))) return rc;
  if (t->whole_first && (rc = read_whole_tokens(l))) return rc;
  return sonde_tokenizer_read_pipeline(t, tree, l->name, l->err);
}

sonde_tokenizer *sonde_tokenizer_parse(const char *json, int64_t size, const char *name, sonde_error *err) {
  sonde_tokenizer *t = sonde_alloc(sizeof *t);
  loader l = {t, name, err};
  if (!t || !(t->arena = sonde_arena_new()) || !(t->json = sonde_alloc((size_t)size + 1))) {
    sonde_tokenizer_no_memory(&l);
    sonde_release(t ? t->json : NULL);
    if (t) sonde_arena_free(t->arena);
    sonde_release(t);
    return NULL;
  }
  t->refs = 1;
  t->json_bytes = size;
  memcpy(t->json, json, (size_t)size);
  sonde_sha256 sha;
  sonde_sha256_init(&sha);
  sonde_sha256_add(&sha, json, (size_t)size);
  sonde_sha256_hex(&sha, t->hash);
  json_t *tree = sonde_json_parse(json, size, name, err);
  int rc = tree ? read_file(&l, tree) : -1;
  json_decref(tree);
  if (!rc) return t;
  sonde_tokenizer_free(t);
  return NULL;
}

sonde_tokenizer *sonde_tokenizer_load(const char *path, sonde_error *err) {
  char *json;
  int64_t size;
  if (sonde_file_read(path, SONDE_TOKENIZER_BYTES, &json, &size, err)) return NULL;
  sonde_tokenizer *t = sonde_tokenizer_parse(json, size, path, err);
  sonde_release(json);
  return t;
}
