/* encode.h - writes frames as an H.264 video in an MP4 file, by FFmpeg with x264. The bytes of the file depend on the
 * frames and on the versions of these libraries only. */
#ifndef SONDE_VIDEO_ENCODE_H
#define SONDE_VIDEO_ENCODE_H

#include <stdint.h>
#include "base/error.h"

typedef struct sonde_encoder sonde_encoder;

/* Loads FFmpeg's libraries and finds x264; EUNSUP where one is missing, or where the build has none. Not for two
 * threads at once; encoders of different files may be used by different threads after it. versions: a text such as
 * "libavcodec 59.37.100, libavformat 59.27.100"; may be NULL. */
int sonde_encoder_ready(char versions[80], sonde_error *err);

/* width and height are even; rate: frames a second. The file is written when the encoder is closed. */
sonde_encoder *sonde_encoder_open(int width, int height, double rate, sonde_error *err);
int sonde_encoder_add(sonde_encoder *e, const uint8_t *rgb, sonde_error *err); /* rgb[height][width][3] */
/* Writes the file, complete or not at all, and frees the encoder in any case. */
int sonde_encoder_close(sonde_encoder *e, const char *path, sonde_error *err);
void sonde_encoder_abandon(sonde_encoder *e);

#endif
