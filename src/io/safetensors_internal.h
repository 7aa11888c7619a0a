/* safetensors_internal.h - the reader's state, shared by its two files. */
#ifndef SONDE_IO_SAFETENSORS_INTERNAL_H
#define SONDE_IO_SAFETENSORS_INTERNAL_H

#include "base/file.h"
#include "base/mem.h"
#include "io/json.h"
#include "io/safetensors.h"

struct sonde_st {
  sonde_arena *arena;          /* names, metadata */
  sonde_map *by_name;          /* name -> index + 1 */
  sonde_map *meta;
  sonde_st_entry *entry;
  int64_t n, room;
  sonde_mapping *map;          /* one a file */
  int64_t files, map_room;
};

/* Makes room for `more` elements of `size` bytes after the n of an array with capacity *room, which doubles when it
 * must grow. NULL: out of memory, the array is unchanged. */
void *sonde__st_room(void *array, int64_t n, int64_t more, int64_t *room, size_t size);

/* Parses one file's bytes and appends its tensors. */
int sonde__st_add(sonde_st *st, const void *data, int64_t size, const char *name, sonde_error *err);

#endif
