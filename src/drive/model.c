/* model.c - cars, people on foot and people on bicycles. */
#include "config.h"

#include "drive/model.h"

static const uint32_t paints[] = {0xe8e8e8, 0xc8ccd0, 0x8c9298, 0x4c5056, 0x24262a, 0x7c1e20,
                                  0x243e74, 0x5c7890, 0x2c4a38, 0xb8a888, 0xb03a28, 0xdcdad0};
static const uint32_t clothes[] = {0xc04038, 0x3c5ca0, 0xe0d8c8, 0x38383c, 0x687078,
                                   0x3a7048, 0xd8a838, 0x7a4a80, 0x9c6c48};
static const uint32_t trousers[] = {0x283040, 0x303034, 0x4c4438, 0x3a4a68, 0x5c5c60};
static const uint32_t skins[] = {0xe8c0a0, 0xd0a080, 0x9c6c4c, 0x6c4834};

#define PICK(list, seed, salt) list[hash32(seed, salt) % (sizeof list / sizeof *list)]

/* ---- cars ---- */

/* A side view: heights of the body's upper edge along x, and the cabin, as shares of length and height. */
typedef struct car_shape {
  float nose, hood, belt, tail;              /* heights of the upper edge: front, before the windscreen, along, rear */
  float screen, roof_front, roof_rear, rear; /* x of the cabin's four corners, -0.5 (rear) to 0.5 (front) */
  float tumble;                              /* how far the roof is drawn in at each side, share of the width */
} car_shape;

static const car_shape shapes[] = {{0.46f, 0.60f, 0.64f, 0.62f, 0.24f, 0.06f, -0.36f, -0.47f, 0.11f},   /* hatchback */
                                   {0.45f, 0.59f, 0.63f, 0.62f, 0.22f, 0.05f, -0.22f, -0.36f, 0.11f},   /* sedan */
                                   {0.52f, 0.62f, 0.65f, 0.64f, 0.25f, 0.10f, -0.40f, -0.48f, 0.09f},   /* SUV */
                                   {0.40f, 0.50f, 0.53f, 0.53f, 0.40f, 0.27f, -0.49f, -0.495f, 0.05f}}; /* van */

static void side_pair(sonde_mesh *m, sonde_v3 a, sonde_v3 b, sonde_v3 c, sonde_v3 d) { /* on both sides of the car */
  for (int s = -1; s <= 1; s += 2) {
    float k = (float)s;
    sonde_v3 q[4] = {{a.x, a.y * k, a.z}, {b.x, b.y * k, b.z}, {c.x, c.y * k, c.z}, {d.x, d.y * k, d.z}};
    sonde_mesh_quad(m, q, 1, 1, v3(0, k, 0));
  }
}

/* Straight across the car from the edge (x0, z0) to the edge (x1, z1), half widths w0 and w1. */
static void strip(sonde_mesh *m, float x0, float z0, float w0, float x1, float z1, float w1, sonde_v3 out) {
  sonde_mesh_quad(m, (sonde_v3[4]){{x0, -w0, z0}, {x0, w0, z0}, {x1, w1, z1}, {x1, -w1, z1}}, 1, 1, out);
}

static void wheels(sonde_mesh *m, float front, float rear, float half, float r) {
  for (int i = 0; i < 4; i++) {
    float x = i < 2 ? front : rear, s = i % 2 ? 1 : -1;
    sonde_mesh_pen(m, SONDE_T_PLAIN, 0x18181a);
    m->pen.bias = 1.0008f;
    sonde_mesh_disc(m, v3(x, s * (half + 0.004f), r + 0.05f), v3(0, s, 0), r * 1.2f); /* the arch */
    sonde_mesh_pen(m, SONDE_T_WHEEL, 0xffffff);
    m->pen.bias = 1.002f;
    sonde_mesh_disc(m, v3(x, s * (half + 0.012f), r), v3(0, s, 0), r);
    sonde_mesh_pen(m, SONDE_T_PLAIN, 0x1c1c1e);
    sonde_mesh_tube(m, v3(x, s * (half - 0.22f), r), v3(x, s * half, r), r, r, 12);
  }
}

