/* analyse.c - see analyse.h. */
#include "config.h"

#include "video/analyse.h"

#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

enum { HOLD = 2 };                         /* repeated pictures in a row that keep the motion before them */
enum { REPEATED = 256 / 16 };              /* mean difference of a picture that repeats, 1/256 grey level */
static const double LEAST_BLOCKS = 3;      /* that a divergence is fitted to */

struct sonde_analysis {
  sonde_analysis_opts opts;
  int width, height, rows, columns, columns_of_row;
  sonde_matcher *matcher;
  sonde_block *blocks;
  sonde_flow *flow;
  sonde_planar fit;
  double reference_time, last_dt;
  int held;
  struct cell *cells;
  sonde_analysis_times seconds;
};

/* Sums of one cell over its blocks. */
typedef struct slopes { double w, x, y, u, v, xx, xy, yy, xu, yu, xv, yv; } slopes;
typedef struct cell {
  int blocks;
  slopes all, rest;                        /* of the displacements, of the residuals */
  double all_length, model_u, model_v, model_length, inlier;
  double out_w, out_u, out_v, out_length;
} cell;

sonde_analysis_opts sonde_analysis_defaults(void) {
  sonde_analysis_opts o = {.video = sonde_video_defaults, .matcher = {.block = 8, .radius = 8},
                           .planar = {.floor = 0.5}, .grid_width = 10, .grid_height = 6, .outlier = 3};
  o.video.thumb_width = 32;
  o.video.thumb_height = 18;
  return o;
}

static int thumb_numbers(const sonde_video_opts *o) {
  return o->thumb_width * o->thumb_height * (o->thumb_rgb ? 3 : 1);
}

int sonde_analysis_columns(const sonde_analysis_opts *o) {
  return SONDE_FIGURES + SONDE_FIELDS * SONDE_CELL * o->grid_width * o->grid_height + thumb_numbers(&o->video);
}

int sonde_analysis_check(const sonde_analysis_opts *o, sonde_error *err) {
  int rc = sonde_video_check(&o->video, err);
  if (rc || (rc = sonde_matcher_check(&o->matcher, err))) return rc;
  if (o->grid_width >= 1 && o->grid_height >= 1 && o->grid_width <= 64 && o->grid_height <= 64 && o->outlier > 0 &&
      o->planar.floor > 0)
    return 0;
  return sonde_fail(err, SONDE_EINVAL, "a grid has 1 to 64 cells on each side, outliers are over some sigmas, and "
                    "sigma has a floor; not %d x %d, %g, %g", o->grid_width, o->grid_height, o->outlier,
                    o->planar.floor);
}

sonde_analysis *sonde_analysis_new(const sonde_analysis_opts *opts, int width, int height, sonde_error *err) {
  if (sonde_analysis_check(opts, err)) return NULL;
  sonde_matcher *m = sonde_matcher_new(width, height, &opts->matcher, err);
  sonde_analysis *a = m ? sonde_alloc(sizeof *a) : NULL;
  if (a) {
    *a = (sonde_analysis){.opts = *opts, .width = width, .height = height, .rows = sonde_matcher_rows(m),
                          .columns = sonde_matcher_columns(m), .columns_of_row = sonde_analysis_columns(opts),
                          .matcher = m};
    size_t n = (size_t)a->rows * (size_t)a->columns;
    a->blocks = sonde_alloc(n * sizeof *a->blocks);
    a->flow = sonde_alloc(n * sizeof *a->flow);
    a->cells = sonde_alloc((size_t)(opts->grid_width * opts->grid_height) * sizeof *a->cells);
    if (a->blocks && a->flow && a->cells) return a;
  } else {
    sonde_matcher_free(m);
  }
  if (m) sonde_fail(err, SONDE_ENOMEM, "no memory for the motion in %d x %d pixels", width, height);
  sonde_analysis_free(a);
  return NULL;
}

void sonde_analysis_free(sonde_analysis *a) {
  if (!a) return;
  sonde_matcher_free(a->matcher);
  sonde_release(a->blocks);
  sonde_release(a->flow);
  sonde_release(a->cells);
  sonde_release(a);
}

const sonde_block *sonde_analysis_blocks(const sonde_analysis *a, int *rows, int *columns) {
  *rows = a->rows;
  *columns = a->columns;
  return a->blocks;
}

sonde_analysis_times sonde_analysis_seconds(const sonde_analysis *a) { return a->seconds; }

const sonde_planar *sonde_analysis_fit(const sonde_analysis *a) { return &a->fit; }

/* ---- displacements ---- */

