/* encode.c - text to ids: added tokens first, then pieces, then the model within a piece.
 *
 * Pieces repeat (words do), so a bounded cache keeps the ids of short ones. It is emptied when full: what
 * an encoder has seen before never changes what it returns. */
#include "config.h"

#include "text/encoder.h"
#include "text/unicode.h"

sonde_encoder *sonde_encoder_new(sonde_tokenizer *t, sonde_error *err) {
  sonde_encoder *e = sonde_alloc(sizeof *e);
  if (e) {
    e->known_at = sonde_alloc((CACHED_PIECES + 1) * sizeof *e->known_at);
    e->t = sonde_tokenizer_ref(t);
    if (e->known_at && !sonde_splitter_init(&e->splitter, &t->stages, err)) return e;
  }
  sonde_fail(err, SONDE_ENOMEM, "tokenizer: out of memory");
  sonde_encoder_free(e);
  return NULL;
}

void sonde_encoder_free(sonde_encoder *e) {
  if (!e) return;
  sonde_splitter_free(&e->splitter);
  sonde_intern_free(&e->known);
  sonde_ids_free(&e->known_ids);
  sonde_release(e->known_at);
  sonde_release(e->sym);
  sonde_release(e->heap);
  sonde_release(e->path);
  sonde_bytes_free(&e->normal[0]);
  sonde_bytes_free(&e->normal[1]);
  sonde_bytes_free(&e->word);
  sonde_tokenizer_free(e->t);
  sonde_release(e);
}

int sonde_encode_no_memory(const sonde_encoder *e) {
  return sonde_fail(e->err, SONDE_ENOMEM, "encoding: out of memory");
}

int sonde_has_bytes(const sonde_tokenizer *t, const char *p, int64_t n) {
  int all = t->byte_fallback;
  for (int64_t i = 0; i < n && all; i++) all = t->byte_id[(unsigned char)p[i]] >= 0;
  return all;
}

int sonde_no_token(const sonde_encoder *e, const char *p, int64_t n) {
  return sonde_fail(e->err, SONDE_EINVAL, "the character '%.*s' has no token in this vocabulary, which has none for "
                    "unknown ones", (int)n, p);
}

/* ---- pieces -------------------------------------------------------------------------------------------- */

static int encode_new_piece(sonde_encoder *e, const char *p, int64_t n) {
  if (e->t->model == SONDE_MODEL_UNIGRAM) return sonde_unigram_piece(e, p, n);
  if (e->t->model == SONDE_MODEL_WORDPIECE) return sonde_wordpiece_piece(e, p, n);
  int32_t id = e->t->whole_first ? sonde_find_spelling(e->t, p, n) : -1;
  if (id >= 0) return sonde_ids_push(e->out, id) ? sonde_encode_no_memory(e) : 0;
  return sonde_merge_piece(e, p, n);
}

static int remember(sonde_encoder *e, const char *p, int64_t n, uint32_t hash, int64_t from) {
  if (e->known.n == CACHED_PIECES) {
    sonde_intern_clear(&e->known);
    e->known_ids.n = 0;
  }
  int64_t k = sonde_intern_add(&e->known, p, n, hash);
  if (k < 0) return sonde_encode_no_memory(e);
  for (int64_t i = from; i < e->out->n; i++)
    if (sonde_ids_push(&e->known_ids, e->out->id[i])) return sonde_encode_no_memory(e);
  e->known_at[k + 1] = e->known_ids.n;
  return 0;
}

static int encode_piece(void *arg, const char *p, int64_t n) {
  sonde_encoder *e = arg;
  if (n > CACHED_PIECE) return encode_new_piece(e, p, n);
  uint32_t hash = sonde_intern_hash(p, n);
  int64_t k = sonde_intern_find(&e->known, p, n, hash), from = e->out->n;
  if (k < 0) {
    int rc = encode_new_piece(e, p, n);
    return rc ? rc : remember(e, p, n, hash, from);
  }
  for (int64_t i = e->known_at[k]; i < e->known_at[k + 1]; i++)
    if (sonde_ids_push(e->out, e->known_ids.id[i])) return sonde_encode_no_memory(e);
  return 0;
}

/* ---- added tokens -------------------------------------------------------------------------------------- */

