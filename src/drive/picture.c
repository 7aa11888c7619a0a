/* picture.c - light, weather and lens over what the rasteriser found, and the flow of its points. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "drive/picture.h"

/* Of the pixels of one row; [width] each. */
typedef struct painter_row {
  uint32_t *lit[4];            /* sums over the samples: colour times light, light */
  float *inverse, *z, *beam;   /* the sum of 1/z; metres; the ego car's light */
  float *dark, *grain;         /* [width][3] of the lens and the sensor */
  uint8_t *mixed;
} painter_row;

struct sonde_painter {
  int width, height, samples;
  sonde_target t;
  sonde_mesh scratch;
  float *sum;           /* [width][3] of the samples of a row; then the picture [height][width][3] */
  float *glow, *spread; /* [height / 4][width / 4][3] */
  painter_row row;
  void *rows; /* the memory of row */
  uint8_t *shows;       /* [height][width] */
};

static int new_row(sonde_painter *p) {
  size_t w = (size_t)p->width;
  float *f = p->rows = sonde_alloc(w * 14 * sizeof *f);
  if (!f) return -1;
  for (int k = 0; k < 4; k++) p->row.lit[k] = (uint32_t *)f + (size_t)k * w;
  p->row.inverse = f + 4 * w, p->row.z = f + 5 * w, p->row.beam = f + 6 * w; /* lit and inverse are cleared as one */
  p->row.dark = f + 7 * w, p->row.grain = f + 10 * w, p->row.mixed = (uint8_t *)(f + 13 * w);
  return 0;
}

sonde_painter *sonde_painter_new(int width, int height, int samples, sonde_error *err) {
  sonde_painter *p = sonde_alloc(sizeof *p);
  if (!p) return sonde_fail(err, SONDE_ENOMEM, "no memory for a picture of %d x %d", width, height), NULL;
  size_t n = (size_t)width * (size_t)height, fine = n * (size_t)(samples * samples) + SONDE_RASTER_RUN,
         coarse = (size_t)(width / 4 + 1) * (size_t)(height / 4 + 1);
  p->width = width, p->height = height, p->samples = samples;
  p->t = (sonde_target){.width = width * samples, .height = height * samples};
  p->t.inverse = sonde_alloc(fine * sizeof *p->t.inverse);
  p->t.colour = sonde_alloc(fine * sizeof *p->t.colour);
  p->t.shows = sonde_alloc(fine);
  p->sum = sonde_alloc(n * 3 * sizeof *p->sum);
  p->glow = sonde_alloc(coarse * 3 * sizeof *p->glow);
  p->spread = sonde_alloc(coarse * 3 * sizeof *p->spread);
  p->shows = sonde_alloc(n);
  if (p->t.inverse && p->t.colour && p->t.shows && p->sum && p->glow && p->spread && p->shows && !new_row(p)) return p;
  sonde_painter_free(p);
  return sonde_fail(err, SONDE_ENOMEM, "no memory for a picture of %d x %d", width, height), NULL;
}

void sonde_painter_free(sonde_painter *p) {
  if (!p) return;
  sonde_mesh_free(&p->scratch);
  sonde_raster_free(&p->t);
  sonde_release(p->t.inverse), sonde_release(p->t.colour), sonde_release(p->t.shows);
  sonde_release(p->sum), sonde_release(p->glow), sonde_release(p->spread), sonde_release(p->shows);
  sonde_release(p->rows);
  sonde_release(p);
}

/* ---- light ---- */

typedef struct shading {
  const sonde_look *look;
  const sonde_texture *clouds;
  sonde_camera camera;
  float beam;  /* of the ego car's headlights */
  float cloud; /* how much the clouds show */
  float drift;
} shading;

static const float WARM[3] = {1.05f, 1, 0.88f}; /* colour of headlights */

