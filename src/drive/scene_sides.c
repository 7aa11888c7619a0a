/* scene_sides.c - houses, trees, lamps, signs, hedges and poles along the road. */
#include "config.h"

#include "drive/scene_internal.h"

static const uint32_t walls[] = {0xe8dcc4, 0xd8c8b0, 0xf0ece4, 0xc8b8a8, 0xd8d0b8, 0xb8c0c4, 0xe4d0b0, 0xcfa890};
static const uint32_t brickwork[] = {0xc0705c, 0xb06850, 0xc89878, 0x9c6858, 0xd0a888};
static const uint32_t roofs[] = {0xa05848, 0x786058, 0x585860, 0x8c5044, 0x646c70};

static const uint32_t shopfronts[] = {0xf0ece8, 0xa8e0c8, 0xb0c4f0, 0xf0d8a0, 0xd0b0d8, 0xa0a8a8};

#define ANY(list, d) list[draw_int(d, (int)(sizeof list / sizeof *list))]

/* A shadow on the ground: `texture` is SPOT or PATCH, strength up to 1. */
static void shadow(world *w, double x, double y, double along, double across, int texture, float strength) {
  sonde_mesh *m = &world_chunk(w, x)->flat;
  sonde_mesh_pen(m, texture, (uint32_t)(255 * strength));
  m->pen.mode = SONDE_SHADOW, m->pen.bias = 1.02f;
  float x0 = (float)(x - along / 2), x1 = (float)(x + along / 2), y0 = (float)(y - across / 2),
        y1 = (float)(y + across / 2);
  sonde_mesh_quad(m, (sonde_v3[4]){{x0, y0, 0.02f}, {x1, y0, 0.02f}, {x1, y1, 0.02f}, {x0, y1, 0.02f}}, 1, 1,
                  v3(0, 0, 1));
}

/* How far the shadow of a point one metre up lies off; 0 where the sun does not shine. */
static sonde_v3 cast(const world *w) {
  const sonde_look *l = &w->s->look;
  if (l->light.sun <= 0.05f) return v3(0, 0, 0);
  float z = l->to_sun.z > 0.25f ? l->to_sun.z : 0.25f;
  return v3(-l->to_sun.x / z, -l->to_sun.y / z, 1);
}

/* ---- houses ---- */

/* A wall of a house from (x0, y0) to (x1, y1), its top at `high`; floors of 3 m count from the ground. */
static void wall(sonde_mesh *m, double x0, double y0, double x1, double y1, double low, double high, sonde_v3 out) {
  double wide = sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0));
  float bays = (float)(whole(wide / 3 + 0.5) / 4), floors = (float)(whole((high - low) / 3 + 0.5) / 4);
  float a = (float)x0, b = (float)y0, c = (float)x1, d = (float)y1, l = (float)low, h = (float)high;
  sonde_mesh_quad(m, (sonde_v3[4]){{a, b, h}, {c, d, h}, {c, d, l}, {a, b, l}}, bays > 0 ? bays : 0.25f,
                  floors > 0 ? floors : 0.25f, out);
}

static void walls_of(sonde_mesh *m, double x0, double x1, double y0, double y1, double low, double high, int side) {
  wall(m, x0, y0, x1, y0, low, high, v3(0, (float)-side, 0));
  wall(m, x0, y0, x0, y1, low, high, v3(-1, 0, 0));
  wall(m, x1, y0, x1, y1, low, high, v3(1, 0, 0));
}

