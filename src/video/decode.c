/* decode.c - see decode.h. media.c decodes one file; here are the frames of a video or of a folder of images: which are
 * given out, their times, and the small pictures that are made of them. */
#include "config.h"

#include "video/decode.h"

#include <stdio.h>
#include "base/mem.h"

const sonde_video_opts sonde_video_defaults = {.width = 320, .rate = 15, .image_rate = 10, .threads = 1,
                                               .max_pixels = 1 << 25, .patience = 60};

int sonde_video_check(const sonde_video_opts *o, sonde_error *err) {
  if (o->width < 16 || o->width > 4096)
    return sonde_fail(err, SONDE_EINVAL, "width must be from 16 to 4096, not %d", o->width);
  if (o->thumb_width < 0 || o->thumb_height < 0 || o->thumb_width > 1024 || o->thumb_height > 1024 ||
      !o->thumb_width != !o->thumb_height)
    return sonde_fail(err, SONDE_EINVAL, "a thumbnail has from 1 x 1 to 1024 x 1024 pixels, or 0 x 0: none; not "
                      "%d x %d", o->thumb_width, o->thumb_height);
  if (!(o->rate >= 0) || !(o->image_rate > 0) || !(o->patience > 0) || !(o->follow >= 0) || o->max_pixels < 1 ||
      o->threads < 1)
    return sonde_fail(err, SONDE_EINVAL, "rates, patience, pixels and threads must be positive");
  return 0;
}

#ifdef HAVE_FFMPEG

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/file.h"
#include "video/media.h"

static const double AT_ONCE = 1e-3;      /* seconds by which a frame may come before its time: Matroska rounds to ms */
static const double PLAIN_RATE = 25;     /* where a file gives neither times nor a rate */
static const double LONGEST = 1e7;       /* seconds: times beyond are damage */

struct sonde_video {
  const sonde_ffmpeg *ff;
  sonde_video_opts opts;
  char *path, *image_path;
  struct dirent **image;          /* of a folder: its images in order */
  int n_images, next_image;
  sonde_media *media;
  int64_t damaged;                /* in images that are closed */
  sonde_video_info info;
  double time, step;              /* of the frame in media */
  int64_t decoded;
  int waits;                      /* the frame in media has not been given out */
  double next_time;               /* no frame before it is given out */
  int width, height;              /* of the luma as shown */
  struct SwsContext *luma_scale, *thumb_scale;
  uint8_t *luma, *turned, *thumb;
  sonde_codec_vector *vectors;
  int vectors_room;
};

/* ---- folders of images ---- */

static int is_image(const struct dirent *e) {
  static const char *const ends[] = {"png", "jpg", "jpeg", "bmp", "webp", "ppm", "pgm", "tif", "tiff"};
  const char *dot = strrchr(e->d_name, '.');
  for (size_t k = 0; dot && dot != e->d_name && k < sizeof ends / sizeof *ends; k++)
    if (!strcasecmp(dot + 1, ends[k])) return 1;
  return 0;
}

/* img2 comes before img10. */
static int by_number(const struct dirent **a, const struct dirent **b) {
  int order = strverscmp((*a)->d_name, (*b)->d_name);
  return order ? order : strcmp((*a)->d_name, (*b)->d_name);
}

static int list_images(sonde_video *v, sonde_error *err) {
  v->n_images = scandir(v->path, &v->image, is_image, by_number);
  if (v->n_images < 0) return sonde_fail_errno(err, SONDE_EIO, "cannot list '%s'", v->path);
  if (!v->n_images)
    return sonde_fail(err, SONDE_EFORMAT, "'%s' has no images (png, jpg, bmp, webp, ppm, tif)", v->path);
  return 0;
}

static void close_media(sonde_video *v) {
  if (v->media) v->damaged += v->media->damaged;
  sonde_media_close(v->media);
  v->media = NULL;
  sonde_release(v->image_path);
  v->image_path = NULL;
}

