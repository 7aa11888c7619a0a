/* merge.c - BPE: pairs of neighbours in a piece merge in the order of their rank. */
#include "config.h"

#include "base/log.h"
#include "text/encoder.h"
#include "text/unicode.h"

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
  return sonde_encode_no_memory(e);
}

static void put(sonde_encoder *e, int64_t *count, int32_t id) {
  int32_t i = (int32_t)(*count)++;
  e->sym[i] = (sonde_symbol){id, i - 1, i + 1};
}

/* What has no token in a vocabulary without one for the unknown is left out, as in the library the files are of. The
 * first time is told: the text does not come back from its ids. */
static void left_out(sonde_encoder *e, const char *p, int64_t n) {
  static const char digits[] = "0123456789abcdef";
  char hex[16];
  if (__atomic_exchange_n(&e->t->warned, 1, __ATOMIC_RELAXED)) return;
  for (int64_t i = 0; i < n; i++) {
    hex[2 * i] = digits[(unsigned char)p[i] >> 4];
    hex[2 * i + 1] = digits[p[i] & 15];
  }
  hex[2 * n] = '\0';
  sonde_warn("a tokenizer without a token for the %s 0x%s, nor one for unknown ones: such %s are left out of texts",
             e->t->byte_level ? "byte" : "character", hex, e->t->byte_level ? "bytes" : "characters");
}

static void spell_bytes(sonde_encoder *e, const char *p, int64_t n, int64_t *count) {
  for (int64_t i = 0; i < n; i++) {
    int32_t id = e->t->byte_id[(unsigned char)p[i]];
    if (id >= 0) put(e, count, id);
    else left_out(e, p + i, 1);
  }
}

/* An unknown token waits for the next one that is known: in a row they may be one. Bytes do not end such a row, as in
 * the library the files are of. */
static void spell_characters(sonde_encoder *e, const char *p, int64_t n, int64_t *count) {
  const sonde_tokenizer *t = e->t;
  int waiting = 0;
  for (int64_t i = 0, used; i < n; i += used) {
    used = sonde_utf8_length(p + i, n - i);
    int32_t id = sonde_find_spelling(t, p + i, used);
    if (id >= 0) {
      if (waiting) put(e, count, t->unknown);
      waiting = 0;
      put(e, count, id);
    } else if (sonde_has_bytes(t, p + i, used)) {
      for (int64_t k = i; k < i + used; k++) put(e, count, t->byte_id[(unsigned char)p[k]]);
    } else if (t->unknown >= 0) {
      if (waiting && !t->fuse_unknown) put(e, count, t->unknown);
      waiting = 1;
    } else left_out(e, p + i, used);
  }
  if (waiting) put(e, count, t->unknown);
}

/* A candidate has gone stale when one of its two symbols has merged otherwise since. */
static int is_stale(const sonde_encoder *e, int32_t at, int32_t becomes) {
  const sonde_symbol *left = &e->sym[at];
  if (left->id < 0 || left->after < 0) return 1;
  const sonde_merge *m = sonde_find_merge(e->t, left->id, e->sym[left->after].id);
  return !m || m->id != becomes;
}

int sonde_merge_piece(sonde_encoder *e, const char *p, int64_t n) {
  int64_t count = 0;
  int rc = make_room(e, n);
  if (rc) return rc;
  if (e->t->byte_level) spell_bytes(e, p, n, &count);
  else spell_characters(e, p, n, &count);
  if (!count) return 0;
  e->sym[count - 1].after = -1;
  e->heap_n = 0;
  for (int32_t i = 0; i + 1 < count; i++) consider(e, i, i + 1);
  while (e->heap_n) {
    sonde_key key = sonde_heap_pop(e->heap, &e->heap_n);
    int32_t at = (int32_t)(uint32_t)key.hi, becomes = (int32_t)key.lo;
    if (is_stale(e, at, becomes)) continue;
    sonde_symbol *left = &e->sym[at], *right = &e->sym[left->after];
    left->id = becomes;
    left->after = right->after;
    right->id = -1;
    if (left->after >= 0) e->sym[left->after].before = at;
    consider(e, left->before, at);
    consider(e, at, left->after);
  }
  for (int32_t i = 0; i >= 0; i = e->sym[i].after)
    if (sonde_ids_push(e->out, e->sym[i].id)) return sonde_encode_no_memory(e);
  return 0;
}

