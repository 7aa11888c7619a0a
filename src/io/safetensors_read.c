/* safetensors_read.c - opening files, shards and folders; converting a tensor. */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include "cpu/simd.h"
#include "io/safetensors_internal.h"
#include "tensor/tensor.h"

enum { MAX_INDEX = 100 << 20, CHUNK = 4096 };

static sonde_st *reader_new(sonde_error *err) {
  sonde_st *st = sonde_alloc(sizeof *st);
  if (st) {
    st->arena = sonde_arena_new();
    st->by_name = sonde_map_new();
    st->meta = sonde_map_new();
    if (st->arena && st->by_name && st->meta) return st;
  }
  sonde_fail(err, SONDE_ENOMEM, "safetensors: out of memory");
  sonde_st_free(st);
  return NULL;
}

void sonde_st_free(sonde_st *st) {
  if (!st) return;
  for (int64_t i = 0; i < st->files; i++) sonde_unmap_file(&st->map[i]);
  sonde_release(st->map);
  sonde_release(st->entry);
  sonde_map_free(st->by_name);
  sonde_map_free(st->meta);
  sonde_arena_free(st->arena);
  sonde_release(st);
}

void *sonde__st_room(void *array, int64_t n, int64_t more, int64_t *room, size_t size) {
  if (array && n + more <= *room) return array;
  int64_t wanted = 2 * (n + more) + 16;
  void *grown = sonde_grow(array, (size_t)n * size, (size_t)wanted * size);
  if (grown) *room = wanted;
  return grown;
}

static int ends_with(const char *s, const char *end) {
  size_t n = strlen(s), m = strlen(end);
  return n >= m && !strcmp(s + n - m, end);
}

static int add_bytes(sonde_st *st, const void *data, int64_t size, const char *name, sonde_error *err) {
  return (ends_with(name, ".bin") ? sonde__st_add_llama2c : sonde__st_add)(st, data, size, name, err);
}

/* Maps a file and adds it. */
static int add_file(sonde_st *st, const char *path, sonde_error *err) {
  sonde_mapping *grown = sonde__st_room(st->map, st->files, 1, &st->map_room, sizeof *grown);
  if (!grown) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path);
  st->map = grown;
  int rc = sonde_map_file(path, &st->map[st->files], err);
  if (rc) return rc;
  sonde_mapping m = st->map[st->files++];
  return add_bytes(st, m.data, m.size, path, err);
}

/* ---- shards -------------------------------------------------------------------------------------------- */

/* Only names beside the index: a hostile one must not make us open files elsewhere. */
static int check_shard_name(const char *index, const char *tensor, const json_t *file, sonde_error *err) {
  const char *s = json_string_value(file);
  if (!s) return sonde_fail(err, SONDE_EFORMAT, "%s: weight_map '%s' is not a file name", index, tensor);
  if (!*s || *s == '.' || strchr(s, '/'))
    return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' must be the name of a file beside the index", index, s);
  return 0;
}

static int add_shards(sonde_st *st, const char *index, json_t *weights, sonde_map *seen, sonde_error *err) {
  const char *tensor, *slash = strrchr(index, '/');
  int folder = slash ? (int)(slash + 1 - index) : 0, rc;
  char path[4096];
  json_t *file;
  json_object_foreach(weights, tensor, file) {
    if ((rc = check_shard_name(index, tensor, file, err))) return rc;
    const char *name = json_string_value(file);
    if (sonde_map_get(seen, name)) continue;
    if (sonde_map_set(seen, name, seen)) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", index);
    if (snprintf(path, sizeof path, "%.*s%s", folder, index, name) >= (int)sizeof path)
      return sonde_fail(err, SONDE_EINVAL, "%s: the path of '%s' is too long", index, name);
    if ((rc = add_file(st, path, err))) return rc;
  }
  json_object_foreach(weights, tensor, file) {
    const sonde_st_entry *e = sonde_st_find(st, tensor);
    if (!e || strcmp(e->file + folder, json_string_value(file)))
      return sonde_fail(err, SONDE_EFORMAT, "%s: tensor '%s' is not in '%s'", index, tensor,
                        json_string_value(file));
  }
  return 0;
}

static int add_index(sonde_st *st, const char *path, sonde_error *err) {
  json_t *tree = sonde_json_load(path, MAX_INDEX, err);
  if (!tree) return err->code;
  json_t *weights = json_object_get(tree, "weight_map");
  sonde_map *seen = sonde_map_new();
  int rc;
  if (!seen)
    rc = sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path);
  else if (!json_is_object(weights))
    rc = sonde_fail(err, SONDE_EFORMAT, "%s: no weight_map {tensor: file}", path);
  else
    rc = add_shards(st, path, weights, seen, err);
  sonde_map_free(seen);
  json_decref(tree);
  return rc;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Weights of other formats, for the message. */
static const char *others_in(const char *folder) {
  static const char *const names[] = {"pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth",
                                      "tf_model.h5", "flax_model.msgpack"};
  char path[4096];
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (snprintf(path, sizeof path, "%s/%s", folder, names[i]) < (int)sizeof path && sonde_path_exists(path))
      return names[i];
  return NULL;
}

static int open_path(sonde_st *st, const char *path, sonde_error *err) {
  char inside[4096];
  if (!sonde_is_folder(path))
    return ends_with(path, ".json") ? add_index(st, path, err) : add_file(st, path, err);
  if (snprintf(inside, sizeof inside, "%s/model.safetensors.index.json", path) >= (int)sizeof inside)
    return sonde_fail(err, SONDE_EINVAL, "'%s': the path is too long", path);
  char *suffix = inside + strlen(inside) - strlen(".index.json");
  *suffix = '\0';
  if (sonde_path_exists(inside)) return add_file(st, inside, err);
  *suffix = '.';
  if (sonde_path_exists(inside)) return add_index(st, inside, err);
  const char *other = others_in(path);
  if (other)
    return sonde_fail(err, SONDE_EUNSUP,
                      "'%s' has its weights in %s, a format that is not read (pickles can execute code); convert them "
                      "to safetensors first", path, other);
  return sonde_fail(err, SONDE_ENOENT,
                    "'%s' contains neither model.safetensors nor model.safetensors.index.json", path);
}