/* The sky in a direction: clearer upwards, with clouds in a layer overhead. */
static void sky(const shading *h, sonde_v3 d, float out[3]) {
  const sonde_look *l = h->look;
  float up = d.z < 0 ? 0 : d.z, k = 1 - 1 / (1 + 5 * up), cover = 0;
  if (up > 0.015f && h->cloud > 0) {
    float reach = 0.16f / (up + 0.05f);
    uint32_t c = sonde_texture_at(h->clouds, 0, d.x * reach + h->drift, d.y * reach);
    cover = (float)(c >> 24) / 255 * h->cloud * smoothf(0.015f, 0.12f, up);
  }
  for (int i = 0; i < 3; i++) {
    float clear = mixf(l->horizon[i], l->zenith[i], k), white = l->time == SONDE_DAY ? 238 : l->horizon[i] * 1.15f + 8;
    out[i] = mixf(clear, white, cover);
  }
}

/* Low beams: bright below the horizon, wide, fading with the distance. (a, e): in the picture at focal length 1. */
static float headlights(float a, float e, float z) {
  float far = z * (1.0f / 17);
  float side = 1 / (1 + 7 * a * a * a * a + 2.2f * a * a), high = e > 0.015f   ? 1
                                                                  : e < -0.07f ? 0.08f
                                                                               : 0.08f + 0.92f * (e + 0.07f) / 0.085f;
  float near = z < 4 ? z * 0.25f : 1;
  return side * high * near / (1 + far * far);
}

/* A surface of colour rgb (0 to 255) under `light`, at (px, py) in the picture at focal length 1 and z metres away. */
static void shade_surface(const shading *h, const float rgb[3], float light, float px, float py, float z, int beam,
                          float out[3]) {
  const sonde_look *l = h->look;
  float own = h->beam > 0 && beam ? h->beam * headlights(px, py, z) : 0;
  float q = l->haze * z, clear = 1 / (1 + q + 0.5f * q * q);
  for (int k = 0; k < 3; k++) out[k] = mixf(l->fog[k], rgb[k] * l->gain * (light * l->tint[k] + own * WARM[k]), clear);
}

/* One sample: sky, a lamp, or a surface. */
static void shade(const shading *h, const sonde_target *t, int x, int y, float out[3]) {
  size_t i = (size_t)y * (size_t)t->width + (size_t)x;
  const sonde_look *l = h->look;
  float px = ((float)x + 0.5f - t->cx) / t->focal, py = ((float)y + 0.5f - t->cy) / t->focal;
  if (t->shows[i] == SONDE_SHOWS_SKY) {
    sonde_v3 d = v3_add(h->camera.ahead, v3_add(v3_scale(h->camera.right, px), v3_scale(h->camera.down, py)));
    sky(h, v3_unit(d), out);
    return;
  }
  uint32_t c = t->colour[i], s = c >> 24;
  float rgb[3] = {(float)(c >> 16 & 255), (float)(c >> 8 & 255), (float)(c & 255)}, z = 1 / t->inverse[i];
  if (s < 255) {
    shade_surface(h, rgb, (float)s * (1.0f / 128), px, py, z, t->shows[i] != SONDE_SHOWS_BONNET, out);
    return;
  }
  float q = l->haze * z, clear = 0.25f + 0.75f / (1 + q + 0.5f * q * q); /* lamps shine through the haze */
  for (int k = 0; k < 3; k++) out[k] = mixf(l->fog[k], rgb[k] * 1.1f, clear);
}

/* The mean of n x n samples from (x, y) on, of which some show the sky or a lamp. */
static void shade_mixed(const shading *h, const sonde_target *t, int n, int x, int y, float out[3]) {
  float each = 1.0f / (float)(n * n), one[3];
  int sky_samples = 0;
  for (int i = 0; i < n * n; i++)
    sky_samples += t->shows[(size_t)(y + i / n) * (size_t)t->width + (size_t)(x + i % n)] == SONDE_SHOWS_SKY;
  if (sky_samples == n * n) {
    shade(h, t, x + n / 2, y + n / 2, out);
    return;
  }
  out[0] = out[1] = out[2] = 0;
  for (int i = 0; i < n * n; i++) {
    shade(h, t, x + i % n, y + i / n, one);
    for (int c = 0; c < 3; c++) out[c] += one[c] * each;
  }
}

