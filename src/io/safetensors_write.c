/* safetensors_write.c - writing safetensors, straight from the tensors' memory. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/mem.h"
#include "io/item.h"
#include "io/json.h"

int sonde_st_dtype_of(int dtype) {
  switch (dtype) {
    case SONDE_F32: return SONDE_ST_F32;
    case SONDE_BF16: return SONDE_ST_BF16;
    case SONDE_I32: return SONDE_ST_I32;
    default: return -1;
  }
}

static int by_width_and_name(const void *a, const void *b) {
  const sonde_st_item *x = *(const sonde_st_item *const *)a, *y = *(const sonde_st_item *const *)b;
  int64_t wx = sonde_st_dtype_size(x->dtype), wy = sonde_st_dtype_size(y->dtype);
  return wx != wy ? (wx > wy ? -1 : 1) : strcmp(x->name, y->name);
}

static json_t *describe(const sonde_st_item *it, int64_t begin, int64_t end) {
  json_t *shape = json_array();
  for (int i = 0; shape && i < it->rank; i++) json_array_append_new(shape, json_integer(it->dim[i]));
  return json_pack("{s:s, s:o, s:[I,I]}", "dtype", sonde_st_dtype_name(it->dtype), "shape", shape,
                   "data_offsets", (json_int_t)begin, (json_int_t)end);
}

static json_t *make_header(const char *path, const sonde_st_item *const *item, int64_t n,
                           const char *const *meta, sonde_error *err) {
  json_t *header = json_object();
  int64_t at = 0, failed = !header;
  if (meta && *meta) {
    json_t *m = json_object();
    for (; *meta && m; meta += 2) failed |= json_object_set_new(m, meta[0], json_string(meta[1])) != 0;
    failed |= json_object_set_new(header, "__metadata__", m) != 0;
  }
  for (int64_t i = 0; i < n && !failed; i++) {
    int64_t end = at + sonde_item_bytes(item[i]);
    if (json_object_get(header, item[i]->name)) {
      sonde_fail(err, SONDE_EINVAL, "%s: two tensors are named '%s'", path, item[i]->name);
      json_decref(header);
      return NULL;
    }
    failed = json_object_set_new(header, item[i]->name, describe(item[i], at, end)) != 0;
    at = end;
  }
  if (!failed) return header;
  sonde_fail(err, SONDE_EINVAL, "%s: out of memory, or a name that is no UTF-8", path);
  json_decref(header);
  return NULL;
}

static int write_header(FILE *f, const json_t *header) {
  char *text = sonde_json_text(header, 0);
  if (!text) return errno = ENOMEM, -1;
  size_t n = strlen(text), padded = (n + 7) / 8 * 8;
  unsigned char length[8];
  for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)padded >> 8 * i);
  int ok = fwrite(length, 1, 8, f) == 8 && fwrite(text, 1, n, f) == n;
  for (; ok && n < padded; n++) ok = fputc(' ', f) != EOF;
  sonde_release(text);
  return ok ? 0 : -1;
}

static int write_file(const char *path, const sonde_st_item *const *item, int64_t n, const json_t *header,
                      sonde_error *err) {
  sonde_outfile *out = sonde_outfile_open(path, err);
  if (!out) return err->code;
  FILE *f = sonde_outfile_stream(out);
  int rc = write_header(f, header) ? sonde_fail_errno(err, SONDE_EIO, "cannot write '%s'", path) : 0;
  for (int64_t i = 0; i < n && !rc; i++) rc = sonde_item_write(f, path, item[i], err);
  if (!rc) return sonde_outfile_commit(out, err);
  sonde_outfile_abandon(out);
  return rc;
}

int sonde_st_save(const char *path, const sonde_st_item *items, int64_t n, const char *const *meta,
                  sonde_error *err) {
  const sonde_st_item **order = sonde_alloc((size_t)(n + 1) * sizeof *order);
  json_t *header = NULL;
  int rc = order ? 0 : sonde_fail(err, SONDE_ENOMEM, "%s: out of memory", path);
  for (int64_t i = 0; i < n && !rc; i++) {
    order[i] = &items[i];
    rc = sonde_item_check(path, &items[i], err);
  }
  if (!rc) {
    qsort(order, (size_t)n, sizeof *order, by_width_and_name);
    header = make_header(path, order, n, meta, err);
    rc = header ? write_file(path, order, n, header, err) : (err->code);
  }
  json_decref(header);
  sonde_release(order);
  return rc;
}
