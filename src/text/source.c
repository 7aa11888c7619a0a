/* source.c - the list of sources, and the documents they fill. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "text/source.h"

void sonde_documents_free(sonde_documents *d) {
  sonde_bytes_free(&d->text);
  sonde_release(d->start);
  *d = (sonde_documents){0};
}

int sonde_documents_full(const sonde_documents *d) {
  return d->max_bytes > 0 && d->text.n >= d->max_bytes;
}

int sonde_documents_add(sonde_documents *d, const char *p, int64_t n) {
  if (!n || sonde_documents_full(d)) return 0;
  if (d->n + 1 >= d->room) {
    int64_t room = 2 * d->room + 1024;
    int64_t *grown = sonde_grow(d->start, (size_t)d->room * sizeof *grown, (size_t)room * sizeof *grown);
    if (!grown) return SONDE_ENOMEM;
    d->start = grown;
    d->room = room;
  }
  if (sonde_bytes_add(&d->text, p, n)) return SONDE_ENOMEM;
  d->start[++d->n] = d->text.n;
  return 0;
}

static const sonde_source sources[] = {
  {"default", NULL, sonde_identify_bible, sonde_read_bible},
  {"technical", NULL, sonde_identify_manuals, sonde_read_manuals},
  {"-", NULL, NULL, sonde_read_stream},
  {NULL, ".txt", sonde_source_identify_file, sonde_read_text_file},
  {NULL, ".jsonl", sonde_source_identify_file, sonde_read_jsonl_file},
};
enum { SOURCES = sizeof sources / sizeof *sources };

static int ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  if (n > 3 && !strcasecmp(s + n - 3, ".gz")) n -= 3;
  else if (n > 4 && !strcasecmp(s + n - 4, ".zst")) n -= 4;
  return n > m && !strncasecmp(s + n - m, end, m);
}

const char *sonde_reading_asked(const char *field, int skip) {
  return field ? "field" : skip ? "skip" : NULL;
}

int sonde_source_may_be_jsonl(const sonde_source *s) {
  return s->read == sonde_read_jsonl_file || s->read == sonde_read_stream;
}

int sonde_source_read(const char *path, const sonde_reading *how, sonde_documents *d, sonde_error *err) {
  int stream = !strcmp(path, "-") || !strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6);
  if (stream) return sonde_read_stream(path, how, d, err);
  if (ends_with(path, ".jsonl")) return sonde_read_jsonl_file(path, how, d, err);
  if (how->asked) sonde_info("sonde: note: %s is no .jsonl, so the option %s changes nothing there", path, how->asked);
  return sonde_read_text_file(path, how, d, err);
}

const sonde_source *sonde_source_find(const char *spec, sonde_error *err) {
  for (int i = 0; i < SOURCES; i++)
    if (sources[i].name ? !strcmp(spec, sources[i].name) : ends_with(spec, sources[i].suffix))
      return &sources[i];
  const char *names[] = {sources[0].name, sources[1].name};
  const char *near = sonde_nearest(spec, names, 2);
  if (near)
    sonde_fail(err, SONDE_EINVAL, "unknown corpus '%s'; did you mean '%s'?", spec, near);
  else
    sonde_fail(err, SONDE_EINVAL,
               "unknown corpus '%s': neither \"default\" nor \"technical\", a .txt or .jsonl file (packed by gzip or "
               "zstd or not), standard input (-), a token shard (.tok, .bin) or a folder of those",
               spec);
  return NULL;
}

int sonde_source_identify_file(const char *path, sonde_sha256 *sha, sonde_error *err) {
  struct stat st;
  char line[128];
  if (stat(path, &st)) return sonde_fail_errno(err, SONDE_ENOENT, "cannot read '%s'", path);
  char *real = realpath(path, NULL);
  if (!real) return sonde_fail_errno(err, SONDE_ENOENT, "cannot read '%s'", path);
  snprintf(line, sizeof line, " %lld %lld.%09ld\n", (long long)st.st_size, (long long)st.st_mtim.tv_sec,
           st.st_mtim.tv_nsec);
  sonde_sha256_add(sha, real, strlen(real));
  sonde_sha256_add(sha, line, strlen(line));
  free(real);
  return 0;
}
