/* scene_road.c - the ground: road, pavements, side street, marks; the far skyline. */
#include "config.h"

#include "drive/scene_internal.h"

sonde_chunk *world_chunk(const world *w, double x) {
  int i = (int)((x - w->road->begin) / CHUNK);
  return &w->s->chunk[i < 0 ? 0 : i >= w->s->chunks ? w->s->chunks - 1 : i];
}

int world_at_crossing(const world *w, double x, double margin) {
  return !isnan(w->road->crossing) && fabs(x - w->road->crossing) < w->road->crossing_half + margin;
}

/* A level rectangle at height z; one repeat of the texture is `tile` metres, and fixed to the world. */
static void level(sonde_mesh *m, double x0, double x1, double y0, double y1, double z, float tile) {
  float a = (float)x0, b = (float)x1, c = (float)y0, d = (float)y1, h = (float)z;
  int first = m->vertices;
  sonde_mesh_quad(m, (sonde_v3[4]){{a, c, h}, {b, c, h}, {b, d, h}, {a, d, h}}, 1, 1, v3(0, 0, 1));
  for (int i = first; i < m->vertices; i++) {
    m->vertex[i].u = m->vertex[i].p.x / tile;
    m->vertex[i].v = m->vertex[i].p.y / tile;
  }
}

static void ground_pen(sonde_mesh *m, int texture, uint32_t tint) {
  sonde_mesh_pen(m, texture, tint);
  m->pen.shows = SONDE_SHOWS_GROUND;
}

/* One side of the road over [x0, x1). */
static void side_strip(world *w, sonde_mesh *m, double x0, double x1, int side, int crossing) {
  double k = side * w->kerb, o = side * w->outer, far = side * 140.0;
  int city = w->road->surroundings == SONDE_CITY;
  if (crossing) {
    ground_pen(m, SONDE_T_ASPHALT, 0xf0f0f0);
    for (double y = fabs(k); y < 139; y += 16) level(m, x0, x1, side * y, side * (y + 16 > 140 ? 140 : y + 16), 0, 6);
    return;
  }
  if (w->road->surroundings == SONDE_COUNTRY) {
    ground_pen(m, SONDE_T_GRASS, 0xe8e0c0);
    level(m, x0, x1, k, o, 0.02, 4);
  } else {
    ground_pen(m, SONDE_T_SLABS, 0xb8b8b4);
    sonde_mesh_quad(m,
                    (sonde_v3[4]){{(float)x0, (float)k, 0.12f},
                                  {(float)x1, (float)k, 0.12f},
                                  {(float)x1, (float)k, 0},
                                  {(float)x0, (float)k, 0}},
                    4, 0.1f, v3(0, (float)-side, 0));
    level(m, x0, x1, k, k + side * 0.18, 0.121, 2);
    ground_pen(m, SONDE_T_SLABS, 0xe8e8e8);
    level(m, x0, x1, k + side * 0.18, o, 0.12, 2);
  }
  ground_pen(m, city ? SONDE_T_SLABS : SONDE_T_GRASS, city ? 0xc8c8c4 : 0xffffff);
  level(m, x0, x1, o, o + side * 16, 0.1, city ? 3 : 5);
  level(m, x0, x1, o + side * 16, far, 0.1, city ? 3 : 9);
}

/* The kerbs along the side street. */
static void street_kerbs(world *w, double x, int out) {
  sonde_mesh *m = &world_chunk(w, x)->solid;
  ground_pen(m, SONDE_T_SLABS, 0xb0b0ac);
  float X = (float)x;
  for (int side = -1; side <= 1; side += 2) {
    float a = (float)(side * w->kerb), b = (float)(side * 140);
    sonde_mesh_quad(m, (sonde_v3[4]){{X, a, 0.125f}, {X, b, 0.125f}, {X, b, -0.01f}, {X, a, -0.01f}}, 60, 0.1f,
                    v3((float)out, 0, 0));
  }
}

/* ---- marks ---- */

static void mark(world *w, double x0, double x1, double y0, double y1, uint32_t tint) {
  sonde_mesh *m = &world_chunk(w, (x0 + x1) / 2)->flat;
  sonde_mesh_pen(m, SONDE_T_MARK, tint);
  m->pen.mode = SONDE_CUTOUT, m->pen.shows = SONDE_SHOWS_GROUND, m->pen.bias = 1.004f;
  level(m, x0, x1, y0, y1, 0.004, 2.5f);
}

