/* intern.h - byte strings to dense numbers 0, 1, 2, ... in the order they were first seen. */
#ifndef SONDE_TEXT_INTERN_H
#define SONDE_TEXT_INTERN_H

#include "io/bytes.h"

typedef struct sonde_intern_slot {
  uint32_t hash, at;           /* at: record / 8 + 1; 0 is free */
} sonde_intern_slot;

/* Initialise with zeros. */
typedef struct sonde_intern {
  sonde_intern_slot *slot;
  int64_t slots;               /* a power of two */
  sonde_bytes records;         /* int32 number, int32 length, the bytes, up to a multiple of 8 */
  int64_t n;
} sonde_intern;

uint32_t sonde_intern_hash(const char *p, int64_t n);
/* The string's number; -1 if it is absent. */
int64_t sonde_intern_find(const sonde_intern *t, const char *p, int64_t n, uint32_t hash);
/* Its number, existing or new; -1 if out of memory. */
int64_t sonde_intern_add(sonde_intern *t, const char *p, int64_t n, uint32_t hash);
void sonde_intern_clear(sonde_intern *t);      /* keeps the memory */
void sonde_intern_free(sonde_intern *t);

/* Iterates over the strings in order: start with *at = 0; NULL after the last. */
const char *sonde_intern_next(const sonde_intern *t, int64_t *at, int64_t *n);

#endif