static void block(world *w, int side, double x0, double x1, double y) { /* a city house */
  sonde_draws *d = &w->d;
  sonde_mesh *m = &world_chunk(w, (x0 + x1) / 2)->solid;
  double low = 0.1, ground = draw_chance(d, 0.6) ? 4 : 0,
         high = low + ground + 3 * (2 + draw_int(d, w->domain_b ? 3 : 6));
  double far = side * (fabs(y) + 15);
  int kind = draw_int(d, 3), texture = kind == 0 ? SONDE_T_BRICK : kind == 1 ? SONDE_T_PLASTER : SONDE_T_OFFICE;
  uint32_t tint = kind == 0 ? ANY(brickwork, d) : ANY(walls, d);
  sonde_mesh_pen(m, texture, tint);
  walls_of(m, x0, x1, y, far, low + ground, high, side);
  if (ground > 0) {
    sonde_mesh_pen(m, SONDE_T_SHOP, ANY(shopfronts, d));
    float units = (float)(whole((x1 - x0) / 8 + 0.5) / 2), l = (float)low, h = (float)(low + ground);
    sonde_mesh_quad(
        m,
        (sonde_v3[4]){
            {(float)x0, (float)y, h}, {(float)x1, (float)y, h}, {(float)x1, (float)y, l}, {(float)x0, (float)y, l}},
        units > 0 ? units : 0.5f, 1, v3(0, (float)-side, 0));
    sonde_mesh_pen(m, SONDE_T_PLAIN, tint);
    for (int k = 0; k < 2; k++) {
      float x = (float)(k ? x1 : x0), out = k ? 1 : -1;
      sonde_mesh_quad(m, (sonde_v3[4]){{x, (float)y, h}, {x, (float)far, h}, {x, (float)far, l}, {x, (float)y, l}}, 1,
                      1, v3(out, 0, 0));
    }
  }
  sonde_mesh_pen(m, SONDE_T_ROOF, ANY(roofs, d));
  float h = (float)high, a = (float)x0, b = (float)x1, lip = (float)(y - side * 0.35), back = (float)far;
  if (draw_chance(d, 0.5)) {
    float ridge = h + 3.2f, mid = (float)(y + side * 6.0);
    sonde_mesh_quad(m, (sonde_v3[4]){{a, mid, ridge}, {b, mid, ridge}, {b, lip, h}, {a, lip, h}}, (b - a) / 4, 2,
                    v3(0, (float)-side, 1));
  } else {
    sonde_mesh_pen(m, SONDE_T_PLAIN, 0x909090);
    sonde_mesh_box(m, v3(a, lip < back ? lip : back, h), v3(b, lip < back ? back : lip, h + 0.5f), 1);
  }
  sonde_v3 c = cast(w);
  double reach = fabs(high * c.y);
  if (c.z > 0 && c.y * side < 0 && reach > 1)
    shadow(w, (x0 + x1) / 2 + c.x * high / 2, y - side * reach / 2, (x1 - x0) * 1.25, reach * 1.3, SONDE_T_PATCH, 0.5f);
}

static void cottage(world *w, int side, double x0, double x1, double y) { /* a house with a gable roof */
  sonde_draws *d = &w->d;
  sonde_mesh *m = &world_chunk(w, (x0 + x1) / 2)->solid;
  double high = 0.1 + 3 * (1 + draw_int(d, 2)), far = side * (fabs(y) + draw(d, 7, 9)), mid = (y + far) / 2;
  int brick = draw_chance(d, 0.4);
  uint32_t tint = brick ? ANY(brickwork, d) : ANY(walls, d);
  sonde_mesh_pen(m, brick ? SONDE_T_BRICK : SONDE_T_PLASTER, tint);
  walls_of(m, x0, x1, y, far, 0.1, high, side);
  float a = (float)x0, b = (float)x1, h = (float)high, ridge = h + (float)draw(d, 2.2, 3.4), o = 0.4f;
  sonde_mesh_pen(m, SONDE_T_PLAIN, tint);
  for (int k = 0; k < 2; k++)
    sonde_mesh_triangle(
        m, (sonde_v3[3]){{k ? b : a, (float)y, h}, {k ? b : a, (float)far, h}, {k ? b : a, (float)mid, ridge}}, 1, 1,
        v3(k ? 1 : -1, 0, 0));
  sonde_mesh_pen(m, SONDE_T_ROOF, ANY(roofs, d));
  float eave = (float)(y - side * 0.5), back = (float)(far + side * 0.5);
  sonde_mesh_quad(
      m,
      (sonde_v3[4]){
          {a - o, (float)mid, ridge}, {b + o, (float)mid, ridge}, {b + o, eave, h - 0.3f}, {a - o, eave, h - 0.3f}},
      (b - a) / 4, 1.5f, v3(0, (float)-side, 1));
  sonde_mesh_quad(
      m,
      (sonde_v3[4]){
          {a - o, (float)mid, ridge}, {b + o, (float)mid, ridge}, {b + o, back, h - 0.3f}, {a - o, back, h - 0.3f}},
      (b - a) / 4, 1.5f, v3(0, (float)side, 1));
  sonde_mesh_pen(m, SONDE_T_BRICK, 0xa06050);
  float cx = mixf(a, b, 0.25f);
  sonde_mesh_box(m, v3(cx - 0.4f, (float)mid - 0.4f, ridge - 1), v3(cx + 0.4f, (float)mid + 0.4f, ridge + 0.8f), 40);
}

/* ---- plants and posts ---- */

