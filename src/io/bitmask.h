/* bitmask.h - a sparse matrix as a bit for each weight and the weights that stay.
 *
 * bits [rows, ceil(in / 8)]: bit j % 8 (from the lowest) of byte j / 8 of a row is 1 where weight j stays; bits beyond
 * the row are 0. values: those weights, by rows. In a file they are the tensors NAME.bitmask, U8 with the leading dims
 * of the matrix, and NAME.values, F32, F16 or BF16: [n], or, where every row has equally many (as N:M has, and what is
 * compared within rows), [rows, n / rows]. */
#ifndef SONDE_IO_BITMASK_H
#define SONDE_IO_BITMASK_H

#include "io/safetensors.h"

static inline int64_t sonde_bitmask_bytes(int64_t in) { return (in + 7) / 8; }

/* bits from a mask [rows, in], where what is not 0 stays; returns how many do. *even: whether all rows have equally
 * many. */
int64_t sonde_bitmask_pack(const float *mask, int64_t rows, int64_t in, uint8_t *bits, int *even);
/* The weights that stay, by rows. */
void sonde_bitmask_take(const float *dense, const uint8_t *bits, int64_t rows, int64_t in, float *values);

/* Reads NAME.bitmask and NAME.values into dense and mask [rows, in], of a tensor whose dims are the shape's. EFORMAT
 * names the file and what does not fit: another dtype or shape, bits beyond a row, other numbers of bits and values. */
int sonde_bitmask_read(const sonde_st *st, const char *name, const sonde_shape *shape, float *dense, float *mask,
                       sonde_error *err);

#endif
