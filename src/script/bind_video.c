/* bind_video.c - video in Lua: frames, their motion, files of features, sweeps over many clips. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph.h"
#include "io/npz.h"
#include "script/script.h"
#include "tensor/tensor.h"
#include "video/sweep.h"

/* ---- options ---- */

/* {width, rate, image_rate, threads, max_pixels, patience, follow, thumb_width, thumb_height, thumb_rgb, block, radius,
 * affine, floor, codec, grid_width, grid_height, outlier, max_rows} of a private table; the defaults are C's. */
static sonde_feature_opts to_opts(lua_State *L, int table) {
  enum { MANY = 1 << 20 };
  sonde_feature_opts o = sonde_feature_defaults();
  sonde_analysis_opts *a = &o.analysis;
  sonde_video_opts *v = &a->video;
  v->width = (int)sonde_lua_field_integer(L, table, "width", v->width, 16, 4096);
  v->rate = sonde_lua_field_number(L, table, "rate", v->rate);
  v->image_rate = sonde_lua_field_number(L, table, "image_rate", v->image_rate);
  v->threads = (int)sonde_lua_field_integer(L, table, "threads", v->threads, 1, 64);
  v->max_pixels = sonde_lua_field_integer(L, table, "max_pixels", v->max_pixels, 1, INT32_MAX);
  v->patience = sonde_lua_field_number(L, table, "patience", v->patience);
  v->follow = sonde_lua_field_number(L, table, "follow", v->follow);
  v->thumb_width = (int)sonde_lua_field_integer(L, table, "thumb_width", v->thumb_width, 0, 1024);
  v->thumb_height = (int)sonde_lua_field_integer(L, table, "thumb_height", v->thumb_height, 0, 1024);
  v->thumb_rgb = sonde_lua_field_bool(L, table, "thumb_rgb", v->thumb_rgb);
  a->matcher.block = (int)sonde_lua_field_integer(L, table, "block", a->matcher.block, 0, MANY);
  a->matcher.radius = (int)sonde_lua_field_integer(L, table, "radius", a->matcher.radius, 0, MANY);
  a->planar.affine = sonde_lua_field_bool(L, table, "affine", a->planar.affine);
  a->planar.floor = sonde_lua_field_number(L, table, "floor", a->planar.floor);
  a->codec = v->vectors = sonde_lua_field_bool(L, table, "codec", a->codec);
  a->grid_width = (int)sonde_lua_field_integer(L, table, "grid_width", a->grid_width, 1, 64);
  a->grid_height = (int)sonde_lua_field_integer(L, table, "grid_height", a->grid_height, 1, 64);
  a->outlier = sonde_lua_field_number(L, table, "outlier", a->outlier);
  o.max_rows = sonde_lua_field_integer(L, table, "max_rows", o.max_rows, 1, INT64_MAX);
  return o;
}

/* Numbers `from` (from 1) and `n` of them, within `all`. */
static int64_t to_range(lua_State *L, int arg, int64_t all, int64_t *n) {
  int64_t from = sonde_lua_integer(L, arg, 1, all);
  *n = sonde_lua_integer(L, arg + 1, 0, all - from + 1);
  return from - 1;
}

/* ---- videos ---- */

typedef struct video {
  sonde_video *v;
  sonde_frame frame;              /* the last one; luma NULL: none */
  sonde_feature_opts opts;
} video;

static void free_video(void *p) {
  sonde_video_close(((video *)p)->v);
  sonde_release(p);
}
static const luaL_Reg video_methods[];
static const sonde_lua_type video_type = {"video", free_video, video_methods};

/* core.video(path[, options]) -> video. Its first frame has been decoded. */
static int core_video(lua_State *L) {
  sonde_error err = {0};
  const char *path = sonde_lua_string(L, 1);
  sonde_lua_options(L, 2);
  sonde_feature_opts o = to_opts(L, 2);
  sonde_lua_box *box = sonde_lua_new(L, &video_type, 0);
  video *v = sonde_alloc(sizeof *v);
  if (!v) sonde_lua_check(L, sonde_fail(&err, SONDE_ENOMEM, "no memory to open '%s'", path), &err);
  *v = (video){.opts = o, .v = sonde_video_open(path, &o.analysis.video, &err)};
  if (!v->v) {
    sonde_release(v);
    sonde_lua_raise(L, &err);
  }
  box->p = v;
  return 1;
}