static void lamps(sonde_mesh *m, float x, float half, float z, float height, float wide, int front) {
  float out = front ? 1 : -1;
  for (int s = -1; s <= 1; s += 2) {
    float y0 = (float)s * (half - wide - 0.04f), y1 = (float)s * (half - 0.04f);
    sonde_mesh_pen(m, SONDE_T_PLAIN, front ? 0xd8dce0 : 0x8c1818);
    m->pen.part = front ? SONDE_PART_HEAD : SONDE_PART_TAIL, m->pen.bias = 1.003f;
    sonde_v3 q[4] = {{x, y0, z + height}, {x, y1, z + height}, {x - 0.04f * out, y1, z}, {x, y0, z}};
    sonde_mesh_quad(m, q, 1, 1, v3(out, 0, 0));
  }
}

static void flat(sonde_mesh *m, float x, float half, float z0, float z1, uint32_t tint,
                 int front) { /* plates, grilles */
  sonde_mesh_pen(m, SONDE_T_PLAIN, tint);
  m->pen.bias = 1.003f;
  strip(m, x, z1, half, x, z0, half, v3(front ? 1 : -1, 0, 0));
}

static void body_shell(sonde_mesh *m, const car_shape *c, float L, float w, float H) {
  float f = 0.5f * L, low = 0.17f * H, skirt = 0.36f * H, in = 0.93f * w;
  float xs[5] = {f, f * 0.93f, c->screen * L, c->rear * L, -f},
        zs[5] = {c->nose * H, c->hood * H * 0.93f, c->hood * H, c->tail * H, c->tail * H * 0.97f};
  for (int i = 0; i < 4; i++) {
    float wa = i == 0 ? 0.84f * w : w, wb = i == 3 ? 0.9f * w : w;
    strip(m, xs[i], zs[i], wa * 0.95f, xs[i + 1], zs[i + 1], wb * 0.95f, v3(0, 0, 1));
    side_pair(m, v3(xs[i], wa * 0.95f, zs[i]), v3(xs[i + 1], wb * 0.95f, zs[i + 1]), v3(xs[i + 1], wb, skirt),
              v3(xs[i], wa, skirt));
    side_pair(m, v3(xs[i], wa, skirt), v3(xs[i + 1], wb, skirt), v3(xs[i + 1], wb * 0.97f, low),
              v3(xs[i], wa * 0.97f, low));
  }
  strip(m, f, c->nose * H, 0.8f * w, f, low, 0.82f * w, v3(1, 0, 0));
  strip(m, -f, c->tail * H * 0.97f, 0.86f * w, -f, low, 0.88f * w, v3(-1, 0, 0));
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0x2a2b2e);
  m->pen.bias = 1.001f;
  strip(m, f + 0.01f, skirt * 0.85f, 0.8f * w, f + 0.01f, low, 0.8f * w, v3(1, 0, 0));
  strip(m, -f - 0.01f, skirt * 0.85f, 0.86f * w, -f - 0.01f, low, 0.86f * w, v3(-1, 0, 0));
  side_pair(m, v3(f * 0.9f, w * 1.002f, low * 1.35f), v3(-f * 0.9f, w * 1.002f, low * 1.35f), v3(-f * 0.9f, in, low),
            v3(f * 0.9f, in, low));
}

