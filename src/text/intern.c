/* intern.c - open addressing over consecutive records. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "text/intern.h"

enum { FIRST_SLOTS = 1024, RECORD_HEAD = 8 };

uint32_t sonde_intern_hash(const char *p, int64_t n) {
  const uint64_t odd = 0x9e3779b97f4a7c15u;
  uint64_t h = (uint64_t)n * odd, w;
  for (; n >= 8; n -= 8, p += 8) {
    memcpy(&w, p, 8);
    h = (h ^ w) * odd;
    h ^= h >> 29;
  }
  if (n) {
    w = 0;
    memcpy(&w, p, (size_t)n);
    h = (h ^ w) * odd;
  }
  return (uint32_t)(h >> 32);
}

static const char *record(const sonde_intern *t, uint32_t at) {
  return t->records.data + ((int64_t)at - 1) * 8;
}

int64_t sonde_intern_find(const sonde_intern *t, const char *p, int64_t n, uint32_t hash) {
  if (!t->slots) return -1;
  for (uint32_t i = hash;; i++) {
    const sonde_intern_slot *s = &t->slot[i & (uint32_t)(t->slots - 1)];
    if (!s->at) return -1;
    if (s->hash != hash) continue;
    int32_t head[2];
    const char *r = record(t, s->at);
    memcpy(head, r, sizeof head);
    if (head[1] == n && !memcmp(r + RECORD_HEAD, p, (size_t)n)) return head[0];
  }
}

static void place(sonde_intern *t, sonde_intern_slot s) {
  uint32_t i = s.hash;
  while (t->slot[i & (uint32_t)(t->slots - 1)].at) i++;
  t->slot[i & (uint32_t)(t->slots - 1)] = s;
}

static int widen(sonde_intern *t) {
  sonde_intern old = *t;
  t->slots = old.slots ? 2 * old.slots : FIRST_SLOTS;
  t->slot = sonde_alloc((size_t)t->slots * sizeof *t->slot);
  if (!t->slot) {
    *t = old;
    return SONDE_ENOMEM;
  }
  for (int64_t i = 0; i < old.slots; i++)
    if (old.slot[i].at) place(t, old.slot[i]);
  sonde_release(old.slot);
  return SONDE_OK;
}

int64_t sonde_intern_add(sonde_intern *t, const char *p, int64_t n, uint32_t hash) {
  int64_t known = sonde_intern_find(t, p, n, hash);
  if (known >= 0) return known;
  if (2 * (t->n + 1) > t->slots && widen(t)) return -1;
  int64_t at = t->records.n / 8 + 1, padding = -n & 7;
  int32_t head[2] = {(int32_t)t->n, (int32_t)n};
  if (n > INT32_MAX || t->n == INT32_MAX || at > UINT32_MAX ||
      sonde_bytes_reserve(&t->records, RECORD_HEAD + n + padding))
    return -1;
  sonde_bytes_add(&t->records, head, sizeof head);
  sonde_bytes_add(&t->records, p, n);
  sonde_bytes_add(&t->records, "\0\0\0\0\0\0\0", padding);
  place(t, (sonde_intern_slot){hash, (uint32_t)at});
  return t->n++;
}

void sonde_intern_clear(sonde_intern *t) {
  if (t->slots) memset(t->slot, 0, (size_t)t->slots * sizeof *t->slot);
  t->records.n = t->n = 0;
}

void sonde_intern_free(sonde_intern *t) {
  sonde_release(t->slot);
  sonde_bytes_free(&t->records);
  *t = (sonde_intern){0};
}

const char *sonde_intern_next(const sonde_intern *t, int64_t *at, int64_t *n) {
  if (*at >= t->records.n) return NULL;
  int32_t head[2];
  const char *r = t->records.data + *at;
  memcpy(head, r, sizeof head);
  *n = head[1];
  *at += RECORD_HEAD + *n + (-*n & 7);
  return r + RECORD_HEAD;
}