/* video:info() -> {width, height, luma_width, luma_height, rotation, full_range, rate, duration, codec, damaged} */
static int video_info(lua_State *L) {
  const video *v = sonde_lua_handle(L, 1, &video_type);
  const sonde_video_info *i = sonde_video_about(v->v);
  lua_createtable(L, 0, 10);
  sonde_lua_set_integer(L, "width", i->width);
  sonde_lua_set_integer(L, "height", i->height);
  sonde_lua_set_integer(L, "luma_width", i->luma_width);
  sonde_lua_set_integer(L, "luma_height", i->luma_height);
  sonde_lua_set_integer(L, "rotation", i->rotation);
  lua_pushboolean(L, i->full_range);
  lua_setfield(L, -2, "full_range");
  sonde_lua_set_number(L, "rate", i->rate);
  sonde_lua_set_number(L, "duration", i->duration);
  sonde_lua_set_string(L, "codec", i->codec);
  sonde_lua_set_integer(L, "damaged", sonde_video_damaged(v->v));
  return 1;
}

/* video:next() -> seconds of the next frame; nothing at the end */
static int video_next(lua_State *L) {
  video *v = sonde_lua_handle(L, 1, &video_type);
  sonde_error err = {0};
  int got = sonde_video_next(v->v, &v->frame, &err);
  if (got <= 0) v->frame = (sonde_frame){0};
  sonde_lua_check(L, got, &err);
  if (!got) return 0;
  lua_pushnumber(L, v->frame.time);
  return 1;
}

/* video:seek(seconds): the next frame is the first at or after that time */
static int video_seek(lua_State *L) {
  video *v = sonde_lua_handle(L, 1, &video_type);
  double seconds = sonde_lua_number(L, 2);
  sonde_error err = {0};
  v->frame = (sonde_frame){0};
  sonde_lua_check(L, sonde_video_seek(v->v, seconds, &err), &err);
  lua_settop(L, 1);
  return 1;
}

static const video *with_frame(lua_State *L, int arg) {
  const video *v = sonde_lua_handle(L, arg, &video_type);
  if (!v->frame.luma) sonde_lua_fail(L, "the video has no frame yet, or no more: call next");
  return v;
}

/* video:luma() -> bytes of the frame's luma, row by row */
static int video_luma(lua_State *L) {
  const video *v = with_frame(L, 1);
  lua_pushlstring(L, (const char *)v->frame.luma, (size_t)v->frame.width * (size_t)v->frame.height);
  return 1;
}

/* video:thumb() -> bytes of the frame's thumbnail; nil: none is made */
static int video_thumb(lua_State *L) {
  const video *v = with_frame(L, 1);
  const sonde_video_opts *o = &v->opts.analysis.video;
  lua_pushlstring(L, (const char *)v->frame.thumb,
                  v->frame.thumb ? (size_t)o->thumb_width * (size_t)o->thumb_height * (o->thumb_rgb ? 3 : 1) : 0);
  return 1;
}

static const luaL_Reg video_methods[] = {
    {"info", video_info}, {"next", video_next},   {"seek", video_seek},
    {"luma", video_luma}, {"thumb", video_thumb}, {NULL, NULL},
};

/* ---- their motion ---- */

typedef struct analysis {
  sonde_analysis *a;
  sonde_feature_opts opts;
  int width, height, columns;
  float row[];
} analysis;

static void free_analysis(void *p) {
  sonde_analysis_free(((analysis *)p)->a);
  sonde_release(p);
}
static const luaL_Reg analysis_methods[];
static const sonde_lua_type analysis_type = {"analysis", free_analysis, analysis_methods};