static void tree(world *w, double x, double y, double size) {
  sonde_draws *d = &w->d;
  sonde_mesh *m = &world_chunk(w, x)->solid;
  float h = (float)size, X = (float)x, Y = (float)y, r = h * (float)draw(d, 0.26, 0.36), trunk = h * 0.4f;
  sonde_mesh_pen(m, SONDE_T_BARK, 0xd0c8c0);
  sonde_mesh_tube(m, v3(X, Y, 0), v3(X, Y, trunk + r * 0.6f), 0.035f * h, 0.02f * h, 6);
  double green = draw(d, 180, 255), red = green * draw(d, 0.75, 1);
  sonde_mesh_pen(m, SONDE_T_LEAVES, (uint32_t)red << 16 | (uint32_t)green << 8 | 0xa0);
  m->pen.mode = SONDE_CUTOUT, m->pen.both_sides = 1;
  float turn = (float)draw(d, 0, 3.14), mid = trunk + r * 0.85f;
  for (int i = 0; i < 3; i++) {
    double a = turn + 1.0472 * i;
    float c = (float)exact_cos(a) * r, s = (float)exact_sin(a) * r, z = r * 1.12f;
    sonde_v3 q[4] = {
        {X - c, Y - s, mid + z}, {X + c, Y + s, mid + z}, {X + c, Y + s, mid - z}, {X - c, Y - s, mid - z}};
    int first = m->vertices;
    sonde_mesh_quad(m, q, 1, 1, v3(0, 0, 0));
    for (int k = first; k < m->vertices; k++)
      m->vertex[k].n = v3_unit(v3(0, 0, k - first < 2 ? 1 : 0.4f)); /* lit from above */
  }
  sonde_v3 c = cast(w);
  shadow(w, x + c.x * mid, y + c.y * mid, 2.4 * r, 2.4 * r, SONDE_T_SPOT, c.z > 0 ? 0.62f : 0.3f);
}

static void lamp(world *w, double x, int side) {
  sonde_mesh *m = &world_chunk(w, x)->solid;
  float X = (float)x, y = (float)(side * (w->kerb + 0.5)), over = (float)(side * (w->kerb - 1.6)), h = 7.2f;
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0x747c80);
  sonde_mesh_tube(m, v3(X, y, 0.1f), v3(X, y, h), 0.09f, 0.06f, 6);
  sonde_mesh_tube(m, v3(X, y, h), v3(X, over, h + 0.3f), 0.05f, 0.04f, 5);
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0xc8c8c4);
  m->pen.part = SONDE_PART_LAMP;
  sonde_mesh_box(m, v3(X - 0.14f, over - 0.35f, h + 0.2f), v3(X + 0.14f, over + 0.35f, h + 0.32f), 1);
  sonde_mesh *f = &world_chunk(w, x)->flat;
  sonde_mesh_pen(f, SONDE_T_SPOT, 110);
  f->pen.mode = SONDE_POOL, f->pen.bias = 1.03f;
  float r = 9;
  sonde_mesh_quad(
      f,
      (sonde_v3[4]){
          {X - r, over - r, 0.03f}, {X + r, over - r, 0.03f}, {X + r, over + r, 0.03f}, {X - r, over + r, 0.03f}},
      1, 1, v3(0, 0, 1));
}

static void sign(world *w, double x, int side) {
  sonde_mesh *m = &world_chunk(w, x)->solid;
  float X = (float)x, y = (float)(side * (w->kerb + 0.45));
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0x9a9ea0);
  sonde_mesh_tube(m, v3(X, y, 0.1f), v3(X, y, 2.6f), 0.035f, 0.035f, 5);
  sonde_mesh_pen(m, SONDE_T_SIGN, 0xffffff);
  m->pen.mode = SONDE_CUTOUT, m->pen.both_sides = 1;
  float out = side < 0 ? -0.06f : 0.06f;
  sonde_mesh_quad(m,
                  (sonde_v3[4]){{X + out, y - 0.33f, 2.9f},
                                {X + out, y + 0.33f, 2.9f},
                                {X + out, y + 0.33f, 2.24f},
                                {X + out, y - 0.33f, 2.24f}},
                  1, 1, v3(out, 0, 0));
}

/* A pole with wires to the next one, 30 m on. */
static void pole(world *w, double x, int side) {
  sonde_mesh *m = &world_chunk(w, x)->solid;
  float X = (float)x, y = (float)(side * (w->kerb + 0.7)), h = 8.6f;
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0x8a8680);
  sonde_mesh_tube(m, v3(X, y, 0.1f), v3(X, y, h), 0.16f, 0.11f, 7);
  sonde_mesh_box(m, v3(X - 0.06f, y - 0.9f, h - 0.8f), v3(X + 0.06f, y + 0.9f, h - 0.66f), 1);
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0x222428);
  for (int k = -1; k <= 1; k++)
    for (int j = 0; j < 3; j++) { /* they sag */
      static const float at[4] = {0, 0.3f, 0.7f, 1}, down[4] = {0, 0.42f, 0.42f, 0};
      sonde_v3 a = v3(X + 30 * at[j], y + 0.8f * (float)k, h - 0.62f - down[j]);
      sonde_v3 b = v3(X + 30 * at[j + 1], y + 0.8f * (float)k, h - 0.62f - down[j + 1]);
      sonde_mesh_tube(m, a, b, 0.016f, 0.016f, 3);
    }
}

