/* analyse.h - from frames to rows of numbers: the motion of each frame since the one before it, separated into that of
 * the camera (background) and what it leaves (foreground), on a grid of cells, and a thumbnail.
 *
 * A row of f32, in this order:
 *
 *   16 figures of the whole picture: time (s); dt (s since the picture it is compared with; 0: there is none);
 *      repeated (1: the picture is the one before it, and the motion is that one's); sigma and median residual of the
 *      fit (pixels); share of the structure that is foreground; share of the blocks with structure; mean luma (0..1);
 *      the eight parameters of planar.h, in picture widths a second
 *   3 fields (all motion, background, foreground) of [grid_height, grid_width] cells of 5: mean vector (u, v) and
 *      mean length, in picture widths a second; count; divergence in 1/s
 *   the thumbnail [thumb_height, thumb_width] (rgb: times 3), 0..1
 *
 * Count is the share of a cell's blocks that have structure: all of them, those of weight in the fit, those without. A
 * block is foreground where its residual is over `outlier` sigma; the foreground's mean vector is of residuals of these
 * blocks. The background's vectors are the model's, at all blocks of the cell. Divergence is du/dx + dv/dy, of the
 * least-squares plane through the blocks of a cell (foreground: through all residuals), of the model itself for the
 * background. Of a surface that comes closer along the line of sight it is 2 / (time to collision): what looms ahead of
 * the camera has a large one even where its own vector is 0. */
#ifndef SONDE_VIDEO_ANALYSE_H
#define SONDE_VIDEO_ANALYSE_H

#include "video/decode.h"
#include "video/motion.h"
#include "video/planar.h"

enum { SONDE_FIGURES = 16, SONDE_FIELDS = 3, SONDE_CELL = 5 };
enum { SONDE_FIELD_ALL, SONDE_FIELD_BACKGROUND, SONDE_FIELD_FOREGROUND };

typedef struct sonde_analysis_opts {
  sonde_video_opts video;
  sonde_matcher_opts matcher;
  sonde_planar_opts planar;
  int codec;              /* 1: the codec's vectors in place of matching (also set video.vectors) */
  int grid_width, grid_height;    /* 1..64 */
  double outlier;         /* sigmas */
} sonde_analysis_opts;

/* Luma 320 wide, 15 frames a second, blocks of 8, radius 8, planar fit with a floor of 0.5 pixel, grid 10 x 6, outliers
 * over 3 sigma, thumbnail 32 x 18 in grey. */
sonde_analysis_opts sonde_analysis_defaults(void);

/* EINVAL: an option is out of range, of the video or of what is made of it. */
int sonde_analysis_check(const sonde_analysis_opts *opts, sonde_error *err);

/* Numbers in a row. */
int sonde_analysis_columns(const sonde_analysis_opts *o);

typedef struct sonde_analysis sonde_analysis;

/* For frames with luma of this size. EINVAL: an option is out of range. */
sonde_analysis *sonde_analysis_new(const sonde_analysis_opts *opts, int width, int height, sonde_error *err);
void sonde_analysis_free(sonde_analysis *a);

/* Writes the row of the next frame. The row does not depend on the pool, which may be NULL. */
void sonde_analysis_push(sonde_analysis *a, const sonde_frame *frame, sonde_pool *pool, float *row);

/* Seconds that all rows so far took: to match the blocks, to fit the camera's motion, for the rest. */
typedef struct sonde_analysis_times { double match, fit, rest; } sonde_analysis_times;
sonde_analysis_times sonde_analysis_seconds(const sonde_analysis *a);

/* What the last row was made of: the displacements of the blocks [rows, columns] and the fit, for drawings. */
const sonde_block *sonde_analysis_blocks(const sonde_analysis *a, int *rows, int *columns);
const sonde_planar *sonde_analysis_fit(const sonde_analysis *a);

#endif
