/* motion.h - the displacement of each block of a picture since the picture before, by block matching on two levels.
 *
 * Pictures are 8-bit luma. On a picture of half the size, windows of 8 x 8 pixels are compared at every displacement
 * up to `radius`; at full size the best one of a block and its neighbours is refined by up to two pixels, compared
 * with displacements of a pixel and none at all, and interpolated between pixels from the sums beside it. So radius
 * 8 reaches 16 pixels. The cost of a displacement is the sum of absolute differences plus its length |u| + |v|,
 * which keeps blocks without structure from drifting. All sums are integers: the result is the same with and without
 * SIMD and at any number of threads. */
#ifndef SONDE_VIDEO_MOTION_H
#define SONDE_VIDEO_MOTION_H

#include <stdint.h>
#include "base/pool.h"

typedef struct sonde_matcher sonde_matcher;

typedef struct sonde_matcher_opts {
  int block;              /* side of a block: 8 or 16 pixels */
  int radius;             /* 1..32, in pixels of the half size */
  int scalar;             /* 1: without SIMD, for tests */
} sonde_matcher_opts;

enum { SONDE_SUBPIXELS = 16, SONDE_FULL_WEIGHT = 255 };

typedef struct sonde_block {
  int16_t u, v;           /* displacement since the reference, in 1/16 pixel; right and down are positive */
  uint16_t weight;        /* 0..255: how much structure it has in both directions, and how little of it is left */
  uint16_t difference;    /* mean absolute difference from where it came from, in 1/16 grey level */
} sonde_block;

/* EINVAL: an option is out of range. */
int sonde_matcher_check(const sonde_matcher_opts *opts, sonde_error *err);

/* For pictures of at least 16 x 16 pixels. At the right and lower edge the last pixels are repeated to whole blocks. */
sonde_matcher *sonde_matcher_new(int width, int height, const sonde_matcher_opts *opts, sonde_error *err);
void sonde_matcher_free(sonde_matcher *m);
int sonde_matcher_columns(const sonde_matcher *m);      /* of blocks */
int sonde_matcher_rows(const sonde_matcher *m);

/* Takes a picture, rows without gaps. Returns its mean absolute difference from the reference, in 1/256 grey level; -1
 * while there is no reference. */
int sonde_matcher_take(sonde_matcher *m, const uint8_t *luma);
/* The displacements of the blocks [rows, columns] of the picture taken last since the reference. pool may be NULL. */
void sonde_matcher_match(sonde_matcher *m, sonde_pool *pool, sonde_block *blocks);
/* Makes the picture taken last the reference. */
void sonde_matcher_keep(sonde_matcher *m);

#endif