static void cabin(sonde_mesh *m, const car_shape *c, float L, float w, float H, uint32_t paint, int van) {
  float x0 = c->screen * L, x1 = c->roof_front * L, x2 = c->roof_rear * L, x3 = c->rear * L;
  float z = c->belt * H, top = H * 0.985f, wb = 0.94f * w, wt = wb - c->tumble * 2 * w, mid = (x1 + x2) / 2;
  sonde_mesh_pen(m, SONDE_T_PLAIN, paint);
  strip(m, x1, top, wt, mid, H, wt, v3(0, 0, 1));
  strip(m, mid, H, wt, x2, top, wt, v3(0, 0, 1));
  side_pair(m, v3(x1, wt, top), v3(x2, wt, top), v3(x3, wb, z), v3(x0, wb, z)); /* pillars behind the glass */
  sonde_mesh_pen(m, SONDE_T_GLASS, 0xffffff);
  m->pen.bias = 1.0004f;
  strip(m, x1, top, wt, x0, c->hood * H, wb, v3(1, 0, 0.3f));
  if (!van) {
    strip(m, x2, top, wt, x3, z, wb, v3(-1, 0, 0.3f));
  } else {
    sonde_mesh_pen(m, SONDE_T_PLAIN, paint);
    strip(m, x2, top, wt, x3, z, wb, v3(-1, 0, 0.3f));
    flat(m, x3 - 0.02f, 0.7f * w, 0.62f * H, 0.88f * H, 0x20242a, 0);
  }
  sonde_mesh_pen(m, SONDE_T_GLASS, 0xd8e0e8);
  m->pen.bias = 1.0016f;
  float edges[3] = {0.02f, van ? 0.27f : 0.49f, van ? 0.30f : 0.95f};
  for (int i = 0; i < (van ? 1 : 2); i++) { /* side windows */
    float a = edges[i] + 0.015f, b = edges[i + 1] - 0.015f, lo = 0.1f, hi = 0.86f;
    sonde_v3 q[4];
    for (int k = 0; k < 4; k++) {
      float along = k == 0 || k == 3 ? a : b, up = k < 2 ? hi : lo;
      float xl = mixf(x0, x3, along), xh = mixf(x1, x2, along);
      q[k] = v3(mixf(xl, xh, up), mixf(wb, wt, up) + 0.004f, mixf(z, top, up));
    }
    side_pair(m, q[0], q[1], q[2], q[3]);
  }
  sonde_mesh_pen(m, SONDE_T_PLAIN, paint); /* mirrors */
  for (int s = -1; s <= 1; s += 2) {
    float y = (float)s * (w + 0.08f);
    sonde_mesh_box(m, v3(x0 - 0.22f, y - 0.09f, z + 0.02f), v3(x0 - 0.08f, y + 0.09f, z + 0.16f), 1);
  }
}

static void car(sonde_mesh *m, const sonde_body *b) {
  const car_shape *c = &shapes[b->shape];
  float L = (float)b->length, w = (float)b->width / 2, H = (float)b->height, f = L / 2;
  uint32_t paint = PICK(paints, b->colour, 1);
  if (b->shape == 3 && b->colour % 3) paint = 0xe4e4e0;
  sonde_mesh_pen(m, SONDE_T_PLAIN, paint);
  body_shell(m, c, L, w, H);
  cabin(m, c, L, w, H, paint, b->shape == 3);
  float r = b->shape >= 2 ? 0.36f : 0.31f;
  wheels(m, 0.31f * L, -0.29f * L, w, r);
  lamps(m, f + 0.012f, 0.84f * w, c->nose * H * 0.82f, 0.13f * c->nose * H + 0.05f, 0.3f * w, 1);
  lamps(m, -f - 0.012f, 0.9f * w, c->tail * H * (b->shape == 3 ? 0.6f : 0.74f), b->shape >= 2 ? 0.3f : 0.16f,
        b->shape >= 2 ? 0.16f * w : 0.32f * w, 0);
  flat(m, f + 0.015f, 0.4f * w, 0.45f * c->nose * H, 0.72f * c->nose * H, 0x202226, 1);
  flat(m, -f - 0.015f, 0.27f, 0.46f * c->tail * H, 0.46f * c->tail * H + 0.12f, 0xe8e8dc, 0);
  flat(m, f + 0.02f, 0.27f, 0.3f * c->nose * H, 0.3f * c->nose * H + 0.12f, 0xe8e8dc, 1);
}

