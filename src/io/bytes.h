/* bytes.h - a growing buffer of bytes. */
#ifndef SONDE_IO_BYTES_H
#define SONDE_IO_BYTES_H

#include "base/error.h"

/* Initialise with zeros. A NUL, not counted in n, follows the bytes that were added. */
typedef struct sonde_bytes { char *data; int64_t n, cap; } sonde_bytes;

int sonde_bytes_reserve(sonde_bytes *b, int64_t more);                    /* 0 or SONDE_ENOMEM */
int sonde_bytes_add(sonde_bytes *b, const void *data, int64_t n);         /* 0 or SONDE_ENOMEM */
void sonde_bytes_free(sonde_bytes *b);

#endif
