/* source.h - documents of text out of files, standard input and installed packages. */
#ifndef SONDE_TEXT_SOURCE_H
#define SONDE_TEXT_SOURCE_H

#include "base/sha256.h"
#include "io/bytes.h"

/* Document i is text[start[i]] .. text[start[i + 1]]. Initialise with zeros. */
typedef struct sonde_documents {
  sonde_bytes text;
  int64_t *start;
  int64_t n, room;
  int64_t max_bytes;           /* no document is added beyond this much text; 0: no bound */
  int marked;                  /* the last file had document boundaries: <|endoftext|>, or lines of JSON */
} sonde_documents;

void sonde_documents_free(sonde_documents *d);
int sonde_documents_full(const sonde_documents *d);
/* Appends a document; an empty one is skipped. 0 or SONDE_ENOMEM. */
int sonde_documents_add(sonde_documents *d, const char *p, int64_t n);

/* How text is read. */
typedef struct sonde_reading {
  const char *field;           /* text field of .jsonl */
  int skip;                    /* damaged lines of .jsonl are skipped and counted */
  const char *asked;           /* a given option that only .jsonl uses: "field", "skip"; or NULL */
  int whole;                   /* a .txt without marks is one document, not sections */
  const char *doing;           /* the start of the message on skipped lines: "making the corpus" */
} sonde_reading;

/* How a spec is read. */
typedef struct sonde_source {
  const char *name;            /* "default", "technical", "-", or NULL: by the file's name */
  const char *suffix;          /* ".txt", ".jsonl"; ".gz" or ".zst" may follow */
  int (*identify)(const char *spec, sonde_sha256 *sha, sonde_error *err);  /* adds what the text depends on;
                                                                              NULL: the text itself does that */
  int (*read)(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err);
} sonde_source;

/* "field" or "skip", where one is given; else NULL. */
const char *sonde_reading_asked(const char *field, int skip);

/* Whether texts of this source may be JSON lines. */
int sonde_source_may_be_jsonl(const sonde_source *s);

/* The source of a spec, or NULL with EINVAL. */
const sonde_source *sonde_source_find(const char *spec, sonde_error *err);

/* Reads any file of text, whatever its name: .jsonl by lines, "-" and devices as sonde_read_stream, all others as
 * .txt. */
int sonde_source_read(const char *path, const sonde_reading *how, sonde_documents *d, sonde_error *err);

/* Adds a file's path, size and modification time, which identify its content. */
int sonde_source_identify_file(const char *path, sonde_sha256 *sha, sonde_error *err);

int sonde_read_text_file(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err);
/* As JSON lines if the first line is an object with text in the field, or if options of .jsonl are given; else as a
 * .txt. */
int sonde_read_stream(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err);
int sonde_read_jsonl_file(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err);
int sonde_identify_bible(const char *spec, sonde_sha256 *sha, sonde_error *err);
int sonde_read_bible(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err);
int sonde_identify_manuals(const char *spec, sonde_sha256 *sha, sonde_error *err);
int sonde_read_manuals(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err);

#endif
