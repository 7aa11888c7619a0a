/* pieces.c - from pieces and scores to vocabulary, merges and steps. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "text/pieces.h"
#include "text/unicode.h"

#define MARK "\xe2\x96\x81"

int sonde_pieces_init(sonde_pieces *s) {
  *s = (sonde_pieces){.dummy_prefix = 1, .bos = -1, .eos = -1, .arena = sonde_arena_new()};
  return s->arena ? 0 : SONDE_ENOMEM;
}

void sonde_pieces_free(sonde_pieces *s) {
  sonde_release(s->piece);
  sonde_arena_free(s->arena);
}

static int no_memory(const char *where, sonde_error *err) {
  return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", where);
}

int sonde_pieces_add(sonde_pieces *s, const char *text, int64_t n, double score, int64_t kind, const char *where,
                     sonde_error *err) {
  if (sonde_utf8_prefix(text, n) < n || memchr(text, '\0', (size_t)n) || score != score || kind < SONDE_PIECE_NORMAL ||
      kind > SONDE_PIECE_BYTE)
    return sonde_fail(err, SONDE_EFORMAT, "%s: piece %lld is damaged", where, (long long)s->n);
  if (s->n == s->room) {
    int64_t room = 2 * s->room + 256;
    sonde_piece *p = sonde_grow(s->piece, (size_t)s->room * sizeof *p, (size_t)room * sizeof *p);
    if (!p) return no_memory(where, err);
    s->piece = p;
    s->room = room;
  }
  char *copy = sonde_arena_alloc(s->arena, (size_t)n + 1);
  if (!copy) return no_memory(where, err);
  if (n) memcpy(copy, text, (size_t)n);
  s->piece[s->n] = (sonde_piece){copy, score, (sonde_piece_kind)kind, s->n};
  s->n++;
  return 0;
}

/* ---- merges -------------------------------------------------------------------------------------------- */

/* A pair, ordered as Python's sort of the library that converts such models leaves it. */
typedef struct pair {
  const char *piece;           /* the left side is its first `left` bytes */
  int64_t left;
  double score;
  int64_t left_chars, right_chars, left_id, right_id, of;
} pair;

static int by_order(const void *x, const void *y) {
  const pair *a = x, *b = y;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  if (a->left_chars != b->left_chars) return a->left_chars > b->left_chars ? -1 : 1;
  if (a->right_chars != b->right_chars) return a->right_chars > b->right_chars ? -1 : 1;
  if (a->of != b->of) return a->of < b->of ? -1 : 1;
  if (a->left_id != b->left_id) return a->left_id < b->left_id ? -1 : 1;
  return (a->right_id > b->right_id) - (a->right_id < b->right_id);
}

typedef struct pairs { pair *list; int64_t n, room; } pairs;

static int add_pair(pairs *p, pair one) {
  if (p->n == p->room) {
    int64_t room = 2 * p->room + 1024;
    pair *list = sonde_grow(p->list, (size_t)p->room * sizeof *list, (size_t)room * sizeof *list);
    if (!list) return SONDE_ENOMEM;
    p->list = list;
    p->room = room;
  }
  p->list[p->n++] = one;
  return 0;
}

/* The two sides of a piece at every character in it, where both are pieces. `left` is scratch. */
static int add_sides(pairs *p, const json_t *vocab, const sonde_piece *piece, sonde_bytes *left) {
  int64_t n = (int64_t)strlen(piece->text), chars = 0, k = 1;
  for (int64_t i = 0; i < n; chars++) i += sonde_utf8_length(piece->text + i, n - i);
  for (int64_t i = sonde_utf8_length(piece->text, n); i < n; i += sonde_utf8_length(piece->text + i, n - i), k++) {
    left->n = 0;
    if (sonde_bytes_add(left, piece->text, i)) return SONDE_ENOMEM;
    const json_t *a = json_object_get(vocab, left->data), *b = a ? json_object_get(vocab, piece->text + i) : NULL;
    if (b && add_pair(p, (pair){piece->text, i, piece->score, k, chars - k, json_integer_value(a),
                                json_integer_value(b), piece->id}))
      return SONDE_ENOMEM;
  }
  return 0;
}

