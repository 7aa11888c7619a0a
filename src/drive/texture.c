/* texture.c - textures from noise, with their mipmaps. */
#include "config.h"

#include "base/mem.h"
#include "drive/texture.h"

/* ---- noise ---- */

static float lattice(int x, int y, int cells, uint32_t seed) {
  return hash01((uint32_t)(x & (cells - 1)) | (uint32_t)(y & (cells - 1)) << 12, seed);
}

static float value_noise(float u, float v, int cells, uint32_t seed) { /* cells: a power of two */
  float x = u * (float)cells, y = v * (float)cells;
  int i = (int)whole(x), j = (int)whole(y);
  float a = x - (float)i, b = y - (float)j;
  a = a * a * (3 - 2 * a), b = b * b * (3 - 2 * b);
  float top = mixf(lattice(i, j, cells, seed), lattice(i + 1, j, cells, seed), a);
  return mixf(top, mixf(lattice(i, j + 1, cells, seed), lattice(i + 1, j + 1, cells, seed), a), b);
}

float sonde_noise(float u, float v, int cells, int octaves, uint32_t seed) {
  float sum = 0, weight = 0.5f, all = 0;
  for (int i = 0; i < octaves; i++, cells *= 2, weight *= 0.5f) {
    sum += weight * value_noise(u, v, cells, seed + (uint32_t)i);
    all += weight;
  }
  return sum / all;
}

/* ---- colours ---- */

static uint32_t rgba(float r, float g, float b, float a) {
  uint32_t R = (uint32_t)clampf(r, 0, 255), G = (uint32_t)clampf(g, 0, 255), B = (uint32_t)clampf(b, 0, 255);
  return (uint32_t)clampf(a, 0, 255) << 24 | R << 16 | G << 8 | B;
}
static uint32_t grey(float g) {
  return rgba(g, g, g, 255);
}
static float speckle(int x, int y, uint32_t seed) {
  return hash01((uint32_t)x | (uint32_t)y << 12, seed) - 0.5f;
}

/* Each texture is a function of the texel (x, y) and of the place (u, v) in [0, 1). */
typedef uint32_t texel_fn(int x, int y, float u, float v);

static uint32_t plain(int x, int y, float u, float v) {
  (void)u, (void)v;
  return grey(248 + 10 * speckle(x, y, 1));
}

static uint32_t asphalt(int x, int y, float u, float v) {
  float c = sonde_noise(u, v, 4, 3, 11), g = 92 + 26 * (sonde_noise(u, v, 2, 5, 12) - 0.5f) + 20 * speckle(x, y, 13);
  if (fabsf(c - 0.5f) < 0.004f && sonde_noise(u, v, 2, 1, 14) > 0.55f) g -= 15; /* cracks */
  return rgba(g, g, g + 2, 255);
}

static uint32_t slabs(int x, int y, float u, float v) {
  float g = 158 + 26 * (hash01((uint32_t)(x / 32) | (uint32_t)(y / 32) << 8, 21) - 0.5f);
  g += 24 * (sonde_noise(u, v, 4, 4, 22) - 0.5f) + 12 * speckle(x, y, 23);
  if (x % 32 < 1 || y % 32 < 1) g -= 46;
  return rgba(g, g - 3, g - 9, 255);
}

static uint32_t grass(int x, int y, float u, float v) {
  float g = 104 + 70 * (sonde_noise(u, v, 8, 5, 31) - 0.5f) + 30 * speckle(x, y, 32), dry = sonde_noise(u, v, 2, 3, 33);
  return rgba(g * (0.66f + 0.3f * dry), g, g * 0.42f, 255);
}

/* A wall's colour outside its windows. */
static float bricks(int x, int y, float u, float v) {
  int row = y / 6, shifted = x + (row & 1) * 6;
  float g = 205 + 54 * (hash01((uint32_t)(shifted / 12) | (uint32_t)row << 10, 41) - 0.5f);
  g += 22 * (sonde_noise(u, v, 4, 4, 42) - 0.5f);
  return y % 6 == 0 || shifted % 12 == 0 ? g + 26 : g;
}
static float plaster(int x, int y, float u, float v) {
  return 232 + 34 * (sonde_noise(u, v, 4, 5, 51) - 0.5f) + 7 * speckle(x, y, 52) - 22 * (v > 0.97f);
}