/* core.video_analysis(video) -> analysis of its frames, with the options that it was opened with */
static int core_video_analysis(lua_State *L) {
  const video *v = sonde_lua_handle(L, 1, &video_type);
  const sonde_video_info *i = sonde_video_about(v->v);
  sonde_error err = {0};
  int columns = sonde_analysis_columns(&v->opts.analysis);
  sonde_lua_box *box = sonde_lua_new(L, &analysis_type, 0);
  analysis *a = sonde_alloc(sizeof *a + (size_t)columns * sizeof(float));
  if (!a) sonde_lua_check(L, sonde_fail(&err, SONDE_ENOMEM, "no memory for an analysis"), &err);
  a->opts = v->opts;
  a->width = i->luma_width, a->height = i->luma_height, a->columns = columns;
  a->a = sonde_analysis_new(&v->opts.analysis, a->width, a->height, &err);
  if (!a->a) {
    sonde_release(a);
    sonde_lua_raise(L, &err);
  }
  box->p = a;
  return 1;
}

/* analysis:push(video): takes the video's frame */
static int analysis_push(lua_State *L) {
  analysis *a = sonde_lua_handle(L, 1, &analysis_type);
  const video *v = with_frame(L, 2);
  char mine[65], its[65];
  sonde_feature_opts_hash(&a->opts, mine);
  sonde_feature_opts_hash(&v->opts, its);
  if (strcmp(mine, its) || v->frame.width != a->width || v->frame.height != a->height)
    return sonde_lua_fail(L, "the analysis is of a video with other options or of another size");
  sonde_analysis_push(a->a, &v->frame, sonde_lua_ctx(L)->pool, a->row);
  lua_settop(L, 1);
  return 1;
}

