/* picture.h - made pictures: a smooth random texture that can be looked at anywhere, so that frames can be drawn of it
 * under any motion. */
#ifndef TESTS_VIDEO_PICTURE_H
#define TESTS_VIDEO_PICTURE_H

#include <math.h>
#include <stdint.h>

/* A value 0..1 for each whole point. */
static inline double texture_point(int x, int y) {
  uint32_t h = (uint32_t)x * 0x9e3779b1u ^ (uint32_t)y * 0x85ebca77u;
  h = (h ^ h >> 15) * 0x2c1b3c6du;
  h = (h ^ h >> 12) * 0x297a2d39u;
  return (double)(h >> 8) / (1 << 24);
}

/* Between them bicubic weights 3t^2 - 2t^3; two scales. */
static inline double texture_layer(double x, double y) {
  int xi = (int)floor(x), yi = (int)floor(y);
  double a = x - xi, b = y - yi;
  a = a * a * (3 - 2 * a), b = b * b * (3 - 2 * b);
  return (1 - b) * ((1 - a) * texture_point(xi, yi) + a * texture_point(xi + 1, yi)) +
         b * ((1 - a) * texture_point(xi, yi + 1) + a * texture_point(xi + 1, yi + 1));
}

static inline uint8_t texture(double x, double y) {
  return (uint8_t)lround(20 + 130 * texture_layer(x / 5, y / 5) + 80 * texture_layer(x / 19 + 100, y / 19));
}

/* Draws a picture in which every pixel shows the texture `back` pixels away: back(arg, x, y, &u, &v) is its
 * displacement. */
typedef void (*displacement)(const void *arg, double x, double y, double *u, double *v);
static inline void draw(uint8_t *to, int width, int height, displacement back, const void *arg) {
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++) {
      double u = 0, v = 0;
      back(arg, x, y, &u, &v);
      to[y * width + x] = texture(x - u, y - v);
    }
}

#endif
