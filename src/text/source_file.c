/* source_file.c - documents of .txt and .jsonl files, and of streams that have no name. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "io/json.h"
#include "text/lines.h"
#include "text/source.h"
#include "text/tokenizer.h"

enum { SECTION_LEAST = 4 << 10, SECTION_MOST = 64 << 10 };

static const char *shown(const char *path) {
  return strcmp(path, "-") ? path : "standard input";
}

/* ---- plain text ---------------------------------------------------------------------------------------- */

typedef struct text_reader {
  sonde_documents *d;
  int64_t first;               /* where the documents of this file begin */
  sonde_bytes section;
  int marked;                  /* an end-of-text line was seen: those alone cut */
  int whole;
  sonde_error *err;
} text_reader;

static int is_marker(const char *line, int64_t n) {
  while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
  return n == (int64_t)strlen(SONDE_EOT) && !memcmp(line, SONDE_EOT, (size_t)n);
}

static int close_section(text_reader *r) {
  int rc = sonde_documents_add(r->d, r->section.data, r->section.n);
  r->section.n = 0;
  return rc ? sonde_fail(r->err, rc, "reading text: out of memory") : sonde_documents_full(r->d);
}

/* The first mark: the sections before it were one document. */
static int take_marker(text_reader *r) {
  sonde_documents *d = r->d;
  int rc = close_section(r);
  if (rc >= 0 && !r->marked && d->n > r->first + 1) {
    d->start[r->first + 1] = d->start[d->n];
    d->n = r->first + 1;
  }
  r->marked = 1;
  return rc;
}

static int take_text_line(void *arg, const char *line, int64_t n) {
  text_reader *r = arg;
  if (is_marker(line, n)) return take_marker(r);
  if (sonde_bytes_add(&r->section, line, n))
    return sonde_fail(r->err, SONDE_ENOMEM, "reading text: out of memory");
  if (r->marked || r->whole) return 0;
  int64_t have = r->section.n;
  return (have >= SECTION_LEAST && sonde_line_blank(line, n)) || have >= SECTION_MOST ? close_section(r) : 0;
}

static int end_text(text_reader *r) {
  r->d->marked = r->marked;
  return close_section(r);
}

int sonde_read_text_file(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err) {
  text_reader r = {.d = d, .first = d->n, .whole = how->whole, .err = err};
  int rc = sonde_text_lines(spec, take_text_line, &r, err);
  if (!rc) rc = end_text(&r);
  sonde_bytes_free(&r.section);
  return rc < 0 ? rc : 0;
}

/* ---- JSON lines ---------------------------------------------------------------------------------------- */

/* Lines that gave no document: of which there are how many, and which was the first. */
typedef struct passed_over { int64_t n, first; } passed_over;

typedef struct jsonl_reader {
  sonde_documents *d;
  const sonde_reading *how;
  const char *path;
  int64_t line, taken;         /* taken: lines that had the field, with text or without */
  passed_over absent, damaged;
  sonde_error *err;
} jsonl_reader;

static void pass_over(passed_over *p, int64_t line) {
  if (!p->n++) p->first = line;
}

/* A line whose field is not a text, or that is not JSON, stops reading unless such lines are skipped. */
static int take_damaged(jsonl_reader *r, sonde_error *why) {
  if (why->code == SONDE_ENOMEM || !r->how->skip)
    return sonde_fail(r->err, why->code, "%s%s", why->text,
                      why->code == SONDE_ENOMEM ? "" : "; the option skip passes over such lines");
  pass_over(&r->damaged, r->line);
  return 0;
}

static int take_json_line(void *arg, const char *line, int64_t n) {
  jsonl_reader *r = arg;
  sonde_error why = {0};
  char where[4096];
  json_t *text;
  r->line++;
  if (sonde_line_blank(line, n)) return 0;
  snprintf(where, sizeof where, "%s:%lld", shown(r->path), (long long)r->line);
  if (sonde_json_member(line, n, r->how->field, where, &text, &why)) return take_damaged(r, &why);
  int rc = 0;
  if (json_is_string(text)) {
    rc = sonde_documents_add(r->d, json_string_value(text), (int64_t)json_string_length(text));
    if (rc) sonde_fail(r->err, rc, "%s: out of memory", where);
    r->taken++;
  } else if (!text || json_is_null(text)) {
    pass_over(&r->absent, r->line);
    r->taken += text != NULL;
  } else {
    sonde_fail(&why, SONDE_EFORMAT, "%s: the field '%s' contains no text; name another with the option field", where,
               r->how->field);
    rc = take_damaged(r, &why);
  }
  json_decref(text);
  return rc ? rc : sonde_documents_full(r->d);
}

static void tell(const jsonl_reader *r, const passed_over *p, const char *what) {
  if (p->n)
    sonde_info("%s: %s: skipped %lld of %lld lines, %s; line %lld is the first", r->how->doing, shown(r->path),
               (long long)p->n, (long long)r->line, what, (long long)p->first);
}

/* The message, or error, after all lines were read. */
static int end_jsonl(jsonl_reader *r) {
  r->d->marked = 1;
  if (r->absent.n && !r->taken)
    return sonde_fail(r->err, SONDE_EFORMAT, "%s:%lld: no text in the field '%s'; name another with the option field",
                      shown(r->path), (long long)r->absent.first, r->how->field);
  tell(r, &r->absent, "without text in the field");
  tell(r, &r->damaged, "damaged");
  return 0;
}

int sonde_read_jsonl_file(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err) {
  jsonl_reader r = {.d = d, .how = how, .path = spec, .err = err};
  int rc = sonde_text_lines(spec, take_json_line, &r, err);
  return rc ? rc : end_jsonl(&r);
}

/* ---- streams ------------------------------------------------------------------------------------------- */

/* What comes without a name says by its first line what it is: an object with text in the field begins JSON lines. */
typedef struct stream_reader {
  text_reader text;
  jsonl_reader jsonl;
  enum { UNKNOWN, TEXT, JSONL } kind;
} stream_reader;

static int take_stream_line(void *arg, const char *line, int64_t n) {
  stream_reader *r = arg;
  if (r->kind == UNKNOWN && !sonde_line_blank(line, n)) {
    sonde_error why = {0};
    json_t *text = NULL;
    sonde_json_member(line, n, r->jsonl.how->field, "", &text, &why);
    r->kind = json_is_string(text) || r->jsonl.how->asked ? JSONL : TEXT;
    json_decref(text);
  }
  return r->kind == JSONL ? take_json_line(&r->jsonl, line, n) : take_text_line(&r->text, line, n);
}

int sonde_read_stream(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err) {
  stream_reader r = {.text = {.d = d, .first = d->n, .whole = how->whole, .err = err},
                     .jsonl = {.d = d, .how = how, .path = spec, .err = err}};
  int rc = sonde_text_lines(spec, take_stream_line, &r, err);
  if (!rc) rc = r.kind == JSONL ? end_jsonl(&r.jsonl) : end_text(&r.text);
  sonde_bytes_free(&r.text.section);
  return rc < 0 ? rc : 0;
}
