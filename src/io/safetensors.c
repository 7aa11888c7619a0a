/* safetensors.c - one file's header, checked. Opening paths and converting: safetensors_read.c. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "io/safetensors_internal.h"

enum { MAX_HEADER = 100 << 20 };

static const struct { const char *name; int64_t size; } dtypes[] = {
  [SONDE_ST_F64] = {"F64", 8},   [SONDE_ST_F32] = {"F32", 4},         [SONDE_ST_F16] = {"F16", 2},
  [SONDE_ST_BF16] = {"BF16", 2}, [SONDE_ST_I64] = {"I64", 8},         [SONDE_ST_I32] = {"I32", 4},
  [SONDE_ST_I16] = {"I16", 2},   [SONDE_ST_I8] = {"I8", 1},           [SONDE_ST_U64] = {"U64", 8},
  [SONDE_ST_U32] = {"U32", 4},   [SONDE_ST_U16] = {"U16", 2},         [SONDE_ST_U8] = {"U8", 1},
  [SONDE_ST_BOOL] = {"BOOL", 1}, [SONDE_ST_F8_E4M3] = {"F8_E4M3", 1}, [SONDE_ST_F8_E5M2] = {"F8_E5M2", 1},
};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

const char *sonde_st_dtype_name(int dtype) {
  return dtype >= 0 && dtype < DTYPES ? dtypes[dtype].name : NULL;
}

int64_t sonde_st_dtype_size(int dtype) {
  return dtype >= 0 && dtype < DTYPES ? dtypes[dtype].size : 0;
}

/* What one file's parsing passes around. */
typedef struct source {
  sonde_st *st;
  const char *name;            /* of the file; in the arena */
  const char *data;            /* the bytes behind the header */
  int64_t size;
  sonde_error *err;
} source;

/* begin and end while the entries are still unsorted */
typedef struct extent {
  sonde_st_entry entry;
  int64_t begin, end;
} extent;

static int read_dtype(const source *s, const char *tensor, const json_t *info, sonde_st_entry *e) {
  const json_t *v = json_object_get(info, "dtype");
  if (!json_is_string(v))
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' has no dtype", s->name, tensor);
  for (int d = 0; d < DTYPES; d++) {
    if (strcmp(dtypes[d].name, json_string_value(v))) continue;
    e->dtype = d;
    return 0;
  }
  return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' has dtype '%s', which is not known", s->name,
                    tensor, json_string_value(v));
}

static int read_shape(const source *s, const char *tensor, const json_t *info, sonde_st_entry *e) {
  const json_t *v = json_object_get(info, "shape"), *dim;
  size_t i;
  if (!json_is_array(v))
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' has no shape", s->name, tensor);
  if (json_array_size(v) > SONDE_ST_MAX_RANK)
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' has %zu dimensions, more than %d", s->name,
                      tensor, json_array_size(v), SONDE_ST_MAX_RANK);
  for (i = 0; i < SONDE_ST_MAX_RANK; i++) e->dim[i] = 1;
  e->rank = (int32_t)json_array_size(v);
  e->count = 1;
  json_array_foreach(v, i, dim) {
    if (!json_is_integer(dim) || json_integer_value(dim) < 0)
      return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s': dimension %zu is not a count", s->name,
                        tensor, i);
    e->dim[i] = json_integer_value(dim);
    if (__builtin_mul_overflow(e->count, e->dim[i], &e->count))
      return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' has more than 2^63 elements", s->name,
                        tensor);
  }
  if (__builtin_mul_overflow(e->count, dtypes[e->dtype].size, &e->bytes))
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' has more than 2^63 bytes", s->name, tensor);
  return 0;
}

static int read_offsets(const source *s, const char *tensor, const json_t *info, extent *x) {
  const json_t *v = json_object_get(info, "data_offsets");
  const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
  if (json_array_size(v) != 2 || !json_is_integer(a) || !json_is_integer(b))
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' needs data_offsets [begin, end]", s->name,
                      tensor);
  x->begin = json_integer_value(a);
  x->end = json_integer_value(b);
  if (x->begin < 0 || x->end < x->begin || x->end > s->size)
    return sonde_fail(s->err, SONDE_EFORMAT,
                      "%s: tensor '%s' spans bytes %lld to %lld of %lld: the file is cut short or damaged",
                      s->name, tensor, (long long)x->begin, (long long)x->end, (long long)s->size);
  if (x->end - x->begin != x->entry.bytes)
    return sonde_fail(s->err, SONDE_EFORMAT,
                      "%s: tensor '%s' spans %lld bytes, its shape and dtype ask for %lld", s->name, tensor,
                      (long long)(x->end - x->begin), (long long)x->entry.bytes);
  return 0;
}