sonde_st *sonde_st_open(const char *path, sonde_error *err) {
  sonde_st *st = reader_new(err);
  if (!st || !open_path(st, path, err)) return st;
  sonde_st_free(st);
  return NULL;
}

sonde_st *sonde_st_open_memory(const void *data, int64_t size, const char *name, sonde_error *err) {
  sonde_st *st = reader_new(err);
  if (!st || !add_bytes(st, data, size, name, err)) return st;
  sonde_st_free(st);
  return NULL;
}

int64_t sonde_st_count(const sonde_st *st) {
  return st->n;
}

const sonde_st_entry *sonde_st_at(const sonde_st *st, int64_t i) {
  return i >= 0 && i < st->n ? &st->entry[i] : NULL;
}

const sonde_st_entry *sonde_st_find(const sonde_st *st, const char *name) {
  intptr_t at = (intptr_t)sonde_map_get(st->by_name, name);
  return at ? &st->entry[at - 1] : NULL;
}

const char *sonde_st_meta(const sonde_st *st, const char *key) {
  return sonde_map_get(st->meta, key);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static float from_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
  float f;
  if (exponent == 0) {
    f = (float)mantissa * 0x1p-24f;      /* subnormal or zero: exact in f32 */
    return sign ? -f : f;
  }
  bits = sign | mantissa << 13 | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23);
  memcpy(&f, &bits, sizeof f);
  return f;
}

int sonde_st_read_f32(const sonde_st_entry *e, float *out, int64_t count, sonde_error *err) {
  if (count != e->count)
    return sonde_fail(err, SONDE_ESHAPE, "%s: tensor '%s' has %lld elements, not %lld", e->file, e->name,
                      (long long)e->count, (long long)count);
  if (e->dtype == SONDE_ST_F32) {
    if (count) memcpy(out, e->data, (size_t)e->bytes);
    return 0;
  }
  if (e->dtype != SONDE_ST_F16 && e->dtype != SONDE_ST_BF16)
    return sonde_fail(err, SONDE_EUNSUP, "%s: tensor '%s' is %s; F32, F16 or BF16 is needed", e->file,
                      e->name, sonde_st_dtype_name(e->dtype));
  const sonde_simd_table *simd = sonde_simd_get();
  uint16_t raw[CHUNK];                   /* the mapping has no alignment to count on */
  for (int64_t at = 0; at < count; at += CHUNK) {
    int64_t n = count - at < CHUNK ? count - at : CHUNK;
    memcpy(raw, (const char *)e->data + 2 * at, (size_t)(2 * n));
    if (e->dtype == SONDE_ST_BF16)
      simd->common.from_bf16(out + at, raw, n);
    else
      for (int64_t i = 0; i < n; i++) out[at + i] = from_f16(raw[i]);
  }
  return 0;
}

static int read_as_bf16(const sonde_st_entry *e, uint16_t *out, sonde_error *err) {
  float wide[CHUNK];
  int64_t size = sonde_st_dtype_size(e->dtype);
  if (e->dtype == SONDE_ST_BF16) {
    if (e->count) memcpy(out, e->data, (size_t)e->bytes);
    return 0;
  }
  for (int64_t at = 0; at < e->count; at += CHUNK) {
    sonde_st_entry part = *e;
    part.data = (const char *)e->data + at * size;
    part.count = e->count - at < CHUNK ? e->count - at : CHUNK;
    part.bytes = part.count * size;
    int rc = sonde_st_read_f32(&part, wide, part.count, err);
    if (rc) return rc;
    sonde_simd_get()->common.to_bf16(out + at, wide, part.count);
  }
  return 0;
}

int sonde_st_read_tensor(const sonde_st_entry *e, sonde_tensor *t, sonde_error *err) {
  char want[128];
  int same = t->shape.rank == e->rank;
  for (int i = 0; same && i < e->rank; i++) same = t->shape.dim[i] == e->dim[i];
  if (!same) {
    char have[128];
    sonde_shape s = {.dtype = t->shape.dtype, .rank = e->rank < SONDE_MAX_RANK ? e->rank : SONDE_MAX_RANK};
    for (int i = 0; i < s.rank; i++) s.dim[i] = e->dim[i];
    return sonde_fail(err, SONDE_ESHAPE, "%s: tensor '%s' is %s%s, the model has %s", e->file, e->name,
                      sonde_shape_text(&s, have, sizeof have),
                      e->rank > SONDE_MAX_RANK ? " and more dimensions" : "",
                      sonde_shape_text(&t->shape, want, sizeof want));
  }
  void *to = sonde_tensor_write(t, err);
  if (!to) return SONDE_EIO;
  if (t->shape.dtype == SONDE_F32) return sonde_st_read_f32(e, to, e->count, err);
  if (t->shape.dtype == SONDE_BF16) return read_as_bf16(e, to, err);
  if (t->shape.dtype == SONDE_I32 && e->dtype == SONDE_ST_I32) {
    if (e->count) memcpy(to, e->data, (size_t)e->bytes);
    return 0;
  }
  return sonde_fail(err, SONDE_EUNSUP, "%s: tensor '%s' is %s and cannot be read as %s", e->file, e->name,
                    sonde_st_dtype_name(e->dtype), sonde_dtype_name(t->shape.dtype));
}
