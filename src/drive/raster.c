/* raster.c - triangles to pixels: clipped at the near plane, scan-converted by rows; along a row in
 * runs of RUN pixels. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "drive/raster.h"

enum { RUN = SONDE_RASTER_RUN, LIT = 200 };
static const float NEAR = 0.25f;

/* A quantity over the picture: a x + b y + c. */
typedef struct plane {
  float a, b, c;
} plane;

typedef struct point {
  float x, y;
} point;

typedef struct sonde_triangle {
  plane inverse, u, v, light; /* 1/z, and the others divided by z */
  point p[3];
  int top, bottom; /* rows [top, bottom) */
  sonde_paint paint;
} triangle;

void sonde_raster_clear(sonde_target *t) {
  t->triangles = 0;
}

void sonde_raster_free(sonde_target *t) {
  sonde_release(t->triangle);
  t->triangle = NULL;
  t->triangles = t->room = 0;
}

/* ---- a run of pixels ---- */

/* All RUN lanes of a run are computed at once; each lane is a pixel, and as IEEE 754 has it. */
typedef float floats __attribute__((vector_size(4 * RUN)));
typedef int32_t ints __attribute__((vector_size(4 * RUN)));
typedef uint32_t words __attribute__((vector_size(4 * RUN)));
typedef int8_t bytes __attribute__((vector_size(RUN)));

static const floats lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const ints lane_number = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

#define LOAD(v, from) memcpy(&(v), from, sizeof(v))
/* a where the mask is set, else b */
#define CHOOSE(mask, a, b) ((words)(mask) & (words)(a)) | (~(words)(mask) & (words)(b))

/* Clamps all lanes between two numbers. */
static inline void clamp_all(floats *x, float lo, float hi) {
  floats low = *x - *x + lo, high = *x - *x + hi;
  *x = (floats)(CHOOSE(*x < low, low, *x));
  *x = (floats)(CHOOSE(*x > high, high, *x));
}

typedef struct texels {
  const uint32_t *at;
  int shift;
  uint32_t mask;
} texels;

/* The level whose texels are about as large as pixels. Up to four times finer than the longer side of a pixel's
 * footprint, as the shorter side needs: the road ahead is seen at a glancing angle. */
static texels level_for(const triangle *t, float z, float u, float v) {
  const sonde_texture *x = t->paint.texture;
  float ux = (t->u.a - u * t->inverse.a) * z, vx = (t->v.a - v * t->inverse.a) * z;
  float uy = (t->u.b - u * t->inverse.b) * z, vy = (t->v.b - v * t->inverse.b) * z;
  float p = ux * ux + vx * vx, q = uy * uy + vy * vy;
  float large = p > q ? p : q, small = p > q ? q : p;
  if (small < large * 0.0625f) small = large * 0.0625f;
  float texel2 = small * (float)(x->side * x->side); /* texels a pixel, squared */
  int level = 0;
  for (; level + 1 < x->levels && texel2 > 2.0f; level++) texel2 *= 0.25f;
  return (texels){x->level[level], x->bits - level, ((uint32_t)x->side >> level) - 1};
}

/* On the ground only: more or less light where the texture has alpha. */
static void shade_ground(sonde_target *t, size_t i, int n, const words *texel, const ints *seen, const sonde_paint *p) {
  for (int k = 0; k < n; k++, i++) {
    uint32_t s = t->colour[i] >> 24, alpha = ((*texel)[k] >> 24) * (p->tint & 255) >> 8;
    if (!(*seen)[k] || t->shows[i] != SONDE_SHOWS_GROUND || s == 255) continue;
    s = p->mode == SONDE_SHADOW ? s * (256 - alpha) >> 8 : s + alpha;
    t->colour[i] = (t->colour[i] & 0xffffff) | (s > 254 ? 254 : s) << 24;
  }
}

/* Tints the texels and adds their light. */
static inline void light_texels(words *texel, const sonde_paint *p, int night, const floats *light) {
  uint32_t lit = p->mode == SONDE_SHINING ? 256 : night && p->mode == SONDE_SOLID ? LIT : 0; /* shines below */
  words c = *texel, r = (c >> 16 & 255) * (p->tint >> 16 & 255) >> 8, g = (c >> 8 & 255) * (p->tint >> 8 & 255) >> 8;
  words b = (c & 255) * (p->tint & 255) >> 8;
  floats l = *light * 128;
  clamp_all(&l, 0, 254);
  ints s = __builtin_convertvector(l, ints);
  if (lit) s = (ints)(CHOOSE((c >> 24) < lit, (s - s) + 255, s));
  *texel = r << 16 | g << 8 | b | (words)s << 24;
}