/* Adds up the samples of a row's pixels: colour times light, light, 1/z; mixed: whether some are not of a surface. */
static inline void add_samples(const sonde_target *t, int n, int y, int width, painter_row *r) {
  memset(r->lit[0], 0, (size_t)width * (4 * sizeof *r->lit[0] + sizeof *r->inverse));
  memset(r->mixed, 0, (size_t)width);
  uint32_t *restrict red = r->lit[0], *restrict green = r->lit[1], *restrict blue = r->lit[2];
  uint32_t *restrict all = r->lit[3];
  float *restrict inverse = r->inverse;
  uint8_t *restrict mixed = r->mixed;
  for (int j = 0; j < n; j++)
    for (int i = 0; i < n; i++) {
      size_t at = (size_t)(y * n + j) * (size_t)t->width + (size_t)i;
      const uint32_t *restrict colour = t->colour + at;
      const float *restrict near = t->inverse + at;
      const uint8_t *restrict shows = t->shows + at;
      for (int x = 0; x < width; x++) {
        uint32_t c = colour[x * n], s = c >> 24;
        red[x] += (c >> 16 & 255) * s, green[x] += (c >> 8 & 255) * s, blue[x] += (c & 255) * s, all[x] += s;
      }
      for (int x = 0; x < width; x++) inverse[x] += near[x * n];
      for (int x = 0; x < width; x++) mixed[x] |= (shows[x * n] == SONDE_SHOWS_SKY) | (colour[x * n] >> 24 == 255);
    }
}

/* Shades a row as if all of it were surfaces: colour, light and depth are averaged first. Loops that compilers turn
 * into vectors. */
static void shade_row(const shading *h, const sonde_target *t, int n, int y, int width, painter_row *r, float *out) {
  float each = 1.0f / (float)(n * n), py = ((float)(y * n) + 0.5f * (float)n - t->cy) / t->focal;
  const uint8_t *shows = t->shows + (size_t)(y * n) * (size_t)t->width;
  for (int x = 0; x < width; x++) r->z[x] = 1 / (r->inverse[x] * each);
  memset(r->beam, 0, (size_t)width * sizeof *r->beam);
  for (int x = 0; h->beam > 0 && x < width; x++) {
    float px = ((float)(x * n) + 0.5f * (float)n - t->cx) / t->focal;
    r->beam[x] = shows[x * n] != SONDE_SHOWS_BONNET ? h->beam * headlights(px, py, r->z[x]) : 0;
  }
  for (int c = 0; c < 3; c++) {
    float fog = h->look->fog[c], tint = h->look->tint[c], gain = h->look->gain, haze = h->look->haze, warm = WARM[c];
    const uint32_t *restrict lit = r->lit[c], *restrict all = r->lit[3];
    const float *restrict z = r->z, *restrict beam = r->beam;
    float *restrict to = out + c;
    for (int x = 0; x < width; x++) {
      float light = (float)(int)all[x], one = (float)(int)lit[x] / light, q = haze * z[x];
      float clear = 1 / (1 + q + 0.5f * q * q), on = light * each * (1.0f / 128) * tint + beam[x] * warm;
      to[3 * x] = mixf(fog, one * gain * on, clear);
    }
  }
}

/* Draws and shades the picture, a band of rows at a time; samples become pixels. */
static void develop(sonde_painter *p, const shading *h) {
  enum { BAND = 16 };
  int n = p->samples, w = p->width;
  for (int y = 0; y < p->height; y++) {
    if (y % BAND == 0) sonde_raster_draw(&p->t, y * n, (y + BAND < p->height ? y + BAND : p->height) * n);
    float *out = p->sum + 3 * (size_t)y * (size_t)w;
    uint8_t *shows = p->shows + (size_t)y * (size_t)w;
    if (n == 2)
      add_samples(&p->t, 2, y, w, &p->row);
    else
      add_samples(&p->t, n, y, w, &p->row);
    shade_row(h, &p->t, n, y, w, &p->row, out);
    for (int x = 0; x < w; x++) {
      if (p->row.mixed[x] || !p->row.lit[3][x]) shade_mixed(h, &p->t, n, x * n, y * n, out + 3 * x);
      shows[x] = p->t.shows[(size_t)(y * n + n / 2) * (size_t)p->t.width + (size_t)(x * n + n / 2)];
    }
  }
}

