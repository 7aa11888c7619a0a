/* decoder.c - the steps, each from one buffer to the other. */
#include "config.h"

#include <string.h>
#include "text/decoder.h"
#include "text/unicode.h"

int sonde_decoder_add(sonde_decoder *d, const sonde_decode_step *step, const char *where, sonde_error *err) {
  if (d->n == SONDE_MAX_DECODE_STEPS)
    return sonde_fail(err, SONDE_EUNSUP, "%s: more than %d steps of decoding", where, SONDE_MAX_DECODE_STEPS);
  d->step[d->n++] = *step;
  return 0;
}

void sonde_decoder_free(sonde_decoder *d) {
  for (int i = 0; i < d->n; i++) pcre2_code_free(d->step[i].replace.re);
  d->n = 0;
}

int sonde_decoder_fixed(const sonde_decoder *d) {
  int i = 0;
  while (i < d->n && d->step[i].kind <= SONDE_DECODE_STRIP) i++;
  return i;
}

int sonde_decoder_fuse(const sonde_decoder *d) {
  int i = 0;
  while (i < d->n && d->step[i].kind != SONDE_DECODE_FUSE) i++;
  return i;
}

/* ---- steps --------------------------------------------------------------------------------------------- */

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int to_byte(const char *p, int64_t n, sonde_bytes *out) {
  if (n != 6 || memcmp(p, "<0x", 3) || p[5] != '>' || hex(p[3]) < 0 || hex(p[4]) < 0) return sonde_bytes_add(out, p, n);
  char byte = (char)(hex(p[3]) << 4 | hex(p[4]));
  return sonde_bytes_add(out, &byte, 1);
}

static int strip(const sonde_decode_step *s, const char *p, int64_t n, sonde_bytes *out) {
  int64_t size = (int64_t)strlen(s->text), left = 0, right = 0;
  while (left < s->start && (left + 1) * size <= n && !memcmp(p + left * size, s->text, (size_t)size)) left++;
  while (right < s->stop && (right + 1) * size <= n && !memcmp(p + n - (right + 1) * size, s->text, (size_t)size))
    right++;
  int64_t kept = n - (left + right) * size;
  return kept > 0 ? sonde_bytes_add(out, p + left * size, kept) : 0;
}

/* Replaces every `what` of p by `with`. */
static int replace(const char *what, const char *with, const char *p, int64_t n, sonde_bytes *out) {
  size_t size = strlen(what);
  for (const char *end = p + n; p < end;) {
    const char *at = size ? memmem(p, (size_t)(end - p), what, size) : NULL, *to = at ? at : end;
    if (sonde_bytes_add(out, p, to - p) || (at && sonde_bytes_add(out, with, (int64_t)strlen(with))))
      return SONDE_ENOMEM;
    p = at ? at + size : end;
  }
  return 0;
}

/* The blanks that English text has not, as BERT's tokenizers take them out; each list works on what the one before
 * left. */
static int clean_up(const char *p, int64_t n, sonde_bytes *out) {
  static const char *const pairs[][2] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"},
                                         {" n't", "n't"}, {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"},
                                         {" 've", "'ve"}, {" 're", "'re"}};
  sonde_bytes buf[2] = {{0}, {0}};
  int rc = sonde_bytes_add(&buf[0], p, n);
  size_t i = 0;
  for (; i < sizeof pairs / sizeof *pairs && !rc; i++) {
    buf[(i + 1) % 2].n = 0;
    rc = replace(pairs[i][0], pairs[i][1], buf[i % 2].data, buf[i % 2].n, &buf[(i + 1) % 2]);
  }
  if (!rc) rc = sonde_bytes_add(out, buf[i % 2].data ? buf[i % 2].data : "", buf[i % 2].n);
  sonde_bytes_free(&buf[0]);
  sonde_bytes_free(&buf[1]);
  return rc;
}

static int wordpiece(const sonde_decode_step *s, int64_t index, const char *p, int64_t n, sonde_bytes *out) {
  int64_t size = (int64_t)strlen(s->text);
  sonde_bytes whole = {0};
  int inside = n >= size && !memcmp(p, s->text, (size_t)size), rc = 0;
  if (index && inside) p += size, n -= size;
  else if (index) rc = sonde_bytes_add(&whole, " ", 1);
  if (!rc) rc = sonde_bytes_add(&whole, p, n);
  if (!rc) rc = s->flag ? clean_up(whole.data, whole.n, out) : sonde_bytes_add(out, whole.data, whole.n);
  sonde_bytes_free(&whole);
  return rc;
}

static int run_step(const sonde_decode_step *s, int64_t index, const char *p, int64_t n, sonde_bytes *out,
                    sonde_error *err) {
  switch (s->kind) {
    case SONDE_DECODE_REPLACE:
      if (s->replace.re && sonde_utf8_prefix(p, n) < n) return sonde_bytes_add(out, p, n);      /* no character yet */
      return sonde_normalize_step(&s->replace, p, n, out, err);
    case SONDE_DECODE_BYTES: return to_byte(p, n, out);
    case SONDE_DECODE_STRIP: return strip(s, p, n, out);
    case SONDE_DECODE_METASPACE: return replace(s->text, index || !s->flag ? " " : "", p, n, out);
    case SONDE_DECODE_WORDPIECE: return wordpiece(s, index, p, n, out);
    case SONDE_DECODE_SPACES:
      return (index && sonde_bytes_add(out, " ", 1)) || sonde_bytes_add(out, p, n) ? SONDE_ENOMEM : 0;
    default: return sonde_bytes_add(out, p, n);
  }
}

int sonde_decoder_run(const sonde_decoder *d, int from, int to, int64_t index, const char **p, int64_t *n,
                      sonde_bytes buf[2], sonde_error *err) {
  int into = 0, fuse = sonde_decoder_fuse(d);
  for (int i = from; i < to; i++) {
    if (i > fuse && index && d->step[i].kind == SONDE_DECODE_STRIP) continue;
    buf[into].n = 0;
    int rc = sonde_bytes_add(&buf[into], "", 0);
    if (!rc) rc = run_step(&d->step[i], index, *p, *n, &buf[into], err);
    if (rc) return err->code ? rc : sonde_fail(err, rc, "decoding: out of memory");
    *p = buf[into].data;
    *n = buf[into].n;
    into = !into;
  }
  return 0;
}
