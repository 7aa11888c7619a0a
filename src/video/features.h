/* features.h - the rows of a clip (analyse.h) in a file: made once, read by memory mapping.
 *
 * Layout, little-endian, 256 bytes of header: magic "SONDEVID", u32 version (1), u32 columns, i64 rows, i32 width and
 * height of the luma, i32 grid width and height, i32 thumbnail width, height and bytes a pixel, i32 rotation, f64 rate
 * and duration that the file says, i64 damaged packets, f64 start and end, i64 size and i64 time of change (ns) of the
 * clip, 32 bytes SHA-256 of the clip, 32 bytes SHA-256 of the options, 16 bytes name of the codec, u32 CRC-32 of the
 * whole file with this field zero, zeros; then rows x columns f32. Every field is checked when it is opened. */
#ifndef SONDE_VIDEO_FEATURES_H
#define SONDE_VIDEO_FEATURES_H

#include "video/analyse.h"

typedef struct sonde_feature_opts {
  sonde_analysis_opts analysis;
  double start, end;      /* seconds of the clip to take: start <= time < end; 0 and INFINITY: all of it */
  int64_t max_rows;       /* a clip that has more is refused */
} sonde_feature_opts;

/* As sonde_analysis_defaults, the whole clip, at most 2^20 rows. */
sonde_feature_opts sonde_feature_defaults(void);

/* SHA-256, hex, of everything in the options that a row depends on. */
void sonde_feature_opts_hash(const sonde_feature_opts *o, char hex[65]);

typedef struct sonde_features sonde_features;

/* Memory-maps a file. EFORMAT: it is damaged, or none of these. */
sonde_features *sonde_features_open(const char *path, sonde_error *err);
void sonde_features_close(sonde_features *f);

typedef struct sonde_features_info {
  int64_t rows, damaged;
  int columns, width, height, grid_width, grid_height, thumb_width, thumb_height, thumb_bytes, rotation;
  double rate, duration;
  char codec[16], clip[65], options[65];       /* SHA-256, hex */
} sonde_features_info;

const sonde_features_info *sonde_features_about(const sonde_features *f);
const float *sonde_features_row(const sonde_features *f, int64_t row);

/* Whether the file is of this clip with these options: the options' hash is the same, and the clip's size and time of
 * change are, or else its content. 1, 0, or an error of reading the clip. A missing or damaged file is 0. */
int sonde_features_current(const char *path, const char *clip, const sonde_feature_opts *o, sonde_error *err);

/* Decodes a clip and writes its file, complete or not at all, on the calling thread; progress is called after each row.
 * EFORMAT: no frame in that part of the clip. */
typedef void (*sonde_feature_progress)(void *arg);
int sonde_features_make(const char *path, const char *clip, const sonde_feature_opts *o,
                        sonde_feature_progress progress, void *arg, sonde_error *err);

#endif