/* Texels and light; the perspective is that of each pixel. */
static inline void sample(const triangle *tri, float fx, float fy, const floats *inverse, words *texel, floats *light) {
  const float up = 0x1p20f; /* a multiple of every side: makes them positive */
  floats near = *inverse;
  clamp_all(&near, 1e-5f, 1e9f); /* lanes behind the row's end may be anything */
  floats z = 1 / near, u = (tri->u.a * fx + (tri->u.b * fy + tri->u.c) + tri->u.a * lane) * z;
  floats v = (tri->v.a * fx + (tri->v.b * fy + tri->v.c) + tri->v.a * lane) * z;
  *light = (tri->light.a * fx + (tri->light.b * fy + tri->light.c) + tri->light.a * lane) * z;
  texels tex = level_for(tri, z[0], u[0], v[0]);
  float side = (float)(tex.mask + 1);
  u = u * side + up, v = v * side + up;
  clamp_all(&u, 0, 0x1p21f), clamp_all(&v, 0, 0x1p21f);
  words tu = (words) __builtin_convertvector(u, ints) & tex.mask;
  words tv = (words) __builtin_convertvector(v, ints) & tex.mask;
  words at = tv << tex.shift | tu;
  uint32_t from[RUN], colour[RUN]; /* arrays, so that compilers gather */
  memcpy(from, &at, sizeof from);
  for (int k = 0; k < RUN; k++) colour[k] = tex.at[from[k]];
  memcpy(texel, colour, sizeof colour);
}

static inline int any_of(const ints *seen) {
  uint64_t w[RUN / 2], all = 0;
  memcpy(w, seen, sizeof w);
  for (int k = 0; k < RUN / 2; k++) all |= w[k];
  return all != 0;
}

/* n <= RUN pixels of a row. The target's arrays have RUN elements more than pixels. */
static void run(sonde_target *t, const triangle *tri, int y, int x0, int n) {
  const sonde_paint *p = &tri->paint;
  size_t i = (size_t)y * (size_t)t->width + (size_t)x0;
  float fy = (float)y + 0.5f, fx = (float)x0 + 0.5f;
  floats inverse = tri->inverse.a * fx + (tri->inverse.b * fy + tri->inverse.c) + tri->inverse.a * lane, there, light;
  LOAD(there, t->inverse + i);
  ints seen = (inverse * p->bias > there) & (lane_number < n);
  if (!any_of(&seen)) return;
  words texel, colour;
  sample(tri, fx, fy, &inverse, &texel, &light);
  if (p->mode >= SONDE_SHADOW) {
    shade_ground(t, i, n, &texel, &seen, p);
    return;
  }
  if (p->mode == SONDE_CUTOUT) seen &= (ints)texel >> 31; /* an alpha from 128 on: the sign */
  light_texels(&texel, p, t->night, &light);
  LOAD(colour, t->colour + i);
  colour = CHOOSE(seen, texel, colour);
  there = (floats)(CHOOSE(seen, inverse, there));
  memcpy(t->colour + i, &colour, sizeof colour);
  memcpy(t->inverse + i, &there, sizeof there);
  bytes shown, here = __builtin_convertvector(seen, bytes);
  LOAD(shown, t->shows + i);
  shown = (here & (int8_t)p->shows) | (~here & shown);
  memcpy(t->shows + i, &shown, sizeof shown);
}

/* ---- a triangle ---- */

/* The plane through three values at three points; det: twice the area. */
static plane plane_of(const point p[3], double q0, double q1, double q2, double det) {
  double a = ((q1 - q0) * (p[2].y - p[0].y) - (q2 - q0) * (p[1].y - p[0].y)) / det;
  double b = ((q2 - q0) * (p[1].x - p[0].x) - (q1 - q0) * (p[2].x - p[0].x)) / det;
  return (plane){(float)a, (float)b, (float)(q0 - a * p[0].x - b * p[0].y)};
}

/* Where the edge crosses the row's middle; the same for both triangles of an edge, so nothing shows between them. */
static float edge_at(point a, point b, float y) {
  if (a.y > b.y || (a.y == b.y && a.x > b.x)) {
    point c = a;
    a = b, b = c;
  }
  return a.x + (y - a.y) * ((b.x - a.x) / (b.y - a.y));
}

static int up(float x) {
  return (int)-whole(-(double)x);
} /* least whole number not below x */

