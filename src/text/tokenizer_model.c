/* tokenizer_model.c - the model of a tokenizer.json: its tokens and how they are chosen. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "io/json.h"
#include "text/alphabet.h"
#include "text/tokenizer_internal.h"

enum { SPARE_IDS = 65536 };

typedef sonde_tokenizer_loader loader;

/* ---- vocabulary ---------------------------------------------------------------------------------------- */

/* Largest id + 1 over model and added tokens; ids may have gaps, but not so many that a small file fills
 * the memory. */
static int count_ids(const loader *l, const json_t *added, int64_t *count) {
  json_t *vocab = (json_t *)l->vocab;
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

/* A token of the model: its bytes, and so its spelling. */
static int read_token(const loader *l, const char *text, int64_t id) {
  sonde_tokenizer *t = l->t;
  sonde_token *token = &t->token[id];
  int64_t n = (int64_t)strlen(text);
  char *bytes = sonde_arena_alloc(t->arena, (size_t)n + 1);
  if (!bytes) return sonde_tokenizer_no_memory(l);
  if (token->bytes)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: two tokens have the id %lld", l->name, (long long)id);
  if (t->byte_level) n = sonde_alphabet_bytes(text, n, bytes);
  else memcpy(bytes, text, (size_t)n);
  token->bytes = bytes;
  token->n = n;
  return 0;
}

/* Which token each byte has: in GPT-2's alphabet, or as <0x..>. */
static void find_bytes(const loader *l) {
  for (int c = 0; c < 256; c++) {
    char letter[8];
    if (l->t->byte_level) sonde_byte_char((unsigned char)c, letter);
    else snprintf(letter, sizeof letter, "<0x%02X>", c);
    json_t *id = json_object_get(l->vocab, letter);
    l->t->byte_id[c] = id ? (int32_t)json_integer_value(id) : -1;
  }
}

static int keep_spellings(const loader *l) {
  sonde_tokenizer *t = l->t;
  t->spelling_id = sonde_alloc((size_t)(t->vocab + 1) * sizeof *t->spelling_id);
  if (!t->spelling_id) return sonde_tokenizer_no_memory(l);
  for (int64_t id = 0; id < t->vocab; id++) {
    const sonde_token *token = &t->token[id];
    if (!token->bytes) continue;
    int64_t at = sonde_intern_add(&t->spelling, token->bytes, token->n, sonde_intern_hash(token->bytes, token->n));
    if (at < 0) return sonde_tokenizer_no_memory(l);
    t->spelling_id[at] = (int32_t)id;      /* of two the last, as in the library these files come from */
  }
  return 0;
}

static int read_vocab(const loader *l, const json_t *added) {
  sonde_tokenizer *t = l->t;
  const char *key;
  json_t *v;
  int rc = count_ids(l, added, &t->vocab);
  if (rc) return rc;
  t->token = sonde_alloc((size_t)(t->vocab + 1) * sizeof *t->token);
  if (!t->token) return sonde_tokenizer_no_memory(l);
  json_object_foreach((json_t *)l->vocab, key, v) if ((rc = read_token(l, key, json_integer_value(v)))) return rc;
  find_bytes(l);
  return t->whole_first || !t->byte_level ? keep_spellings(l) : 0;
}

/* Finds the token of what has none: `text` may be NULL. */
static void find_unknown(const loader *l, const char *text) {
  const json_t *id = text ? json_object_get(l->vocab, text) : NULL;
  l->t->unknown = id ? (int32_t)json_integer_value(id) : -1;
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

static int find_id(const loader *l, const char *spelling, size_t rank, int32_t *id) {
  const json_t *v = json_object_get(l->vocab, spelling);
  if (!v)
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: merge %zu: '%s' is not in the vocabulary", l->name, rank,
                      spelling);
  *id = (int32_t)json_integer_value(v);
  return 0;
}

/* buf: memory for the two sides, and for both in one. */
static int read_merge(const loader *l, const json_t *v, size_t rank, sonde_bytes buf[2], sonde_merge *m) {
  const char *a = NULL, *b = NULL;
  int rc = read_sides(l, v, rank, &buf[0], &a, &b);
  if (rc) return rc;
  buf[1].n = 0;
  if (sonde_bytes_add(&buf[1], a, (int64_t)strlen(a)) || sonde_bytes_add(&buf[1], b, (int64_t)strlen(b)))
    return sonde_tokenizer_no_memory(l);
  m->rank = (int32_t)rank;
  rc = find_id(l, a, rank, &m->a);
  if (!rc) rc = find_id(l, b, rank, &m->b);
  return rc ? rc : find_id(l, buf[1].data, rank, &m->id);
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

static int read_merges(const loader *l, const json_t *merges) {
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
    if ((rc = read_merge(l, v, rank, buf, &m))) break;
    place_merge(t, &m);
  }
  sonde_bytes_free(&buf[0]);
  sonde_bytes_free(&buf[1]);
  return rc;
}

/* ---- BPE ----------------------------------------------------------------------------------------------- */

/* Options that change ids in ways that are not supported. */
static int check_absent(const loader *l, const json_t *model) {
  static const char *const absent[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
  for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
    const json_t *v = json_object_get(model, absent[i]);
    if (v && !json_is_null(v) && !(json_is_string(v) && !json_string_length(v)) &&
        !(json_is_number(v) && json_number_value(v) == 0))
      return sonde_fail(l->err, SONDE_EUNSUP, "%s: the model's '%s' is not supported", l->name, absent[i]);
  }
  return 0;
}

/* The fallback for bytes without a token: with tokens for all 256 it is unused. */
static int check_byte_level(const loader *l, const json_t *model) {
  const char *what = l->t->byte_fallback                                   ? "byte_fallback"
                     : json_is_string(json_object_get(model, "unk_token")) ? "unk_token"
                                                                           : NULL;
  for (int c = 0; c < 256 && what; c++)
    if (l->t->byte_id[c] < 0)
      return sonde_fail(l->err, SONDE_EUNSUP, "%s: the model's '%s' is not supported where bytes have no token",
                        l->name, what);
  return l->t->byte_fallback && sonde_tokenizer_idle(l->t, "byte_fallback") ? sonde_tokenizer_no_memory(l) : 0;
}

static int read_bpe(const loader *l, const json_t *model, const json_t *added) {
  sonde_tokenizer *t = l->t;
  int rc = check_absent(l, model);
  if (!rc) rc = sonde_json_bool_or(model, "ignore_merges", 0, l->name, &t->whole_first, l->err);
  if (!rc) rc = sonde_json_bool_or(model, "byte_fallback", 0, l->name, &t->byte_fallback, l->err);
  if (!rc) rc = sonde_json_bool_or(model, "fuse_unk", 0, l->name, &t->fuse_unknown, l->err);
  if (!rc) rc = read_vocab(l, added);
  if (!rc) rc = t->byte_level ? check_byte_level(l, model) : 0;
  if (rc) return rc;
  find_unknown(l, json_string_value(json_object_get(model, "unk_token")));
  return read_merges(l, json_object_get(model, "merges"));
}

/* ---- Unigram ------------------------------------------------------------------------------------------- */

/* The list of [token, score] as an object of ids: of two the same the last, as in the library these files come from. */
static int ids_of_list(loader *l, const json_t *list) {
  const json_t *entry;
  size_t id;
  json_t *vocab = json_object();
  l->vocab = vocab;
  if (!vocab) return sonde_tokenizer_no_memory(l);
  json_array_foreach(list, id, entry) {
    const char *text = json_string_value(json_array_get(entry, 0));
    if (json_array_size(entry) != 2 || !text || !json_is_number(json_array_get(entry, 1)))
      return sonde_fail(l->err, SONDE_EFORMAT, "%s: entry %zu of the vocabulary is not a token and its score", l->name,
                        id);
    if (json_object_set_new(vocab, text, json_integer((json_int_t)id))) return sonde_tokenizer_no_memory(l);
  }
  return 0;
}

static int read_scores(const loader *l, const json_t *list) {
  sonde_tokenizer *t = l->t;
  const json_t *entry;
  size_t id;
  t->score = sonde_alloc((size_t)(t->vocab + 1) * sizeof *t->score);
  if (!t->score) return sonde_tokenizer_no_memory(l);
  t->lowest = INFINITY;
  json_array_foreach(list, id, entry) {
    const char *text = json_string_value(json_array_get(entry, 0));
    t->score[id] = json_number_value(json_array_get(entry, 1));
    if (t->score[id] < t->lowest) t->lowest = t->score[id];
    if (!t->token[id].bytes && read_token(l, text, (int64_t)id)) return l->err->code;      /* the first of two */
  }
  return 0;
}

int sonde_read_pieces(const loader *l) {
  sonde_tokenizer *t = l->t;
  for (int64_t k = 0; k < t->spelling.n && t->model == SONDE_MODEL_UNIGRAM; k++) {
    const sonde_token *token = &t->token[t->spelling_id[k]];
    if (token->n && !token->special && sonde_trie_add(&t->trie, token->bytes, token->n, t->spelling_id[k]))
      return sonde_tokenizer_no_memory(l);
  }
  return 0;
}

static int read_unigram(loader *l, const json_t *model, const json_t *added) {
  sonde_tokenizer *t = l->t;
  const json_t *list = json_object_get(model, "vocab"), *unknown = json_object_get(model, "unk_id");
  int rc = sonde_json_bool_or(model, "byte_fallback", 0, l->name, &t->byte_fallback, l->err);
  if (!rc) rc = ids_of_list(l, list);
  if (!rc) rc = read_vocab(l, added);
  if (!rc) rc = read_scores(l, list);
  if (rc) return rc;
  t->unknown = -1;
  if (!unknown || json_is_null(unknown)) return 0;
  if (!json_is_integer(unknown) || json_integer_value(unknown) < 0 ||
      json_integer_value(unknown) >= (json_int_t)json_array_size(list))
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: the model's unk_id is no token", l->name);
  t->unknown = (int32_t)json_integer_value(unknown);
  return 0;
}

/* ---- WordPiece ----------------------------------------------------------------------------------------- */

static int read_wordpiece(const loader *l, const json_t *model, const json_t *added) {
  const json_t *prefix = json_object_get(model, "continuing_subword_prefix"),
               *unknown = json_object_get(model, "unk_token"),
               *longest = json_object_get(model, "max_input_chars_per_word");
  sonde_tokenizer *t = l->t;
  int rc = read_vocab(l, added);
  if (rc) return rc;
  find_unknown(l, json_is_string(unknown) ? json_string_value(unknown) : "[UNK]");
  t->continuing = sonde_arena_strdup(t->arena, json_is_string(prefix) ? json_string_value(prefix) : "##");
  t->longest_word = json_is_integer(longest) ? json_integer_value(longest) : 100;
  return t->continuing ? 0 : sonde_tokenizer_no_memory(l);
}

/* ---- the model ----------------------------------------------------------------------------------------- */

int sonde_read_model(loader *l, const void *json) {
  const json_t *tree = json, *model = json_object_get(tree, "model"), *added = json_object_get(tree, "added_tokens");
  json_t *vocab = json_object_get(model, "vocab");
  const char *type = json_string_value(json_object_get(model, "type"));
  int unigram = type && !strcmp(type, "Unigram");
  if (type && !unigram && strcmp(type, "BPE") && strcmp(type, "WordPiece"))
    return sonde_fail(l->err, SONDE_EUNSUP, "%s: a model of type '%s'; BPE, Unigram and WordPiece are read", l->name,
                      type);
  if (unigram ? !json_is_array(vocab) : !json_is_object(vocab))
    return sonde_fail(l->err, SONDE_EFORMAT, "%s: no model with a vocabulary: not a tokenizer.json", l->name);
  if (unigram) {
    l->t->model = SONDE_MODEL_UNIGRAM;
    return read_unigram(l, model, added);
  }
  l->vocab = json_incref(vocab);
  if (!type || !strcmp(type, "BPE")) return read_bpe(l, model, added);
  l->t->model = SONDE_MODEL_WORDPIECE;
  return read_wordpiece(l, model, added);
}