/* ---- weather and lens ---- */

static float *pixel(const sonde_painter *p, int x, int y) {
  return p->sum + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
}

/* A wet road mirrors what is above the horizon, most at a glancing angle. */
static void wet(sonde_painter *p, const sonde_look *l, const sonde_camera *c) {
  float focal = p->t.focal / (float)p->samples, cy = p->t.cy / (float)p->samples;
  float horizon = cy + focal * c->ahead.z;
  for (int y = (int)horizon + 1; y < p->height; y++) {
    if (y < 0) continue;
    float e = ((float)y - horizon) / focal, glance = 1 / (1 + 4.5f * e), share = 0.62f * glance * glance * glance;
    for (int x = 0; x < p->width; x++) {
      if (p->shows[(size_t)y * (size_t)p->width + (size_t)x] != SONDE_SHOWS_GROUND) continue;
      float uneven = sonde_noise((float)x / (float)p->width, e, 8, 2, 7), *q = pixel(p, x, y);
      for (int k = 0; k < 3; k++) {
        float sum = 0;
        for (int j = -1; j <= 1; j++) { /* smeared downwards */
          int m = (int)(2 * horizon - (float)y * (1 + 0.10f * (float)j) + 0.1f * (float)j * horizon);
          sum += m >= 0 && m < y ? pixel(p, x, m)[k] : l->horizon[k];
        }
        q[k] = mixf(q[k] * 0.82f, sum / 3, share * (0.6f + 0.8f * uneven));
      }
    }
  }
}

static void blur(float *from, float *to, int n, int step, int lines, int next) { /* a box of 7 along each line */
  for (int i = 0; i < lines; i++)
    for (int j = 0; j < n; j++)
      for (int k = 0; k < 3; k++) {
        float sum = 0;
        for (int o = -3; o <= 3; o++) {
          int m = j + o < 0 ? 0 : j + o >= n ? n - 1 : j + o;
          sum += from[(i * next + m * step) * 3 + k];
        }
        to[(i * next + j * step) * 3 + k] = sum * (1.0f / 7);
      }
}

/* Light spreads around what is brighter than the sensor takes. */
static void bloom(sonde_painter *p, float strength) {
  int w = p->width / 4, h = p->height / 4, n = p->samples;
  if (w < 1 || h < 1) return;
  memset(p->glow, 0, sizeof *p->glow * 3 * (size_t)(w * h));
  for (int y = 0; y < h * 4; y++)
    for (int x = 0; x < w * 4; x++) {
      size_t i = (size_t)(y * n) * (size_t)p->t.width + (size_t)(x * n);
      if (p->shows[(size_t)y * (size_t)p->width + (size_t)x] == SONDE_SHOWS_SKY || p->t.colour[i] >> 24 != 255)
        continue;
      uint32_t c = p->t.colour[i];
      float *g = p->glow + 3 * ((y / 4) * w + x / 4),
            bright = (float)((c >> 16 & 255) + (c >> 8 & 255)) > 300 ? 1 : 0.5f;
      g[0] += bright * (float)(c >> 16 & 255) / 16, g[1] += bright * (float)(c >> 8 & 255) / 16,
          g[2] += bright * (float)(c & 255) / 16;
    }
  for (int pass = 0; pass < 2; pass++) {
    blur(p->glow, p->spread, w, 1, h, w);
    blur(p->spread, p->glow, h, w, w, 1);
  }
  for (int y = 0; y < p->height; y++)
    for (int x = 0; x < p->width; x++) {
      int gx = x / 4 < w ? x / 4 : w - 1, gy = y / 4 < h ? y / 4 : h - 1;
      float *q = pixel(p, x, y);
      for (int k = 0; k < 3; k++) q[k] += strength * p->glow[3 * (gy * w + gx) + k];
    }
}