static int open_media(sonde_video *v, sonde_error *err) {
  close_media(v);
  if (v->image) {
    size_t n = strlen(v->path) + sizeof v->image[0]->d_name + 2;
    if (!(v->image_path = sonde_alloc(n))) return sonde_fail(err, SONDE_ENOMEM, "no memory to open '%s'", v->path);
    snprintf(v->image_path, n, "%s/%s", v->path, v->image[v->next_image++]->d_name);
  }
  v->media = sonde_media_open(v->image ? v->image_path : v->path, &v->opts, err);
  return v->media ? 0 : err->code;
}

/* ---- the next frame of the file ---- */

static void set_time(sonde_video *v) {
  double time = v->image ? (double)(v->next_image - 1) / v->opts.image_rate : sonde_media_time(v->media);
  double last = v->time, unit = 1 / (v->info.rate > 0 ? v->info.rate : PLAIN_RATE);
  if (!v->decoded && !(fabs(time) < LONGEST)) time = 0;
  if (v->decoded && !(time > last && time < LONGEST)) time = last + unit;   /* none, or one that goes back */
  v->step = v->decoded ? time - last : 0;
  v->time = time;
  v->decoded++;
  v->waits = 1;
}

static int advance(sonde_video *v, sonde_error *err) {
  int got = v->media ? sonde_media_next(v->media, err) : 0;
  while (!got && v->image && v->next_image < v->n_images) {
    int rc = open_media(v, err);
    if (rc) return rc;
    if ((got = sonde_media_next(v->media, err)) == 0)
      return sonde_fail(err, SONDE_EFORMAT, "'%s' has no picture that can be decoded", v->image_path);
  }
  if (got > 0) set_time(v);
  return got;
}

/* ---- sizes ---- */

static const uint8_t *stream_matrix(const sonde_media *m, size_t *size) {
#if LIBAVFORMAT_VERSION_INT < AV_VERSION_INT(60, 15, 100)
  return m->ff->av_stream_get_side_data(sonde_media_stream(m), AV_PKT_DATA_DISPLAYMATRIX, size);
#else
  const AVCodecParameters *par = sonde_media_stream(m)->codecpar;
  const AVPacketSideData *d = m->ff->av_packet_side_data_get(par->coded_side_data, par->nb_coded_side_data,
                                                             AV_PKT_DATA_DISPLAYMATRIX);
  *size = d ? d->size : 0;
  return d ? d->data : NULL;
#endif
}

/* As the container says, or else the coded picture. */
static int rotation_of(const sonde_media *m) {
  size_t size = 0;
  int32_t matrix[9];
  const uint8_t *data = stream_matrix(m, &size);
  const AVFrameSideData *d = m->ff->av_frame_get_side_data(m->frame, AV_FRAME_DATA_DISPLAYMATRIX);
  if (!data && d) data = d->data, size = d->size;
  if (!data || size < sizeof matrix) return 0;
  memcpy(matrix, data, sizeof matrix);
  double turn = -m->ff->av_display_rotation_get(matrix);
  return isnan(turn) ? 0 : (int)(lround(turn / 90) & 3) * 90;
}

static void read_info(sonde_video *v) {
  const sonde_media *m = v->media;
  AVStream *s = sonde_media_stream(m);
  AVRational sar = m->ff->av_guess_sample_aspect_ratio(m->format, s, m->frame), rate = s->avg_frame_rate;
  double square = sar.num > 0 && sar.den > 0 ? av_q2d(sar) : 1;
  if (!(square > 0.1 && square < 10)) square = 1;
  if (rate.num <= 0 || rate.den <= 0) rate = s->r_frame_rate;
  sonde_video_info *i = &v->info;
  i->rotation = rotation_of(m);
  int wide = (int)lround(m->frame->width * square), high = m->frame->height;
  i->width = i->rotation % 180 ? high : wide;
  i->height = i->rotation % 180 ? wide : high;
  i->full_range = m->frame->color_range == AVCOL_RANGE_JPEG;
  i->rate = v->image ? v->opts.image_rate : rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0;
  if (!(i->rate > 0 && i->rate < 1e5)) i->rate = 0;
  i->duration = v->image ? v->n_images / v->opts.image_rate
                         : m->format->duration > 0 ? (double)m->format->duration / AV_TIME_BASE : 0;
  snprintf(i->codec, sizeof i->codec, "%s", m->ff->avcodec_get_name(m->codec->codec_id));
  v->width = v->opts.width;
  double shown = (double)v->width * i->height / (i->width > 0 ? i->width : 1);
  v->height = (int)lround(fmin(fmax(shown, 16), 4.0 * v->width));
  i->luma_width = v->width;
  i->luma_height = v->height;
}

