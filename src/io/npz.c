/* npz.c - see npz.h. */
#include "config.h"

#include "io/npz.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "base/file.h"
#include "base/mem.h"

enum { STORED = 0, DEFLATED = 8, LOCAL = 30, CENTRAL = 46, END = 22, MOST_COMMENT = 65535, MOST_HEADER = 1 << 16 };
static const int64_t MOST = (int64_t)1 << 28;

typedef struct member {
  const unsigned char *data;
  int64_t packed, size;
  int method;
} member;

static unsigned u16(const unsigned char *p) { return (unsigned)p[0] | (unsigned)p[1] << 8; }
static uint32_t u32(const unsigned char *p) { return u16(p) | (uint32_t)u16(p + 2) << 16; }

static int damaged(const char *path, sonde_error *err) {
  return sonde_fail(err, SONDE_EFORMAT, "'%s' is no NumPy archive, or a damaged one", path);
}

/* ---- the archive ---- */

/* Where the end record is; -1: none. */
static int64_t find_end(const unsigned char *p, int64_t size) {
  for (int64_t at = size - END; at >= 0 && at >= size - END - MOST_COMMENT; at--)
    if (u32(p + at) == 0x06054b50) return at;
  return -1;
}

/* The data of the entry at `at` of the central directory. */
static int take_member(const unsigned char *p, int64_t size, int64_t at, const char *path, member *m,
                       sonde_error *err) {
  int64_t local = u32(p + at + 42);
  *m = (member){.packed = u32(p + at + 20), .size = u32(p + at + 24), .method = (int)u16(p + at + 10)};
  if (local > size - LOCAL || u32(p + local) != 0x04034b50) return damaged(path, err);
  int64_t data = local + LOCAL + u16(p + local + 26) + u16(p + local + 28);
  if (data > size || m->packed > size - data) return damaged(path, err);
  m->data = p + data;
  return 0;
}

static int find_member(const unsigned char *p, int64_t size, const char *path, const char *name, member *m,
                       sonde_error *err) {
  int64_t end = size >= END ? find_end(p, size) : -1;
  if (end < 0) return damaged(path, err);
  int64_t at = u32(p + end + 16);
  size_t length = strlen(name);
  for (unsigned k = u16(p + end + 10); k > 0; k--) {
    if (at > size - CENTRAL || u32(p + at) != 0x02014b50) return damaged(path, err);
    int64_t n = u16(p + at + 28), next = at + CENTRAL + n + u16(p + at + 30) + u16(p + at + 32);
    if (next > size) return damaged(path, err);
    const char *its = (const char *)p + at + CENTRAL;
    if ((size_t)n == length + 4 && !memcmp(its, name, length) && !memcmp(its + length, ".npy", 4))
      return take_member(p, size, at, path, m, err);
    at = next;
  }
  return sonde_fail(err, SONDE_ENOENT, "'%s' has no array '%s'", path, name);
}

/* The bytes of a member; *own is to be released. */
static const unsigned char *unpack(const member *m, const char *path, unsigned char **own, sonde_error *err) {
  *own = NULL;
  if (m->method == STORED && m->size == m->packed) return m->data;
  /* Deflate packs at most about 1032 to 1. */
  if (m->method != DEFLATED || m->size / 1100 > m->packed || m->size > 8 * MOST + MOST_HEADER) {
    damaged(path, err);
    return NULL;
  }
  if (!(*own = sonde_alloc((size_t)m->size + 1))) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for an array of '%s'", path);
    return NULL;
  }
  z_stream z = {.next_in = (Bytef *)(uintptr_t)m->data, .avail_in = (uInt)m->packed, .next_out = *own,
                .avail_out = (uInt)m->size + 1};
  if (inflateInit2(&z, -15) != Z_OK) {
    sonde_fail(err, SONDE_ENOMEM, "no memory to unpack '%s'", path);
    return NULL;
  }
  int rc = inflate(&z, Z_FINISH);
  inflateEnd(&z);
  if (rc == Z_STREAM_END && (int64_t)z.total_out == m->size) return *own;
  damaged(path, err);
  return NULL;
}

/* ---- arrays ---- */

typedef struct array {
  char kind;                   /* f, i, u, b */
  int width;
  sonde_shape shape;
  const unsigned char *data;
} array;