static json_t *make_merges(const sonde_pieces *s, const json_t *vocab) {
  pairs p = {0};
  sonde_bytes left = {0};
  json_t *list = json_array();
  int failed = !list;
  for (int64_t i = 0; i < s->n && !failed; i++)
    if (s->piece[i].kind == SONDE_PIECE_NORMAL && *s->piece[i].text) failed = add_sides(&p, vocab, &s->piece[i], &left);
  if (p.n) qsort(p.list, (size_t)p.n, sizeof *p.list, by_order);
  for (int64_t i = 0; i < p.n && !failed; i++) {
    const pair *one = &p.list[i];
    failed = json_array_append_new(list, json_pack("[s%, s]", one->piece, (size_t)one->left, one->piece + one->left));
  }
  sonde_release(p.list);
  sonde_bytes_free(&left);
  if (!failed) return list;
  json_decref(list);
  return NULL;
}

/* ---- the model ----------------------------------------------------------------------------------------- */

static const sonde_piece *unknown_of(const sonde_pieces *s) {
  for (int64_t i = 0; i < s->n; i++)
    if (s->piece[i].kind == SONDE_PIECE_UNKNOWN) return &s->piece[i];
  return NULL;
}

static json_t *make_vocab(const sonde_pieces *s, const char *where, sonde_error *err) {
  json_t *vocab = json_object();
  for (int64_t i = 0; i < s->n && vocab; i++) {
    const char *text = s->piece[i].text;
    if (json_object_get(vocab, text)) {
      sonde_fail(err, SONDE_EFORMAT, "%s: the piece '%s' is there twice", where, text);
      json_decref(vocab);
      return NULL;
    }
    if (json_object_set_new(vocab, text, json_integer(i))) break;
  }
  if (vocab && (int64_t)json_object_size(vocab) == s->n) return vocab;
  json_decref(vocab);
  no_memory(where, err);
  return NULL;
}

static json_t *make_bpe(const sonde_pieces *s, const sonde_piece *unknown, const char *where, sonde_error *err) {
  json_t *vocab = make_vocab(s, where, err), *merges = vocab ? make_merges(s, vocab) : NULL;
  if (vocab && !merges) {
    json_decref(vocab);
    no_memory(where, err);
  }
  if (!merges) return NULL;
  return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                   unknown ? json_string(unknown->text) : json_null(), "continuing_subword_prefix",
                   "end_of_word_suffix", "fuse_unk", 1, "byte_fallback", s->byte_fallback, "ignore_merges", 0, "vocab",
                   vocab, "merges", merges);
}

static json_t *make_unigram(const sonde_pieces *s, const sonde_piece *unknown) {
  json_t *list = json_array();
  for (int64_t i = 0; i < s->n && list; i++)
    json_array_append_new(list, json_pack("[s, o]", s->piece[i].text, sonde_json_number(s->piece[i].score)));
  if (list && (int64_t)json_array_size(list) == s->n)
    return json_pack("{s:s, s:o, s:o, s:b}", "type", "Unigram", "unk_id",
                     unknown ? json_integer(unknown->id) : json_null(), "vocab", list, "byte_fallback",
                     s->byte_fallback);
  json_decref(list);
  return NULL;
}

/* ---- the steps ----------------------------------------------------------------------------------------- */

static json_t *replace(const char *kind, const char *pattern, const char *content) {
  return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", kind, pattern, "content", content);
}

static char *base64(const char *data, int64_t n) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char *out = sonde_alloc((size_t)(n + 2) / 3 * 4 + 1), *to = out;
  for (int64_t i = 0; out && i < n; i += 3) {
    uint32_t bits = 0;
    for (int k = 0; k < 3; k++) bits = bits << 8 | (i + k < n ? (unsigned char)data[i + k] : 0);
    for (int k = 0; k < 4; k++) *to++ = i + k > n ? '=' : digits[bits >> (18 - 6 * k) & 63];
  }
  return out;
}

