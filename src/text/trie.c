/* trie.c - one hash table for the edges of all nodes. */
#include "config.h"

#include "base/mem.h"
#include "text/trie.h"

enum { FIRST_SLOTS = 1024 };

static void place(sonde_trie *t, sonde_trie_slot s) {
  uint64_t mask = (uint64_t)t->slots - 1, i = ((uint64_t)s.node << 8 | s.byte) * 0x9e3779b97f4a7c15u >> 32;
  while (t->slot[i & mask].child) i++;
  t->slot[i & mask] = s;
}

static int widen(sonde_trie *t) {
  sonde_trie old = *t;
  t->slots = old.slots ? 2 * old.slots : FIRST_SLOTS;
  t->slot = sonde_alloc((size_t)t->slots * sizeof *t->slot);
  if (!t->slot) {
    *t = old;
    return SONDE_ENOMEM;
  }
  for (int64_t i = 0; i < old.slots; i++)
    if (old.slot[i].child) place(t, old.slot[i]);
  sonde_release(old.slot);
  return 0;
}

/* A node more; -1 if out of memory. */
static int64_t new_node(sonde_trie *t) {
  if (t->nodes == t->room) {
    int64_t room = 2 * t->room + FIRST_SLOTS;
    int32_t *p = sonde_grow(t->number, (size_t)t->room * sizeof *p, (size_t)room * sizeof *p);
    if (!p || room > UINT32_MAX) return -1;
    t->number = p;
    t->room = room;
  }
  t->number[t->nodes] = -1;
  return t->nodes++;
}

int sonde_trie_add(sonde_trie *t, const char *p, int64_t n, int32_t number) {
  uint32_t node = 0;
  if (!t->nodes && new_node(t) < 0) return SONDE_ENOMEM;
  for (int64_t i = 0; i < n; i++) {
    uint32_t next = sonde_trie_step(t, node, (unsigned char)p[i]);
    if (!next) {
      if (2 * (t->nodes + 1) > t->slots && widen(t)) return SONDE_ENOMEM;
      int64_t made = new_node(t);
      if (made < 0) return SONDE_ENOMEM;
      next = (uint32_t)made;
      place(t, (sonde_trie_slot){node, next, (unsigned char)p[i]});
    }
    node = next;
  }
  t->number[node] = number;
  return 0;
}

void sonde_trie_free(sonde_trie *t) {
  sonde_release(t->slot);
  sonde_release(t->number);
  *t = (sonde_trie){0};
}
