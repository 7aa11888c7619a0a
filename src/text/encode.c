/* encode.c - text to ids: added tokens first, then pieces, then merges within a piece.
 *
 * Pieces repeat (words do), so a bounded cache keeps the ids of short ones. It is emptied when full: what
 * an encoder has seen before never changes what it returns. */
#include "config.h"

#include <string.h>
#include "text/heap.h"
#include "text/tokenizer_internal.h"
#include "text/unicode.h"

enum { CACHED_PIECE = 48, CACHED_PIECES = 1 << 16 };

/* A symbol of the piece being merged, in a list by index; id < 0: merged into its left neighbour. */
typedef struct symbol { int32_t id, before, after; } symbol;

struct sonde_encoder {
  sonde_tokenizer *t;
  sonde_splitter splitter;
  sonde_intern known;          /* pieces in the cache */
  int64_t *known_at;           /* piece k: ids known_ids[known_at[k]] .. [known_at[k + 1]] */
  sonde_ids known_ids;
  symbol *sym;
  sonde_key *heap;             /* pairs that may merge: hi rank, then left symbol; lo what they become */
  int64_t room, heap_n;        /* symbols that fit; twice as many keys: a merge adds two and takes one */
  sonde_bytes normal;
  sonde_ids *out;
  sonde_error *err;
};

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
  sonde_bytes_free(&e->normal);
  sonde_tokenizer_free(e->t);
  sonde_release(e);
}

static int no_memory(const sonde_encoder *e) {
  return sonde_fail(e->err, SONDE_ENOMEM, "encoding: out of memory");
}

/* ---- merging ------------------------------------------------------------------------------------------- */

static void consider(sonde_encoder *e, int32_t left, int32_t right) {
  if (left < 0 || right < 0) return;
  const sonde_merge *m = sonde_find_merge(e->t, e->sym[left].id, e->sym[right].id);
  if (m)
    sonde_heap_push(e->heap, &e->heap_n,
                    (sonde_key){(uint64_t)m->rank << 32 | (uint32_t)left, (uint64_t)m->id});
}

static int make_room(sonde_encoder *e, int64_t n) {
  if (n <= e->room) return 0;
  if (n > INT32_MAX / 2)
    return sonde_fail(e->err, SONDE_ELIMIT, "a piece of %lld bytes without a break", (long long)n);
  sonde_release(e->sym);
  sonde_release(e->heap);
  e->room = 2 * n;
  e->sym = sonde_alloc((size_t)e->room * sizeof *e->sym);
  e->heap = sonde_alloc((size_t)e->room * 2 * sizeof *e->heap);
  if (e->sym && e->heap) return 0;
  e->room = 0;
  return no_memory(e);
}

