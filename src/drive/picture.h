/* picture.h - frames as a dash camera records them, and the truth behind them. */
#ifndef SONDE_DRIVE_PICTURE_H
#define SONDE_DRIVE_PICTURE_H

#include "drive/scene.h"

/* Scratch of one thread for frames of one size. Each pixel is the mean of samples x samples. */
typedef struct sonde_painter sonde_painter;
sonde_painter *sonde_painter_new(int width, int height, int samples, sonde_error *err);
void sonde_painter_free(sonde_painter *p);

/* The frame at `seconds` into rgb[height][width][3]. frame: its number, for the noise; seed: of noise and rain. The
 * bytes depend on the arguments only. */
int sonde_painter_frame(sonde_painter *p, const sonde_scene *s, double seconds, int frame, uint64_t seed, uint8_t *rgb,
                        sonde_error *err);

/* What the last frame shows, per pixel (its middle): shows[height][width] as in raster.h; depth in metres, INFINITY in
 * the sky; flow[height][width][2]: how far, in pixels, the point moves until `seconds` + dt, by the rigid motion of
 * its body. Each may be NULL. */
void sonde_painter_truth(const sonde_painter *p, const sonde_scene *s, double seconds, double dt, uint8_t *shows,
                         float *depth, float *flow);

#endif
