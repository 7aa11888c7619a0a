/* exact.h - arithmetic of the traffic simulator and of the rasteriser. Pictures must not depend on the C library, the
 * optimisation or the instruction set: so only operations that IEEE 754 rounds exactly (+ - * / sqrt), functions built
 * of them, and files compiled without contraction to fused multiply-adds (local.mk). */
#ifndef SONDE_DRIVE_EXACT_H
#define SONDE_DRIVE_EXACT_H

#include <math.h>
#include <stdint.h>
#include "base/rng.h"

typedef struct sonde_v3 {
  float x, y, z;
} sonde_v3;

static inline sonde_v3 v3(float x, float y, float z) {
  return (sonde_v3){x, y, z};
}
static inline sonde_v3 v3_add(sonde_v3 a, sonde_v3 b) {
  return v3(a.x + b.x, a.y + b.y, a.z + b.z);
}
static inline sonde_v3 v3_sub(sonde_v3 a, sonde_v3 b) {
  return v3(a.x - b.x, a.y - b.y, a.z - b.z);
}
static inline sonde_v3 v3_scale(sonde_v3 a, float s) {
  return v3(a.x * s, a.y * s, a.z * s);
}
static inline float v3_dot(sonde_v3 a, sonde_v3 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z;
}
static inline sonde_v3 v3_cross(sonde_v3 a, sonde_v3 b) {
  return v3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
static inline sonde_v3 v3_unit(sonde_v3 a) {
  float n = sqrtf(v3_dot(a, a));
  return n > 0 ? v3_scale(a, 1 / n) : a;
}

static inline double clamp(double x, double lo, double hi) {
  return x < lo ? lo : x > hi ? hi : x;
}
static inline float clampf(float x, float lo, float hi) {
  return x < lo ? lo : x > hi ? hi : x;
}
static inline double mix(double a, double b, double t) {
  return a + (b - a) * t;
}
static inline float mixf(float a, float b, float t) {
  return a + (b - a) * t;
}
/* 0 below a, 1 above b, a cubic between */
static inline double smooth(double a, double b, double x) {
  double t = clamp((x - a) / (b - a), 0, 1);
  return t * t * (3 - 2 * t);
}
static inline float smoothf(float a, float b, float x) {
  return (float)smooth(a, b, x);
}

/* Largest whole number that is not above x; |x| < 2^51. */
static inline double whole(double x) {
  double r = x + 0x1.8p52 - 0x1.8p52; /* to nearest, in the default rounding mode */
  return r > x ? r - 1 : r;
}

/* sin(x) for |x| below 10^6 or so: reduced to [-pi/2, pi/2], Taylor's series to x^15 (error under 1e-11). */
static inline double exact_sin(double x) {
  const double pi = 3.141592653589793;
  double n = whole(x / pi + 0.5);
  double r = x - n * pi, q = r * r;
  double s =
      r * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72 * (1 - q / 110 * (1 - q / 156 * (1 - q / 210)))))));
  return n - 2 * whole(n / 2) == 1 ? -s : s;
}
static inline double exact_cos(double x) {
  return exact_sin(x + 1.5707963267948966);
}

/* exp(x), x <= 0: (1 + x/2^12 + ...)^(2^12); relative error under 1e-7. For fading and fog. */
static inline double exact_exp(double x) {
  if (x < -80) return 0;
  double y = x / 4096, e = 1 + y * (1 + y / 2 * (1 + y / 3));
  for (int i = 0; i < 12; i++) e *= e;
  return e;
}

/* Draws from one stream, in order. C leaves the order of arguments and initialisers open: a call or a list has one draw
 * at most. */
typedef struct sonde_draws {
  sonde_rng rng;
  uint64_t n;
} sonde_draws;

static inline sonde_draws draws_new(uint64_t seed, const char *name) {
  return (sonde_draws){sonde_rng_stream(seed, name), 0};
}
static inline double draw(sonde_draws *d, double lo, double hi) {
  return lo + (hi - lo) * sonde_rng_uniform(d->rng, d->n++);
}
static inline int draw_int(sonde_draws *d, int n) {
  return (int)(sonde_rng_uniform(d->rng, d->n++) * n);
} /* [0, n) */
static inline int draw_chance(sonde_draws *d, double p) {
  return sonde_rng_uniform(d->rng, d->n++) < p;
}

/* A hash of whole numbers for textures and noise (the finaliser of MurmurHash3), and the same as a number in [0, 1). */
static inline uint32_t hash32(uint32_t a, uint32_t b) {
  uint32_t h = a * 0x9e3779b1u ^ (b + 0x7f4a7c15u) * 0x85ebca77u;
  h = (h ^ h >> 16) * 0x85ebca6bu;
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  return h ^ h >> 16;
}
static inline float hash01(uint32_t a, uint32_t b) {
  return (float)(hash32(a, b) >> 8) * 0x1p-24f;
}

#endif
