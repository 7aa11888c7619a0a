/* charsmap.c - SentencePiece's character map: little-endian u32 size of the trie in bytes, the trie, the strings. */
#include "config.h"

#include <endian.h>
#include <string.h>
#include <utf8proc.h>
#include "base/mem.h"
#include "text/charsmap.h"

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int decode_base64(const char *s, int64_t n, sonde_bytes *out) {
  uint32_t bits = 0;
  int held = 0;
  while (n && s[n - 1] == '=') n--;
  for (int64_t i = 0; i < n; i++) {
    int v = base64_value(s[i]);
    if (v < 0) return SONDE_EFORMAT;
    bits = bits << 6 | (uint32_t)v;
    if ((held += 6) < 8) continue;
    held -= 8;
    char byte = (char)(bits >> held);
    if (sonde_bytes_add(out, &byte, 1)) return SONDE_ENOMEM;
  }
  return 0;
}

static int damaged(const char *where, sonde_error *err) {
  return sonde_fail(err, SONDE_EFORMAT, "%s: the precompiled character map is damaged", where);
}

int sonde_charsmap_read(sonde_charsmap *m, const char *base64, int64_t n, const char *where, sonde_error *err) {
  uint32_t size;
  *m = (sonde_charsmap){0};
  int rc = decode_base64(base64, n, &m->data);
  if (rc == SONDE_EFORMAT) rc = damaged(where, err);
  else if (rc) rc = sonde_fail(err, rc, "%s: out of memory", where);
  if (rc || !m->data.n) return rc;
  if (m->data.n < 4 || (memcpy(&size, m->data.data, 4), size = le32toh(size), size % 4 || size > m->data.n - 4))
    return damaged(where, err);
  m->units = size / 4;
  m->unit = sonde_alloc((size_t)(m->units + 1) * sizeof *m->unit);
  if (!m->unit) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", where);
  memcpy(m->unit, m->data.data + 4, size);
  for (int64_t i = 0; i < m->units; i++) m->unit[i] = le32toh(m->unit[i]);
  m->text = m->data.data + 4 + size;
  m->text_n = m->data.n - 4 - size;
  int64_t i = 0;
  while (i < m->text_n) {      /* what is inserted into a text must be one */
    int32_t c;
    utf8proc_ssize_t used = utf8proc_iterate((const uint8_t *)m->text + i, m->text_n - i, &c);
    if (used <= 0) return damaged(where, err);
    i += used;
  }
  return 0;
}

void sonde_charsmap_free(sonde_charsmap *m) {
  sonde_release(m->unit);
  sonde_bytes_free(&m->data);
  *m = (sonde_charsmap){0};
}

int sonde_charsmap_same(const sonde_charsmap *a, const sonde_charsmap *b) {
  return a->data.n == b->data.n && (!a->data.n || !memcmp(a->data.data, b->data.data, (size_t)a->data.n));
}

/* The unit's fields: whether a key ends here, the byte that leads to it (none for a value), where its children are. */
static int has_leaf(uint32_t unit) { return unit >> 8 & 1; }
static uint32_t label(uint32_t unit) { return unit & (1u << 31 | 0xff); }
static uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

/* The string that the shortest entry at p is mapped to, and its length; NULL where none begins there. */
static const char *find(const sonde_charsmap *m, const char *p, int64_t n, int64_t *size) {
  if (!m->units) return NULL;
  uint64_t at = offset(m->unit[0]);
  for (int64_t i = 0; i < n && p[i]; i++) {
    unsigned char c = (unsigned char)p[i];
    at ^= c;
    if (at >= (uint64_t)m->units || label(m->unit[at]) != c) return NULL;
    uint32_t unit = m->unit[at];
    at ^= offset(unit);
    if (!has_leaf(unit)) continue;
    uint64_t value = at < (uint64_t)m->units ? m->unit[at] & ~(1u << 31) : (uint64_t)m->text_n;
    if (value >= (uint64_t)m->text_n || (m->text[value] & 0xc0) == 0x80) return NULL;
    const char *end = memchr(m->text + value, '\0', (size_t)m->text_n - value);
    *size = end ? end - m->text - (int64_t)value : m->text_n - (int64_t)value;
    return m->text + value;
  }
  return NULL;
}

static int64_t length_of(const char *p, int64_t n, int32_t *c) {
  return utf8proc_iterate((const uint8_t *)p, n, c);
}

/* The bytes of the extended grapheme cluster at p. */
static int64_t grapheme(const char *p, int64_t n) {
  utf8proc_int32_t c, next, state = 0;
  int64_t i = length_of(p, n, &c), used;
  while (i < n) {
    used = length_of(p + i, n - i, &next);
    if (utf8proc_grapheme_break_stateful(c, next, &state)) break;
    c = next;
    i += used;
  }
  return i;
}

static int apply_each(const sonde_charsmap *m, const char *p, int64_t n, sonde_bytes *out) {
  int32_t c;
  int rc = 0;
  for (int64_t i = 0, used; i < n && !rc; i += used) {
    int64_t size;
    used = length_of(p + i, n - i, &c);
    const char *to = find(m, p + i, used, &size);
    rc = to ? sonde_bytes_add(out, to, size) : sonde_bytes_add(out, p + i, used);
  }
  return rc;
}

int sonde_charsmap_apply(const sonde_charsmap *m, const char *p, int64_t n, sonde_bytes *out) {
  int rc = 0;
  for (int64_t i = 0, used; i < n && !rc; i += used) {
    int64_t size;
    used = grapheme(p + i, n - i);
    const char *to = used < 6 ? find(m, p + i, used, &size) : NULL;
    rc = to ? sonde_bytes_add(out, to, size) : apply_each(m, p + i, used, out);
  }
  return rc;
}
