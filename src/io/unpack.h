/* unpack.h - the bytes of a file or of standard input, decompressed if they are gzip or zstd. */
#ifndef SONDE_IO_UNPACK_H
#define SONDE_IO_UNPACK_H

#include "base/error.h"

typedef struct sonde_unpack sonde_unpack;

/* path: a file, a named stream (as in sonde_file_stream), or "-", standard input. The compression is recognised by the
 * first bytes. Other compressed formats are refused by name, as is a name in .gz or .zst whose bytes are neither. */
sonde_unpack *sonde_unpack_open(const char *path, sonde_error *err);

/* Up to n > 0 bytes into buf; returns how many, 0 at the end, or a negative code: EFORMAT for damaged data. */
int64_t sonde_unpack_read(sonde_unpack *u, char *buf, int64_t n, sonde_error *err);
void sonde_unpack_close(sonde_unpack *u);

const char *sonde_unpack_name(const sonde_unpack *u);   /* for messages: the path, or "standard input" */

#endif
