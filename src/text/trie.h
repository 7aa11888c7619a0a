/* trie.h - byte strings with a number each, found by walking byte by byte. */
#ifndef SONDE_TEXT_TRIE_H
#define SONDE_TEXT_TRIE_H

#include "base/error.h"

typedef struct sonde_trie_slot { uint32_t node, child; unsigned char byte; } sonde_trie_slot;

/* Initialise with zeros; node 0 is the root. */
typedef struct sonde_trie {
  sonde_trie_slot *slot;       /* the edges, hashed; child 0: free */
  int64_t slots;               /* a power of two */
  int32_t *number;             /* of the string that ends at a node; -1: none */
  int64_t nodes, room;
} sonde_trie;

/* Adds a string, or gives one that is there another number (not negative). 0 or SONDE_ENOMEM. */
int sonde_trie_add(sonde_trie *t, const char *p, int64_t n, int32_t number);
void sonde_trie_free(sonde_trie *t);

/* The node behind `node` by a byte; 0 if there is none. */
static inline uint32_t sonde_trie_step(const sonde_trie *t, uint32_t node, unsigned char byte) {
  uint64_t mask = (uint64_t)t->slots - 1, h = ((uint64_t)node << 8 | byte) * 0x9e3779b97f4a7c15u;
  for (uint64_t i = h >> 32; t->slots; i++) {
    const sonde_trie_slot *s = &t->slot[i & mask];
    if (!s->child) return 0;
    if (s->node == node && s->byte == byte) return s->child;
  }
  return 0;
}

#endif