/* Glass: dark, some sky in it; some rooms have light (an alpha below LIT shines at night), some have curtains. */
static uint32_t pane(int window, float a, float b, uint32_t seed) {
  float h = hash01((uint32_t)window, seed), sky = 40 + 62 * (1 - b) + 26 * (h - 0.5f);
  if (h > 0.66f) return rgba(214 - 40 * h, 186 - 40 * h, 132 - 60 * h + 20 * a, 120);
  if (h < 0.2f) return rgba(168, 164, 152, 255);
  return rgba(sky * 0.72f, sky * 0.86f, sky, 255);
}

/* Four by four windows a repeat. */
static uint32_t windows(int x, int y, float wall, float left, float right, float low, float high, uint32_t seed) {
  float a = (float)(x & 127) / 128, b = (float)(y & 127) / 128; /* 128 texels a window */
  if (a > left && a < right && b > low && b < high) {
    float p = (a - left) / (right - left), q = (b - low) / (high - low);
    int frame = p < 0.06f || p > 0.94f || q < 0.05f || q > 0.95f || fabsf(p - 0.5f) < 0.03f;
    return frame ? grey(226) : pane((x >> 7) * 4 + (y >> 7), p, q, seed);
  }
  if (a > left - 0.04f && a < right + 0.04f && b >= high && b < high + 0.05f) return grey(wall * 0.72f); /* the sill */
  return rgba(wall, wall, wall, 255);
}
static uint32_t brick(int x, int y, float u, float v) {
  return windows(x, y, bricks(x, y, u, v), 0.28f, 0.72f, 0.22f, 0.74f, 43);
}
static uint32_t plastered(int x, int y, float u, float v) {
  return windows(x, y, plaster(x, y, u, v), 0.3f, 0.68f, 0.2f, 0.76f, 53);
}
static uint32_t office(int x, int y, float u, float v) {
  return windows(x, y, 196 + 20 * (sonde_noise(u, v, 4, 4, 61) - 0.5f), 0.05f, 0.95f, 0.16f, 0.8f, 62);
}

static uint32_t shop(int x, int y, float u, float v) {
  float a = (float)(x & 255) / 256;
  int unit = x >> 8;
  if (v < 0.24f)
    return v < 0.04f ? grey(120)
                     : rgba(90 + 130 * hash01((uint32_t)unit, 71), 90 + 130 * hash01((uint32_t)unit, 72),
                            90 + 130 * hash01((uint32_t)unit, 73), v > 0.08f && v < 0.2f ? 130 : 255);
  if (a < 0.05f || a > 0.95f || v > 0.94f) return grey(150 + 14 * speckle(x, y, 74));
  if (a > 0.7f && a < 0.72f) return grey(70);
  float goods = sonde_noise(u, v, 16, 3, 75);
  return rgba(70 + 120 * goods, 66 + 104 * goods, 58 + 80 * goods, 110);
}

static uint32_t roof(int x, int y, float u, float v) {
  float g = 190 + 44 * (hash01((uint32_t)(x / 8) | (uint32_t)(y / 12) << 8, 81) - 0.5f) +
            20 * (sonde_noise(u, v, 4, 3, 82) - 0.5f);
  return grey(y % 12 < 2 ? g - 60 : g);
}