/* The blocks that a vector of the codec covers take it; one from the past is preferred to one from the future. */
static void take_codec(sonde_analysis *a, const sonde_frame *f) {
  int b = a->opts.matcher.block;
  for (int k = 0; k < f->n_vectors; k++) {
    const sonde_codec_vector *c = &f->vectors[k];
    float u = c->u * SONDE_SUBPIXELS, v = c->v * SONDE_SUBPIXELS;
    if (!(fabsf(u) < INT16_MAX && fabsf(v) < INT16_MAX)) continue;
    int left = (int)fmaxf((c->x - c->half_width) / (float)b, 0);
    int top = (int)fmaxf((c->y - c->half_height) / (float)b, 0);
    for (int y = top; y < a->rows && (float)(y * b) < c->y + c->half_height; y++)
      for (int x = left; x < a->columns && (float)(x * b) < c->x + c->half_width; x++) {
        sonde_block *to = &a->blocks[y * a->columns + x];
        float off = fabsf((float)(x * b) + (float)b / 2 - c->x), down = fabsf((float)(y * b) + (float)b / 2 - c->y);
        if (off > c->half_width || down > c->half_height) continue;   /* its centre lies outside */
        *to = (sonde_block){(int16_t)lrintf(u), (int16_t)lrintf(v), SONDE_FULL_WEIGHT, 0};
      }
  }
}

/* Centre of block (x, y), in half widths from the picture's centre. */
static void to_flow(sonde_analysis *a) {
  float half = (float)a->width / 2, b = (float)a->opts.matcher.block;
  for (int y = 0, k = 0; y < a->rows; y++)
    for (int x = 0; x < a->columns; x++, k++) {
      const sonde_block *from = &a->blocks[k];
      a->flow[k] = (sonde_flow){.x = (((float)x + 0.5f) * b - half) / half,
                                .y = (((float)y + 0.5f) * b - (float)a->height / 2) / half,
                                .u = (float)from->u / SONDE_SUBPIXELS,
                                .v = (float)from->v / SONDE_SUBPIXELS,
                                .weight = (float)from->weight / SONDE_FULL_WEIGHT};
    }
}

/* The motion of the picture: 1 where it repeats the one before it. *dt: the time that it took; 0: there is none. */
static int find_motion(sonde_analysis *a, const sonde_frame *f, sonde_pool *pool, double *dt) {
  int difference = sonde_matcher_take(a->matcher, f->luma);
  *dt = 0;
  if (difference >= 0 && difference < REPEATED && a->held < HOLD) {
    a->held++;
    *dt = a->last_dt;
    return 1;
  }
  a->held = 0;
  if (a->opts.codec && difference >= 0) {
    memset(a->blocks, 0, (size_t)(a->rows * a->columns) * sizeof *a->blocks);
    take_codec(a, f);
    *dt = f->n_vectors ? f->step : 0;      /* none: a key frame */
  } else if (difference >= 0) {
    double start = sonde_clock_seconds();
    sonde_matcher_match(a->matcher, pool, a->blocks);
    a->seconds.match += sonde_clock_seconds() - start;
    *dt = f->time - a->reference_time;
  }
  sonde_matcher_keep(a->matcher);
  a->reference_time = f->time;
  if (*dt > 0) {
    double start = sonde_clock_seconds();
    to_flow(a);
    a->fit = sonde_planar_fit(a->flow, a->rows * a->columns, &a->opts.planar);
    a->seconds.fit += sonde_clock_seconds() - start;
  }
  a->last_dt = *dt;
  return 0;
}

/* ---- the grid ---- */

static void add(slopes *s, double w, double x, double y, double u, double v) {
  s->w += w, s->x += w * x, s->y += w * y, s->u += w * u, s->v += w * v;
  s->xx += w * x * x, s->xy += w * x * y, s->yy += w * y * y;
  s->xu += w * x * u, s->yu += w * y * u, s->xv += w * x * v, s->yv += w * y * v;
}

/* du/dx + dv/dy of the planes through the blocks; 0 where they do not span an area. */
static double divergence(const slopes *s) {
  if (s->w < LEAST_BLOCKS) return 0;
  double xx = s->xx - s->x * s->x / s->w, xy = s->xy - s->x * s->y / s->w, yy = s->yy - s->y * s->y / s->w;
  double xu = s->xu - s->x * s->u / s->w, yu = s->yu - s->y * s->u / s->w;
  double xv = s->xv - s->x * s->v / s->w, yv = s->yv - s->y * s->v / s->w;
  double area = xx * yy - xy * xy;
  return area > 1e-3 * xx * yy && area > 0 ? (xu * yy - yu * xy + yv * xx - xv * xy) / area : 0;
}

