/* source_file.c - documents of .txt and .jsonl files, compressed or not. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include "base/file.h"
#include "io/json.h"
#include "text/source.h"
#include "text/tokenizer.h"

#define MAX_TEXT ((int64_t)64 << 30)
enum { CHUNK = 1 << 20, SECTION_LEAST = 4 << 10, SECTION_MOST = 64 << 10 };

/* ---- lines --------------------------------------------------------------------------------------------- */

/* Called for each line, its end included; a result that is not 0 stops the reading: negative codes fail. */
typedef int (*line_fn)(void *arg, const char *line, int64_t n);

typedef struct lines {
  const char *path;
  sonde_bytes buf;             /* the beginning of a line whose end is not read yet */
  line_fn fn;
  void *arg;
  sonde_error *err;
} lines;

static int take_chunk(lines *l, const char *p, int64_t n) {
  while (n > 0) {
    const char *end = memchr(p, '\n', (size_t)n);
    int64_t used = end ? end - p + 1 : n;
    if (sonde_bytes_add(&l->buf, p, used))
      return sonde_fail(l->err, SONDE_ENOMEM, "%s: out of memory", l->path);
    int rc = end ? l->fn(l->arg, l->buf.data, l->buf.n) : 0;
    if (rc) return rc;
    if (end) l->buf.n = 0;
    p += used;
    n -= used;
  }
  return 0;
}

/* zlib reads plain files as they are. */
static int read_lines(lines *l) {
  char chunk[CHUNK / 16];
  int64_t total = 0;
  int got, zcode, rc = 0;
  int fd = sonde_file_open(l->path, NULL, l->err);
  if (fd < 0) return l->err->code;
  gzFile f = gzdopen(fd, "rb");
  if (!f) {
    close(fd);
    return sonde_fail(l->err, SONDE_ENOMEM, "no memory to read '%s'", l->path);
  }
  gzbuffer(f, CHUNK);
  size_t length = strlen(l->path);
  if (length > 3 && !strcmp(l->path + length - 3, ".gz") && gzdirect(f))
    rc = sonde_fail(l->err, SONDE_EFORMAT, "%s: not a gzip file, whatever its name says", l->path);
  while (!rc && (got = gzread(f, chunk, sizeof chunk)) > 0) {
    total += got;
    rc = total > MAX_TEXT ? sonde_fail(l->err, SONDE_ELIMIT, "%s: more than 64 GiB of text", l->path)
                          : take_chunk(l, chunk, got);
  }
  if (!rc && (gzerror(f, &zcode), zcode != Z_OK))
    rc = sonde_fail(l->err, SONDE_EFORMAT, "%s: the compressed data is damaged or cut short", l->path);
  gzclose(f);
  if (!rc && l->buf.n) rc = l->fn(l->arg, l->buf.data, l->buf.n);
  sonde_bytes_free(&l->buf);
  return rc < 0 ? rc : 0;
}

/* ---- plain text ---------------------------------------------------------------------------------------- */

typedef struct text_reader {
  sonde_documents *d;
  sonde_bytes section;
  int marked;                  /* an end-of-text line was seen: those alone cut */
  sonde_error *err;
} text_reader;

static int is_marker(const char *line, int64_t n) {
  while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
  return n == (int64_t)strlen(SONDE_EOT) && !memcmp(line, SONDE_EOT, (size_t)n);
}

static int is_blank(const char *line, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!strchr(" \t\r\n", line[i]) || !line[i]) return 0;
  return 1;
}

static int close_section(text_reader *r) {
  int rc = sonde_documents_add(r->d, r->section.data, r->section.n);
  r->section.n = 0;
  return rc ? sonde_fail(r->err, rc, "reading text: out of memory") : sonde_documents_full(r->d);
}

static int find_marker(void *arg, const char *line, int64_t n) {
  text_reader *r = arg;
  r->marked = is_marker(line, n);
  return r->marked;
}

static int take_text_line(void *arg, const char *line, int64_t n) {
  text_reader *r = arg;
  if (r->marked && is_marker(line, n)) return close_section(r);
  if (sonde_bytes_add(&r->section, line, n))
    return sonde_fail(r->err, SONDE_ENOMEM, "reading text: out of memory");
  if (r->marked) return 0;
  int64_t have = r->section.n;
  return (have >= SECTION_LEAST && is_blank(line, n)) || have >= SECTION_MOST ? close_section(r) : 0;
}

int sonde_read_text_file(const char *spec, const char *field, sonde_documents *d, sonde_error *err) {
  (void)field;
  text_reader r = {.d = d, .err = err};
  lines search = {.path = spec, .fn = find_marker, .arg = &r, .err = err};
  lines read = {.path = spec, .fn = take_text_line, .arg = &r, .err = err};
  int rc = read_lines(&search);
  if (!rc) rc = read_lines(&read);
  if (!rc) rc = close_section(&r);
  sonde_bytes_free(&r.section);
  return rc < 0 ? rc : 0;
}

/* ---- JSON lines ---------------------------------------------------------------------------------------- */

typedef struct jsonl_reader {
  sonde_documents *d;
  const char *path, *field;
  int64_t line;
  sonde_error *err;
} jsonl_reader;

static int take_json_line(void *arg, const char *line, int64_t n) {
  jsonl_reader *r = arg;
  char where[4096];
  r->line++;
  if (is_blank(line, n)) return 0;
  json_error_t je;
  json_t *v = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &je);
  snprintf(where, sizeof where, "%s:%lld", r->path, (long long)r->line);
  if (!v) return sonde_fail(r->err, SONDE_EFORMAT, "%s: not JSON: %s", where, je.text);
  const json_t *text = json_object_get(v, r->field);
  int rc = json_is_string(text)
             ? sonde_documents_add(r->d, json_string_value(text), (int64_t)json_string_length(text))
             : SONDE_EFORMAT;
  json_decref(v);
  if (rc == SONDE_EFORMAT)
    return sonde_fail(r->err, rc, "%s: no text in the field '%s'; name another with the option 'field'",
                      where, r->field);
  return rc ? sonde_fail(r->err, rc, "%s: out of memory", where) : sonde_documents_full(r->d);
}

int sonde_read_jsonl_file(const char *spec, const char *field, sonde_documents *d, sonde_error *err) {
  jsonl_reader r = {d, spec, field, 0, err};
  lines l = {.path = spec, .fn = take_json_line, .arg = &r, .err = err};
  return read_lines(&l);
}
