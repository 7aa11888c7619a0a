/* corpus_cache.c - cache entries: named by a hash of their inputs, complete or absent. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/file.h"
#include "base/log.h"
#include "base/temp.h"
#include "text/corpus_internal.h"

/* Changes whenever the same text would become other tokens or other files. */
#define RECIPE "sonde corpus 3"

static int key_of(const sonde_corpus_plan *p, char hex[65], sonde_error *err) {
  char line[512];
  sonde_sha256 sha;
  int rc = 0;
  int n = snprintf(line, sizeof line, RECIPE "\nfield %s\nskip %d special %d\nvalidation %.17g\nmax_bytes %lld\n",
                   p->reading.field, p->reading.skip, p->special, p->validation, (long long)p->max_bytes);
  if (n >= (int)sizeof line)
    return sonde_fail(err, SONDE_EINVAL, "the field name '%.40s...' is too long", p->reading.field);
  sonde_sha256_init(&sha);
  sonde_sha256_add(&sha, line, (size_t)n);
  n = p->tokenizer ? snprintf(line, sizeof line, "tokenizer %s\n", sonde_tokenizer_hash(p->tokenizer))
                   : snprintf(line, sizeof line, "vocab %lld\n", (long long)p->vocab);
  sonde_sha256_add(&sha, line, (size_t)n);
  if (p->end) sonde_sha256_add(&sha, p->end, strlen(p->end) + 1);
  for (int64_t i = 0; i < p->files && !rc; i++) {
    const sonde_corpus_file *f = &p->file[i];
    if (f->part) sonde_sha256_add(&sha, line, (size_t)snprintf(line, sizeof line, "part %lld\n", (long long)f->part));
    if (f->source->identify)
      rc = f->source->identify(f->path, &sha, err);
    else
      sonde_sha256_add(&sha, p->input.text.data, (size_t)p->input.text.n);
  }
  if (!rc) sonde_sha256_hex(&sha, hex);
  return rc;
}

static int cache_root(const char *given, char *buf, size_t n, sonde_error *err) {
  const char *own = getenv("SONDE_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int used;
  if (given || (own && *own))
    used = snprintf(buf, n, "%s", given ? given : own);
  else if (xdg && *xdg)
    used = snprintf(buf, n, "%s/sonde", xdg);
  else if (home && *home)
    used = snprintf(buf, n, "%s/.cache/sonde", home);
  else
    return sonde_fail(err, SONDE_EINVAL, "no folder for the corpus cache: set SONDE_CACHE");
  return used < (int)n ? 0 : sonde_fail(err, SONDE_EINVAL, "the path of the corpus cache is too long");
}

/* "default-0123456789abcdef": readable, and unique by the hash. */
static int entry_path(const sonde_corpus_plan *p, const char *root, char *buf, size_t n, sonde_error *err) {
  char hex[65], label[40];
  const char *first = p->file[0].path, *slash = strrchr(first, '/'), *base = slash ? slash + 1 : first;
  int rc = key_of(p, hex, err);
  if (rc) return rc;
  snprintf(label, sizeof label, "%s", base);
  label[strcspn(label, ".")] = '\0';
  if (snprintf(buf, n, "%s/%s-%.16s", root, label, hex) < (int)n - 8) return 0;
  return sonde_fail(err, SONDE_EINVAL, "the path of the corpus cache is too long");
}

static int is_whole(const sonde_corpus_plan *p, const char *entry) {
  char path[SONDE_CORPUS_PATH + 64];
  snprintf(path, sizeof path, "%s/" SONDE_CORPUS_TOKENIZER, entry);
  int whole = sonde_path_exists(path);
  for (int64_t k = 0; k < 2 * p->parts && whole; k++) {
    sonde_corpus_shard_name(path, sizeof path, entry, (sonde_split)(k % 2), k / 2);
    whole = sonde_path_exists(path);
  }
  return whole;
}

/* Locks the entry; returns the descriptor, or -1 with *err set. */
static int lock_entry(const char *entry, sonde_error *err) {
  char path[4200];
  snprintf(path, sizeof path, "%s.lock", entry);
  int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  int rc = fd < 0 ? -1 : flock(fd, LOCK_EX);
  if (!rc) return fd;
  if (fd >= 0 && errno == EINTR)
    sonde_fail(err, SONDE_EINTR, "interrupted while another process makes the corpus '%s'", entry);
  else
    sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'; SONDE_CACHE names the cache folder", path);
  if (fd >= 0) close(fd);
  return -1;
}

/* Under the lock: builds beside the entry and renames, so that a reader sees all of it or nothing. */
static int make_entry(const sonde_corpus_plan *p, const char *entry, sonde_error *err) {
  sonde_temp fresh;
  sonde_info("making the corpus '%s' in %s", p->spec, entry);
  if (sonde_temp_folder(entry, &fresh)) return sonde_fail_errno(err, SONDE_EIO, "cannot create the folder '%s'", entry);
  int rc = sonde_corpus_build(p, fresh.path, err);
  if (!rc) rc = sonde_remove_tree(entry, err);
  if (!rc && rename(fresh.path, entry)) rc = sonde_fail_errno(err, SONDE_EIO, "cannot rename '%s'", fresh.path);
  if (rc) {
    sonde_error kept = *err;
    sonde_remove_tree(fresh.path, NULL);
    *err = kept;
  }
  sonde_temp_end(&fresh);
  return rc;
}

int sonde_corpus_entry(const sonde_corpus_plan *p, const char *cache, int damaged, char *buf, size_t n,
                       sonde_error *err) {
  char root[4096];
  int rc = cache_root(cache, root, sizeof root, err);
  if (!rc) rc = entry_path(p, root, buf, n, err);
  if (rc || (!damaged && is_whole(p, buf))) return rc;
  if ((rc = sonde_mkdirs(root, err))) return rc;
  sonde_temp_sweep(root);
  int lock = lock_entry(buf, err);
  if (lock < 0) return err->code;
  /* The previous owner of the lock may have built it. */
  if (damaged || !is_whole(p, buf)) rc = make_entry(p, buf, err);
  close(lock);
  return rc;
}
