/* make_video.c - see make_video.h. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "make_video.h"

static void moves(const void *arg, double x, double y, double *u, double *v) {
  const double *by = arg;
  (void)x, (void)y;
  *u = by[0], *v = by[1];
}

static uint8_t *frame(const made_video *m, int k) {
  uint8_t *luma = malloc((size_t)m->width * (size_t)m->height);
  const double by[2] = {m->u * k, m->v * k};
  draw(luma, m->width, m->height, moves, by);
  return luma;
}

void make_y4m(const char *path, const made_video *m) {
  FILE *f = fopen(path, "wb");
  int half = (m->width + 1) / 2 * ((m->height + 1) / 2);
  fprintf(f, "YUV4MPEG2 W%d H%d F%d:1 Ip A1:1 C420jpeg\n", m->width, m->height, m->rate);
  for (int k = 0; k < m->frames; k++) {
    uint8_t *luma = frame(m, k);
    fputs("FRAME\n", f);
    fwrite(luma, 1, (size_t)m->width * (size_t)m->height, f);
    for (int c = 0; c < 2 * half; c++) fputc(128, f);
    free(luma);
  }
  fclose(f);
}

#ifdef HAVE_FFMPEG

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>

static void must(int rc) {
  if (rc >= 0) return;
  fprintf(stderr, "make_video: error %d\n", rc);
  abort();
}

static void fill(AVFrame *f, const made_video *m, int k) {
  uint8_t *luma = frame(m, k);
  int packed = f->format == AV_PIX_FMT_RGB8 || f->format == AV_PIX_FMT_RGB24;
  int deep = f->format == AV_PIX_FMT_YUV420P10LE;
  must(av_frame_make_writable(f));
  for (int y = 0; y < m->height; y++)
    for (int x = 0; x < m->width; x++) {
      uint8_t *row = f->data[0] + y * f->linesize[0], value = luma[y * m->width + x];
      if (f->format == AV_PIX_FMT_RGB8) row[x] = (uint8_t)((value >> 5) << 5 | (value >> 5) << 2 | value >> 6);
      else if (packed) memset(row + 3 * x, value, 3);
      else if (deep) ((uint16_t *)(void *)row)[x] = (uint16_t)(value << 2);
      else row[x] = value;
    }
  for (int c = 1; !packed && c < 3; c++)
    for (int y = 0; y < (m->height + 1) / 2; y++)
      for (int x = 0; x < (m->width + 1) / 2; x++) {
        uint8_t *row = f->data[c] + y * f->linesize[c];
        if (deep) ((uint16_t *)(void *)row)[x] = 512;
        else row[x] = 128;
      }
  free(luma);
}

static void drain(AVCodecContext *c, AVFormatContext *out, AVStream *s) {
  AVPacket *p = av_packet_alloc();
  while (avcodec_receive_packet(c, p) >= 0) {
    av_packet_rescale_ts(p, c->time_base, s->time_base);
    must(av_interleaved_write_frame(out, p));
  }
  av_packet_free(&p);
}

int make_video(const char *path, const made_video *m) {
  const AVCodec *codec = avcodec_find_encoder_by_name(m->codec);
  av_log_set_level(AV_LOG_QUIET);
  if (!codec) return -1;
  AVFormatContext *out = NULL;
  must(avformat_alloc_output_context2(&out, NULL, NULL, path));
  AVStream *s = avformat_new_stream(out, NULL);
  AVCodecContext *c = avcodec_alloc_context3(codec);
  c->width = m->width, c->height = m->height;
  c->time_base = (AVRational){1, m->rate};
  c->framerate = (AVRational){m->rate, 1};
  c->pix_fmt = !strcmp(m->codec, "gif") ? AV_PIX_FMT_RGB8 : !strcmp(m->codec, "png") ? AV_PIX_FMT_RGB24
             : m->deep ? AV_PIX_FMT_YUV420P10LE : AV_PIX_FMT_YUV420P;
  c->gop_size = m->key_every ? m->key_every : 600;
  c->max_b_frames = 0;
  c->bit_rate = 4000000;
  c->thread_count = 1;
  c->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
  if (out->oformat->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  must(avcodec_open2(c, codec, NULL));
  must(avcodec_parameters_from_context(s->codecpar, c));
  s->time_base = c->time_base;
  s->avg_frame_rate = c->framerate;
  if (m->rotation) {
#if LIBAVFORMAT_VERSION_INT < AV_VERSION_INT(60, 15, 100)
    int32_t *matrix = (int32_t *)(void *)av_stream_new_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, 9 * sizeof *matrix);
#else
    AVPacketSideData *side = av_packet_side_data_new(&s->codecpar->coded_side_data, &s->codecpar->nb_coded_side_data,
                                                     AV_PKT_DATA_DISPLAYMATRIX, 9 * sizeof(int32_t), 0);
    int32_t *matrix = (int32_t *)(void *)side->data;
#endif
    av_display_rotation_set(matrix, m->rotation);   /* clockwise */
  }
  must(avio_open(&out->pb, path, AVIO_FLAG_WRITE));
  AVDictionary *options = NULL;
  av_dict_set(&options, "movflags", "faststart", 0);
  must(avformat_write_header(out, &options));
  av_dict_free(&options);
  AVFrame *f = av_frame_alloc();
  f->format = c->pix_fmt, f->width = m->width, f->height = m->height;
  must(av_frame_get_buffer(f, 0));
  for (int k = 0; k < m->frames; k++) {
    fill(f, m, k);
    f->pts = m->pts ? m->pts[k] : k;
    must(avcodec_send_frame(c, f));
    drain(c, out, s);
  }
  must(avcodec_send_frame(c, NULL));
  drain(c, out, s);
  must(av_write_trailer(out));
  av_frame_free(&f);
  avcodec_free_context(&c);
  avio_closep(&out->pb);
  avformat_free_context(out);
  return 0;
}

#else

int make_video(const char *path, const made_video *m) {
  (void)path, (void)m;
  return -1;
}

#endif