static int take_memory(sonde_video *v, sonde_error *err) {
  size_t pixels = (size_t)v->width * (size_t)v->height;
  size_t thumb = (size_t)v->opts.thumb_width * (size_t)v->opts.thumb_height * (v->opts.thumb_rgb ? 3 : 1);
  v->luma = sonde_alloc(pixels);
  v->turned = sonde_alloc(pixels + 2 * thumb);
  v->thumb = sonde_alloc(thumb + 1);
  return v->luma && v->turned && v->thumb ? 0
             : sonde_fail(err, SONDE_ENOMEM, "no memory for pictures of %d x %d", v->width, v->height);
}

/* ---- small pictures ---- */

/* The format of the luma plane by itself, or the frame's own where it has none. */
static enum AVPixelFormat luma_format(const sonde_media *m) {
  static const enum AVPixelFormat deep[] = {[9] = AV_PIX_FMT_GRAY9LE, [10] = AV_PIX_FMT_GRAY10LE,
                                            [12] = AV_PIX_FMT_GRAY12LE, [14] = AV_PIX_FMT_GRAY14LE,
                                            [16] = AV_PIX_FMT_GRAY16LE};
  enum AVPixelFormat own = m->frame->format;
  const AVPixFmtDescriptor *d = m->ff->av_pix_fmt_desc_get(own);
  const uint64_t odd = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BITSTREAM |
                       AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_FLOAT;
  if (!d || d->flags & odd || d->comp[0].plane || d->comp[0].offset || d->comp[0].shift) return own;
  int depth = d->comp[0].depth;
  if (depth == 8 && d->comp[0].step == 1) return AV_PIX_FMT_GRAY8;
  return depth > 8 && depth <= 16 && d->comp[0].step == 2 && deep[depth] ? deep[depth] : own;
}

static int scale(sonde_video *v, struct SwsContext **context, enum AVPixelFormat from, enum AVPixelFormat to,
                 int width, int height, uint8_t *out, sonde_error *err) {
  const sonde_media *m = v->media;
  const AVFrame *f = m->frame;
  *context = m->ff->sws_getCachedContext(*context, f->width, f->height, from, width, height, to,
                                         SWS_AREA | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
  if (!*context)
    return sonde_fail(err, SONDE_EUNSUP, "'%s': pictures of %d x %d in this format cannot be scaled", v->path, f->width,
                      f->height);
  if (to == AV_PIX_FMT_RGB24) {
    const int *coefficients = m->ff->sws_getCoefficients(f->colorspace);
    m->ff->sws_setColorspaceDetails(*context, coefficients, f->color_range == AVCOL_RANGE_JPEG, coefficients, 1, 0,
                                    1 << 16, 1 << 16);
  }
  uint8_t *plane[4] = {out};
  int stride[4] = {width * (to == AV_PIX_FMT_RGB24 ? 3 : 1)};
  m->ff->sws_scale(*context, (const uint8_t *const *)f->data, f->linesize, 0, f->height, plane, stride);
  return 0;
}

/* Turns a picture of `width` x `height` pixels clockwise. */
static void turn(uint8_t *to, const uint8_t *from, int width, int height, int bytes, int rotation) {
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++, from += bytes) {
      int at = rotation == 90 ? x * height + height - 1 - y : rotation == 180 ? (height - 1 - y) * width + width - 1 - x
                                                            : (width - 1 - x) * height + y;
      memcpy(to + (size_t)at * (size_t)bytes, from, (size_t)bytes);
    }
}

static int picture(sonde_video *v, struct SwsContext **context, enum AVPixelFormat from, enum AVPixelFormat to,
                   int width, int height, uint8_t *out, sonde_error *err) {
  int turns = v->info.rotation, side = turns % 180;
  int w = side ? height : width, h = side ? width : height;
  int rc = scale(v, context, from, to, w, h, turns ? v->turned : out, err);
  if (!rc && turns) turn(out, v->turned, w, h, to == AV_PIX_FMT_RGB24 ? 3 : 1, turns);
  return rc;
}