static void large(sonde_mesh *m, const sonde_body *b) { /* a truck (shape 4) or a bus (5) */
  float L = (float)b->length, w = (float)b->width / 2, H = (float)b->height, f = L / 2;
  uint32_t paint = PICK(paints, b->colour, 2);
  int is_bus = b->shape == 5;
  float cab = is_bus ? f : f - 2.0f, low = is_bus ? 0.3f : 0.85f;
  sonde_mesh_pen(m, is_bus ? SONDE_T_BUS : SONDE_T_PLAIN, is_bus ? paint : 0xe0e0dc);
  float rows = is_bus ? 2.6f : 1;
  sonde_v3 box[4] = {{cab, w, H}, {-f, w, H}, {-f, w, low}, {cab, w, low}};
  for (int s = -1; s <= 1; s += 2) {
    sonde_v3 q[4] = {box[0], box[1], box[2], box[3]};
    for (int k = 0; k < 4; k++) q[k].y *= (float)s;
    sonde_mesh_quad(m, q, rows, 1, v3(0, (float)s, 0));
  }
  sonde_mesh_pen(m, SONDE_T_PLAIN, is_bus ? paint : 0xd8d8d4);
  strip(m, cab, H, w, -f, H, w, v3(0, 0, 1));
  strip(m, -f, H, w, -f, low, w, v3(-1, 0, 0));
  strip(m, cab, H, w, cab, low, w, v3(1, 0, 0));
  if (!is_bus) {
    sonde_mesh_pen(m, SONDE_T_PLAIN, paint);
    sonde_mesh_box(m, v3(f - 1.9f, -w * 0.95f, 0.45f), v3(f, w * 0.95f, 2.4f), 2);
    sonde_mesh_pen(m, SONDE_T_PLAIN, 0x303236);
    sonde_mesh_box(m, v3(-f, -w * 0.8f, 0.5f), v3(f - 1.9f, w * 0.8f, 0.9f), 2);
    sonde_mesh_box(m, v3(-f, -w * 0.95f, 0.4f), v3(-f + 0.1f, w * 0.95f, 0.62f), 2);
  }
  flat(m, f + 0.01f, 0.86f * w, is_bus ? 1.1f : 1.45f, is_bus ? 2.5f : 2.25f, 0x22282e, 1);
  if (is_bus) flat(m, -f - 0.01f, 0.7f * w, 1.7f, 2.5f, 0x22282e, 0);
  wheels(m, f - (is_bus ? 2.4f : 1.1f), -f + 1.8f, w, 0.48f);
  lamps(m, f + 0.012f, 0.95f * w, 0.75f, 0.2f, 0.35f, 1);
  lamps(m, -f - 0.012f, 0.95f * w, is_bus ? 0.9f : 0.44f, 0.16f, 0.3f, 0);
  flat(m, -f - 0.02f, 0.27f, is_bus ? 0.5f : 0.66f, is_bus ? 0.62f : 0.78f, 0xe8e8dc, 0);
}

/* ---- people ---- */

typedef struct figure {
  sonde_mesh *m;
  float h;
  uint32_t skin, top, legs, hair;
} figure;

static void limb(figure *g, sonde_v3 a, sonde_v3 b, float ra, float rb, uint32_t tint) {
  sonde_mesh_pen(g->m, SONDE_T_PLAIN, tint);
  sonde_mesh_tube(g->m, a, b, ra * g->h, rb * g->h, 6);
}

/* The knee or elbow between two joints, bent towards `side` so far that both halves are `part` long. */
static sonde_v3 joint(sonde_v3 a, sonde_v3 b, float part, sonde_v3 side) {
  sonde_v3 d = v3_sub(b, a), mid = v3_scale(v3_add(a, b), 0.5f);
  float rest = part * part - v3_dot(d, d) / 4;
  return rest > 0 ? v3_add(mid, v3_scale(side, sqrtf(rest))) : mid;
}

static void bent(figure *g, sonde_v3 a, sonde_v3 b, float part, sonde_v3 side, const float r[3], uint32_t upper,
                 uint32_t lower) {
  sonde_v3 k = joint(a, b, part * g->h, side);
  limb(g, a, k, r[0], r[1], upper);
  limb(g, k, b, r[1], r[2], lower);
}

static void head_and_trunk(figure *g, sonde_v3 hip, sonde_v3 shoulders) {
  float h = g->h;
  sonde_v3 up = v3_unit(v3_sub(shoulders, hip));
  sonde_v3 belly = v3_add(hip, v3_scale(up, -0.02f * h));
  sonde_mesh_pen(g->m, SONDE_T_PLAIN, g->top);
  for (int s = -1; s <= 1; s += 2) { /* two tubes side by side: wider than deep */
    sonde_v3 off = v3(0, 0.042f * h * (float)s, 0), wide = v3(0, 0.058f * h * (float)s, 0);
    sonde_mesh_tube(g->m, v3_add(belly, off), v3_add(shoulders, wide), 0.062f * h, 0.066f * h, 7);
  }
  sonde_v3 neck = v3_add(shoulders, v3(0.01f * h, 0, 0.03f * h)), head = v3_add(neck, v3(0.012f * h, 0, 0.085f * h));
  sonde_mesh_ball(g->m, v3_add(shoulders, v3(0, 0, 0.0f)), 0.075f * h, 0.045f * h);
  limb(g, shoulders, neck, 0.032f, 0.03f, g->skin);
  sonde_mesh_ball(g->m, head, 0.052f * h, 0.068f * h);
  sonde_mesh_pen(g->m, SONDE_T_PLAIN, g->hair);
  sonde_mesh_ball(g->m, v3_add(head, v3(-0.014f * h, 0, 0.02f * h)), 0.054f * h, 0.056f * h);
}