/* A hedge or a fence in front of a garden. */
static void border(world *w, double x0, double x1, double y, int hedge) {
  sonde_mesh *m = &world_chunk(w, (x0 + x1) / 2)->solid;
  float a = (float)x0, b = (float)x1, Y = (float)y, h = hedge ? 1.3f : 1.0f;
  sonde_mesh_pen(m, hedge ? SONDE_T_HEDGE : SONDE_T_FENCE, hedge ? 0xd0e8c0 : 0xe8e4dc);
  if (hedge) {
    sonde_mesh_box(m, v3(a, Y - 0.4f, 0.1f), v3(b, Y + 0.4f, h), 2);
    return;
  }
  m->pen.mode = SONDE_CUTOUT, m->pen.both_sides = 1;
  sonde_mesh_quad(m, (sonde_v3[4]){{a, Y, h}, {b, Y, h}, {b, Y, 0.1f}, {a, Y, 0.1f}}, (b - a) / 2, 1, v3(0, 0, 0));
}

/* ---- along the road ---- */

static void city_side(world *w, int side) {
  sonde_draws *d = &w->d;
  for (double x = w->road->begin; x < w->road->end - 20;) {
    double wide = 3 * (4 + draw_int(d, 4)), set = draw(d, 0, 0.6);
    if (world_at_crossing(w, x, 1.5) || world_at_crossing(w, x + wide, 1.5) ||
        world_at_crossing(w, x + wide / 2, 1.5)) {
      x += 1.5;
      continue;
    }
    block(w, side, x, x + wide, side * (w->outer + set));
    x += wide + (draw_chance(d, 0.15) ? draw(d, 3, 9) : 0.02);
  }
  int trees = draw_chance(d, 0.6);
  for (double x = w->road->begin + draw(d, 0, 9); trees && x < w->road->end; x += draw(d, 9, 17))
    if (!world_at_crossing(w, x, 4)) tree(w, x, side * (w->kerb + 0.8), draw(d, 5, 8.5));
}

static void suburb_side(world *w, int side) {
  sonde_draws *d = &w->d;
  for (double x = w->road->begin; x < w->road->end - 20;) {
    double wide = 3 * (3 + draw_int(d, 2)), set = draw(d, 3, 7), gap = draw(d, 2.5, 9);
    if (!world_at_crossing(w, x, 2) && !world_at_crossing(w, x + wide, 2) && !world_at_crossing(w, x + wide / 2, 2)) {
      cottage(w, side, x, x + wide, side * (w->outer + set));
      if (draw_chance(d, 0.7)) border(w, x, x + wide * 0.7, side * (w->outer + 0.5), draw_chance(d, 0.6));
      double behind = draw(d, 1.5, 8), size = draw(d, 4.5, 9);
      if (draw_chance(d, 0.7)) tree(w, x + wide + gap / 2, side * (w->outer + behind), size);
    }
    x += wide + gap;
  }
}

static void country_side(world *w, int side) {
  sonde_draws *d = &w->d;
  for (double x = w->road->begin; x < w->road->end; x += draw(d, 3, 22)) {
    double behind = draw(d, 1.5, 22), size = draw(d, 5, 13);
    if (!world_at_crossing(w, x, 4)) tree(w, x, side * (w->outer + behind), size);
  }
  for (double x = w->road->begin + 30; x < w->road->end - 30; x += draw(d, 50, 120))
    if (!world_at_crossing(w, x, 16)) cottage(w, side, x, x + 12, side * (w->outer + draw(d, 9, 24)));
  int hedge = draw_chance(d, 0.5);
  for (double x = w->road->begin; hedge && x < w->road->end; x += 10)
    if (!world_at_crossing(w, x + 5, 7) && draw_chance(d, 0.85)) border(w, x, x + 10, side * (w->outer + 1.2), 1);
}

void world_add_sides(world *w) {
  for (int side = -1; side <= 1; side += 2) {
    if (w->road->surroundings == SONDE_CITY)
      city_side(w, side);
    else if (w->road->surroundings == SONDE_SUBURB)
      suburb_side(w, side);
    else
      country_side(w, side);
  }
  int lamps = w->road->surroundings != SONDE_COUNTRY || draw_chance(&w->d, 0.3),
      side = draw_chance(&w->d, 0.5) ? 1 : -1;
  for (double x = w->road->begin + draw(&w->d, 0, 20); lamps && x < w->road->end; x += 28, side = -side)
    if (!world_at_crossing(w, x, 1)) lamp(w, x, side);
  for (double x = w->road->begin + draw(&w->d, 10, 60); x < w->road->end; x += draw(&w->d, 40, 110))
    if (!world_at_crossing(w, x, 1)) sign(w, x, draw_chance(&w->d, 0.75) ? -1 : 1);
  if (w->domain_b)
    for (double x = w->road->begin; x < w->road->end - 30; x += 30) pole(w, x, -1);
}