/* Behind `key` in the header's dictionary, blanks skipped; NULL. */
static const char *value_of(const char *text, const char *key) {
  const char *at = strstr(text, key);
  at = at ? at + strlen(key) : NULL;
  while (at && (*at == ' ' || *at == ':')) at++;
  return at;
}

static int read_shape(const char *at, array *a) {
  int64_t dim[SONDE_MAX_RANK];
  int rank = 0;
  if (!at || *at++ != '(') return -1;
  for (;;) {
    while (*at == ' ' || *at == ',') at++;
    if (*at == ')') break;
    char *end;
    long long n = strtoll(at, &end, 10);
    if (end == at || rank == SONDE_MAX_RANK || n < 0 || n > MOST) return -1;
    dim[rank++] = n;
    at = end;
  }
  a->shape = sonde_shape_make(SONDE_F32, rank, dim);
  return 0;
}

static int read_header(const unsigned char *p, int64_t size, array *a) {
  if (size < 12 || memcmp(p, "\x93NUMPY", 6) || p[6] < 1 || p[6] > 3) return -1;
  int64_t start = p[6] == 1 ? 10 : 12, length = p[6] == 1 ? (int64_t)u16(p + 8) : (int64_t)u32(p + 8);
  if (length > MOST_HEADER || start + length > size) return -1;
  char *text = sonde_alloc((size_t)length + 1);
  if (!text) return -1;
  memcpy(text, p + start, (size_t)length);
  const char *type = value_of(text, "'descr'"), *order = value_of(text, "'fortran_order'");
  int ok = type && order && !strncmp(order, "False", 5) && strlen(type) > 4 && *type == '\'' &&
           (type[1] == '<' || type[1] == '|') && type[4] == '\'' && !read_shape(value_of(text, "'shape'"), a);
  if (ok) a->kind = type[2], a->width = type[3] - '0';
  sonde_release(text);
  if (!ok || !strchr("fiub", a->kind)) return -1;
  if (a->width != 4 && a->width != 8 && (a->kind == 'f' || (a->width != 1 && a->width != 2))) return -1;
  int64_t bytes = sonde_shape_bytes(&a->shape);
  a->data = p + start + length;
  return bytes >= 0 && bytes / 4 * a->width == size - start - length ? 0 : -1;
}

static float number(const array *a, int64_t k) {
  const unsigned char *p = a->data + k * a->width;
  uint64_t bits = 0;
  float f;
  double d;
  for (int b = 0; b < a->width; b++) bits |= (uint64_t)p[b] << 8 * b;
  if (a->kind == 'f' && a->width == 4) {
    uint32_t half = (uint32_t)bits;
    memcpy(&f, &half, sizeof f);
    return f;
  }
  if (a->kind == 'f') {
    memcpy(&d, &bits, sizeof d);
    return (float)d;
  }
  if (a->kind != 'i') return (float)bits;
  int unused = 64 - 8 * a->width;
  return (float)((int64_t)(bits << unused) >> unused);
}

static sonde_tensor *to_tensor(const unsigned char *p, int64_t size, const char *path, const char *name,
                               sonde_error *err) {
  array a = {0};
  if (read_header(p, size, &a)) {
    sonde_fail(err, SONDE_EFORMAT, "'%s': the array '%s' is damaged, or not of numbers in C order", path, name);
    return NULL;
  }
  int64_t n = sonde_shape_bytes(&a.shape) / 4;
  if (n > MOST) {
    sonde_fail(err, SONDE_ELIMIT, "'%s': the array '%s' has more than %lld numbers", path, name, (long long)MOST);
    return NULL;
  }
  sonde_tensor *t = sonde_tensor_new(&a.shape, err);
  float *to = t ? sonde_tensor_write(t, err) : NULL;
  for (int64_t k = 0; to && k < n; k++) to[k] = number(&a, k);
  return t;
}

sonde_tensor *sonde_npz_read(const char *path, const char *name, sonde_error *err) {
  sonde_mapping map;
  member m = {0};
  unsigned char *own = NULL;
  sonde_tensor *t = NULL;
  if (sonde_map_file(path, &map, err)) return NULL;
  if (!find_member(map.data, map.size, path, name, &m, err)) {
    const unsigned char *p = unpack(&m, path, &own, err);
    if (p) t = to_tensor(p, m.size, path, name, err);
    sonde_release(own);
  }
  sonde_unmap_file(&map);
  return t;
}
