/* source_packages.c - text of Debian packages: the King James Bible, the manuals of Perl and Python. */
#include "config.h"

#include <fcntl.h>
#include <errno.h>
#include <fnmatch.h>
#include <fts.h>
#include <glob.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/mem.h"
#include "text/source.h"

extern char **environ;

/* ---- commands ------------------------------------------------------------------------------------------ */

static int read_pipe(int fd, const char *name, sonde_bytes *out, sonde_error *err) {
  char chunk[65536];
  for (;;) {
    ssize_t got = read(fd, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sonde_fail_errno(err, SONDE_EIO, "cannot read what '%s' writes", name);
    if (!got) return 0;
    if (sonde_bytes_add(out, chunk, got)) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", name);
  }
}

/* What a program writes to its standard output; it fails unless the program ends with 0. */
static int run_program(char *const argv[], sonde_bytes *out, sonde_error *err) {
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int ends[2], status = 0;
  if (pipe2(ends, O_CLOEXEC)) return sonde_fail_errno(err, SONDE_EIO, "cannot start '%s'", argv[0]);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  errno = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
  int rc = errno
             ? sonde_fail_errno(err, errno == ENOENT ? SONDE_ENOENT : SONDE_EIO, "cannot start '%s'", argv[0])
             : 0;
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (!rc) {
    rc = read_pipe(ends[0], argv[0], out, err);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  }
  close(ends[0]);
  if (!rc && status)
    rc = sonde_fail(err, SONDE_EIO, "'%s' failed with status %d", argv[0], WEXITSTATUS(status));
  return rc;
}

static int missing(const char *corpus, const char *package, sonde_error *err) {
  return sonde_fail(err, SONDE_ENOENT, "the corpus \"%s\" needs the Debian package %s: apt install %s",
                    corpus, package, package);
}

/* ---- the Bible ----------------------------------------------------------------------------------------- */

#define BIBLE_DATA "/usr/lib/bible.data"

int sonde_identify_bible(const char *spec, sonde_sha256 *sha, sonde_error *err) {
  if (!sonde_path_exists(BIBLE_DATA)) return missing(spec, "bible-kjv", err);
  return sonde_source_identify_file(BIBLE_DATA, sha, err);
}

/* Lines are "Ge1:1 In the beginning ..."; the part before the colon is book and chapter. */
static int read_verses(const sonde_bytes *all, sonde_documents *d, sonde_error *err) {
  sonde_bytes chapter = {0};
  const char *p = all->data, *end = p + all->n, *name = NULL;
  int64_t name_n = 0;
  int rc = 0;
  while (p < end && !rc) {
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop) stop = end;
    const char *colon = memchr(p, ':', (size_t)(stop - p)), *space = memchr(p, ' ', (size_t)(stop - p));
    if (!colon || !space || colon > space) {
      rc = sonde_fail(err, SONDE_EFORMAT, "the program 'bible' wrote a line without a verse: '%.60s'", p);
      break;
    }
    if (!name || colon - p != name_n || memcmp(name, p, (size_t)name_n)) {
      rc = sonde_documents_add(d, chapter.data, chapter.n);
      chapter.n = 0;
      name = p;
      name_n = colon - p;
    }
    if (!rc) rc = sonde_bytes_add(&chapter, space + 1, stop - space - 1);
    if (!rc) rc = sonde_bytes_add(&chapter, "\n", 1);
    if (rc) sonde_fail(err, rc, "reading the Bible: out of memory");
    p = stop + 1;
  }
  if (!rc && sonde_documents_add(d, chapter.data, chapter.n))
    rc = sonde_fail(err, SONDE_ENOMEM, "reading the Bible: out of memory");
  sonde_bytes_free(&chapter);
  return rc;
}

int sonde_read_bible(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err) {
  (void)how;
  static char *const argv[] = {"bible", "-f", "gen1:1-rev22:21", NULL};
  sonde_bytes all = {0};
  int rc = run_program(argv, &all, err);
  if (rc == SONDE_ENOENT) rc = missing(spec, "bible-kjv", err);
  if (!rc) rc = read_verses(&all, d, err);
  sonde_bytes_free(&all);
  return rc;
}

/* ---- the manuals --------------------------------------------------------------------------------------- */

/* Perl pages that are lists made by programs, not prose. */
static int is_listing(const char *path) {
  static const char *const names[] = {"/perltoc.pod", "/perluniprops.pod", "/perlapi.pod", "/perlintern.pod"};
  const char *slash = strrchr(path, '/');
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (slash && !strcmp(slash, names[i])) return 1;
  return 0;
}