static uint32_t leaves(int x, int y, float u, float v) {
  float dx = (u - 0.5f) * 2, dy = (v - 0.5f) * 2, r = sqrtf(dx * dx + dy * dy);
  float lump = sonde_noise(u, v, 4, 5, 91), fine = sonde_noise(u, v, 32, 2, 92);
  float edge = r + 0.75f * (lump - 0.5f) + 0.55f * (fine - 0.5f);
  float g = 84 + 120 * (lump - 0.45f) + 70 * (fine - 0.5f) - 34 * dy + 18 * speckle(x, y, 93);
  return rgba(g * 0.7f, g, g * 0.4f, edge < 0.78f ? 255 : 0);
}
static uint32_t bark(int x, int y, float u, float v) {
  float g = 92 + 60 * (sonde_noise(u, v * 0.25f, 16, 3, 101) - 0.5f) + 14 * speckle(x, y, 102);
  return rgba(g, g * 0.84f, g * 0.66f, 255);
}
static uint32_t hedge(int x, int y, float u, float v) {
  float g = 84 + 110 * (sonde_noise(u, v, 16, 4, 111) - 0.5f) + 24 * speckle(x, y, 112);
  return rgba(g * 0.62f, g, g * 0.4f, 255);
}
static uint32_t fence(int x, int y, float u, float v) {
  (void)u;
  int post = x % 128 < 10, rail = (v > 0.1f && v < 0.17f) || (v > 0.7f && v < 0.77f), bar = x % 16 < 4 && v > 0.06f;
  return rgba(236 + 16 * speckle(x, y, 121), 234, 228, post || rail || bar ? 255 : 0);
}
static uint32_t mark(int x, int y, float u, float v) { /* worn paint */
  float worn = sonde_noise(u, v, 32, 3, 131);
  return rgba(214 + 26 * speckle(x, y, 132), 213, 206, worn > 0.24f ? 255 : 0);
}
static uint32_t glass(int x, int y, float u, float v) {
  (void)x, (void)y;
  float g = 38 + 70 * (1 - v) * (1 - v) + 26 * (fabsf(u - 0.3f - 0.3f * v) < 0.1f);
  return rgba(g * 0.84f, g * 0.94f, g + 6, 255);
}
static uint32_t wheel(int x, int y, float u, float v) {
  (void)x, (void)y;
  float dx = u - 0.5f, dy = v - 0.5f, r = sqrtf(dx * dx + dy * dy) * 2;
  if (r > 0.68f) return grey(26 + 10 * (r > 0.95f));
  if (r < 0.14f || r > 0.58f) return grey(172);
  int spoke = fabsf(dx) < 0.045f || fabsf(dy) < 0.045f || fabsf(dx - dy) < 0.05f || fabsf(dx + dy) < 0.05f;
  return grey(spoke ? 158 : 44);
}
static uint32_t bus(int x, int y, float u, float v) { /* a band of windows */
  float a = (float)(x & 63) / 64;
  (void)y;
  if (v > 0.16f && v < 0.52f && a > 0.06f && a < 0.94f) return pane(x >> 6, a, (v - 0.16f) / 0.36f, 141);
  return grey(v > 0.6f && v < 0.64f ? 150 : 240 - 10 * (sonde_noise(u, v, 4, 3, 142)));
}
static uint32_t spot(int x, int y, float u, float v) { /* a soft round shadow or pool of light */
  (void)x, (void)y;
  float dx = (u - 0.5f) * 2, dy = (v - 0.5f) * 2, r2 = dx * dx + dy * dy, k = r2 < 1 ? (1 - r2) * (1 - r2) : 0;
  return rgba(255, 255, 255, 255 * k);
}
static uint32_t patch(int x, int y, float u, float v) { /* a rectangular shadow with soft edges */
  (void)x, (void)y;
  float a = smoothf(0, 0.22f, u) * smoothf(0, 0.22f, 1 - u), b = smoothf(0, 0.22f, v) * smoothf(0, 0.22f, 1 - v);
  return rgba(255, 255, 255, 255 * a * b);
}
static uint32_t sign(int x, int y, float u, float v) {
  (void)x, (void)y;
  float dx = u - 0.5f, dy = v - 0.5f, r = sqrtf(dx * dx + dy * dy) * 2;
  if (r > 0.98f) return rgba(0, 0, 0, 0);
  if (r > 0.74f) return rgba(196, 22, 26, 255);
  int digit = (fabsf(dx + 0.14f) < 0.045f || fabsf(dx - 0.14f) < 0.05f) && fabsf(dy) < 0.2f;
  return digit ? grey(24) : grey(236);
}
static uint32_t skyline(int x, int y, float u, float v) { /* far trees and houses, bluish */
  float trees = 0.45f + 0.4f * sonde_noise(u, 0.37f, 8, 4, 151);
  float houses = hash01((uint32_t)(x / 22), 152) > 0.55f ? 0.3f + 0.5f * hash01((uint32_t)(x / 22), 153) : 0.3f;
  float height = trees > houses ? trees : houses, up = 1 - v;
  float g = (trees > houses ? 88 : 132) + 22 * (sonde_noise(u, v, 32, 3, 154) - 0.5f) + 8 * speckle(x, y, 155);
  return trees > houses ? rgba(g * 0.78f, g, g * 0.76f, up < height ? 255 : 0)
                        : rgba(g, g, g + 8, up < height ? 255 : 0);
}
static uint32_t clouds(int x, int y, float u, float v) {
  (void)x, (void)y;
  float d = sonde_noise(u, v, 4, 6, 161);
  return rgba(255, 255, 255, 255 * smoothf(0.46f, 0.74f, d));
}

