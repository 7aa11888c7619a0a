/* normalize.c - the steps, each from one buffer to the other. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "text/normalize.h"
#include "text/unicode.h"

int sonde_norms_add(sonde_norms *s, const sonde_norm *step, const char *where, sonde_error *err) {
  if (s->n == SONDE_MAX_NORMS)
    return sonde_fail(err, SONDE_EUNSUP, "%s: more than %d steps of normalisation", where, SONDE_MAX_NORMS);
  s->step[s->n++] = *step;
  return 0;
}

void sonde_norms_free(sonde_norms *s) {
  for (int i = 0; i < s->n; i++) {
    pcre2_code_free(s->step[i].re);
    sonde_charsmap_free(&s->step[i].map);
  }
  s->n = 0;
}

static int same_string(const char *a, int64_t n, const char *b, int64_t m) {
  return !a == !b && (!a || (n == m && !memcmp(a, b, (size_t)n)));
}

int sonde_norms_same(const sonde_norms *a, const sonde_norms *b) {
  int same = a->n == b->n;
  for (int i = 0; i < a->n && same; i++) {
    const sonde_norm *x = &a->step[i], *y = &b->step[i];
    same = x->kind == y->kind && x->left == y->left && x->right == y->right && x->nonspacing == y->nonspacing &&
           !x->re == !y->re && same_string(x->what, x->what_n, y->what, y->what_n) &&
           same_string(x->with, x->with_n, y->with, y->with_n) && sonde_charsmap_same(&x->map, &y->map);
  }
  return same;
}

/* ---- character by character ---------------------------------------------------------------------------- */

/* What one character becomes: writes up to 3 and returns how many. */
typedef int (*char_fn)(const sonde_norm *step, int32_t c, int32_t out[3]);

static int map_chars(const sonde_norm *step, char_fn fn, const char *p, int64_t n, sonde_bytes *out) {
  for (int64_t i = 0; i < n;) {
    int32_t c, to[3];
    utf8proc_uint8_t bytes[12];
    int64_t used = utf8proc_iterate((const uint8_t *)p + i, n - i, &c), size = 0;
    int count = fn(step, c, to);
    for (int k = 0; k < count; k++) size += utf8proc_encode_char(to[k], bytes + size);
    if (sonde_bytes_add(out, bytes, size)) return SONDE_ENOMEM;
    i += used;
  }
  return 0;
}

/* Of all characters only the capital I with a dot becomes two by itself. */
static int lower(const sonde_norm *step, int32_t c, int32_t out[3]) {
  (void)step;
  if (c == 0x130) return out[0] = 'i', out[1] = 0x307, 2;
  out[0] = utf8proc_tolower(c);
  return 1;
}

static int drop_marks(const sonde_norm *step, int32_t c, int32_t out[3]) {
  utf8proc_category_t k = utf8proc_category(c);
  out[0] = c;
  return !(k == UTF8PROC_CATEGORY_MN ||
           (!step->nonspacing && (k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME)));
}