/* The triangle's part in the rows [from, to). */
static void fill(sonde_target *t, const triangle *tri, int from, int to) {
  int y0 = tri->top > from ? tri->top : from, y1 = tri->bottom < to ? tri->bottom : to;
  for (int y = y0; y < y1; y++) {
    float fy = (float)y + 0.5f, left = 1e9f, right = -1e9f;
    for (int i = 0; i < 3; i++) {
      point a = tri->p[i], b = tri->p[(i + 1) % 3];
      if ((a.y <= fy) == (b.y <= fy)) continue;
      float x = edge_at(a, b, fy);
      if (x < left) left = x;
      if (x > right) right = x;
    }
    if (!(right > 0) || !(left < (float)t->width)) continue;
    int x0 = left < 0 ? 0 : up(left - 0.5f), x1 = right > (float)t->width ? t->width : up(right - 0.5f);
    for (int x = x0; x < x1; x += RUN) run(t, tri, y, x, x + RUN < x1 ? RUN : x1 - x);
  }
}

void sonde_raster_draw(sonde_target *t, int from, int to) {
  size_t at = (size_t)from * (size_t)t->width, n = (size_t)(to - from) * (size_t)t->width;
  memset(t->inverse + at, 0, n * sizeof *t->inverse);
  memset(t->colour + at, 0, n * sizeof *t->colour);
  memset(t->shows + at, SONDE_SHOWS_SKY, n);
  for (int i = 0; i < t->triangles; i++)
    if (t->triangle[i].top < to && t->triangle[i].bottom > from) fill(t, &t->triangle[i], from, to);
}

/* ---- collecting ---- */

/* The rows whose middle the triangle crosses; 0 if there are none in the picture. */
static int rows_of(const sonde_target *t, triangle *tri) {
  float top = tri->p[0].y, bottom = top;
  for (int i = 1; i < 3; i++) {
    if (tri->p[i].y < top) top = tri->p[i].y;
    if (tri->p[i].y > bottom) bottom = tri->p[i].y;
  }
  if (!(bottom > 0) || !(top < (float)t->height)) return 0;
  tri->top = top < 0 ? 0 : up(top - 0.5f), tri->bottom = bottom > (float)t->height ? t->height : up(bottom - 0.5f);
  return tri->top < tri->bottom;
}

static triangle *another(sonde_target *t) {
  if (t->triangles == t->room) {
    int more = t->room ? 2 * t->room : 4096;
    void *p = sonde_grow(t->triangle, (size_t)t->room * sizeof *t->triangle, (size_t)more * sizeof *t->triangle);
    if (!p) {
      t->failed = 1;
      return NULL;
    }
    t->triangle = p, t->room = more;
  }
  return &t->triangle[t->triangles];
}

static void project(sonde_target *t, const sonde_corner c[3], const sonde_paint *paint) {
  triangle *tri = another(t);
  double w[3];
  if (!tri) return;
  point *p = tri->p;
  for (int i = 0; i < 3; i++) {
    w[i] = 1.0 / (double)c[i].z;
    p[i] = (point){t->cx + t->focal * c[i].x / c[i].z, t->cy + t->focal * c[i].y / c[i].z};
  }
  double det =
      ((double)p[1].x - p[0].x) * ((double)p[2].y - p[0].y) - ((double)p[2].x - p[0].x) * ((double)p[1].y - p[0].y);
  if (fabs(det) < 1e-6 || !rows_of(t, tri)) return;
  tri->inverse = plane_of(p, w[0], w[1], w[2], det);
  tri->u = plane_of(p, c[0].u * w[0], c[1].u * w[1], c[2].u * w[2], det);
  tri->v = plane_of(p, c[0].v * w[0], c[1].v * w[1], c[2].v * w[2], det);
  tri->light = plane_of(p, c[0].light * w[0], c[1].light * w[1], c[2].light * w[2], det);
  tri->paint = *paint;
  t->triangles++;
}

static sonde_corner cut(const sonde_corner *a, const sonde_corner *b) {
  float k = (NEAR - a->z) / (b->z - a->z);
  return (sonde_corner){mixf(a->x, b->x, k), mixf(a->y, b->y, k), NEAR,
                        mixf(a->u, b->u, k), mixf(a->v, b->v, k), mixf(a->light, b->light, k)};
}

void sonde_raster_triangle(sonde_target *t, const sonde_corner corner[3], const sonde_paint *paint) {
  sonde_corner c[4];
  int n = 0;
  for (int i = 0; i < 3; i++) { /* at most four corners lie before the near plane */
    const sonde_corner *a = &corner[i], *b = &corner[(i + 1) % 3];
    if (a->z >= NEAR) c[n++] = *a;
    if ((a->z >= NEAR) != (b->z >= NEAR)) c[n++] = a->z < b->z ? cut(a, b) : cut(b, a);
  }
  if (n < 3) return;
  project(t, c, paint);
  if (n == 4) project(t, (sonde_corner[3]){c[0], c[2], c[3]}, paint);
}
