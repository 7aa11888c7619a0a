/* texture.h - the textures of the simulator's world, computed from noise: nothing is read from files. */
#ifndef SONDE_DRIVE_TEXTURE_H
#define SONDE_DRIVE_TEXTURE_H

#include "base/error.h"
#include "drive/raster.h"

/* Colours are near white where the mesh gives the tint. Metres that one repeat covers: SONDE_TILE. */
enum {
  SONDE_T_PLAIN,
  SONDE_T_ASPHALT,
  SONDE_T_SLABS,
  SONDE_T_GRASS,
  SONDE_T_BRICK,
  SONDE_T_PLASTER,
  SONDE_T_OFFICE,
  SONDE_T_SHOP,
  SONDE_T_ROOF,
  SONDE_T_LEAVES,
  SONDE_T_BARK,
  SONDE_T_HEDGE,
  SONDE_T_FENCE,
  SONDE_T_MARK,
  SONDE_T_GLASS,
  SONDE_T_WHEEL,
  SONDE_T_BUS,
  SONDE_T_SPOT,
  SONDE_T_PATCH,
  SONDE_T_SIGN,
  SONDE_T_SKYLINE,
  SONDE_T_CLOUDS,
  SONDE_TEXTURES
};
enum { SONDE_TILE = 12 }; /* of walls: a repeat is four windows wide and four storeys high */

typedef struct sonde_textures {
  sonde_texture t[SONDE_TEXTURES];
} sonde_textures;

/* Read by any number of threads. NULL: no memory. */
sonde_textures *sonde_textures_new(sonde_error *err);
void sonde_textures_free(sonde_textures *s);

/* The texel at (u, v) in the level of 2^-level of the side, nearest. */
uint32_t sonde_texture_at(const sonde_texture *t, int level, float u, float v);

/* Noise in [0, 1] over the plane, in `octaves` octaves from `cells` cells a unit on; repeats after 1. */
float sonde_noise(float u, float v, int cells, int octaves, uint32_t seed);

#endif
