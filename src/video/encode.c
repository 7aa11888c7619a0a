/* encode.c - H.264 by libavcodec and x264: one thread, preset veryfast, crf 23, no B-frames (so that motion vectors
 * point to the past), without anything in the file that depends on the day or the machine. */
#include "config.h"

#include <stdio.h>

#include "base/file.h"
#include "base/mem.h"
#include "video/encode.h"
#include "video/ffmpeg.h"

#ifndef HAVE_FFMPEG

static const char missing[] =
    "this build cannot write videos: install libavformat-dev and libavcodec-dev, and build again";

int sonde_encoder_ready(char versions[80], sonde_error *err) {
  (void)versions;
  return sonde_fail(err, SONDE_EUNSUP, "%s", missing);
}
sonde_encoder *sonde_encoder_open(int width, int height, double rate, sonde_error *err) {
  (void)width, (void)height, (void)rate;
  sonde_fail(err, SONDE_EUNSUP, "%s", missing);
  return NULL;
}
int sonde_encoder_add(sonde_encoder *e, const uint8_t *rgb, sonde_error *err) {
  (void)e, (void)rgb;
  return sonde_fail(err, SONDE_EUNSUP, "%s", missing);
}
int sonde_encoder_close(sonde_encoder *e, const char *path, sonde_error *err) {
  (void)e, (void)path;
  return sonde_fail(err, SONDE_EUNSUP, "%s", missing);
}
void sonde_encoder_abandon(sonde_encoder *e) {
  (void)e;
}

#else

struct sonde_encoder {
  const sonde_ffmpeg *ff;
  AVFormatContext *format;
  AVCodecContext *codec;
  AVStream *stream;
  AVFrame *frame;
  AVPacket *packet;
  AVIOContext *io; /* the file in memory: it is written as a whole */
};

static int fail(const sonde_ffmpeg *ff, int code, const char *what, sonde_error *err) {
  char why[128] = "";
  if (code < 0) ff->av_strerror(code, why, sizeof why);
  return sonde_fail(err, code == AVERROR(ENOMEM) ? SONDE_ENOMEM : SONDE_EIO, "%s failed%s%s", what,
                    code < 0 ? ": " : "", why);
}

static const AVCodec *find(const sonde_ffmpeg *ff, sonde_error *err) {
  const AVCodec *x264 = ff->avcodec_find_encoder_by_name("libx264");
  if (!x264) sonde_fail(err, SONDE_EUNSUP, "the installed libavcodec has no x264: H.264 cannot be written");
  return x264;
}

int sonde_encoder_ready(char versions[80], sonde_error *err) {
  const sonde_ffmpeg *ff = sonde_ffmpeg_get(err);
  if (!ff || !find(ff, err)) return err->code;
  unsigned c = ff->avcodec_version(), f = ff->avformat_version();
  if (versions)
    snprintf(versions, 80, "libavcodec %u.%u.%u, libavformat %u.%u.%u", c >> 16, c >> 8 & 255, c & 255, f >> 16,
             f >> 8 & 255, f & 255);
  return 0;
}

static int open_codec(sonde_encoder *e, const AVCodec *x264, int width, int height, double rate, sonde_error *err) {
  const sonde_ffmpeg *ff = e->ff;
  AVCodecContext *c = e->codec = ff->avcodec_alloc_context3(x264);
  if (!c) return fail(ff, AVERROR(ENOMEM), "the encoder", err);
  c->width = width, c->height = height, c->pix_fmt = AV_PIX_FMT_YUV420P;
  c->time_base = (AVRational){1000, (int)(rate * 1000 + 0.5)};
  c->framerate = (AVRational){c->time_base.den, c->time_base.num};
  c->thread_count = 1, c->max_b_frames = 0;
  c->color_range = AVCOL_RANGE_MPEG, c->colorspace = AVCOL_SPC_SMPTE170M;
  c->color_primaries = AVCOL_PRI_SMPTE170M, c->color_trc = AVCOL_TRC_SMPTE170M;
  c->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
  ff->av_opt_set(c->priv_data, "preset", "veryfast", 0);
  ff->av_opt_set(c->priv_data, "crf", "23", 0);
  int rc = ff->avcodec_open2(c, x264, NULL);
  return rc < 0 ? fail(ff, rc, "x264", err) : 0;
}

static int open_file(sonde_encoder *e, sonde_error *err) {
  const sonde_ffmpeg *ff = e->ff;
  int rc = ff->avformat_alloc_output_context2(&e->format, NULL, "mp4", NULL);
  if (rc < 0) return fail(ff, rc, "the MP4 writer", err);
  e->format->flags |= AVFMT_FLAG_BITEXACT;
  if (!(e->stream = ff->avformat_new_stream(e->format, NULL))) return fail(ff, AVERROR(ENOMEM), "the MP4 writer", err);
  e->stream->time_base = e->codec->time_base, e->stream->avg_frame_rate = e->codec->framerate;
  if ((rc = ff->avcodec_parameters_from_context(e->stream->codecpar, e->codec)) >= 0)
    rc = ff->avio_open_dyn_buf(&e->io);
  e->format->pb = e->io;
  if (rc >= 0) rc = ff->avformat_write_header(e->format, NULL);
  return rc < 0 ? fail(ff, rc, "the MP4 writer", err) : 0;
}

