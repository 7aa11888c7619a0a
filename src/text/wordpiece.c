/* wordpiece.c - WordPiece: from the left always the longest token that fits (Devlin et al., 2019). */
#include "config.h"

#include <string.h>
#include "text/encoder.h"
#include "text/unicode.h"

static int64_t characters(const char *p, int64_t n) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; count++) i += sonde_utf8_length(p + i, n - i);
  return count;
}

/* The longest token at the start of p, and its length; -1 if there is none. `word` holds the prefix of tokens inside a
 * word, and is scratch behind it. */
static int32_t longest(const sonde_tokenizer *t, const char *p, int64_t n, sonde_bytes *word, int64_t *used) {
  int64_t head = word->n;
  if (sonde_bytes_add(word, p, n)) return -1;
  for (; n > 0; n--) {
    if (n < word->n - head && ((unsigned char)p[n] & 0xc0) == 0x80) continue;      /* inside a character */
    int32_t id = sonde_find_spelling(t, word->data, head + n);
    if (id >= 0) {
      *used = n;
      return id;
    }
  }
  return -1;
}

/* A word that tokens cannot spell, or a longer one than the model takes, is one unknown token. */
int sonde_wordpiece_piece(sonde_encoder *e, const char *p, int64_t n) {
  const sonde_tokenizer *t = e->t;
  int64_t begun = e->out->n, head = (int64_t)strlen(t->continuing), used = 0;
  int known = characters(p, n) <= t->longest_word, rc = 0;
  sonde_bytes *word = &e->word;
  for (int64_t i = 0; i < n && known && !rc; i += used) {
    word->n = 0;
    if (sonde_bytes_reserve(word, head + n) || sonde_bytes_add(word, t->continuing, i ? head : 0))
      return sonde_encode_no_memory(e);
    int32_t id = longest(t, p + i, n - i, word, &used);
    known = id >= 0;
    if (known && sonde_ids_push(e->out, id)) rc = sonde_encode_no_memory(e);
  }
  if (known || rc) return rc;
  e->out->n = begun;
  if (t->unknown < 0) return sonde_no_token(e, p, n);
  return sonde_ids_push(e->out, t->unknown) ? sonde_encode_no_memory(e) : 0;
}
