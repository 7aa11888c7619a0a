/* mem.h - allocation whose failure can be tested, a bump arena, and a string-keyed hash map. */
#ifndef SONDE_BASE_MEM_H
#define SONDE_BASE_MEM_H

#include "base/error.h"

/* All of libsonde allocates through these. sonde_alloc zero-fills and is 64-byte aligned; NULL when out of
 * memory (or when a test asked the n-th allocation to fail). Freed by sonde_release; release(NULL) is fine. */
void *sonde_alloc(size_t bytes);
void *sonde_grow(void *p, size_t old_bytes, size_t new_bytes); /* realloc with a zeroed tail; on failure p stays */
char *sonde_strdup(const char *s);
void sonde_release(void *p);
void sonde_alloc_fail_at(int64_t nth);  /* tests: the nth call from now fails; 0 turns it off */
int64_t sonde_alloc_live(void);         /* tests: allocations not yet released */

/* Bump arena for many small objects of one lifetime (graph nodes, names). */
typedef struct sonde_arena sonde_arena;
sonde_arena *sonde_arena_new(void);
void sonde_arena_free(sonde_arena *a);
void *sonde_arena_alloc(sonde_arena *a, size_t bytes);          /* zeroed, 16-byte aligned; NULL when out of memory */
char *sonde_arena_strdup(sonde_arena *a, const char *s);

/* Map from string to pointer; keys are copied. Iteration is in insertion order, so results are deterministic. */
typedef struct sonde_map sonde_map;
sonde_map *sonde_map_new(void);
void sonde_map_free(sonde_map *m);
int sonde_map_set(sonde_map *m, const char *key, void *value);  /* 0, or SONDE_ENOMEM; replaces */
void *sonde_map_get(const sonde_map *m, const char *key);       /* NULL if absent */
int64_t sonde_map_count(const sonde_map *m);
const char *sonde_map_key(const sonde_map *m, int64_t i);       /* i in insertion order */
void *sonde_map_value(const sonde_map *m, int64_t i);

#endif