static const struct {
  texel_fn *fn;
  int side;
} made[SONDE_TEXTURES] = {
    [SONDE_T_PLAIN] = {plain, 32},    [SONDE_T_ASPHALT] = {asphalt, 512}, [SONDE_T_SLABS] = {slabs, 128},
    [SONDE_T_GRASS] = {grass, 256},   [SONDE_T_BRICK] = {brick, 512},     [SONDE_T_PLASTER] = {plastered, 512},
    [SONDE_T_OFFICE] = {office, 512}, [SONDE_T_SHOP] = {shop, 512},       [SONDE_T_ROOF] = {roof, 128},
    [SONDE_T_LEAVES] = {leaves, 256}, [SONDE_T_BARK] = {bark, 64},        [SONDE_T_HEDGE] = {hedge, 128},
    [SONDE_T_FENCE] = {fence, 128},   [SONDE_T_MARK] = {mark, 128},       [SONDE_T_GLASS] = {glass, 64},
    [SONDE_T_WHEEL] = {wheel, 64},    [SONDE_T_BUS] = {bus, 256},         [SONDE_T_SPOT] = {spot, 64},
    [SONDE_T_PATCH] = {patch, 64},    [SONDE_T_SIGN] = {sign, 64},        [SONDE_T_SKYLINE] = {skyline, 256},
    [SONDE_T_CLOUDS] = {clouds, 256}};

/* ---- mipmaps ---- */

/* The mean of four texels; holes give no colour, so that edges of leaves stay green. */
static uint32_t mean4(const uint32_t c[4]) {
  uint32_t r = 0, g = 0, b = 0, a = 0, n = 0;
  for (int i = 0; i < 4; i++) a += c[i] >> 24;
  for (int i = 0; i < 4; i++) {
    uint32_t w = a ? c[i] >> 24 : 1;
    r += w * (c[i] >> 16 & 255), g += w * (c[i] >> 8 & 255), b += w * (c[i] & 255), n += w;
  }
  return (a + 2) / 4 << 24 | (r / n) << 16 | (g / n) << 8 | b / n;
}

static void shrink(sonde_texture *t, int level) {
  int side = t->side >> level, from = side * 2;
  const uint32_t *s = t->level[level - 1];
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      const uint32_t *p = s + 2 * y * from + 2 * x;
      t->level[level][y * side + x] = mean4((uint32_t[4]){p[0], p[1], p[from], p[from + 1]});
    }
}

static int make(sonde_texture *t, texel_fn *fn, int side) {
  t->side = side;
  while (1 << t->bits < side) t->bits++;
  for (int s = side; s >= 1 && t->levels < SONDE_MIPS; s /= 2) {
    if (!(t->level[t->levels] = sonde_alloc(sizeof(uint32_t) * (size_t)s * (size_t)s))) return -1;
    t->levels++;
  }
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++)
      t->level[0][y * side + x] = fn(x, y, ((float)x + 0.5f) / (float)side, ((float)y + 0.5f) / (float)side);
  for (int k = 1; k < t->levels; k++) shrink(t, k);
  return 0;
}

sonde_textures *sonde_textures_new(sonde_error *err) {
  sonde_textures *s = sonde_alloc(sizeof *s);
  for (int i = 0; s && i < SONDE_TEXTURES; i++)
    if (make(&s->t[i], made[i].fn, made[i].side)) {
      sonde_textures_free(s);
      s = NULL;
    }
  if (!s) sonde_fail(err, SONDE_ENOMEM, "no memory for the simulator's textures");
  return s;
}

void sonde_textures_free(sonde_textures *s) {
  for (int i = 0; s && i < SONDE_TEXTURES; i++)
    for (int k = 0; k < SONDE_MIPS; k++) sonde_release(s->t[i].level[k]);
  sonde_release(s);
}

uint32_t sonde_texture_at(const sonde_texture *t, int level, float u, float v) {
  if (level >= t->levels) level = t->levels - 1;
  int side = t->side >> level, x = (int)whole(u * (float)side), y = (int)whole(v * (float)side);
  return t->level[level][(y & (side - 1)) * side + (x & (side - 1))];
}
