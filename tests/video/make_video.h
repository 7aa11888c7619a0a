/* make_video.h - video files for tests, written when they are needed: frames of a moving texture, coded by
 * libavcodec. */
#ifndef TESTS_VIDEO_MAKE_VIDEO_H
#define TESTS_VIDEO_MAKE_VIDEO_H

#include "picture.h"

typedef struct made_video {
  const char *codec;      /* "mpeg4", "libx264", "gif", "ffv1", ... */
  int width, height, frames;
  int rate;               /* frames a second */
  int rotation;           /* clockwise, written beside the stream */
  int deep;               /* 10 bits a sample, where the codec can */
  int key_every;          /* frames; 0: only the first */
  double u, v;            /* how far the texture moves each frame, in pixels */
  const int *pts;         /* times of the frames in units of 1/rate; NULL: 0, 1, 2, ... */
} made_video;

/* Writes the file; the container is that of the name's end. 0, or -1 where this FFmpeg has no such codec. */
int make_video(const char *path, const made_video *m);

/* A raw file of frames (YUV4MPEG2), without any library: grey 4:2:0, one byte a sample. */
void make_y4m(const char *path, const made_video *m);

#endif
