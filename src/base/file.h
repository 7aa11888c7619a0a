/* file.h - files that are whole or absent. */
#ifndef SONDE_BASE_FILE_H
#define SONDE_BASE_FILE_H

#include <stdio.h>
#include "base/error.h"

/* Reads a whole file of at most `max_bytes` (0: 1 GiB) into memory of sonde_alloc, with a NUL after the end. It is a
 * regular file, a device, or a stream that is open already (/dev/stdin, /proc/self/fd/3); a named pipe, which could let
 * us wait for ever, is refused. */
int sonde_file_read(const char *path, int64_t max_bytes, char **data, int64_t *size, sonde_error *err);

/* A descriptor on what sonde_file_read reads, waiting for what comes through a stream; -1 with *err set. */
int sonde_file_stream(const char *path, sonde_error *err);

/* A descriptor on a regular file, to read; -1 with *err set for anything else. size may be NULL. */
int sonde_file_open(const char *path, int64_t *size, sonde_error *err);

/* The SHA-256 of a file's bytes, in hex. */
int sonde_file_sha256(const char *path, char hex[65], sonde_error *err);

/* Writes the bytes under a temporary name beside `path`, syncs, renames over it, syncs the folder. */
int sonde_file_write(const char *path, const void *data, int64_t size, sonde_error *err);

/* The same for streamed output: open gives a FILE on the temporary name; commit syncs and renames; abandon removes it. */
typedef struct sonde_outfile sonde_outfile;
sonde_outfile *sonde_outfile_open(const char *path, sonde_error *err);
FILE *sonde_outfile_stream(sonde_outfile *f);
int sonde_outfile_commit(sonde_outfile *f, sonde_error *err);   /* frees f whatever happens */
void sonde_outfile_abandon(sonde_outfile *f);                   /* frees f */

/* Whether a file could be written at `path`, or a folder made there with those above it: for who has long to compute
 * first. Leaves nothing behind. */
int sonde_file_check(const char *path, sonde_error *err);
int sonde_folder_check(const char *path, sonde_error *err);

int sonde_mkdirs(const char *path, sonde_error *err);           /* like mkdir -p */
/* What was made, renamed or removed in the folder is on disk when this returns; what a file system cannot sync is left to it. */
int sonde_sync_folder(const char *path, sonde_error *err);
int sonde_path_exists(const char *path);
int sonde_is_folder(const char *path);                          /* 0 too when it does not exist */
int sonde_remove_tree(const char *path, sonde_error *err);      /* like rm -r; absent is fine */

typedef struct sonde_mapping { const void *data; int64_t size; } sonde_mapping;
int sonde_map_file(const char *path, sonde_mapping *m, sonde_error *err);  /* read-only mmap; an empty file gives size 0 */
void sonde_unmap_file(sonde_mapping *m);

#endif
