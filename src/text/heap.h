/* heap.h - a binary heap of 128-bit keys, the smallest first. The caller owns the array, which must be large enough. */
#ifndef SONDE_TEXT_HEAP_H
#define SONDE_TEXT_HEAP_H

#include <stdint.h>

typedef struct sonde_key { uint64_t hi, lo; } sonde_key;

static inline int sonde_key_less(sonde_key x, sonde_key y) {
  return x.hi != y.hi ? x.hi < y.hi : x.lo < y.lo;
}

static inline void sonde_heap_push(sonde_key *heap, int64_t *n, sonde_key key) {
  int64_t i = (*n)++;
  while (i > 0 && sonde_key_less(key, heap[(i - 1) / 2])) {
    heap[i] = heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  heap[i] = key;
}

static inline sonde_key sonde_heap_pop(sonde_key *heap, int64_t *n) {
  sonde_key top = heap[0], last = heap[--*n];
  int64_t i = 0;
  for (;;) {
    int64_t child = 2 * i + 1;
    if (child >= *n) break;
    if (child + 1 < *n && sonde_key_less(heap[child + 1], heap[child])) child++;
    if (!sonde_key_less(heap[child], last)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = last;
  return top;
}

#endif