/* analysis:row() -> list of the numbers of the last frame */
static int analysis_row(lua_State *L) {
  const analysis *a = sonde_lua_handle(L, 1, &analysis_type);
  lua_createtable(L, a->columns, 0);
  for (int k = 0; k < a->columns; k++) {
    lua_pushnumber(L, (double)a->row[k]);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* analysis:copy(tensor, at, column, columns): numbers of the last frame to element `at` (from 1) of an f32 tensor */
static int analysis_copy(lua_State *L) {
  const analysis *a = sonde_lua_handle(L, 1, &analysis_type);
  sonde_tensor *t = sonde_lua_handle(L, 2, &sonde_lua_tensor);
  int64_t at = sonde_lua_integer(L, 3, 1, INT64_MAX) - 1, count = sonde_shape_count(&t->shape), columns;
  int64_t column = to_range(L, 4, a->columns, &columns);
  if (t->shape.dtype != SONDE_F32 || columns > count || at > count - columns)
    return sonde_lua_fail(L, "%lld numbers do not fit there in the tensor, or it is not f32", (long long)columns);
  memcpy((float *)sonde_lua_write(L, t) + at, a->row + column, (size_t)columns * sizeof *a->row);
  lua_settop(L, 1);
  return 1;
}

/* analysis:vectors() -> {rows, columns, u, v, weight, rest_u, rest_v}: of each block of the last frame its displacement
 * in pixels, its weight 0..1 and what the fit leaves */
static int analysis_vectors(lua_State *L) {
  const analysis *a = sonde_lua_handle(L, 1, &analysis_type);
  int rows, columns;
  const sonde_block *b = sonde_analysis_blocks(a->a, &rows, &columns);
  const sonde_planar *fit = sonde_analysis_fit(a->a);
  static const char *const keys[] = {"u", "v", "weight", "rest_u", "rest_v"};
  double half = a->width / 2.0, side = a->opts.analysis.matcher.block;
  lua_createtable(L, 0, 7);
  sonde_lua_set_integer(L, "rows", rows);
  sonde_lua_set_integer(L, "columns", columns);
  for (int key = 0; key < 5; key++) {
    lua_createtable(L, rows * columns, 0);
    for (int k = 0; k < rows * columns; k++) {
      double u, v, x = ((k % columns + 0.5) * side - half) / half;
      sonde_planar_at(fit, x, ((k / columns + 0.5) * side - a->height / 2.0) / half, &u, &v);
      double du = (double)b[k].u / SONDE_SUBPIXELS, dv = (double)b[k].v / SONDE_SUBPIXELS;
      const double values[] = {du, dv, (double)b[k].weight / SONDE_FULL_WEIGHT, du - u, dv - v};
      lua_pushnumber(L, values[key]);
      lua_rawseti(L, -2, k + 1);
    }
    lua_setfield(L, -2, keys[key]);
  }
  return 1;
}

/* analysis:seconds() -> so far, to match blocks, to fit the camera's motion, for the rest */
static int analysis_seconds(lua_State *L) {
  const analysis *a = sonde_lua_handle(L, 1, &analysis_type);
  sonde_analysis_times t = sonde_analysis_seconds(a->a);
  lua_pushnumber(L, t.match);
  lua_pushnumber(L, t.fit);
  lua_pushnumber(L, t.rest);
  return 3;
}

static const luaL_Reg analysis_methods[] = {
    {"push", analysis_push}, {"row", analysis_row}, {"copy", analysis_copy}, {"vectors", analysis_vectors},
    {"seconds", analysis_seconds}, {NULL, NULL},
};

/* ---- files of features ---- */

static void free_features(void *p) { sonde_features_close(p); }
static const luaL_Reg features_methods[];
static const sonde_lua_type features_type = {"features", free_features, features_methods};

/* core.video_features(path) -> features */
static int core_video_features(lua_State *L) {
  const char *path = sonde_lua_string(L, 1);
  sonde_error err = {0};
  sonde_lua_box *box = sonde_lua_new(L, &features_type, 0);
  box->p = sonde_features_open(path, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* features:info() -> {rows, columns, damaged, width, height, grid_width, grid_height, thumb_width, thumb_height,
 * thumb_bytes, rotation, rate, duration, codec, clip, options}; the last two are SHA-256, hex */
static int features_info(lua_State *L) {
  const sonde_features_info *i = sonde_features_about(sonde_lua_handle(L, 1, &features_type));
  lua_createtable(L, 0, 16);
  sonde_lua_set_integer(L, "rows", i->rows);
  sonde_lua_set_integer(L, "columns", i->columns);
  sonde_lua_set_integer(L, "damaged", i->damaged);
  sonde_lua_set_integer(L, "width", i->width);
  sonde_lua_set_integer(L, "height", i->height);
  sonde_lua_set_integer(L, "grid_width", i->grid_width);
  sonde_lua_set_integer(L, "grid_height", i->grid_height);
  sonde_lua_set_integer(L, "thumb_width", i->thumb_width);
  sonde_lua_set_integer(L, "thumb_height", i->thumb_height);
  sonde_lua_set_integer(L, "thumb_bytes", i->thumb_bytes);
  sonde_lua_set_integer(L, "rotation", i->rotation);
  sonde_lua_set_number(L, "rate", i->rate);
  sonde_lua_set_number(L, "duration", i->duration);
  sonde_lua_set_string(L, "codec", i->codec);
  sonde_lua_set_string(L, "clip", i->clip);
  sonde_lua_set_string(L, "options", i->options);
  return 1;
}

/* features:values(row, rows, column, columns) -> list, row by row */
static int features_values(lua_State *L) {
  const sonde_features *f = sonde_lua_handle(L, 1, &features_type);
  const sonde_features_info *i = sonde_features_about(f);
  int64_t rows, columns, row = to_range(L, 2, i->rows, &rows), column = to_range(L, 4, i->columns, &columns);
  if (rows * columns > INT32_MAX)
    return sonde_lua_fail(L, "a list of so many values is too long: copy them to a tensor");
  lua_createtable(L, (int)(rows * columns), 0);
  for (int64_t r = 0, n = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) {
      lua_pushnumber(L, (double)sonde_features_row(f, row + r)[column + c]);
      lua_rawseti(L, -2, ++n);
    }
  return 1;
}

/* Arguments from `arg`: into, at, stride, row, rows, column, columns. Copies of rows of `width` numbers to element `at`
 * (from 1) of an f32 tensor, each next one `stride` elements on. */
static int copy_rows(lua_State *L, int arg, const float *x, int64_t height, int64_t width) {
  sonde_tensor *t = sonde_lua_handle(L, arg, &sonde_lua_tensor);
  int64_t count = sonde_shape_count(&t->shape), rows, columns;
  int64_t at = sonde_lua_integer(L, arg + 1, 1, INT64_MAX) - 1, stride = sonde_lua_integer(L, arg + 2, 1, INT32_MAX);
  int64_t row = to_range(L, arg + 3, height, &rows), column = to_range(L, arg + 5, width, &columns);
  if (t->shape.dtype != SONDE_F32) return sonde_lua_fail(L, "an f32 tensor is needed");
  if (rows && (columns > stride || columns > count || at > count - columns ||
               rows - 1 > (count - columns - at) / stride))
    return sonde_lua_fail(L, "%lld rows of %lld numbers do not fit there in a tensor of %lld", (long long)rows,
                          (long long)columns, (long long)count);
  float *to = sonde_lua_write(L, t);
  for (int64_t r = 0; r < rows; r++)
    memmove(to + at + r * stride, x + (row + r) * width + column, (size_t)columns * sizeof *to);
  lua_settop(L, arg);
  return 1;
}

/* features:copy(tensor, at, stride, row, rows, column, columns) */
static int features_copy(lua_State *L) {
  const sonde_features *f = sonde_lua_handle(L, 1, &features_type);
  const sonde_features_info *i = sonde_features_about(f);
  return copy_rows(L, 2, sonde_features_row(f, 0), i->rows, i->columns);
}

static const luaL_Reg features_methods[] = {
    {"info", features_info}, {"values", features_values}, {"copy", features_copy}, {NULL, NULL},
};

/* Seconds, where math.huge is the end of a clip. */
static double to_seconds(lua_State *L, int arg, double preset) {
  double x = sonde_lua_opt_number(L, arg, preset);
  if (x != x) sonde_lua_fail(L, "a time must be a number, not NaN");
  return x;
}

/* core.video_check(options): raises what is out of range */
static int core_video_check(lua_State *L) {
  sonde_error err = {0};
  sonde_lua_options(L, 1);
  sonde_feature_opts o = to_opts(L, 1);
  sonde_lua_check(L, sonde_analysis_check(&o.analysis, &err), &err);
  return 0;
}

/* core.video_hash(options[, start, end]) -> SHA-256 of the options that features depend on */
static int core_video_hash(lua_State *L) {
  char hex[65];
  lua_settop(L, 3);
  sonde_lua_options(L, 1);
  sonde_feature_opts o = to_opts(L, 1);
  o.start = to_seconds(L, 2, 0);
  o.end = to_seconds(L, 3, INFINITY);
  sonde_feature_opts_hash(&o, hex);
  lua_pushstring(L, hex);
  return 1;
}

/* core.video_current(path, clip, options[, start, end]) -> whether the file is of this clip with these options */
static int core_video_current(lua_State *L) {
  sonde_error err = {0};
  const char *path = sonde_lua_string(L, 1), *clip = sonde_lua_string(L, 2);
  lua_settop(L, 5);
  sonde_lua_options(L, 3);
  sonde_feature_opts o = to_opts(L, 3);
  o.start = to_seconds(L, 4, 0);
  o.end = to_seconds(L, 5, INFINITY);
  int current = sonde_features_current(path, clip, &o, &err);
  sonde_lua_check(L, current, &err);
  lua_pushboolean(L, current);
  return 1;
}

/* ---- features of others ---- */

/* core.npz_objects(path) -> tensor [frames, 2 width]: of an archive's `data` [frames, 1 + objects, width] the numbers
 * of the whole picture, then the mean over its objects */
static int core_npz_objects(lua_State *L) {
  sonde_error err = {0};
  const char *path = sonde_lua_string(L, 1);
  sonde_lua_box *box = sonde_lua_new(L, &sonde_lua_tensor, 0);
  sonde_tensor *from = box->p = sonde_npz_read(path, "data", &err);
  if (!from) sonde_lua_raise(L, &err);
  sonde_lua_account(L, box, from->bytes);
  const int64_t *dim = from->shape.dim;
  if (from->shape.rank != 3 || dim[1] < 2 || !dim[0] || !dim[2])
    return sonde_lua_fail(L, "%s: 'data' must be [frames, 1 + objects, numbers]", path);
  sonde_shape shape = sonde_shape_make(SONDE_F32, 2, (int64_t[]){dim[0], 2 * dim[2]});
  float *y = sonde_lua_write(L, sonde_lua_new_tensor(L, &shape));
  const float *x = sonde_lua_read(L, from);
  for (int64_t t = 0; t < dim[0]; t++, y += 2 * dim[2]) {
    memcpy(y, x, (size_t)dim[2] * sizeof *y);
    x += dim[2];
    for (int64_t k = 1; k < dim[1]; k++, x += dim[2])
      for (int64_t c = 0; c < dim[2]; c++) y[dim[2] + c] += x[c] / (float)(dim[1] - 1);
  }
  return 1;
}

/* core.copy_rows(from, into, at, stride, row, rows, column, columns): of f32 [.., width] into f32, as features:copy */
static int core_copy_rows(lua_State *L) {
  const sonde_tensor *from = sonde_lua_handle(L, 1, &sonde_lua_tensor);
  if (from->shape.dtype != SONDE_F32 || from->shape.rank != 2) return sonde_lua_fail(L, "rows of f32 are needed");
  const float *x = sonde_lua_read(L, from);
  return copy_rows(L, 2, x, from->shape.dim[0], from->shape.dim[1]);
}

/* ---- sweeps ---- */

static void free_sweep(void *p) { sonde_sweep_free(p); }
static const luaL_Reg sweep_methods[];
static const sonde_lua_type sweep_type = {"clips", free_sweep, sweep_methods};

/* core.video_sweep(options, workers) -> sweep: features of many clips, each in a process of its own */
static int core_video_sweep(lua_State *L) {
  sonde_error err = {0};
  lua_settop(L, 2);
  sonde_lua_options(L, 1);
  sonde_feature_opts o = to_opts(L, 1);
  int workers = (int)sonde_lua_integer(L, 2, 1, 1024);
  sonde_lua_box *box = sonde_lua_new(L, &sweep_type, 0);
  box->p = sonde_sweep_new(&o, workers, &err);
  if (!box->p) sonde_lua_raise(L, &err);
  return 1;
}

/* sweep:add(clip, path[, start, end]) */
static int sweep_add(lua_State *L) {
  sonde_error err = {0};
  sonde_sweep *s = sonde_lua_handle(L, 1, &sweep_type);
  const char *clip = sonde_lua_string(L, 2), *path = sonde_lua_string(L, 3);
  double start = to_seconds(L, 4, 0), end = to_seconds(L, 5, INFINITY);
  sonde_lua_check(L, sonde_sweep_add(s, clip, path, start, end, &err), &err);
  lua_settop(L, 1);
  return 1;
}

/* sweep:next(seconds) -> number of the clip that ended (from 1) and its error; nothing: none did */
static int sweep_next(lua_State *L) {
  sonde_sweep_result r;
  sonde_sweep *s = sonde_lua_handle(L, 1, &sweep_type);
  double seconds = sonde_lua_number(L, 2);
  if (!sonde_sweep_next(s, fmin(fmax(seconds, 0), 60), &r)) return 0;
  lua_pushinteger(L, r.job + 1);
  if (!r.error.code) return 1;
  lua_pushstring(L, r.error.text);
  return 2;
}

/* sweep:left() -> clips that have not ended; rows made so far */
static int sweep_left(lua_State *L) {
  const sonde_sweep *s = sonde_lua_handle(L, 1, &sweep_type);
  lua_pushinteger(L, sonde_sweep_left(s));
  lua_pushinteger(L, sonde_sweep_rows(s));
  return 2;
}

static const luaL_Reg sweep_methods[] = {
    {"add", sweep_add}, {"next", sweep_next}, {"left", sweep_left}, {NULL, NULL},
};

void sonde_bind_video(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"video", core_video},           {"video_analysis", core_video_analysis}, {"video_features", core_video_features},
      {"video_hash", core_video_hash}, {"video_current", core_video_current},   {"video_sweep", core_video_sweep},
      {"video_check", core_video_check},
      {"npz_objects", core_npz_objects}, {"copy_rows", core_copy_rows},
      {NULL, NULL},
  };
  sonde_lua_functions(L, functions);
}
