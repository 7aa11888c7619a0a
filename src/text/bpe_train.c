/* bpe_train.c - merging the most frequent pair, again and again.
 *
 * Words are counted once (bpe_count.h). Every pair knows the words it occurs in, so a merge touches only
 * those; a heap holds the pairs by count, with entries that are checked against the count of the day when
 * they come up. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "text/alphabet.h"
#include "text/bpe_count.h"
#include "text/bpe_file.h"
#include "text/heap.h"
#include "text/tokenizer_internal.h"

typedef struct word {
  int64_t count, at;           /* its symbols are symbol[at] .. symbol[at + n - 1] */
  int32_t n;
} word;

typedef struct pair {
  int32_t a, b;
  int64_t count;
  int32_t places;              /* list of the words it was seen in; -1 ends it */
} pair;

typedef struct place { int32_t next, word; } place;

typedef struct trainer {
  int32_t first_byte;          /* id of the first byte's token, behind the special ones */
  sonde_bpe_model model;       /* token k of it has the id first_byte + k */
  sonde_intern tokens;         /* their bytes, by the same numbers */
  word *words;
  int64_t words_n;
  int32_t *symbol;
  pair *pairs;
  int64_t pairs_n, pairs_room;
  int64_t *slot;               /* pair's number + 1; 0 is free */
  int64_t slots;
  place *places;
  int64_t places_n, places_room;
  sonde_key *heap;
  int64_t heap_n, heap_room;
} trainer;

static int grow(void **p, int64_t *room, int64_t n, size_t size) {
  if (n < *room) return 0;
  int64_t wider = 2 * *room + 1024;
  void *grown = sonde_grow(*p, (size_t)*room * size, (size_t)wider * size);
  if (!grown) return SONDE_ENOMEM;
  *p = grown;
  *room = wider;
  return 0;
}

/* ---- pairs --------------------------------------------------------------------------------------------- */

