/* lines.c - reads blocks of whole characters, checks them and splits them into lines. */
#include "config.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "io/bytes.h"
#include "io/unpack.h"
#include "text/lines.h"
#include "text/unicode.h"

#define MAX_TEXT ((int64_t)64 << 30)
enum { BLOCK = 64 << 10, FEW = 4 };

typedef struct reader {
  sonde_unpack *in;
  char *block;
  int64_t n, total;            /* bytes of the block, and of the text before it */
  int64_t bad, first_bad;      /* bytes so far that no text has, too few to refuse it */
  int ended;
  sonde_bytes line;            /* the beginning of a line whose end is not read yet */
  sonde_line_fn fn;
  void *arg;
  sonde_error *err;
} reader;

int sonde_line_blank(const char *line, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!strchr(" \t\r\n", line[i]) || !line[i]) return 0;
  return 1;
}

static int fill(reader *r) {
  while (r->n < BLOCK && !r->ended) {
    int64_t got = sonde_unpack_read(r->in, r->block + r->n, BLOCK - r->n, r->err);
    if (got < 0) return (int)got;
    r->ended = got == 0;
    r->n += got;
  }
  return 0;
}

/* The block without the beginning of a character at its end. */
static int64_t whole_characters(const reader *r) {
  for (int64_t k = 1; k < 4 && k <= r->n && !r->ended; k++) {
    unsigned char c = (unsigned char)r->block[r->n - k];
    if ((c & 0xc0) == 0x80) continue;
    int length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
    return k < length ? r->n - k : r->n;
  }
  return r->n;
}

/* Bytes that no text has: no UTF-8, or NUL; and where the first is. */
static int64_t count_bad(const char *p, int64_t n, int64_t *first) {
  int64_t bad = 0;
  *first = n;
  for (const char *zero = p; (zero = memchr(zero, '\0', (size_t)(p + n - zero))); zero++)
    if (!bad++) *first = zero - p;
  for (int64_t i = 0; i < n;) {
    i += sonde_utf8_prefix(p + i, n - i);
    int64_t wrong = sonde_utf8_bad(p + i, n - i);
    bad += wrong;
    if (wrong && i < *first) *first = i;
    i += wrong;
  }
  return bad;
}

static int check(reader *r, int64_t n) {
  const char *name = sonde_unpack_name(r->in);
  int64_t first, bad = count_bad(r->block, n, &first);
  if (r->total == 0 && n > 262 && !memcmp(r->block + 257, "ustar", 5))
    return sonde_fail(r->err, SONDE_EFORMAT, "%s: a tar archive, not a text; unpack it", name);
  if (r->total == 0 && n >= 2 && (!memcmp(r->block, "\xff\xfe", 2) || !memcmp(r->block, "\xfe\xff", 2)))
    return sonde_fail(r->err, SONDE_EFORMAT, "%s: not a text in UTF-8 but in UTF-16; iconv -t UTF-8 converts it", name);
  if (bad <= FEW || bad * 10 <= n) {
    if (bad && !r->bad) r->first_bad = r->total + first;
    r->bad += bad;
    return 0;
  }
  return sonde_fail(r->err, SONDE_EFORMAT,
                    "%s: not a text: %lld of the %lld bytes from %lld on are no UTF-8; a text in another encoding is "
                    "converted by iconv",
                    name, (long long)bad, (long long)n, (long long)r->total);
}

static int hand_on(reader *r, const char *p, int64_t n) {
  while (n > 0) {
    const char *end = memchr(p, '\n', (size_t)n);
    int64_t used = end ? end - p + 1 : n;
    if (sonde_bytes_add(&r->line, p, used))
      return sonde_fail(r->err, SONDE_ENOMEM, "%s: out of memory", sonde_unpack_name(r->in));
    int rc = end ? r->fn(r->arg, r->line.data, r->line.n) : 0;
    if (rc) return rc;
    if (end) r->line.n = 0;
    p += used;
    n -= used;
  }
  return 0;
}

static int read_blocks(reader *r) {
  for (;;) {
    int rc = fill(r);
    if (rc || !r->n) return rc;
    int64_t n = whole_characters(r), skip = r->total == 0 && n >= 3 && !memcmp(r->block, "\xef\xbb\xbf", 3) ? 3 : 0;
    if ((rc = check(r, n)) || (rc = hand_on(r, r->block + skip, n - skip))) return rc;
    memmove(r->block, r->block + n, (size_t)(r->n - n));
    r->n -= n;
    r->total += n;
    if (r->total > MAX_TEXT)
      return sonde_fail(r->err, SONDE_ELIMIT, "%s: more than 64 GiB of text", sonde_unpack_name(r->in));
  }
}

int sonde_text_lines(const char *path, sonde_line_fn fn, void *arg, sonde_error *err) {
  reader r = {.in = sonde_unpack_open(path, err), .fn = fn, .arg = arg, .err = err};
  if (!r.in) return err->code;
  int rc =
      (r.block = sonde_alloc(BLOCK)) ? read_blocks(&r) : sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s'", path);
  if (!rc && r.line.n) rc = fn(arg, r.line.data, r.line.n);
  if (rc >= 0 && r.bad)
    sonde_info(
        "sonde: note: %s: %lld bytes are no UTF-8 and are taken as they are, the first is byte %lld; a text in another "
        "encoding is converted by iconv",
        sonde_unpack_name(r.in), (long long)r.bad, (long long)r.first_bad);
  sonde_unpack_close(r.in);
  sonde_release(r.block);
  sonde_bytes_free(&r.line);
  return rc < 0 ? rc : 0;
}