static void line(world *w, double y, double on, double off, double wide, uint32_t tint) {
  for (double x = w->road->begin; x < w->road->end; x += on + off)
    if (!world_at_crossing(w, x + on / 2, 6 + on / 2)) mark(w, x, x + on, y - wide / 2, y + wide / 2, tint);
}

static void zebra(world *w, double x) {
  for (double y = -w->kerb + 0.3; y < w->kerb - 0.4; y += 0.95) mark(w, x - 1.5, x + 1.5, y, y + 0.48, 0xffffff);
}

static void add_marks(world *w) {
  const sonde_road *r = w->road;
  uint32_t white = 0xf4f4f0, middle = w->domain_b ? white : draw_chance(&w->d, 0.4) ? 0xf0c040 : white;
  if (r->lanes == 1 && draw_chance(&w->d, 0.75))
    line(w, 0, 3, 4.5, 0.13, middle);
  else
    for (int s = -1; s <= 1; s += 2) line(w, s * 0.14, 10, 0, 0.12, middle);
  for (int s = -1; s <= 1; s += 2) {
    for (int k = 1; k < r->lanes; k++) line(w, s * k * r->lane, 3, 6, 0.13, white);
    if (!r->parking || draw_chance(&w->d, 0.3)) line(w, s * r->lanes * r->lane, 10, 0, 0.13, white);
  }
  if (isnan(r->crossing)) return;
  for (int s = -1; s <= 1; s += 2) {
    double x = r->crossing + s * (r->crossing_half + 3.75), stop = x + s * 2.6;
    if (r->surroundings != SONDE_COUNTRY) zebra(w, x);
    mark(w, stop - 0.18, stop + 0.18, s < 0 ? -r->lanes * r->lane : 0.2, s < 0 ? -0.2 : r->lanes * r->lane, white);
  }
}

/* ---- all ---- */

static void add_ground(world *w) {
  const sonde_road *r = w->road;
  double low = r->crossing - r->crossing_half, high = r->crossing + r->crossing_half;
  for (double x = r->begin; x < r->end;) {
    double next = x + 10 < r->end ? x + 10 : r->end;
    int inside = !isnan(r->crossing) && x >= low - 1e-6 && x < high - 1e-6;
    if (!isnan(r->crossing) && !inside && x < low && next > low) next = low;
    if (inside && next > high) next = high;
    sonde_mesh *m = &world_chunk(w, (x + next) / 2)->solid;
    ground_pen(m, SONDE_T_ASPHALT, 0xffffff);
    level(m, x, next, -w->kerb, 0, 0, 6);
    level(m, x, next, 0, w->kerb, 0, 6);
    for (int side = -1; side <= 1; side += 2) side_strip(w, m, x, next, side, inside);
    x = next;
  }
  if (isnan(r->crossing)) return;
  street_kerbs(w, low, 1);
  street_kerbs(w, high, -1);
}

static void add_ring(world *w) {
  sonde_mesh *m = &w->s->ring;
  enum { SIDES = 24 };
  sonde_mesh_pen(m, SONDE_T_SKYLINE, 0xd8dce0);
  m->pen.mode = SONDE_CUTOUT, m->pen.both_sides = 1;
  float r = 430, h = w->road->surroundings == SONDE_CITY ? 34 : 20;
  for (int i = 0; i < SIDES; i++) {
    double a = 6.283185307179586 * i / SIDES, b = 6.283185307179586 * (i + 1) / SIDES;
    float ax = (float)exact_cos(a) * r, ay = (float)exact_sin(a) * r, bx = (float)exact_cos(b) * r,
          by = (float)exact_sin(b) * r;
    sonde_mesh_quad(m, (sonde_v3[4]){{ax, ay, h}, {bx, by, h}, {bx, by, -4}, {ax, ay, -4}}, 1.5f, 1, v3(0, 0, 0));
  }
}

void world_build(world *w) {
  add_ground(w);
  add_marks(w);
  world_add_sides(w);
  add_ring(w);
}