/* perl, its arguments, then the pages: one process converts them all, each followed by a NUL. */
static char PERL_PROGRAM[] =
  "for (@ARGV) { my ($p, $s) = (Pod::Text->new(width => 30000, utf8 => 1), '');"
  " $p->output_string(\\$s); $p->parse_file($_); print $s, \"\\0\" }";

typedef int (*path_fn)(void *arg, const char *path, sonde_error *err);

static int each_pod(const char *spec, path_fn fn, void *arg, sonde_error *err) {
  glob_t pods;
  int rc = 0;
  if (glob("/usr/share/perl/5.*[0-9].*[0-9]/pod/perl*.pod", 0, NULL, &pods))
    return missing(spec, "perl-doc", err);
  for (size_t i = 0; i < pods.gl_pathc && !rc; i++)
    if (!is_listing(pods.gl_pathv[i])) rc = fn(arg, pods.gl_pathv[i], err);
  globfree(&pods);
  return rc;
}

static int by_name(const FTSENT **a, const FTSENT **b) {
  return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int each_page(const char *spec, path_fn fn, void *arg, sonde_error *err) {
  glob_t roots;
  int rc = 0;
  if (glob("/usr/share/doc/python3.*[0-9]/html/_sources", 0, NULL, &roots))
    return missing(spec, "python3.11-doc", err);
  FTS *tree = fts_open(roots.gl_pathv, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
  if (!tree) rc = sonde_fail_errno(err, SONDE_EIO, "cannot read '%s'", roots.gl_pathv[0]);
  for (FTSENT *e; !rc && (e = fts_read(tree));)
    if (e->fts_info == FTS_F && !fnmatch("*.rst.txt", e->fts_name, 0)) rc = fn(arg, e->fts_path, err);
  if (tree) fts_close(tree);
  globfree(&roots);
  return rc;
}

static int identify_path(void *arg, const char *path, sonde_error *err) {
  return sonde_source_identify_file(path, arg, err);
}

int sonde_identify_manuals(const char *spec, sonde_sha256 *sha, sonde_error *err) {
  int rc = each_pod(spec, identify_path, sha, err);
  return rc ? rc : each_page(spec, identify_path, sha, err);
}

static int list_path(void *arg, const char *path, sonde_error *err) {
  sonde_bytes *list = arg;
  return sonde_bytes_add(list, path, (int64_t)strlen(path) + 1)
           ? sonde_fail(err, SONDE_ENOMEM, "manuals: out of memory")
           : 0;
}

static int add_page(void *arg, const char *path, sonde_error *err) {
  char *text;
  int64_t n;
  int rc = sonde_file_read(path, 0, &text, &n, err);
  if (rc) return rc;
  if (sonde_documents_add(arg, text, n)) rc = sonde_fail(err, SONDE_ENOMEM, "manuals: out of memory");
  sonde_release(text);
  return rc;
}

static int convert_pods(const sonde_bytes *list, sonde_documents *d, sonde_error *err) {
  static char *const head[] = {"perl", "-MPod::Text", "-e", PERL_PROGRAM};
  enum { HEAD = sizeof head / sizeof *head };
  sonde_bytes all = {0};
  int64_t files = 0;
  for (int64_t i = 0; i < list->n; i++) files += !list->data[i];
  char **argv = sonde_alloc((size_t)(HEAD + files + 1) * sizeof *argv);
  if (!argv) return sonde_fail(err, SONDE_ENOMEM, "manuals: out of memory");
  memcpy(argv, head, sizeof head);
  char *p = list->data;
  for (int64_t i = 0; i < files; i++, p += strlen(p) + 1) argv[HEAD + i] = p;
  int rc = run_program(argv, &all, err);
  int64_t at = 0;
  for (int64_t i = 0; i < files && !rc; i++) {
    if (at >= all.n) {
      rc = sonde_fail(err, SONDE_EFORMAT, "perl converted %lld of %lld manual pages", (long long)i,
                      (long long)files);
      break;
    }
    int64_t length = (int64_t)strlen(all.data + at);
    if (sonde_documents_add(d, all.data + at, length)) rc = sonde_fail(err, SONDE_ENOMEM, "manuals: out of memory");
    at += length + 1;
  }
  sonde_bytes_free(&all);
  sonde_release(argv);
  return rc;
}

int sonde_read_manuals(const char *spec, const sonde_reading *how, sonde_documents *d, sonde_error *err) {
  (void)how;
  sonde_bytes list = {0};
  int rc = each_pod(spec, list_path, &list, err);
  if (!rc) rc = convert_pods(&list, d, err);
  if (!rc) rc = each_page(spec, add_page, d, err);
  sonde_bytes_free(&list);
  return rc;
}
