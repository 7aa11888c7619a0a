/* mem.c - allocation that can be made to fail, the bump arena and the string map. */
#include "config.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/mem.h"

enum { ALIGN = 64, ARENA_ALIGN = 16, ARENA_FIRST = 4096, ARENA_LARGEST = 1 << 20 };

static _Atomic int64_t live;
static _Atomic int64_t fail_in;   /* calls until the one that fails, itself included; <= 0: none will */

/* The plain load first: the shared counter must not be written by every allocation of every thread. */
static int must_fail(void) {
  return atomic_load_explicit(&fail_in, memory_order_relaxed) > 0 && atomic_fetch_sub(&fail_in, 1) == 1;
}

/* Room for `bytes`, aligned, not cleared. */
static void *take(size_t bytes) {
  if (must_fail() || bytes > PTRDIFF_MAX - ALIGN) return NULL;
  size_t rounded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
  void *p = aligned_alloc(ALIGN, rounded ? rounded : ALIGN);
  if (p) atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
  return p;
}

void *sonde_alloc(size_t bytes) {
  void *p = take(bytes);
  return p ? memset(p, 0, bytes) : NULL;
}

void *sonde_grow(void *p, size_t old_bytes, size_t new_bytes) {
  char *q = take(new_bytes);
  if (!q) return NULL;
  size_t kept = old_bytes < new_bytes ? old_bytes : new_bytes;
  if (p && kept) memcpy(q, p, kept);
  memset(q + kept, 0, new_bytes - kept);
  sonde_release(p);
  return q;
}

char *sonde_strdup(const char *s) {
  size_t n = strlen(s) + 1;
  char *p = take(n);
  return p ? memcpy(p, s, n) : NULL;
}

void sonde_release(void *p) {
  if (p) atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
  free(p);
}

void sonde_alloc_fail_at(int64_t nth) {
  atomic_store(&fail_in, nth);
}

int64_t sonde_alloc_live(void) {
  return atomic_load(&live);
}

/* ---- arena ------------------------------------------------------------------------------------------ */

typedef struct chunk {
  struct chunk *before;
  size_t used, size;
  _Alignas(ARENA_ALIGN) char data[];
} chunk;

struct sonde_arena {
  chunk *top;
};

sonde_arena *sonde_arena_new(void) {
  return sonde_alloc(sizeof(sonde_arena));
}

void sonde_arena_free(sonde_arena *a) {
  if (!a) return;
  for (chunk *c = a->top, *before; c; c = before) {
    before = c->before;
    sonde_release(c);
  }
  sonde_release(a);
}

void *sonde_arena_alloc(sonde_arena *a, size_t bytes) {
  if (bytes > PTRDIFF_MAX / 2) return NULL;
  size_t need = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
  if (!a->top || a->top->size - a->top->used < need) {
    size_t size = a->top ? 2 * a->top->size : ARENA_FIRST;
    if (size > ARENA_LARGEST) size = ARENA_LARGEST;
    if (size < need) size = need;
    chunk *c = sonde_alloc(sizeof(chunk) + size);
    if (!c) return NULL;
    c->size = size;
    c->before = a->top;
    a->top = c;
  }
  void *p = a->top->data + a->top->used;
  a->top->used += need;
  return p;
}

char *sonde_arena_strdup(sonde_arena *a, const char *s) {
  size_t n = strlen(s) + 1;
  char *p = sonde_arena_alloc(a, n);
  return p ? memcpy(p, s, n) : NULL;
}

/* ---- map -------------------------------------------------------------------------------------------- */

typedef struct entry {
  char *key;
  void *value;
  uint64_t hash;
} entry;

/* Entries are in order of insertion; `slot` is an open-addressing table of entry numbers plus one. */
struct sonde_map {
  entry *entry;
  int64_t count, room;
  int64_t *slot;
  int64_t slots;   /* a power of two, at least twice `room`; 0 before the first entry */
};

static uint64_t hash_text(const char *s) {
  uint64_t h = sonde_hash(SONDE_HASH_START, s, strlen(s));
  return h ^ h >> 32;
}

sonde_map *sonde_map_new(void) {
  return sonde_alloc(sizeof(sonde_map));
}

void sonde_map_free(sonde_map *m) {
  if (!m) return;
  for (int64_t i = 0; i < m->count; i++) sonde_release(m->entry[i].key);
  sonde_release(m->entry);
  sonde_release(m->slot);
  sonde_release(m);
}

/* The slot of `key`, or the empty slot for it. */
static int64_t *find_slot(const sonde_map *m, const char *key, uint64_t hash) {
  uint64_t mask = (uint64_t)m->slots - 1;
  for (uint64_t i = hash & mask;; i = (i + 1) & mask) {
    int64_t at = m->slot[i];
    if (!at) return &m->slot[i];
    const entry *e = &m->entry[at - 1];
    if (e->hash == hash && !strcmp(e->key, key)) return &m->slot[i];
  }
}

static int make_room(sonde_map *m) {
  if (m->count < m->room) return SONDE_OK;
  int64_t room = m->room ? 2 * m->room : 8, slots = 2 * room;
  int64_t *slot = sonde_alloc((size_t)slots * sizeof *slot);
  if (!slot) return SONDE_ENOMEM;
  entry *grown = sonde_grow(m->entry, (size_t)m->room * sizeof *grown, (size_t)room * sizeof *grown);
  if (!grown) {
    sonde_release(slot);
    return SONDE_ENOMEM;
  }
  sonde_release(m->slot);
  m->entry = grown;
  m->room = room;
  m->slot = slot;
  m->slots = slots;
  for (int64_t i = 0; i < m->count; i++) *find_slot(m, grown[i].key, grown[i].hash) = i + 1;
  return SONDE_OK;
}

int sonde_map_set(sonde_map *m, const char *key, void *value) {
  uint64_t hash = hash_text(key);
  if (m->slots) {
    int64_t at = *find_slot(m, key, hash);
    if (at) {
      m->entry[at - 1].value = value;
      return SONDE_OK;
    }
  }
  char *copy = sonde_strdup(key);
  if (!copy || make_room(m)) {
    sonde_release(copy);
    return SONDE_ENOMEM;
  }
  m->entry[m->count] = (entry){copy, value, hash};
  *find_slot(m, key, hash) = ++m->count;
  return SONDE_OK;
}

void *sonde_map_get(const sonde_map *m, const char *key) {
  if (!m->slots) return NULL;
  int64_t at = *find_slot(m, key, hash_text(key));
  return at ? m->entry[at - 1].value : NULL;
}

int64_t sonde_map_count(const sonde_map *m) {
  return m->count;
}

const char *sonde_map_key(const sonde_map *m, int64_t i) {
  return m->entry[i].key;
}

void *sonde_map_value(const sonde_map *m, int64_t i) {
  return m->entry[i].value;
}