static int open_frame(sonde_encoder *e, sonde_error *err) {
  const sonde_ffmpeg *ff = e->ff;
  e->frame = ff->av_frame_alloc(), e->packet = ff->av_packet_alloc();
  if (!e->frame || !e->packet) return fail(ff, AVERROR(ENOMEM), "the encoder", err);
  e->frame->width = e->codec->width, e->frame->height = e->codec->height, e->frame->format = AV_PIX_FMT_YUV420P;
  e->frame->pts = -1;
  int rc = ff->av_frame_get_buffer(e->frame, 0);
  return rc < 0 ? fail(ff, rc, "the encoder", err) : 0;
}

sonde_encoder *sonde_encoder_open(int width, int height, double rate, sonde_error *err) {
  const sonde_ffmpeg *ff = sonde_ffmpeg_get(err);
  const AVCodec *x264 = ff ? find(ff, err) : NULL;
  if (!x264) return NULL;
  if (width < 16 || height < 16 || width % 2 || height % 2 || width > 8192 || height > 8192 ||
      !(rate >= 1 && rate <= 240)) {
    sonde_fail(err, SONDE_EINVAL,
               "a video of %d x %d at %g frames a second: sides are even, 16 to 8192, the rate 1 to 240", width, height,
               rate);
    return NULL;
  }
  sonde_encoder *e = sonde_alloc(sizeof *e);
  if (!e) return sonde_fail(err, SONDE_ENOMEM, "no memory for an encoder"), NULL;
  e->ff = ff;
  if (open_codec(e, x264, width, height, rate, err) == 0 && open_file(e, err) == 0 && open_frame(e, err) == 0) return e;
  sonde_encoder_abandon(e);
  return NULL;
}

/* ---- frames ---- */

/* ITU-R BT.601, limited range, in whole numbers; colour is the mean of 2 x 2 pixels. */
static void to_yuv(const uint8_t *rgb, AVFrame *f) {
  int w = f->width, h = f->height;
  for (int y = 0; y < h; y++) {
    const uint8_t *p = rgb + (size_t)y * (size_t)w * 3;
    uint8_t *out = f->data[0] + (ptrdiff_t)y * f->linesize[0];
    for (int x = 0; x < w; x++, p += 3) out[x] = (uint8_t)(((66 * p[0] + 129 * p[1] + 25 * p[2] + 128) >> 8) + 16);
  }
  for (int y = 0; y < h / 2; y++) {
    const uint8_t *p = rgb + (size_t)(2 * y) * (size_t)w * 3, *q = p + (size_t)w * 3;
    uint8_t *u = f->data[1] + (ptrdiff_t)y * f->linesize[1], *v = f->data[2] + (ptrdiff_t)y * f->linesize[2];
    for (int x = 0; x < w / 2; x++, p += 6, q += 6) {
      int r = p[0] + p[3] + q[0] + q[3], g = p[1] + p[4] + q[1] + q[4], b = p[2] + p[5] + q[2] + q[5];
      u[x] = (uint8_t)((-38 * r - 74 * g + 112 * b + 512 + 131072) >> 10); /* 131072: 128 after the shift */
      v[x] = (uint8_t)((112 * r - 94 * g - 18 * b + 512 + 131072) >> 10);
    }
  }
}

/* Gives a frame (NULL: the end) to the encoder and writes what comes out. */
static int pass(sonde_encoder *e, const AVFrame *frame, sonde_error *err) {
  const sonde_ffmpeg *ff = e->ff;
  int rc = ff->avcodec_send_frame(e->codec, frame);
  while (rc >= 0 && (rc = ff->avcodec_receive_packet(e->codec, e->packet)) >= 0) {
    ff->av_packet_rescale_ts(e->packet, e->codec->time_base, e->stream->time_base);
    rc = ff->av_write_frame(e->format, e->packet);
    ff->av_packet_unref(e->packet);
  }
  return rc < 0 && rc != AVERROR(EAGAIN) && rc != AVERROR_EOF ? fail(ff, rc, "coding a frame", err) : 0;
}

int sonde_encoder_add(sonde_encoder *e, const uint8_t *rgb, sonde_error *err) {
  int rc = e->ff->av_frame_make_writable(e->frame);
  if (rc < 0) return fail(e->ff, rc, "coding a frame", err);
  to_yuv(rgb, e->frame);
  e->frame->pts++;
  return pass(e, e->frame, err);
}

int sonde_encoder_close(sonde_encoder *e, const char *path, sonde_error *err) {
  int rc = pass(e, NULL, err);
  if (rc == 0 && (rc = e->ff->av_write_trailer(e->format)) < 0) rc = fail(e->ff, rc, "the MP4 writer", err);
  uint8_t *bytes = NULL;
  int size = rc < 0 ? 0 : e->ff->avio_close_dyn_buf(e->io, &bytes);
  if (rc == 0) {
    e->io = e->format->pb = NULL;
    rc = bytes ? sonde_file_write(path, bytes, size, err) : fail(e->ff, AVERROR(ENOMEM), "the MP4 writer", err);
    e->ff->av_free(bytes);
  }
  sonde_encoder_abandon(e);
  return rc < 0 ? rc : 0;
}

void sonde_encoder_abandon(sonde_encoder *e) {
  if (!e) return;
  const sonde_ffmpeg *ff = e->ff;
  if (e->io) {
    uint8_t *bytes = NULL;
    ff->avio_close_dyn_buf(e->io, &bytes);
    ff->av_free(bytes);
  }
  if (e->format) e->format->pb = NULL;
  ff->avformat_free_context(e->format);
  ff->avcodec_free_context(&e->codec);
  ff->av_frame_free(&e->frame);
  ff->av_packet_free(&e->packet);
  sonde_release(e);
}

#endif