/* Falling drops, as short streaks; drops on the windscreen, which show the picture upside down. */
static void rain(sonde_painter *p, int frame, uint64_t seed, float bright) {
  uint32_t s = (uint32_t)(seed ^ seed >> 32);
  int w = p->width, h = p->height;
  for (uint32_t i = 0; i < 90; i++) {
    uint32_t key = i + 4096 * (uint32_t)frame;
    float x = hash01(key, s) * (float)w, y = hash01(key, s + 1) * (float)h * 1.1f - 0.1f * (float)h;
    float long_ = (0.02f + 0.07f * hash01(key, s + 2)) * (float)h, lean = (x / (float)w - 0.5f) * 0.5f,
          a = 0.08f + 0.2f * hash01(key, s + 3);
    for (int j = 0; j < (int)long_; j++) {
      int px = (int)(x + lean * (float)j), py = (int)y + j;
      if (px < 0 || py < 0 || px >= w || py >= h) continue;
      for (int k = 0; k < 3; k++) pixel(p, px, py)[k] = mixf(pixel(p, px, py)[k], bright, a);
    }
  }
  for (uint32_t i = 0; i < 26; i++) {
    float age = (float)(frame % 40) / 40, r = (0.007f + 0.017f * hash01(i, s + 4)) * (float)w * (0.6f + 0.4f * age);
    float cx = hash01(i, s + 5) * (float)w, cy = hash01(i, s + 6) * (float)h;
    for (int y = (int)(cy - r); y <= (int)(cy + r); y++)
      for (int x = (int)(cx - r); x <= (int)(cx + r); x++) {
        float dx = ((float)x - cx) / r, dy = ((float)y - cy) / r, q = dx * dx + dy * dy;
        int sx = (int)(cx - dx * r * 2.5f), sy = (int)(cy - dy * r * 2.5f);
        if (q >= 1 || x < 0 || y < 0 || x >= w || y >= h || sx < 0 || sy < 0 || sx >= w || sy >= h) continue;
        float a = 0.75f * (1 - q * q);
        for (int k = 0; k < 3; k++) pixel(p, x, y)[k] = mixf(pixel(p, x, y)[k], pixel(p, sx, sy)[k] * 0.96f, a);
      }
  }
}

/* Vignette, noise of the sensor, and the clipping of bright parts with a soft shoulder. A row at a time, in loops that
 * compilers turn into vectors. */
static void expose(const sonde_painter *p, const sonde_look *l, int frame, uint64_t seed, uint8_t *rgb) {
  uint32_t s = hash32((uint32_t)seed, (uint32_t)frame);
  float cx = (float)p->width / 2, cy = (float)p->height / 2, scale = 1 / (cx * cx + cy * cy), noise = l->noise;
  int numbers = 3 * p->width;
  for (int y = 0; y < p->height; y++) {
    size_t first = (size_t)y * (size_t)p->width;
    float dy = (float)y - cy, *restrict dark = p->row.dark, *restrict grain = p->row.grain;
    for (int x = 0; x < p->width; x++) {
      uint32_t r = hash32((uint32_t)first + (uint32_t)x, s);
      float dx = (float)x - cx, g = (float)(int)(r & 255) + (float)(int)(r >> 8 & 255) + (float)(int)(r >> 16 & 255);
      for (int k = 0; k < 3; k++) {
        dark[3 * x + k] = 1 - 0.2f * (dx * dx + dy * dy) * scale;
        grain[3 * x + k] = noise * (g - 382.5f) * (1.0f / 128);
      }
    }
    const float *restrict sum = p->sum + 3 * first;
    uint8_t *restrict out = rgb + 3 * first;
    for (int i = 0; i < numbers; i++) {
      float c = sum[i] * dark[i], bright = 200 + 55 * (1 - 1 / (1 + (c - 200) / 55));
      c = (c > 200 ? bright : c) + grain[i];
      c = c < 0 ? 0 : c;
      out[i] = (uint8_t)(int)(c > 255 ? 255 : c);
    }
  }
}