/* The first of list[lo .. hi), all alike before byte `depth` and longer, whose byte there is at least c. */
static int32_t first_from(const sonde_added_set *set, int32_t lo, int32_t hi, int64_t depth, int c) {
  while (lo < hi) {
    int32_t middle = lo + (hi - lo) / 2;
    if ((unsigned char)set->list[middle]->text[depth] < c) lo = middle + 1;
    else hi = middle;
  }
  return lo;
}

/* The longest added token that begins at p, or NULL: byte by byte, the range of those that fit narrows. */
static const sonde_added *token_at(const sonde_added_set *set, const char *p, int64_t n) {
  unsigned char c = (unsigned char)*p;
  int32_t lo = set->first[c], hi = set->first[c + 1];
  const sonde_added *best = NULL;
  for (int64_t depth = 1; lo < hi; depth++) {
    if (set->list[lo]->n == depth) best = set->list[lo++];
    if (depth == n) break;
    int32_t from = first_from(set, lo, hi, depth, (unsigned char)p[depth]);
    hi = first_from(set, from, hi, depth, (unsigned char)p[depth] + 1);
    lo = from;
  }
  return best;
}

static int stands_alone(const char *p, int64_t n, int64_t begin, int64_t end) {
  return !sonde_word_at_end(p, begin) && !sonde_word_at_start(p + end, n - end);
}

/* first: the text begins where the whole one does. */
typedef int (*text_fn)(sonde_encoder *e, const char *p, int64_t n, int flags, int first);

/* Emits the added tokens of a set and hands the text between them to `rest`. The next one is looked for behind the
 * token itself, not behind the blanks that it takes: one that begins among those is found, as in the library the files
 * are of. */
static int split_added(sonde_encoder *e, const sonde_added_set *set, const char *p, int64_t n, int flags, int first,
                       text_fn rest) {
  int64_t from = 0;
  int rc;
  for (int64_t i = 0; i < n;) {
    const sonde_added *a = token_at(set, p + i, n - i);
    if (!a) {
      i++;
      continue;
    }
    int64_t begin = i, end = i + a->n;
    i = end;
    if ((a->special && (flags & SONDE_ENCODE_PLAIN)) || (a->single_word && !stands_alone(p, n, begin, end)))
      continue;
    if (a->strip_left) {
      begin -= sonde_space_at_end(p, begin);
      if (begin < from) begin = from;
    }
    if (a->strip_right) end += sonde_space_at_start(p + end, n - end);
    if (begin > from && (rc = rest(e, p + from, begin - from, flags, first && from == 0))) return rc;
    if (sonde_ids_push(e->out, a->id)) return sonde_encode_no_memory(e);
    from = end;
  }
  return from < n ? rest(e, p + from, n - from, flags, first && from == 0) : 0;
}

static int encode_plain(sonde_encoder *e, const char *p, int64_t n, int flags, int first) {
  (void)flags;
  return sonde_split_text(&e->splitter, p, n, first, encode_piece, e, e->err);
}

static int encode_between(sonde_encoder *e, const char *p, int64_t n, int flags, int first) {
  int rc = sonde_normalize(&e->t->norms, p, n, e->normal, &p, &n, e->err);
  return rc ? rc : split_added(e, &e->t->normalized, p, n, flags, first, encode_plain);
}

/* Bytes that are no UTF-8 are a piece of their own, so that every text comes back from its ids. */
static int encode_text(sonde_encoder *e, const char *p, int64_t n, int flags) {
  const char *begin = p;
  int rc = 0;
  while (n > 0 && !rc) {
    int64_t good = sonde_utf8_prefix(p, n), bad = sonde_utf8_bad(p + good, n - good);
    if (good) rc = split_added(e, &e->t->raw, p, good, flags, p == begin, encode_between);
    if (bad && !rc) rc = encode_piece(e, p + good, bad);
    p += good + bad;
    n -= good + bad;
  }
  return rc;
}

static int push_all(sonde_encoder *e, const int32_t *ids, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (sonde_ids_push(e->out, ids[i])) return sonde_encode_no_memory(e);
  return 0;
}

int sonde_encode(sonde_encoder *e, const char *text, int64_t n, int flags, sonde_ids *out, sonde_error *err) {
  e->out = out;
  e->err = err;
  int rc = flags & SONDE_ENCODE_BARE ? 0 : push_all(e, e->t->before, e->t->before_n);
  if (!rc) rc = encode_text(e, text, n, flags);
  return rc || flags & SONDE_ENCODE_BARE ? rc : push_all(e, e->t->after, e->t->after_n);
}