/* ---- the codec's vectors ---- */

static sonde_codec_vector turned_vector(const sonde_video *v, sonde_codec_vector a) {
  sonde_codec_vector b = a;
  float w = (float)v->width, h = (float)v->height;
  switch (v->info.rotation) {
    case 90: b.x = w - a.y, b.y = a.x, b.u = -a.v, b.v = a.u; break;
    case 180: b.x = w - a.x, b.y = h - a.y, b.u = -a.u, b.v = -a.v; break;
    case 270: b.x = a.y, b.y = h - a.x, b.u = a.v, b.v = -a.u; break;
    default: break;
  }
  if (v->info.rotation % 180) b.half_width = a.half_height, b.half_height = a.half_width;
  return b;
}

/* FFmpeg points from a block to where it comes from: in the frame before it (source < 0) or after it. */
static int take_vectors(sonde_video *v, sonde_frame *out, sonde_error *err) {
  const AVFrame *f = v->media->frame;
  const AVFrameSideData *d = v->media->ff->av_frame_get_side_data(f, AV_FRAME_DATA_MOTION_VECTORS);
  int n = d ? (int)(d->size / sizeof(AVMotionVector)) : 0, side = v->info.rotation % 180;
  float sx = (float)(side ? v->height : v->width) / (float)f->width;
  float sy = (float)(side ? v->width : v->height) / (float)f->height;
  if (n > v->vectors_room) {
    sonde_release(v->vectors);
    v->vectors_room = 0;
    if (!(v->vectors = sonde_alloc((size_t)n * sizeof *v->vectors)))
      return sonde_fail(err, SONDE_ENOMEM, "no memory for %d vectors", n);
    v->vectors_room = n;
  }
  out->n_vectors = 0;
  for (int k = 0; k < n; k++) {
    AVMotionVector mv;
    memcpy(&mv, d->data + (size_t)k * sizeof mv, sizeof mv);
    if (!mv.motion_scale) continue;
    float back = (mv.source < 0 ? -1.0f : 1.0f) / (float)mv.motion_scale;
    v->vectors[out->n_vectors++] = turned_vector(v, (sonde_codec_vector){
        .x = (float)mv.dst_x * sx, .y = (float)mv.dst_y * sy, .half_width = (float)mv.w * sx / 2,
        .half_height = (float)mv.h * sy / 2, .u = back * (float)mv.motion_x * sx, .v = back * (float)mv.motion_y * sy});
  }
  out->vectors = v->vectors;
  return 0;
}

static int give(sonde_video *v, sonde_frame *out, sonde_error *err) {
  const sonde_video_opts *o = &v->opts;
  int rc = picture(v, &v->luma_scale, luma_format(v->media), AV_PIX_FMT_GRAY8, v->width, v->height, v->luma, err);
  if (!rc && o->thumb_width)
    rc = picture(v, &v->thumb_scale, o->thumb_rgb ? v->media->frame->format : luma_format(v->media),
                 o->thumb_rgb ? AV_PIX_FMT_RGB24 : AV_PIX_FMT_GRAY8, o->thumb_width, o->thumb_height, v->thumb, err);
  *out = (sonde_frame){.time = v->time, .step = v->step, .width = v->width, .height = v->height, .luma = v->luma,
                       .thumb = o->thumb_width ? v->thumb : NULL};
  return rc || !o->vectors ? rc : take_vectors(v, out, err);
}

/* ---- the interface ---- */

int sonde_video_ready(sonde_error *err) { return sonde_ffmpeg_get(err) ? 0 : SONDE_EUNSUP; }

