/* decode.h - frames of a video as small pictures: any container and codec that FFmpeg knows, animated GIFs, folders of
 * images. At most a few frames are in memory.
 *
 * A frame comes as its luma (0..255) at the size that motion is measured at, and as a thumbnail. Luma is the plane that
 * the codec stores, as it is: its black is 16 where info.full_range is 0. Sources without such a plane (RGB, GIF) give
 * full range. Rotation and pixels that are not square are undone: the picture is as a player shows it.
 *
 * What a file may do is bounded: pictures over max_pixels are refused before memory is taken for them, no other file or
 * address that a file names is opened, and where no frame arrives within `patience` seconds the file is given up.
 *
 * Standard input and files that grow are read once, from the start: containers whose index comes first, or that need
 * none (Matroska, MPEG-TS, fragmented MP4, Y4M). */
#ifndef SONDE_VIDEO_DECODE_H
#define SONDE_VIDEO_DECODE_H

#include <stdint.h>
#include "base/error.h"

typedef struct sonde_video sonde_video;

typedef struct sonde_video_opts {
  int width;              /* of the luma, 16..4096; the height follows from the aspect ratio */
  int thumb_width, thumb_height, thumb_rgb;   /* thumbnail; 0: none. rgb: three bytes a pixel, else one */
  double rate;            /* most frames a second: of frames that are closer, some are passed over; 0: all */
  double image_rate;      /* frames a second of a folder of images */
  int threads;            /* of the decoder; the frames do not depend on it */
  int vectors;            /* 1: with the motion vectors of the codec */
  int64_t max_pixels;     /* of a frame as it is stored */
  double patience;        /* seconds */
  double follow;          /* a file that grows: it has ended when it did not grow for so many seconds; 0: it does not */
} sonde_video_opts;

/* 320 wide, no thumbnail, 15 a second, 10 images a second, one thread, 2^25 pixels (an 8K picture), 60 seconds,
 * no growth. */
extern const sonde_video_opts sonde_video_defaults;

/* EINVAL: an option is out of range. */
int sonde_video_check(const sonde_video_opts *opts, sonde_error *err);

/* A block of the codec's: (x, y) is its centre, (u, v) its displacement since the frame before, in pixels of the
 * luma that is given out. */
typedef struct sonde_codec_vector { float x, y, half_width, half_height, u, v; } sonde_codec_vector;

typedef struct sonde_frame {
  double time;            /* seconds since the start of the video */
  double step;            /* seconds since the frame before it in the file; 0 for the first */
  int width, height;      /* of the luma: rows without gaps */
  const uint8_t *luma, *thumb;
  const sonde_codec_vector *vectors;
  int n_vectors;
} sonde_frame;

typedef struct sonde_video_info {
  int width, height;      /* as shown: of the first frame, turned, pixels square */
  int luma_width, luma_height;    /* of the luma that is given out */
  int rotation;           /* degrees clockwise that were applied: 0, 90, 180, 270 */
  int full_range;
  double rate;            /* frames a second as the file says, 0: unknown */
  double duration;        /* seconds as the file says, 0: unknown */
  char codec[32];
} sonde_video_info;

/* Loads FFmpeg's libraries; EUNSUP where they are missing, or where the build has none. */
int sonde_video_ready(sonde_error *err);

/* Opens a file, a folder of images, or "-" (standard input), and decodes its first frame. ENOENT, EFORMAT (no video in
 * it, or no frame that can be decoded), ELIMIT (over a bound), EUNSUP (a build without FFmpeg). */
sonde_video *sonde_video_open(const char *path, const sonde_video_opts *opts, sonde_error *err);
void sonde_video_close(sonde_video *v);
const sonde_video_info *sonde_video_about(const sonde_video *v);

/* The next frame, valid until the next call. 1, 0 at the end, or an error. Packets that cannot be decoded are passed
 * over and counted. */
int sonde_video_next(sonde_video *v, sonde_frame *frame, sonde_error *err);
int64_t sonde_video_damaged(const sonde_video *v);

/* The next frame is the first at or after this time. EUNSUP: what is read cannot go back. */
int sonde_video_seek(sonde_video *v, double seconds, sonde_error *err);

#endif
