/* raster.h - a small software rasteriser: triangles with a depth buffer, perspective-correct textures with mipmaps, and
 * per pixel the body that it shows. Colour and light are kept apart (a deferred shading pass is in picture.c). */
#ifndef SONDE_DRIVE_RASTER_H
#define SONDE_DRIVE_RASTER_H

#include "drive/exact.h"

/* A square texture of 2^k texels a side, repeated in both directions. Texels are 0xAARRGGBB; level i has half the side
 * of level i - 1. */
enum { SONDE_MIPS = 10 };
typedef struct sonde_texture {
  int side, bits, levels;
  uint32_t *level[SONDE_MIPS];
} sonde_texture; /* side: 2^bits */

/* What a pixel shows: the sky, the world, the road surface, the ego car's bonnet; body b is SONDE_SHOWS_BODY + b. */
enum { SONDE_SHOWS_SKY, SONDE_SHOWS_WORLD, SONDE_SHOWS_GROUND, SONDE_SHOWS_BONNET, SONDE_SHOWS_BODY };

/* The arrays have SONDE_RASTER_RUN elements behind the last pixel: runs are computed as whole vectors. */
enum { SONDE_RASTER_RUN = 16 };
typedef struct sonde_target {
  int width, height;
  float focal, cx, cy; /* pixels: a point (x right, y down, z ahead) is at cx + focal x / z, cy + focal y / z */
  int night;           /* texels with an alpha below LIT shine by themselves */
  float *inverse;      /* 1 / z; 0: nothing */
  uint32_t *colour;    /* 0xSSRRGGBB: S is the light, 128 as the texture is, 255: shines by itself */
  uint8_t *shows;
  struct sonde_triangle *triangle;
  int triangles, room, failed; /* failed: no memory for more */
} sonde_target;

enum {
  SONDE_SOLID,
  SONDE_CUTOUT,  /* texels with an alpha below 128 are holes */
  SONDE_SHINING, /* a lamp */
  SONDE_SHADOW,  /* light on the ground times 1 - alpha */
  SONDE_POOL     /* light on the ground plus alpha */
};

typedef struct sonde_paint {
  const sonde_texture *texture;
  uint32_t tint; /* 0xRRGGBB: texel * tint / 256 */
  float bias;    /* what lies flat on another surface is nearer by this share */
  uint8_t mode, shows;
} sonde_paint;

typedef struct sonde_corner {
  float x, y, z, u, v, light;
} sonde_corner; /* in the camera's frame; light 0 to 1.99 */

/* Triangles are collected, then drawn in their order, a band of rows at a time: so that a band stays in the cache. */
void sonde_raster_clear(sonde_target *t); /* no triangles */
void sonde_raster_free(sonde_target *t);  /* the memory for triangles */
void sonde_raster_triangle(sonde_target *t, const sonde_corner corner[3], const sonde_paint *paint);
void sonde_raster_draw(sonde_target *t, int from, int to); /* the rows [from, to) */

#endif