sonde_video *sonde_video_open(const char *path, const sonde_video_opts *opts, sonde_error *err) {
  const sonde_ffmpeg *ff = sonde_video_check(opts, err) ? NULL : sonde_ffmpeg_get(err);
  sonde_video *v = ff ? sonde_alloc(sizeof *v) : NULL;
  if (!ff) return NULL;
  if (!v || !(v->path = sonde_strdup(path))) {
    sonde_fail(err, SONDE_ENOMEM, "no memory to open '%s'", path);
    sonde_release(v);
    return NULL;
  }
  v->ff = ff;
  v->opts = *opts;
  v->next_time = -INFINITY;
  int rc = sonde_is_folder(path) ? list_images(v, err) : 0;
  if (!rc && !(rc = open_media(v, err))) rc = advance(v, err);
  if (rc == 0)
    rc = sonde_fail(err, SONDE_EFORMAT, "'%s' has no frame that can be decoded (pictures of more than %lld pixels are "
                    "not)", path, (long long)opts->max_pixels);
  if (rc > 0) {
    read_info(v);
    rc = take_memory(v, err);
  }
  if (!rc) return v;
  sonde_video_close(v);
  return NULL;
}

void sonde_video_close(sonde_video *v) {
  if (!v) return;
  close_media(v);
  v->ff->sws_freeContext(v->luma_scale);
  v->ff->sws_freeContext(v->thumb_scale);
  for (int k = 0; v->image && k < v->n_images; k++) free(v->image[k]);
  free(v->image);
  sonde_release(v->luma);
  sonde_release(v->turned);
  sonde_release(v->thumb);
  sonde_release(v->vectors);
  sonde_release(v->path);
  sonde_release(v);
}

const sonde_video_info *sonde_video_about(const sonde_video *v) { return &v->info; }

int64_t sonde_video_damaged(const sonde_video *v) { return v->damaged + (v->media ? v->media->damaged : 0); }

int sonde_video_next(sonde_video *v, sonde_frame *frame, sonde_error *err) {
  for (;;) {
    int got = v->waits ? 1 : advance(v, err);
    if (got <= 0) return got;
    v->waits = 0;
    if (v->time < v->next_time - AT_ONCE) continue;
    if (v->opts.rate > 0) v->next_time = (floor((v->time + AT_ONCE) * v->opts.rate) + 1) / v->opts.rate;
    int rc = give(v, frame, err);
    return rc ? rc : 1;
  }
}

int sonde_video_seek(sonde_video *v, double seconds, sonde_error *err) {
  if (!(fabs(seconds) < LONGEST)) return sonde_fail(err, SONDE_EINVAL, "cannot go to %g seconds", seconds);
  int rc = 0;
  if (v->image) {
    v->next_image = (int)fmin(fmax(ceil(seconds * v->opts.image_rate - AT_ONCE), 0), v->n_images);
    close_media(v);
  } else if (sonde_media_seek(v->media, seconds)) {
    if (!strcmp(v->path, "-"))
      return sonde_fail(err, SONDE_EUNSUP, "standard input cannot be gone back in: give a file");
    rc = open_media(v, err);
  }
  v->waits = v->decoded = 0;
  v->next_time = seconds;
  if (rc || v->image) return rc;
  /* An index may be wrong: a key frame behind the time is answered by reading from the start. */
  if ((rc = advance(v, err)) > 0 && v->time > seconds + AT_ONCE) {
    if ((rc = open_media(v, err))) return rc;
    v->waits = v->decoded = 0;
    return 0;
  }
  return rc < 0 ? rc : 0;
}

#else

int sonde_video_ready(sonde_error *err) {
  return sonde_fail(err, SONDE_EUNSUP, "this Sonde was built without FFmpeg's libraries; on Debian: apt install "
                    "libavformat-dev libavcodec-dev libswscale-dev, then configure and build again");
}

sonde_video *sonde_video_open(const char *path, const sonde_video_opts *opts, sonde_error *err) {
  (void)path, (void)opts;
  sonde_video_ready(err);
  return NULL;
}
void sonde_video_close(sonde_video *v) { (void)v; }
const sonde_video_info *sonde_video_about(const sonde_video *v) {
  (void)v;
  return NULL;
}
int64_t sonde_video_damaged(const sonde_video *v) {
  (void)v;
  return 0;
}
int sonde_video_next(sonde_video *v, sonde_frame *frame, sonde_error *err) {
  (void)v, (void)frame;
  return sonde_video_ready(err);
}
int sonde_video_seek(sonde_video *v, double seconds, sonde_error *err) {
  (void)v, (void)seconds;
  return sonde_video_ready(err);
}

#endif