static figure figure_of(sonde_mesh *m, const sonde_body *b, float h) {
  return (figure){m,
                  h,
                  PICK(skins, b->colour, 3),
                  PICK(clothes, b->colour, 4),
                  PICK(trousers, b->colour, 5),
                  hash01(b->colour, 6) < 0.7f ? 0x241c16 : 0x7c5c38};
}

static void walker(sonde_mesh *m, const sonde_body *b, float phase, float effort) {
  static const float leg[3] = {0.05f, 0.038f, 0.026f}, arm[3] = {0.028f, 0.024f, 0.019f};
  float h = (float)b->height, swing = 0.19f * h * clampf(effort, 0, 1.3f);
  figure g = figure_of(m, b, h);
  float bob = 0.012f * h * (float)exact_cos(2 * (double)phase) * effort, lean = 0.02f * h * effort;
  sonde_v3 hip = v3(0, 0, 0.52f * h + bob), shoulders = v3(lean, 0, 0.81f * h + bob);
  for (int s = -1; s <= 1; s += 2) {
    float k = (float)s, p = (float)exact_sin((double)phase) * k, lift = (float)exact_cos((double)phase) * k;
    sonde_v3 a = v3_add(hip, v3(0, 0.045f * h * k, 0));
    sonde_v3 foot = v3(p * swing, 0.05f * h * k, 0.045f * h + (lift > 0 ? lift * 0.07f * h * effort : 0));
    bent(&g, a, foot, 0.245f, v3(1, 0, 0), leg, g.legs, g.legs);
    limb(&g, v3_add(foot, v3(-0.03f * h, 0, -0.02f * h)), v3_add(foot, v3(0.09f * h, 0, -0.025f * h)), 0.026f, 0.02f,
         0x202022);
    sonde_v3 sh = v3_add(shoulders, v3(0, 0.105f * h * k, -0.01f * h));
    sonde_v3 hand = v3_add(sh, v3(-p * swing * 0.9f + 0.03f * h, 0.03f * h * k, -0.31f * h));
    bent(&g, sh, hand, 0.165f, v3(-1, 0, 0), arm, g.top, g.skin);
  }
  head_and_trunk(&g, hip, shoulders);
}

static void cycle(sonde_mesh *m, float k, uint32_t paint) {
  const float r = 0.34f, half = 0.54f;
  for (int s = -1; s <= 1; s += 2) {
    sonde_mesh_pen(m, SONDE_T_PLAIN, 0x1a1a1c);
    sonde_mesh_ring(m, v3((float)s * half * k, 0.012f, r), v3(0, 1, 0), r - 0.05f, r, 16);
    sonde_mesh_tube(m, v3((float)s * half * k, -0.03f, r), v3((float)s * half * k, 0.03f, r), 0.03f, 0.03f, 6);
    sonde_mesh_pen(m, SONDE_T_PLAIN, 0xb0b0b0);
    for (int i = 0; i < 4; i++) { /* some spokes */
      float c = (float)exact_cos(0.785 * i), n = (float)exact_sin(0.785 * i), q = r - 0.05f;
      sonde_v3 a = v3((float)s * half * k - c * q, 0, r - n * q), b = v3((float)s * half * k + c * q, 0, r + n * q);
      sonde_mesh_tube(m, a, b, 0.006f, 0.006f, 3);
    }
  }
  static const float frame[7][4] = {{-0.54f, 0.34f, -0.08f, 0.30f}, {-0.08f, 0.30f, -0.22f, 0.86f},
                                    {-0.54f, 0.34f, -0.2f, 0.78f},  {-0.08f, 0.30f, 0.36f, 0.80f},
                                    {-0.2f, 0.78f, 0.36f, 0.84f},   {0.54f, 0.34f, 0.36f, 0.84f},
                                    {0.36f, 0.84f, 0.38f, 1.0f}};
  sonde_mesh_pen(m, SONDE_T_PLAIN, paint);
  for (int i = 0; i < 7; i++)
    sonde_mesh_tube(m, v3(frame[i][0] * k, 0, frame[i][1]), v3(frame[i][2] * k, 0, frame[i][3]), 0.022f, 0.022f, 5);
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0x202022);
  sonde_mesh_tube(m, v3(0.36f * k, -0.27f, 1.02f), v3(0.36f * k, 0.27f, 1.02f), 0.018f, 0.018f, 5);
  sonde_mesh_tube(m, v3(-0.34f * k, 0, 0.9f), v3(-0.08f * k, 0, 0.92f), 0.06f, 0.03f, 6);
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0x901818);
  m->pen.part = SONDE_PART_TAIL;
  sonde_mesh_box(m, v3(-0.62f * k, -0.035f, 0.66f), v3(-0.58f * k, 0.035f, 0.73f), 1);
  sonde_mesh_pen(m, SONDE_T_PLAIN, 0xd0d0d0);
  m->pen.part = SONDE_PART_HEAD;
  sonde_mesh_box(m, v3(0.42f * k, -0.035f, 0.86f), v3(0.46f * k, 0.035f, 0.93f), 1);
}