static int read_tensor(const source *s, const char *tensor, const json_t *info, extent *x) {
  if (!json_is_object(info))
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensor '%s' is not described by an object", s->name,
                      tensor);
  int rc = read_dtype(s, tensor, info, &x->entry);
  if (!rc) rc = read_shape(s, tensor, info, &x->entry);
  if (!rc) rc = read_offsets(s, tensor, info, x);
  if (rc) return rc;
  x->entry.name = sonde_arena_strdup(s->st->arena, tensor);
  x->entry.data = s->data + x->begin;
  x->entry.file = s->name;
  return x->entry.name ? 0 : sonde_fail(s->err, SONDE_ENOMEM, "%s: out of memory", s->name);
}

static int read_metadata(const source *s, json_t *meta) {
  const char *key;
  json_t *value;
  if (!json_is_object(meta))
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: __metadata__ is not an object", s->name);
  json_object_foreach(meta, key, value) {
    if (!json_is_string(value))
      return sonde_fail(s->err, SONDE_EFORMAT, "%s: __metadata__ '%s' is not a string", s->name, key);
    char *copy = sonde_arena_strdup(s->st->arena, json_string_value(value));
    if (!copy || sonde_map_set(s->st->meta, key, copy))
      return sonde_fail(s->err, SONDE_ENOMEM, "%s: out of memory", s->name);
  }
  return 0;
}

static int by_place(const void *a, const void *b) {
  const extent *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end) return x->end < y->end ? -1 : 1;
  return strcmp(x->entry.name, y->entry.name);
}

/* Every byte behind the header belongs to exactly one tensor. */
static int check_cover(const source *s, extent *x, int64_t n) {
  int64_t at = 0;
  if (n) qsort(x, (size_t)n, sizeof *x, by_place);
  for (int64_t i = 0; i < n; i++) {
    if (x[i].begin < at)
      return sonde_fail(s->err, SONDE_EFORMAT, "%s: tensors '%s' and '%s' overlap", s->name,
                        x[i - 1].entry.name, x[i].entry.name);
    if (x[i].begin > at)
      return sonde_fail(s->err, SONDE_EFORMAT, "%s: %lld bytes before tensor '%s' belong to no tensor",
                        s->name, (long long)(x[i].begin - at), x[i].entry.name);
    at = x[i].end;
  }
  if (at != s->size)
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: %lld bytes at the end belong to no tensor", s->name,
                      (long long)(s->size - at));
  return 0;
}

int sonde__st_append(sonde_st *st, const sonde_st_entry *e, sonde_error *err) {
  sonde_st_entry *grown = sonde__st_room(st->entry, st->n, 1, &st->room, sizeof *grown);
  if (!grown) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", e->file);
  st->entry = grown;
  const sonde_st_entry *twin = sonde_st_find(st, e->name);
  if (twin)
    return sonde_fail(err, SONDE_EFORMAT, "tensor '%s' is in both '%s' and '%s'", twin->name, twin->file, e->file);
  st->entry[st->n] = *e;
  if (sonde_map_set(st->by_name, e->name, (void *)(intptr_t)(st->n + 1)))
    return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", e->file);
  st->n++;
  return 0;
}

static int add_entries(const source *s, const extent *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    int rc = sonde__st_append(s->st, &x[i].entry, s->err);
    if (rc) return rc;
  }
  return 0;
}

static int read_header(const source *s, json_t *header) {
  const char *key;
  json_t *value;
  int64_t n = 0;
  int rc = 0;
  if (!json_is_object(header))
    return sonde_fail(s->err, SONDE_EFORMAT, "%s: the header is not an object", s->name);
  extent *x = sonde_alloc((json_object_size(header) + 1) * sizeof *x);
  if (!x) return sonde_fail(s->err, SONDE_ENOMEM, "%s: out of memory", s->name);
  json_object_foreach(header, key, value) {
    rc = strcmp(key, "__metadata__") ? read_tensor(s, key, value, &x[n++]) : read_metadata(s, value);
    if (rc) break;
  }
  if (!rc) rc = check_cover(s, x, n);
  if (!rc) rc = add_entries(s, x, n);
  sonde_release(x);
  return rc;
}

int sonde__st_add(sonde_st *st, const void *data, int64_t size, const char *name, sonde_error *err) {
  const unsigned char *p = data;
  uint64_t length = 0;
  if (size < 8)
    return sonde_fail(err, SONDE_EFORMAT, "%s: %lld bytes are too few for a safetensors file", name,
                      (long long)size);
  for (int i = 7; i >= 0; i--) length = length << 8 | p[i];
  if (length > MAX_HEADER || (int64_t)length > size - 8)
    return sonde_fail(err, SONDE_EFORMAT,
                      "%s: a header of %llu bytes in a file of %lld: cut short, or no safetensors", name,
                      (unsigned long long)length, (long long)size);
  source s = {st, sonde_arena_strdup(st->arena, name), (const char *)data + 8 + length,
              size - 8 - (int64_t)length, err};
  if (!s.name) return sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", name);
  json_t *header = sonde_json_parse((const char *)data + 8, (int64_t)length, name, err);
  if (!header) return err->code;
  int rc = read_header(&s, header);
  json_decref(header);
  return rc;
}
