/* item.h - a tensor on its way into a file: its size, and its numbers as the file's dtype. */
#ifndef SONDE_IO_ITEM_H
#define SONDE_IO_ITEM_H

#include <stdio.h>
#include "io/safetensors.h"

/* Bytes in the file; -1 if they are no number. */
int64_t sonde_item_bytes(const sonde_st_item *it);

/* Refuses what cannot be written; `path` is for messages. */
int sonde_item_check(const char *path, const sonde_st_item *it, sonde_error *err);

/* Writes its numbers, rounded where the item says so. A finite one that the dtype cannot hold is refused. */
int sonde_item_write(FILE *f, const char *path, const sonde_st_item *it, sonde_error *err);

#endif