static int spell(sonde_encoder *e, const char *p, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    int32_t id = e->t->byte_id[(unsigned char)p[i]];
    if (id < 0)
      return sonde_fail(e->err, SONDE_EINVAL, "the byte 0x%02x has no token in this vocabulary",
                        (unsigned char)p[i]);
    e->sym[i] = (symbol){id, (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
  }
  return 0;
}

/* A candidate has gone stale when one of its two symbols has merged otherwise since. */
static int is_stale(const sonde_encoder *e, int32_t at, int32_t becomes) {
  const symbol *left = &e->sym[at];
  if (left->id < 0 || left->after < 0) return 1;
  const sonde_merge *m = sonde_find_merge(e->t, left->id, e->sym[left->after].id);
  return !m || m->id != becomes;
}

static int merge_piece(sonde_encoder *e, const char *p, int64_t n) {
  int rc = make_room(e, n);
  if (rc || (rc = spell(e, p, n))) return rc;
  e->heap_n = 0;
  for (int32_t i = 0; i + 1 < n; i++) consider(e, i, i + 1);
  while (e->heap_n) {
    sonde_key key = sonde_heap_pop(e->heap, &e->heap_n);
    int32_t at = (int32_t)(uint32_t)key.hi, becomes = (int32_t)key.lo;
    if (is_stale(e, at, becomes)) continue;
    symbol *left = &e->sym[at], *right = &e->sym[left->after];
    left->id = becomes;
    left->after = right->after;
    right->id = -1;
    if (left->after >= 0) e->sym[left->after].before = at;
    consider(e, left->before, at);
    consider(e, at, left->after);
  }
  for (int32_t i = 0; i >= 0; i = e->sym[i].after)
    if (sonde_ids_push(e->out, e->sym[i].id)) return no_memory(e);
  return 0;
}

/* ---- pieces -------------------------------------------------------------------------------------------- */

static int encode_new_piece(sonde_encoder *e, const char *p, int64_t n) {
  if (e->t->whole_first) {
    int64_t k = sonde_intern_find(&e->t->whole, p, n, sonde_intern_hash(p, n));
    if (k >= 0) return sonde_ids_push(e->out, e->t->whole_id[k]) ? no_memory(e) : 0;
  }
  return merge_piece(e, p, n);
}

static int remember(sonde_encoder *e, const char *p, int64_t n, uint32_t hash, int64_t from) {
  if (e->known.n == CACHED_PIECES) {
    sonde_intern_clear(&e->known);
    e->known_ids.n = 0;
  }
  int64_t k = sonde_intern_add(&e->known, p, n, hash);
  if (k < 0) return no_memory(e);
  for (int64_t i = from; i < e->out->n; i++)
    if (sonde_ids_push(&e->known_ids, e->out->id[i])) return no_memory(e);
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
    if (sonde_ids_push(e->out, e->known_ids.id[i])) return no_memory(e);
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

typedef int (*text_fn)(sonde_encoder *e, const char *p, int64_t n, int flags);

/* Emits the added tokens of a set and hands the text between them to `rest`. The next one is looked for behind the
 * token itself, not behind the blanks that it takes: one that begins among those is found, as in the library the files
 * are of. */
static int split_added(sonde_encoder *e, const sonde_added_set *set, const char *p, int64_t n, int flags,
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
    if (begin > from && (rc = rest(e, p + from, begin - from, flags))) return rc;
    if (sonde_ids_push(e->out, a->id)) return no_memory(e);
    from = end;
  }
  return from < n ? rest(e, p + from, n - from, flags) : 0;
}

static int encode_plain(sonde_encoder *e, const char *p, int64_t n, int flags) {
  (void)flags;
  return sonde_split_text(&e->splitter, p, n, encode_piece, e, e->err);
}

static int encode_between(sonde_encoder *e, const char *p, int64_t n, int flags) {
  if (e->t->nfc) {
    int rc = sonde_utf8_nfc(p, n, &e->normal, &p, &n, e->err);
    if (rc) return rc;
  }
  return split_added(e, &e->t->normalized, p, n, flags, encode_plain);
}

/* Bytes that are no UTF-8 are a piece of their own, so that every text comes back from its ids. */
static int encode_text(sonde_encoder *e, const char *p, int64_t n, int flags) {
  int rc = 0;
  while (n > 0 && !rc) {
    int64_t good = sonde_utf8_prefix(p, n), bad = sonde_utf8_bad(p + good, n - good);
    if (good) rc = split_added(e, &e->t->raw, p, good, flags, encode_between);
    if (bad && !rc) rc = encode_piece(e, p + good, bad);
    p += good + bad;
    n -= good + bad;
  }
  return rc;
}

static int push_all(sonde_encoder *e, const int32_t *ids, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (sonde_ids_push(e->out, ids[i])) return no_memory(e);
  return 0;
}

int sonde_encode(sonde_encoder *e, const char *text, int64_t n, int flags, sonde_ids *out, sonde_error *err) {
  e->out = out;
  e->err = err;
  int rc = flags & SONDE_ENCODE_BARE ? 0 : push_all(e, e->t->before, e->t->before_n);
  if (!rc) rc = encode_text(e, text, n, flags);
  return rc || flags & SONDE_ENCODE_BARE ? rc : push_all(e, e->t->after, e->t->after_n);
}
