/* bitmask.c - see bitmask.h. */
#include "io/bitmask.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static int bit(const uint8_t *row, int64_t j) { return row[j / 8] >> j % 8 & 1; }

int64_t sonde_bitmask_pack(const float *mask, int64_t rows, int64_t in, uint8_t *bits, int *even) {
  const int64_t bytes = sonde_bitmask_bytes(in);
  int64_t all = 0, first = 0;
  memset(bits, 0, (size_t)(rows * bytes));
  *even = 1;
  for (int64_t r = 0; r < rows; r++) {
    int64_t n = 0;
    for (int64_t j = 0; j < in; j++)
      if (mask[r * in + j] != 0) bits[r * bytes + j / 8] |= (uint8_t)(1 << j % 8), n++;
    if (r == 0) first = n;
    *even &= n == first;
    all += n;
  }
  return all;
}

void sonde_bitmask_take(const float *dense, const uint8_t *bits, int64_t rows, int64_t in, float *values) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t j = 0; j < in; j++)
      if (bit(bits + r * sonde_bitmask_bytes(in), j)) *values++ = dense[r * in + j];
}

/* The two tensors, of a matrix of so many rows. */
typedef struct parts {
  const sonde_st_entry *bits, *values;
  int64_t rows, in, each;      /* each: values of a row; -1: rows differ */
} parts;

static int find_parts(const sonde_st *st, const char *name, const sonde_shape *shape, parts *p, sonde_error *err) {
  char part[512];
  snprintf(part, sizeof part, "%s.bitmask", name);
  p->bits = sonde_st_find(st, part);
  snprintf(part, sizeof part, "%s.values", name);
  p->values = sonde_st_find(st, part);
  if (!p->bits || !p->values)
    return sonde_fail(err, SONDE_EFORMAT, "'%s.%s' is not there, but '%s.%s' is: both make the matrix", name,
                      p->bits ? "values" : "bitmask", name, p->bits ? "bitmask" : "values");
  const sonde_st_entry *b = p->bits, *v = p->values;
  p->in = shape->dim[shape->rank - 1];
  p->rows = sonde_shape_count(shape) / p->in;
  int fits = b->dtype == SONDE_ST_U8 && b->rank == shape->rank && b->dim[b->rank - 1] == sonde_bitmask_bytes(p->in);
  for (int k = 0; k < shape->rank - 1 && fits; k++) fits = b->dim[k] == shape->dim[k];
  if (!fits)
    return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' must be U8, a bit for each weight of %lld rows of %lld", b->file,
                      b->name, (long long)p->rows, (long long)p->in);
  if (v->rank != 1 && !(v->rank == 2 && v->dim[0] == p->rows))
    return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' must be a list, or have %lld rows", v->file, v->name,
                      (long long)p->rows);
  p->each = v->rank == 2 ? v->dim[1] : -1;
  return SONDE_OK;
}

/* The mask, with its bits counted against the values. */
static int read_mask(const parts *p, float *mask, sonde_error *err) {
  const int64_t bytes = sonde_bitmask_bytes(p->in);
  int64_t all = 0;
  for (int64_t r = 0; r < p->rows; r++) {
    const uint8_t *row = (const uint8_t *)p->bits->data + r * bytes;
    int64_t n = 0;
    for (int64_t j = 0; j < p->in; j++) {
      mask[r * p->in + j] = (float)bit(row, j);
      n += bit(row, j);
    }
    for (int64_t j = p->in; j < 8 * bytes; j++)
      if (bit(row, j))
        return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' has bits beyond the %lld weights of row %lld", p->bits->file,
                          p->bits->name, (long long)p->in, (long long)r);
    if (p->each >= 0 && n != p->each)
      return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' has %lld bits in row %lld, and '%s' %lld values", p->bits->file,
                        p->bits->name, (long long)n, (long long)r, p->values->name, (long long)p->each);
    all += n;
  }
  if (all == p->values->count) return SONDE_OK;
  return sonde_fail(err, SONDE_EFORMAT, "%s: '%s' has %lld bits, and '%s' %lld values", p->bits->file, p->bits->name,
                    (long long)all, p->values->name, (long long)p->values->count);
}

int sonde_bitmask_read(const sonde_st *st, const char *name, const sonde_shape *shape, float *dense, float *mask,
                       sonde_error *err) {
  parts p = {0};
  int code = find_parts(st, name, shape, &p, err);
  if (!code) code = read_mask(&p, mask, err);
  if (code) return code;
  float *values = sonde_alloc((size_t)(p.values->count + 1) * sizeof *values);
  if (!values) return sonde_fail(err, SONDE_ENOMEM, "no memory for the weights of '%s'", name);
  code = sonde_st_read_f32(p.values, values, p.values->count, err);
  const float *next = values;
  for (int64_t k = 0; k < p.rows * p.in && !code; k++) dense[k] = mask[k] != 0 ? *next++ : 0;
  sonde_release(values);
  return code;
}
