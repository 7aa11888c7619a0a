/* bytes.c - a growing buffer of bytes. */
#include "config.h"

#include <string.h>
#include "base/mem.h"
#include "io/bytes.h"

int sonde_bytes_reserve(sonde_bytes *b, int64_t more) {
  if (more < b->cap - b->n) return SONDE_OK;
  if (more > INT64_MAX / 4 - b->n) return SONDE_ENOMEM;
  int64_t cap = 2 * (b->n + more) + 64;
  char *p = sonde_grow(b->data, (size_t)b->cap, (size_t)cap);
  if (!p) return SONDE_ENOMEM;
  b->data = p;
  b->cap = cap;
  return SONDE_OK;
}

int sonde_bytes_add(sonde_bytes *b, const void *data, int64_t n) {
  if (sonde_bytes_reserve(b, n)) return SONDE_ENOMEM;
  if (n) memcpy(b->data + b->n, data, (size_t)n);
  b->n += n;
  b->data[b->n] = '\0';
  return SONDE_OK;
}

void sonde_bytes_free(sonde_bytes *b) {
  sonde_release(b->data);
  *b = (sonde_bytes){0};
}