static json_t *make_normalizer(const sonde_pieces *s) {
  json_t *steps = json_array();
  if (s->charsmap_n) {
    char *map = base64(s->charsmap, s->charsmap_n);
    json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Precompiled", "precompiled_charsmap", map));
    sonde_release(map);
  }
  if (s->one_space) {
    json_array_append_new(steps, replace("Regex", "\\A +", ""));
    json_array_append_new(steps, replace("Regex", " {2,}", " "));
  }
  if (s->dummy_prefix) json_array_append_new(steps, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", MARK));
  json_array_append_new(steps, replace("String", " ", MARK));
  if (s->one_space) json_array_append_new(steps, replace("Regex", "(?<!" MARK ")" MARK "+\\z", ""));
  return json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps);
}

static json_t *make_decoder(const sonde_pieces *s) {
  json_t *steps = json_pack("[o, {s:s}, {s:s}]", replace("String", MARK, " "), "type", "ByteFallback", "type", "Fuse");
  if (s->dummy_prefix)
    json_array_append_new(steps,
                          json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
  return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

/* Words are looked for one by one where no piece reaches over the start of one. */
static json_t *make_pre_tokenizer(const sonde_pieces *s) {
  if (!s->unigram) return NULL;
  for (int64_t i = 0; i < s->n; i++)
    if (strlen(s->piece[i].text) > 3 && strstr(s->piece[i].text + 1, MARK)) return NULL;
  return json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", MARK, "prepend_scheme", "never", "split",
                   1);
}

static int check(const sonde_pieces *s, const char *where, sonde_error *err) {
  for (int64_t i = 0; i < s->n; i++) {
    if (s->piece[i].kind == SONDE_PIECE_UNUSED)
      return sonde_fail(err, SONDE_EUNSUP, "%s: piece %lld, '%s', is marked as unused, which is not supported", where,
                        (long long)i, s->piece[i].text);
    if (s->piece[i].kind == SONDE_PIECE_USER_DEFINED && s->dummy_prefix)
      return sonde_fail(err, SONDE_EUNSUP,
                        "%s: user-defined pieces, as '%s', in a model that adds a dummy prefix are not "
                        "supported",
                        where, s->piece[i].text);
  }
  if (s->n) return 0;
  return sonde_fail(err, SONDE_EFORMAT, "%s: a model without pieces", where);
}

/* Added tokens of the model itself: controls and the unknown one are special, user-defined ones are not. */
static json_t *make_added(const sonde_pieces *s) {
  json_t *list = json_array();
  for (int64_t i = 0; i < s->n; i++) {
    const sonde_piece *p = &s->piece[i];
    int user = p->kind == SONDE_PIECE_USER_DEFINED;
    if (user || p->kind == SONDE_PIECE_CONTROL || p->kind == SONDE_PIECE_UNKNOWN)
      json_array_append_new(list, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                                            p->text, "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", user,
                                            "special", !user));
  }
  return list;
}

json_t *sonde_pieces_tree(const sonde_pieces *s, const sonde_sources *from, sonde_error *err) {
  if (check(s, from->name, err)) return NULL;
  const sonde_piece *unknown = unknown_of(s);
  json_t *model = s->unigram ? make_unigram(s, unknown) : make_bpe(s, unknown, from->name, err);
  if (!model) {
    if (!err->code) no_memory(from->name, err);
    return NULL;
  }
  const char *bos = s->bos >= 0 && s->bos < s->n ? s->piece[s->bos].text : NULL;
  const char *eos = s->eos >= 0 && s->eos < s->n ? s->piece[s->eos].text : NULL;
  return sonde_sources_tree(from, model, make_added(s), make_normalizer(s), make_pre_tokenizer(s), make_decoder(s),
                            s->unigram ? NULL : bos, s->unigram ? eos : NULL, err);
}