static void add_block(cell *c, const sonde_analysis *a, const sonde_flow *f) {
  double w = f->weight, u, v;
  sonde_planar_at(&a->fit, f->x, f->y, &u, &v);
  double du = f->u - u, dv = f->v - v, rest = sqrt(du * du + dv * dv);
  c->blocks++;
  c->model_u += u, c->model_v += v, c->model_length += sqrt(u * u + v * v);
  add(&c->all, w, f->x, f->y, f->u, f->v);
  add(&c->rest, w, f->x, f->y, du, dv);
  c->all_length += w * sqrt((double)f->u * f->u + (double)f->v * f->v);
  if (rest <= a->opts.outlier * a->fit.sigma) {
    c->inlier += w;
  } else {
    c->out_w += w, c->out_u += w * du, c->out_v += w * dv, c->out_length += w * rest;
  }
}

static void put(float *to, double u, double v, double length, double sum, double scale, double count, double slope) {
  double mean = sum > 0 ? scale / sum : 0;
  to[0] = (float)(u * mean), to[1] = (float)(v * mean), to[2] = (float)(length * mean);
  to[3] = (float)count, to[4] = (float)slope;
}

/* scale: from pixels to widths a second; rate: from pixels a half width to 1/s. */
static void put_cells(const sonde_analysis *a, float *grid, double scale, double rate) {
  int w = a->opts.grid_width, h = a->opts.grid_height, size = w * h * SONDE_CELL;
  for (int k = 0; k < w * h; k++) {
    const cell *c = &a->cells[k];
    double n = c->blocks > 0 ? c->blocks : 1, x = (k % w + 0.5) * 2 / w - 1;
    double y = ((k / w + 0.5) * 2 / h - 1) * a->height / a->width;
    float *to = grid + k * SONDE_CELL;
    put(to, c->all.u, c->all.v, c->all_length, c->all.w, scale, c->all.w / n, divergence(&c->all) * rate);
    put(to + size, c->model_u, c->model_v, c->model_length, n, scale, c->inlier / n,
        sonde_planar_divergence(&a->fit, x, y) * rate);
    put(to + 2 * size, c->out_u, c->out_v, c->out_length, c->out_w, scale, c->out_w / n, divergence(&c->rest) * rate);
  }
}

static void put_motion(sonde_analysis *a, double dt, float *row) {
  int w = a->opts.grid_width, h = a->opts.grid_height, n = a->rows * a->columns, b = a->opts.matcher.block;
  double scale = 1 / (a->width * dt), all = 0, out = 0;
  memset(a->cells, 0, (size_t)(w * h) * sizeof *a->cells);
  for (int k = 0; k < n; k++) {
    int x = (2 * (k % a->columns) + 1) * b * w / (2 * a->width);
    int y = (2 * (k / a->columns) + 1) * b * h / (2 * a->height);
    add_block(&a->cells[(y < h ? y : h - 1) * w + (x < w ? x : w - 1)], a, &a->flow[k]);
  }
  for (int k = 0; k < w * h; k++) all += a->cells[k].all.w, out += a->cells[k].out_w;
  row[3] = (float)a->fit.sigma;
  row[4] = (float)a->fit.median;
  row[5] = (float)(all > 0 ? out / all : 0);
  row[6] = (float)(all / n);
  for (int k = 0; k < SONDE_PLANAR; k++) row[8 + k] = (float)(a->fit.a[k] * scale);
  put_cells(a, row + SONDE_FIGURES, scale, 2 * scale);
}

static double mean_luma(const sonde_frame *f) {
  int64_t sum = 0, n = (int64_t)f->width * f->height;
  for (int64_t k = 0; k < n; k++) sum += f->luma[k];
  return (double)sum / (255.0 * (double)n);
}

void sonde_analysis_push(sonde_analysis *a, const sonde_frame *frame, sonde_pool *pool, float *row) {
  double dt, start = sonde_clock_seconds() - a->seconds.match - a->seconds.fit;
  memset(row, 0, (size_t)a->columns_of_row * sizeof *row);
  int repeated = find_motion(a, frame, pool, &dt), thumb = thumb_numbers(&a->opts.video);
  row[0] = (float)frame->time;
  row[1] = (float)dt;
  row[2] = (float)repeated;
  row[7] = (float)mean_luma(frame);
  if (dt > 0) put_motion(a, dt, row);
  float *to = row + a->columns_of_row - thumb;
  for (int k = 0; k < thumb && frame->thumb; k++) to[k] = (float)frame->thumb[k] / 255;
  a->seconds.rest += sonde_clock_seconds() - a->seconds.match - a->seconds.fit - start;
}