static void cyclist(sonde_mesh *m, const sonde_body *b, float phase) {
  static const float leg[3] = {0.05f, 0.036f, 0.024f}, arm[3] = {0.027f, 0.023f, 0.019f};
  float h = (float)b->height, k = (float)b->length / 1.75f;
  figure g = figure_of(m, b, h);
  cycle(m, k, PICK(paints, b->colour, 7));
  sonde_v3 hip = v3(-0.2f * k, 0, 0.55f * h), shoulders = v3(0.12f * k, 0, 0.80f * h);
  for (int s = -1; s <= 1; s += 2) {
    float y = (float)s, c = (float)exact_cos((double)phase) * y, n = (float)exact_sin((double)phase) * y;
    sonde_v3 foot = v3((-0.08f + 0.17f * c) * k, 0.11f * y, 0.30f + 0.06f + 0.17f * n);
    bent(&g, v3_add(hip, v3(0, 0.045f * h * y, 0)), foot, 0.245f, v3_unit(v3(1, 0, 0.5f)), leg, g.legs, g.legs);
    limb(&g, v3_add(foot, v3(-0.03f * h, 0, 0)), v3_add(foot, v3(0.08f * h, 0, -0.01f * h)), 0.025f, 0.02f, 0x202022);
    sonde_v3 sh = v3_add(shoulders, v3(0, 0.1f * h * y, -0.01f * h));
    bent(&g, sh, v3(0.36f * k, 0.25f * y, 1.05f), 0.175f, v3(0, y, 0), arm, g.top, g.skin);
  }
  head_and_trunk(&g, hip, shoulders);
  if (b->shape == 1) { /* a helmet */
    sonde_mesh_pen(m, SONDE_T_PLAIN, PICK(clothes, b->colour, 8));
    sonde_mesh_ball(m, v3_add(shoulders, v3(0.02f * h, 0, 0.155f * h)), 0.062f * h, 0.045f * h);
  }
}

void sonde_model_body(sonde_mesh *m, const sonde_body *b, float phase, float effort) {
  if (b->kind == SONDE_PEDESTRIAN)
    walker(m, b, phase, effort);
  else if (b->kind == SONDE_BICYCLE)
    cyclist(m, b, phase);
  else if (b->shape < 4)
    car(m, b);
  else
    large(m, b);
}

void sonde_model_bonnet(sonde_mesh *m, uint32_t colour) {
  static const float x[5] = {0.7f, 1.1f, 1.5f, 1.85f, 2.1f}, z[5] = {0.9f, 0.89f, 0.86f, 0.8f, 0.7f};
  static const float w[5] = {0.74f, 0.73f, 0.7f, 0.64f, 0.54f}, y[6] = {-1, -0.8f, -0.35f, 0.35f, 0.8f, 1};
  static const float drop[6] = {0.09f, 0.03f, 0, 0, 0.03f, 0.09f}; /* it falls off to the sides */
  sonde_mesh_pen(m, SONDE_T_PLAIN, PICK(paints, colour, 1));
  m->pen.shows = SONDE_SHOWS_BONNET;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 5; j++) {
      sonde_v3 q[4];
      for (int k = 0; k < 4; k++) {
        int a = i + (k == 1 || k == 2), b = j + (k >= 2);
        q[k] = v3(x[a], y[b] * w[a], z[a] - drop[b]);
      }
      sonde_mesh_quad(m, q, 1, 1, v3(0, 0, 1));
    }
}
