/* safetensors_internal.h - the reader's state, shared by its files. */
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

/* Adds a tensor; its names are in the arena. One that is there already is refused. */
int sonde__st_append(sonde_st *st, const sonde_st_entry *e, sonde_error *err);

/* Parses one file's bytes and appends its tensors: of a safetensors file, and of a checkpoint of llama2.c. */
int sonde__st_add(sonde_st *st, const void *data, int64_t size, const char *name, sonde_error *err);
int sonde__st_add_llama2c(sonde_st *st, const void *data, int64_t size, const char *name, sonde_error *err);

#endif