static uint64_t pair_hash(int32_t a, int32_t b) {
  return (((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9e3779b97f4a7c15u) >> 20;
}

static int widen_slots(trainer *t) {
  int64_t slots = t->slots ? 2 * t->slots : 4096;
  int64_t *slot = sonde_alloc((size_t)slots * sizeof *slot);
  if (!slot) return SONDE_ENOMEM;
  for (int64_t k = 0; k < t->pairs_n; k++) {
    uint64_t i = pair_hash(t->pairs[k].a, t->pairs[k].b);
    while (slot[i & (uint64_t)(slots - 1)]) i++;
    slot[i & (uint64_t)(slots - 1)] = k + 1;
  }
  sonde_release(t->slot);
  t->slot = slot;
  t->slots = slots;
  return 0;
}

/* The pair's number, made if need be; -1 when out of memory. */
static int64_t pair_of(trainer *t, int32_t a, int32_t b) {
  if (2 * (t->pairs_n + 1) > t->slots && widen_slots(t)) return -1;
  uint64_t i = pair_hash(a, b), mask = (uint64_t)t->slots - 1;
  for (; t->slot[i & mask]; i++) {
    const pair *p = &t->pairs[t->slot[i & mask] - 1];
    if (p->a == a && p->b == b) return t->slot[i & mask] - 1;
  }
  if (grow((void **)&t->pairs, &t->pairs_room, t->pairs_n, sizeof *t->pairs)) return -1;
  t->pairs[t->pairs_n] = (pair){a, b, 0, -1};
  t->slot[i & mask] = ++t->pairs_n;
  return t->pairs_n - 1;
}

static int add_pair(trainer *t, int32_t a, int32_t b, int32_t in_word, int64_t times) {
  int64_t k = pair_of(t, a, b);
  if (k < 0 || t->places_n == INT32_MAX) return SONDE_ENOMEM;
  if (grow((void **)&t->places, &t->places_room, t->places_n, sizeof *t->places)) return SONDE_ENOMEM;
  pair *p = &t->pairs[k];
  p->count += times;
  /* The list's head is the word at hand if this is not its first occurrence there. */
  if (p->places >= 0 && t->places[p->places].word == in_word) return 0;
  t->places[t->places_n] = (place){p->places, in_word};
  p->places = (int32_t)t->places_n++;
  return 0;
}

static int queue_pair(trainer *t, const pair *p) {
  if (grow((void **)&t->heap, &t->heap_room, t->heap_n, sizeof *t->heap)) return SONDE_ENOMEM;
  sonde_heap_push(t->heap, &t->heap_n,
                  (sonde_key){~(uint64_t)p->count, (uint64_t)(uint32_t)p->a << 32 | (uint32_t)p->b});
  return 0;
}

/* ---- the start ----------------------------------------------------------------------------------------- */

/* Token number of text[from..], which the caller has appended: new, or the one with these bytes, and the
 * text goes again. -1 when out of memory. */
static int32_t close_token(trainer *t, int64_t from) {
  sonde_bpe_model *m = &t->model;
  const char *p = m->text.data + from;
  int64_t n = m->text.n - from, known = t->tokens.n;
  int64_t k = sonde_intern_add(&t->tokens, p, n, sonde_intern_hash(p, n));
  if (k < 0 || grow((void **)&m->start, &m->tokens_room, m->tokens + 1, sizeof *m->start)) return -1;
  if (k < known)
    m->text.n = from;
  else
    m->start[++m->tokens] = m->text.n;
  return (int32_t)k;
}

/* Bytes in the order of their letters: first those that are printable themselves. */
static int start_tokens(trainer *t) {
  for (int printable = 1; printable >= 0; printable--) {
    for (int byte = 0; byte < 256; byte++) {
      char letter[3], c = (char)byte;
      sonde_byte_char((unsigned char)byte, letter);
      int itself = (unsigned char)letter[0] < 0xc4;      /* below U+0100 */
      if (itself != printable) continue;
      int64_t from = t->model.text.n;
      if (sonde_bytes_add(&t->model.text, &c, 1) || close_token(t, from) < 0) return SONDE_ENOMEM;
    }
  }
  return 0;
}

static int start_words(trainer *t, const sonde_counts *counts) {
  int64_t at = 0, n, used = 0;
  const char *p;
  t->words = sonde_alloc((size_t)(counts->pieces.n + 1) * sizeof *t->words);
  t->symbol = sonde_alloc((size_t)(counts->pieces.records.n + 1) * sizeof *t->symbol);
  if (!t->words || !t->symbol) return SONDE_ENOMEM;
  while ((p = sonde_intern_next(&counts->pieces, &at, &n))) {
    int32_t w = (int32_t)t->words_n++;
    t->words[w] = (word){counts->count[w], used, (int32_t)n};
    for (int64_t i = 0; i < n; i++, used++) {
      t->symbol[used] =
        t->first_byte + (int32_t)sonde_intern_find(&t->tokens, p + i, 1, sonde_intern_hash(p + i, 1));
      if (i && add_pair(t, t->symbol[used - 1], t->symbol[used], w, t->words[w].count)) return SONDE_ENOMEM;
    }
  }
  for (int64_t k = 0; k < t->pairs_n; k++)
    if (queue_pair(t, &t->pairs[k])) return SONDE_ENOMEM;
  return 0;
}

/* ---- merging ------------------------------------------------------------------------------------------- */

static int add_side(sonde_bpe_model *m, int64_t k) {
  int64_t n = m->start[k + 1] - m->start[k];
  if (sonde_bytes_reserve(&m->text, n)) return SONDE_ENOMEM;     /* before the pointer into it is taken */
  return sonde_bytes_add(&m->text, m->text.data + m->start[k], n);
}

/* Notes the merge and returns the id of what it makes; -1 when out of memory. */
static int32_t note_merge(trainer *t, int32_t a, int32_t b) {
  sonde_bpe_model *m = &t->model;
  int64_t from = m->text.n;
  if (grow((void **)&m->merge, &m->merges_room, m->merges, sizeof *m->merge)) return -1;
  m->merge[m->merges][0] = a - t->first_byte;
  m->merge[m->merges++][1] = b - t->first_byte;
  if (add_side(m, a - t->first_byte) || add_side(m, b - t->first_byte)) return -1;
  int32_t k = close_token(t, from);
  return k < 0 ? -1 : t->first_byte + k;
}

/* Merges (a, b) into c within one word, and moves the counts of the pairs around it. */
static int merge_in_word(trainer *t, int32_t k, int32_t a, int32_t b, int32_t c) {
  word *w = &t->words[k];
  int32_t *s = t->symbol + w->at, n = w->n, out = 0;
  for (int32_t i = 0; i < n; i++) {
    if (i + 1 == n || s[i] != a || s[i + 1] != b) {
      s[out++] = s[i];
      continue;
    }
    if (out) {
      int64_t left = pair_of(t, s[out - 1], a);
      if (left < 0 || add_pair(t, s[out - 1], c, k, w->count)) return SONDE_ENOMEM;
      t->pairs[left].count -= w->count;
    }
    if (i + 2 < n) {
      int64_t right = pair_of(t, b, s[i + 2]);
      if (right < 0 || add_pair(t, c, s[i + 2], k, w->count)) return SONDE_ENOMEM;
      t->pairs[right].count -= w->count;
    }
    s[out++] = c;
    i++;
  }
  w->n = out;
  return 0;
}

/* Queues the pairs that may have grown: those with c. They are new, unless c's bytes were a token before. */
static int queue_grown(trainer *t, int64_t from, int32_t c) {
  for (int64_t k = from; k < t->pairs_n; k++)
    if ((t->pairs[k].a == c || t->pairs[k].b == c) && queue_pair(t, &t->pairs[k])) return SONDE_ENOMEM;
  return 0;
}

static int merge_pair(trainer *t, int64_t k) {
  int64_t pairs = t->pairs_n, tokens = t->tokens.n;
  int32_t a = t->pairs[k].a, b = t->pairs[k].b, c = note_merge(t, a, b);
  if (c < 0) return SONDE_ENOMEM;
  for (int32_t at = t->pairs[k].places; at >= 0; at = t->places[at].next)
    if (merge_in_word(t, t->places[at].word, a, b, c)) return SONDE_ENOMEM;
  t->pairs[k].count = 0;
  t->pairs[k].places = -1;
  return queue_grown(t, t->tokens.n > tokens ? pairs : 0, c);
}

static int merge_all(trainer *t, int64_t tokens, int64_t min_count) {
  while (t->tokens.n < tokens && t->heap_n) {
    sonde_key key = sonde_heap_pop(t->heap, &t->heap_n);
    int64_t k = pair_of(t, (int32_t)(key.lo >> 32), (int32_t)(uint32_t)key.lo);
    if (k < 0) return SONDE_ENOMEM;
    int64_t count = t->pairs[k].count;
    if (count < min_count) continue;
    if (count != (int64_t)~key.hi ? queue_pair(t, &t->pairs[k]) : merge_pair(t, k)) return SONDE_ENOMEM;
  }
  return 0;
}

static void trainer_free(trainer *t) {
  sonde_intern_free(&t->tokens);
  sonde_release(t->words);
  sonde_release(t->symbol);
  sonde_release(t->pairs);
  sonde_release(t->slot);
  sonde_release(t->places);
  sonde_release(t->heap);
  sonde_bytes_free(&t->model.text);
  sonde_release(t->model.start);
  sonde_release(t->model.merge);
}

sonde_tokenizer *sonde_bpe_train(const sonde_text *texts, int64_t n, const sonde_bpe_opts *opts,
                                 sonde_pool *pool, sonde_error *err) {
  static const char *const eot[] = {SONDE_EOT};
  const char *const *special = opts->special ? opts->special : eot;
  int n_special = opts->special ? opts->n_special : 1;
  if (opts->vocab < 256 + n_special || opts->vocab > INT32_MAX / 2) {
    sonde_fail(err, SONDE_EINVAL,
               "a vocabulary of %lld: it includes 256 bytes and %d special tokens before the first merge",
               (long long)opts->vocab, n_special);
    return NULL;
  }
  trainer t = {.first_byte = n_special};
  sonde_counts counts = {0};
  sonde_tokenizer *made = NULL;
  int rc = sonde_count_pieces(texts, n, pool, &counts, err);
  if (!rc) {
    rc = start_tokens(&t) || start_words(&t, &counts) ||
         merge_all(&t, opts->vocab - n_special, opts->min_count ? opts->min_count : 2);
    if (rc) sonde_fail(err, SONDE_ENOMEM, "training a tokenizer: out of memory");
  }
  if (!rc) made = sonde_bpe_tokenizer(&t.model, special, n_special, err);
  sonde_counts_free(&counts);
  trainer_free(&t);
  return made;
}
