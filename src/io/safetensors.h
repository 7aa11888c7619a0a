/* safetensors.h - model weights: reading (memory-mapped, all fields checked) and writing.
 *
 * The format: u64 little-endian header length, a JSON header
 * {name: {dtype, shape, data_offsets: [begin, end]}}, then the bytes. A file that is truncated, has
 * overlapping tensors, gaps or repeated names, or sizes beyond 2^63 is refused when it is opened, so that later reads
 * stay inside the mapping. */
#ifndef SONDE_IO_SAFETENSORS_H
#define SONDE_IO_SAFETENSORS_H

#include "base/error.h"

enum { SONDE_ST_MAX_RANK = 8 };

typedef enum sonde_st_dtype {
  SONDE_ST_F64, SONDE_ST_F32, SONDE_ST_F16, SONDE_ST_BF16, SONDE_ST_I64, SONDE_ST_I32, SONDE_ST_I16,
  SONDE_ST_I8, SONDE_ST_U64, SONDE_ST_U32, SONDE_ST_U16, SONDE_ST_U8, SONDE_ST_BOOL, SONDE_ST_F8_E4M3,
  SONDE_ST_F8_E5M2
} sonde_st_dtype;

const char *sonde_st_dtype_name(int dtype);         /* "F32"; NULL for an unknown dtype */
int64_t sonde_st_dtype_size(int dtype);             /* bytes */

typedef struct sonde_st_entry {
  const char *name;
  int32_t dtype;                                    /* sonde_st_dtype */
  int32_t rank;
  int64_t dim[8];                                   /* SONDE_ST_MAX_RANK entries; the unused ones are 1 */
  int64_t count, bytes;
  const void *data;                                 /* in the mapping: any alignment, little-endian */
  const char *file;                                 /* the file that contains it */
} sonde_st_entry;

typedef struct sonde_st sonde_st;

/* Opens a .safetensors file, a model.safetensors.index.json with its shards, a folder that contains either
 * (model.safetensors is preferred), or a checkpoint of llama2.c (.bin, version 0), whose tensors get the names of a
 * Llama's; queries and keys are in its order of rows (a head's features in pairs that rotate together), and its sizes
 * are metadata under the names of its header: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len. */
sonde_st *sonde_st_open(const char *path, sonde_error *err);
/* One file's bytes in memory, borrowed until sonde_st_free; `name` is used in messages. */
sonde_st *sonde_st_open_memory(const void *data, int64_t size, const char *name, sonde_error *err);
void sonde_st_free(sonde_st *st);

int64_t sonde_st_count(const sonde_st *st);
const sonde_st_entry *sonde_st_at(const sonde_st *st, int64_t i);           /* in the order of the bytes */
const sonde_st_entry *sonde_st_find(const sonde_st *st, const char *name);  /* NULL if absent */
const char *sonde_st_meta(const sonde_st *st, const char *key);             /* NULL if absent */

/* Converts F32, F16 or BF16 to f32: `count` must be the entry's (ESHAPE), another dtype is EUNSUP. */
int sonde_st_read_f32(const sonde_st_entry *e, float *out, int64_t count, sonde_error *err);

/* Reads into a tensor of equal dimensions: f32 and bf16 tensors take F32, F16 and BF16; i32 ones take I32. */
int sonde_st_read_tensor(const sonde_st_entry *e, sonde_tensor *t, sonde_error *err);

/* A tensor to write: `data` has elements of `dtype`, or, if from_f32 is set, f32 that are rounded to it. */
typedef struct sonde_st_item {
  const char *name;
  int32_t dtype, rank;
  const int64_t *dim;
  const void *data;
  int32_t from_f32;
} sonde_st_item;

/* Writes the file atomically, straight from the items' memory. Order in the file: wider dtypes
 * first, so that every tensor is aligned, then by name; so equal content gives equal bytes. `meta` is
 * {key, value, ..., NULL}, or NULL. */
int sonde_st_save(const char *path, const sonde_st_item *items, int64_t n, const char *const *meta,
                  sonde_error *err);

/* The dtype a tensor of Sonde's dtype is saved as without conversion. */
int sonde_st_dtype_of(int sonde_dtype);

#endif