static int nmt(const sonde_norm *step, int32_t c, int32_t out[3]) {
  (void)step;
  out[0] = c;
  if ((c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f) return 0;
  if (c == 9 || c == 10 || c == 12 || c == 13 || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
      c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
    out[0] = ' ';
  return 1;
}

static int clean(const sonde_norm *step, int32_t c, int32_t out[3]) {
  (void)step;
  out[0] = sonde_is_space(c) ? ' ' : c;
  if (c == '\t' || c == '\n' || c == '\r') return 1;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO: return 0;
    default: return c != 0xfffd;
  }
}

static int space_ideographs(const sonde_norm *step, int32_t c, int32_t out[3]) {
  (void)step;
  int is = (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x2f800 && c <= 0x2fa1f);
  out[0] = is ? ' ' : c;
  out[1] = c;
  out[2] = ' ';
  return is ? 3 : 1;
}

/* ---- whole texts --------------------------------------------------------------------------------------- */

static int unicode_form(sonde_norm_kind kind, const char *p, int64_t n, sonde_bytes *out, sonde_error *err) {
  int options = UTF8PROC_STABLE;
  options |= kind == SONDE_NORM_NFC || kind == SONDE_NORM_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (kind == SONDE_NORM_NFKC || kind == SONDE_NORM_NFKD) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t *text;
  utf8proc_ssize_t size = utf8proc_map((const uint8_t *)p, n, &text, (utf8proc_option_t)options);
  if (size == UTF8PROC_ERROR_NOMEM) return SONDE_ENOMEM;
  if (size < 0) return sonde_fail(err, SONDE_EFORMAT, "normalising a text: %s", utf8proc_errmsg(size));
  int rc = sonde_bytes_add(out, text, size);
  free(text);
  return rc;
}

static int replace_string(const sonde_norm *s, const char *p, int64_t n, sonde_bytes *out) {
  for (const char *end = p + n; p < end;) {
    const char *at = memmem(p, (size_t)(end - p), s->what, (size_t)s->what_n), *to = at ? at : end;
    if (sonde_bytes_add(out, p, to - p) || (at && sonde_bytes_add(out, s->with, s->with_n))) return SONDE_ENOMEM;
    p = at ? at + s->what_n : end;
  }
  return 0;
}

/* An empty match right behind another one is none. */
static int replace_matches(const sonde_norm *s, const char *p, int64_t n, sonde_bytes *out, sonde_error *err) {
  pcre2_match_data *match = pcre2_match_data_create(1, NULL);
  if (!match) return SONDE_ENOMEM;
  const PCRE2_SIZE *place = pcre2_get_ovector_pointer(match);
  int64_t from = 0, search = 0, before = -1;
  int rc = 0;
  while (search <= n && !rc) {
    int found = sonde_regex_next(s->re, match, NULL, p, n, search, err);
    if (found <= 0) {
      rc = found;
      break;
    }
    int64_t begin = (int64_t)place[0], end = (int64_t)place[1];
    if (end > begin || begin != before) {
      rc = sonde_bytes_add(out, p + from, begin - from) || sonde_bytes_add(out, s->with, s->with_n) ? SONDE_ENOMEM : 0;
      from = before = end;
    }
    search = end;
    if (end == begin) {
      do search++;
      while (search < n && (p[search] & 0xc0) == 0x80);
    }
  }
  if (!rc) rc = sonde_bytes_add(out, p + from, n - from);
  pcre2_match_data_free(match);
  return rc;
}

static int strip(const sonde_norm *s, const char *p, int64_t n, sonde_bytes *out) {
  int64_t left = s->left ? sonde_space_at_start(p, n) : 0;
  int64_t right = s->right && left < n ? sonde_space_at_end(p, n) : 0;
  return sonde_bytes_add(out, p + left, n - left - right);
}

static int prepend(const sonde_norm *s, const char *p, int64_t n, sonde_bytes *out) {
  return sonde_bytes_add(out, s->with, n ? s->with_n : 0) || sonde_bytes_add(out, p, n) ? SONDE_ENOMEM : 0;
}

static int run_step(const sonde_norm *s, const char *p, int64_t n, sonde_bytes *out, sonde_error *err) {
  switch (s->kind) {
    case SONDE_NORM_LOWERCASE: return map_chars(s, lower, p, n, out);
    case SONDE_NORM_STRIP: return strip(s, p, n, out);
    case SONDE_NORM_STRIP_MARKS: return map_chars(s, drop_marks, p, n, out);
    case SONDE_NORM_REPLACE: return s->re ? replace_matches(s, p, n, out, err) : replace_string(s, p, n, out);
    case SONDE_NORM_PREPEND: return prepend(s, p, n, out);
    case SONDE_NORM_NMT: return map_chars(s, nmt, p, n, out);
    case SONDE_NORM_CHARSMAP: return sonde_charsmap_apply(&s->map, p, n, out);
    case SONDE_NORM_BERT_CLEAN: return map_chars(s, clean, p, n, out);
    case SONDE_NORM_BERT_CHINESE: return map_chars(s, space_ideographs, p, n, out);
    default: return unicode_form(s->kind, p, n, out, err);
  }
}

int sonde_normalize_step(const sonde_norm *step, const char *p, int64_t n, sonde_bytes *out, sonde_error *err) {
  int rc = run_step(step, p, n, out, err);
  if (rc == SONDE_ENOMEM && !err->code) return sonde_fail(err, rc, "normalising a text: out of memory");
  return rc;
}

/* The largest lead byte tells most texts that a step leaves as they are. Below U+0300 (lead bytes up to 0xcb) every
 * character is in form C and nothing composes; below U+0080 in every form. */
static unsigned char largest_byte(const char *p, int64_t n) {
  unsigned char most = 0;
  for (int64_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)p[i];
    most = c > most ? c : most;
  }
  return most;
}

static int is_unchanged(const sonde_norm *s, const char *p, int64_t n) {
  switch (s->kind) {
    case SONDE_NORM_NFC: return largest_byte(p, n) < 0xcc;
    case SONDE_NORM_NFD:
    case SONDE_NORM_NFKC:
    case SONDE_NORM_NFKD:
    case SONDE_NORM_STRIP_MARKS:
    case SONDE_NORM_BERT_CHINESE: return largest_byte(p, n) < 0x80;
    case SONDE_NORM_REPLACE: return !s->re && !memmem(p, (size_t)n, s->what, (size_t)s->what_n);
    default: return 0;
  }
}

int sonde_normalize(const sonde_norms *s, const char *p, int64_t n, sonde_bytes buf[2], const char **out,
                    int64_t *out_n, sonde_error *err) {
  int to = 0, rc;
  for (int i = 0; i < s->n; i++) {
    if (is_unchanged(&s->step[i], p, n)) continue;
    buf[to].n = 0;
    if ((rc = sonde_bytes_add(&buf[to], "", 0)))
      return sonde_fail(err, rc, "normalising a text: out of memory");
    if ((rc = sonde_normalize_step(&s->step[i], p, n, &buf[to], err))) return rc;
    p = buf[to].data;
    n = buf[to].n;
    to = !to;
  }
  *out = p;
  *out_n = n;
  return 0;
}
