/* file.h - reading files, and writing them so that a file is either complete or absent. */
#ifndef SONDE_BASE_FILE_H
#define SONDE_BASE_FILE_H

#include <stdio.h>
#include "base/error.h"

/* Reads a whole file of at most `max_bytes` (0: 1 GiB) into memory of sonde_alloc, with a NUL after the end. `path`
 * is a regular file, a device, or a stream that is already open (/dev/stdin, /proc/self/fd/3); a named pipe is refused,
 * since it could block for ever. */
int sonde_file_read(const char *path, int64_t max_bytes, char **data, int64_t *size, sonde_error *err);

/* A descriptor of what sonde_file_read would read, in blocking mode; -1 with *err set. */
int sonde_file_stream(const char *path, sonde_error *err);

/* A read-only descriptor of a regular file; -1 with *err set for anything else. size may be NULL. */
int sonde_file_open(const char *path, int64_t *size, sonde_error *err);

/* A descriptor of an unfinished file, created if absent, to read and write; while it is open no other process gets one.
 * -1 with *err set: EINVAL where another process writes `what`. */
int sonde_file_part(const char *path, const char *what, sonde_error *err);

/* The SHA-256 of a file's bytes, in hex. */
int sonde_file_sha256(const char *path, char hex[65], sonde_error *err);

/* Writes the bytes under a temporary name beside `path`, syncs, renames over it, syncs the folder. */
int sonde_file_write(const char *path, const void *data, int64_t size, sonde_error *err);

/* The same for streamed output: open gives a FILE on the temporary name; commit syncs and renames; abandon removes
 * it. */
typedef struct sonde_outfile sonde_outfile;
sonde_outfile *sonde_outfile_open(const char *path, sonde_error *err);
FILE *sonde_outfile_stream(sonde_outfile *f);
int sonde_outfile_commit(sonde_outfile *f, sonde_error *err);   /* frees f in any case */
void sonde_outfile_abandon(sonde_outfile *f);                   /* frees f */

/* Whether a file could be written at `path`, or a folder (and its parents) created there: a check before a long
 * computation. Leaves nothing behind. */
int sonde_file_check(const char *path, sonde_error *err);
int sonde_folder_check(const char *path, sonde_error *err);

int sonde_mkdirs(const char *path, sonde_error *err);           /* like mkdir -p */
/* Flushes what was created, renamed or removed in the folder to disk, where the file system supports it. */
int sonde_sync_folder(const char *path, sonde_error *err);
int sonde_path_exists(const char *path);
int sonde_is_folder(const char *path);                          /* 0 too when it does not exist */
int sonde_remove_tree(const char *path, sonde_error *err);      /* like rm -r; absent is fine */

typedef struct sonde_mapping { const void *data; int64_t size; } sonde_mapping;
/* read-only mmap; an empty file gives size 0 */
int sonde_map_file(const char *path, sonde_mapping *m, sonde_error *err);
void sonde_unmap_file(sonde_mapping *m);

#endif
