/* charsmap.h - SentencePiece's precompiled character map: a double-array trie (Yata et al., 2007) from short strings to
 * strings. */
#ifndef SONDE_TEXT_CHARSMAP_H
#define SONDE_TEXT_CHARSMAP_H

#include "io/bytes.h"

typedef struct sonde_charsmap {
  uint32_t *unit;
  int64_t units;
  const char *text;            /* what is mapped to, each with a NUL */
  int64_t text_n;
  sonde_bytes data;            /* the file's bytes, which `text` points into */
} sonde_charsmap;

/* Reads a map of `n` characters of Base64. A map without entries is empty. `where` is for messages. EFORMAT, ENOMEM. */
int sonde_charsmap_read(sonde_charsmap *m, const char *base64, int64_t n, const char *where, sonde_error *err);
void sonde_charsmap_free(sonde_charsmap *m);
int sonde_charsmap_same(const sonde_charsmap *a, const sonde_charsmap *b);

/* Appends the mapped text to *out, grapheme by grapheme: one of fewer than 6 bytes whose beginning is in the map
 * becomes what that is mapped to, and so does each character of any other (the Hugging Face library's reading of the
 * map, not SentencePiece's, which takes the longest entry at each place). 0 or ENOMEM. */
int sonde_charsmap_apply(const sonde_charsmap *m, const char *p, int64_t n, sonde_bytes *out);

#endif
