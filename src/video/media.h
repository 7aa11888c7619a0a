/* media.h - one input of FFmpeg: an open file, its video stream and decoder, and the frame that was decoded last. */
#ifndef SONDE_VIDEO_MEDIA_H
#define SONDE_VIDEO_MEDIA_H

#include "video/decode.h"
#include "video/ffmpeg.h"

#ifdef HAVE_FFMPEG

typedef struct sonde_media {
  const sonde_ffmpeg *ff;
  const char *path;               /* borrowed, for messages */
  int fd;
  AVIOContext *io;
  AVFormatContext *format;
  AVCodecContext *codec;
  AVPacket *packet;
  AVFrame *frame;                 /* what sonde_media_next decoded */
  int stream, draining;
  int64_t damaged;                /* packets and frames with errors */
  double patience, deadline;      /* deadline: on the clock of sonde_clock_seconds */
  double follow;                  /* seconds that the end of a file is waited at for more */
  /* The boxes at the start of what cannot be gone back in, while it may be an MP4 file; see index_is_behind. */
  int looking, behind, head_bytes;
  uint8_t head[8];
  int64_t skip;
} sonde_media;

/* Opens a file, or "-"; see sonde_video_open. The path must outlive it. */
sonde_media *sonde_media_open(const char *path, const sonde_video_opts *opts, sonde_error *err);
void sonde_media_close(sonde_media *m);

/* Decodes the next frame into m->frame: 1, 0 at the end, or an error (no frame within the time that it may take). */
int sonde_media_next(sonde_media *m, sonde_error *err);

/* Seconds of m->frame since the start of the stream; NaN: not known. */
double sonde_media_time(const sonde_media *m);

/* Goes to a key frame at or before that time. -1 where the input cannot. */
int sonde_media_seek(sonde_media *m, double seconds);

static inline AVStream *sonde_media_stream(const sonde_media *m) { return m->format->streams[m->stream]; }

#endif
#endif