int sonde_painter_frame(sonde_painter *p, const sonde_scene *s, double seconds, int frame, uint64_t seed, uint8_t *rgb,
                        sonde_error *err) {
  const sonde_look *l = &s->look;
  sonde_target *t = &p->t;
  t->focal = (float)t->width / 2 / l->wide, t->cx = (float)t->width / 2, t->cy = (float)t->height / 2;
  sonde_raster_clear(t);
  sonde_scene_render(s, seconds, t, &p->scratch);
  shading h = {.look = l, .clouds = &s->textures->t[SONDE_T_CLOUDS], .camera = sonde_scene_camera(s, seconds)};
  h.beam = l->time == SONDE_NIGHT ? 1.25f : l->time == SONDE_DUSK ? 0.3f : 0;
  h.cloud = l->time == SONDE_NIGHT ? 0.25f : l->rain ? 0.35f : l->cloudy ? 0.6f : 0.75f;
  h.drift = s->shake_phase[7];
  develop(p, &h);
  if (l->rain) wet(p, l, &h.camera);
  if (l->light.lamps) bloom(p, l->time == SONDE_NIGHT ? 0.9f : l->time == SONDE_DUSK ? 0.5f : 0.25f);
  if (l->rain) rain(p, frame, seed, 0.5f * (l->horizon[1] + 160));
  expose(p, l, frame, seed, rgb);
  if (t->failed || p->scratch.failed) return sonde_fail(err, SONDE_ENOMEM, "no memory for the triangles of a frame");
  return 0;
}

/* ---- truth ---- */

/* Where the point p of the body goes while the body moves from `a` to `b`. */
static sonde_v3 carried(sonde_v3 p, const sonde_transform *a, const sonde_transform *b) {
  float x = (p.x - a->at.x) * a->dx + (p.y - a->at.y) * a->dy, y = (p.y - a->at.y) * a->dx - (p.x - a->at.x) * a->dy;
  return v3(b->at.x + x * b->dx - y * b->dy, b->at.y + x * b->dy + y * b->dx, p.z);
}

void sonde_painter_truth(const sonde_painter *p, const sonde_scene *s, double seconds, double dt, uint8_t *shows,
                         float *depth, float *flow) {
  int n = p->samples;
  float focal = p->t.focal / (float)n, cx = p->t.cx / (float)n, cy = p->t.cy / (float)n;
  sonde_camera now = sonde_scene_camera(s, seconds), next = sonde_scene_camera(s, seconds + dt);
  sonde_transform from[SONDE_BODIES], to[SONDE_BODIES];
  for (int b = 0; b < s->traffic->bodies; b++)
    from[b] = sonde_scene_place(s, b, seconds), to[b] = sonde_scene_place(s, b, seconds + dt);
  for (int y = 0; y < p->height; y++)
    for (int x = 0; x < p->width; x++) {
      size_t i = (size_t)y * (size_t)p->width + (size_t)x,
             at = (size_t)(y * n + n / 2) * (size_t)p->t.width + (size_t)(x * n + n / 2);
      int what = p->t.shows[at];
      float fine = 0.5f / (float)n * (float)(n % 2 == 0), px = ((float)x + 0.5f + fine - cx) / focal,
            py = ((float)y + 0.5f + fine - cy) / focal;
      int is_sky = what == SONDE_SHOWS_SKY;
      float z = is_sky ? 1e6f : 1 / p->t.inverse[at];
      if (shows) shows[i] = (uint8_t)what;
      if (depth) depth[i] = is_sky ? INFINITY : z;
      if (!flow) continue;
      sonde_v3 point = v3_add(v3_scale(now.ahead, z), v3_add(v3_scale(now.right, px * z), v3_scale(now.down, py * z)));
      point = v3_add(point, now.eye);
      if (what >= SONDE_SHOWS_BODY)
        point = carried(point, &from[what - SONDE_SHOWS_BODY], &to[what - SONDE_SHOWS_BODY]);
      sonde_v3 d = v3_sub(point, next.eye);
      float ahead = v3_dot(d, next.ahead);
      int gone = what == SONDE_SHOWS_BONNET || ahead < 0.1f; /* the bonnet moves with the camera */
      flow[2 * i] = gone ? 0 : focal * (v3_dot(d, next.right) / ahead - px);
      flow[2 * i + 1] = gone ? 0 : focal * (v3_dot(d, next.down) / ahead - py);
    }
}
