/* mesh.c - solids made of triangles, and their way to the rasteriser. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "drive/mesh.h"

void sonde_mesh_free(sonde_mesh *m) {
  sonde_release(m->vertex);
  sonde_release(m->face);
  memset(m, 0, sizeof *m);
}

void sonde_mesh_reset(sonde_mesh *m) {
  m->vertices = m->faces = 0;
}

void sonde_mesh_bound(sonde_mesh *m) {
  if (!m->vertices) return;
  sonde_v3 lo = m->vertex[0].p, hi = lo;
  for (int i = 1; i < m->vertices; i++) {
    sonde_v3 p = m->vertex[i].p;
    lo = v3(p.x < lo.x ? p.x : lo.x, p.y < lo.y ? p.y : lo.y, p.z < lo.z ? p.z : lo.z);
    hi = v3(p.x > hi.x ? p.x : hi.x, p.y > hi.y ? p.y : hi.y, p.z > hi.z ? p.z : hi.z);
  }
  m->centre = v3_scale(v3_add(lo, hi), 0.5f);
  sonde_v3 d = v3_sub(hi, m->centre);
  m->radius = sqrtf(v3_dot(d, d));
}

void sonde_mesh_pen(sonde_mesh *m, int texture, uint32_t tint) {
  m->pen = (sonde_pen){.texture = (uint8_t)texture, .tint = tint, .bias = 1, .mode = SONDE_SOLID};
}

/* ---- adding ---- */

/* Room for n more of `size` bytes; 0 where there is none. */
static int room(sonde_mesh *m, void **list, int *have, int used, int n, size_t size) {
  if (m->failed) return 0;
  if (used + n <= *have) return 1;
  int want = *have * 2 + 256;
  void *p = sonde_grow(*list, (size_t)*have * size, (size_t)want * size);
  if (!p) {
    m->failed = 1;
    return 0;
  }
  *list = p, *have = want;
  return 1;
}

static int vertex(sonde_mesh *m, sonde_v3 p, sonde_v3 n, float u, float v) {
  if (!room(m, (void **)&m->vertex, &m->vertex_room, m->vertices, 1, sizeof *m->vertex)) return 0;
  m->vertex[m->vertices] = (sonde_vertex){p, n, u, v};
  return m->vertices++;
}

static void face(sonde_mesh *m, int a, int b, int c) {
  if (!room(m, (void **)&m->face, &m->face_room, m->faces, 1, sizeof *m->face)) return;
  m->face[m->faces++] = (sonde_face){{a, b, c}, m->pen};
}

static sonde_v3 normal_of(const sonde_v3 *c, int last, sonde_v3 out) {
  sonde_v3 n = v3_unit(v3_cross(v3_sub(c[1], c[0]), v3_sub(c[last], c[0])));
  return v3_dot(n, out) < 0 ? v3_scale(n, -1) : n;
}

void sonde_mesh_quad(sonde_mesh *m, const sonde_v3 c[4], float u, float v, sonde_v3 out) {
  sonde_v3 n = normal_of(c, 3, out);
  int a = vertex(m, c[0], n, 0, 0), b = vertex(m, c[1], n, u, 0), d = vertex(m, c[2], n, u, v),
      e = vertex(m, c[3], n, 0, v);
  face(m, a, b, d);
  face(m, a, d, e);
}

void sonde_mesh_triangle(sonde_mesh *m, const sonde_v3 c[3], float u, float v, sonde_v3 out) {
  sonde_v3 n = normal_of(c, 2, out);
  int a = vertex(m, c[0], n, 0, v), b = vertex(m, c[1], n, u, v), d = vertex(m, c[2], n, u / 2, 0);
  face(m, a, b, d);
}

void sonde_mesh_box(sonde_mesh *m, sonde_v3 l, sonde_v3 h, float tile) {
  float x = (h.x - l.x) / tile, y = (h.y - l.y) / tile, z = (h.z - l.z) / tile;
  sonde_mesh_quad(m, (sonde_v3[4]){{l.x, l.y, h.z}, {h.x, l.y, h.z}, {h.x, l.y, l.z}, {l.x, l.y, l.z}}, x, z,
                  v3(0, -1, 0));
  sonde_mesh_quad(m, (sonde_v3[4]){{l.x, h.y, h.z}, {h.x, h.y, h.z}, {h.x, h.y, l.z}, {l.x, h.y, l.z}}, x, z,
                  v3(0, 1, 0));
  sonde_mesh_quad(m, (sonde_v3[4]){{l.x, l.y, h.z}, {l.x, h.y, h.z}, {l.x, h.y, l.z}, {l.x, l.y, l.z}}, y, z,
                  v3(-1, 0, 0));
  sonde_mesh_quad(m, (sonde_v3[4]){{h.x, l.y, h.z}, {h.x, h.y, h.z}, {h.x, h.y, l.z}, {h.x, l.y, l.z}}, y, z,
                  v3(1, 0, 0));
  sonde_mesh_quad(m, (sonde_v3[4]){{l.x, l.y, h.z}, {h.x, l.y, h.z}, {h.x, h.y, h.z}, {l.x, h.y, h.z}}, x, y,
                  v3(0, 0, 1));
}

/* Two unit vectors across the direction d. */
static void across(sonde_v3 d, sonde_v3 *a, sonde_v3 *b) {
  *a = v3_unit(v3_cross(d, fabsf(d.z) < 0.9f ? v3(0, 0, 1) : v3(1, 0, 0)));
  *b = v3_cross(d, *a);
}

static sonde_v3 around(sonde_v3 a, sonde_v3 b, int i, int sides) {
  double w = 6.283185307179586 * i / sides;
  return v3_add(v3_scale(a, (float)exact_cos(w)), v3_scale(b, (float)exact_sin(w)));
}

void sonde_mesh_tube(sonde_mesh *m, sonde_v3 p, sonde_v3 q, float rp, float rq, int sides) {
  sonde_v3 a, b;
  across(v3_unit(v3_sub(q, p)), &a, &b);
  int first = m->vertices;
  for (int i = 0; i <= sides; i++) {
    sonde_v3 n = around(a, b, i, sides);
    vertex(m, v3_add(p, v3_scale(n, rp)), n, (float)i / (float)sides, 1);
    vertex(m, v3_add(q, v3_scale(n, rq)), n, (float)i / (float)sides, 0);
  }
  for (int i = 0; i < sides; i++) {
    face(m, first + 2 * i, first + 2 * i + 1, first + 2 * i + 3);
    face(m, first + 2 * i, first + 2 * i + 3, first + 2 * i + 2);
  }
}

void sonde_mesh_ball(sonde_mesh *m, sonde_v3 c, float r, float height) {
  static const float level[5] = {-1, -0.62f, 0, 0.62f, 1}, wide[5] = {0.1f, 0.78f, 1, 0.78f, 0.1f};
  enum { SIDES = 8 };
  int first = m->vertices;
  for (int k = 0; k < 5; k++)
    for (int i = 0; i <= SIDES; i++) {
      sonde_v3 n = around(v3(1, 0, 0), v3(0, 1, 0), i, SIDES);
      sonde_v3 p = v3(c.x + n.x * r * wide[k], c.y + n.y * r * wide[k], c.z + level[k] * height);
      vertex(m, p, v3_unit(v3(n.x * wide[k], n.y * wide[k], level[k])), (float)i / SIDES, (float)k / 4);
    }
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < SIDES; i++) {
      int a = first + k * (SIDES + 1) + i;
      face(m, a, a + 1, a + SIDES + 2);
      face(m, a, a + SIDES + 2, a + SIDES + 1);
    }
}

void sonde_mesh_disc(sonde_mesh *m, sonde_v3 c, sonde_v3 out, float r) {
  enum { SIDES = 12 };
  sonde_v3 a, b;
  across(out, &a, &b);
  int centre = vertex(m, c, out, 0.5f, 0.5f), first = m->vertices;
  for (int i = 0; i <= SIDES; i++) {
    sonde_v3 n = around(a, b, i, SIDES), k = around(v3(1, 0, 0), v3(0, 1, 0), i, SIDES);
    vertex(m, v3_add(c, v3_scale(n, r)), out, 0.5f + 0.49f * k.x, 0.5f + 0.49f * k.y);
  }
  for (int i = 0; i < SIDES; i++) face(m, centre, first + i, first + i + 1);
}

void sonde_mesh_ring(sonde_mesh *m, sonde_v3 c, sonde_v3 out, float inner, float outer, int sides) {
  sonde_v3 a, b;
  across(out, &a, &b);
  int first = m->vertices;
  m->pen.both_sides = 1;
  for (int i = 0; i <= sides; i++) {
    sonde_v3 n = around(a, b, i, sides);
    vertex(m, v3_add(c, v3_scale(n, outer)), n, 0, 0);
    vertex(m, v3_add(c, v3_scale(n, inner)), n, 0, 1);
  }
  for (int i = 0; i < sides; i++) {
    face(m, first + 2 * i, first + 2 * i + 1, first + 2 * i + 3);
    face(m, first + 2 * i, first + 2 * i + 3, first + 2 * i + 2);
  }
  m->pen.both_sides = 0;
}

/* ---- drawing ---- */

static sonde_v3 to_world(const sonde_transform *p, sonde_v3 a) {
  return v3(p->at.x + a.x * p->dx - a.y * p->dy, p->at.y + a.x * p->dy + a.y * p->dx, p->at.z + a.z);
}
static sonde_v3 turned(const sonde_transform *p, sonde_v3 a) {
  return v3(a.x * p->dx - a.y * p->dy, a.x * p->dy + a.y * p->dx, a.z);
}

int sonde_camera_sees(const sonde_camera *c, const sonde_target *t, sonde_v3 centre, float radius) {
  sonde_v3 d = v3_sub(centre, c->eye);
  float z = v3_dot(d, c->ahead), x = fabsf(v3_dot(d, c->right)), half = (float)t->width / 2 / t->focal;
  return z > -radius && z < 460 + radius && x < half * (z > 0 ? z : 0) + radius * (1 + half);
}

/* How a face looks at this moment. */
static int look(const sonde_pen *pen, const sonde_light *light, sonde_paint *paint) {
  paint->mode = pen->mode, paint->tint = pen->tint, paint->bias = pen->bias;
  switch (pen->part) {
    case SONDE_PART_BRAKE:
      if (light->braking) paint->mode = SONDE_SHINING, paint->tint = 0xff3020;
      return 1;
    case SONDE_PART_TAIL:
      if (light->lamps)
        paint->mode = SONDE_SHINING, paint->tint = light->braking ? 0xff3828 : 0xb01410;
      else if (light->braking)
        paint->mode = SONDE_SHINING, paint->tint = 0xff3020;
      return 1;
    case SONDE_PART_HEAD:
      if (light->lamps) paint->mode = SONDE_SHINING, paint->tint = 0xfff4d8;
      return 1;
    case SONDE_PART_LAMP:
      if (light->lamps) paint->mode = SONDE_SHINING, paint->tint = 0xffe0a0;
      return 1;
    default: return pen->mode != SONDE_POOL || light->lamps;
  }
}

void sonde_mesh_draw(const sonde_mesh *m, sonde_target *t, const sonde_textures *textures, const sonde_camera *camera,
                     const sonde_transform *place, const sonde_light *light, int shows) {
  for (int i = 0; i < m->faces; i++) {
    const sonde_face *f = &m->face[i];
    sonde_paint paint = {.texture = &textures->t[f->pen.texture],
                         .shows = (uint8_t)(f->pen.shows ? f->pen.shows : shows)};
    if (!look(&f->pen, light, &paint)) continue;
    sonde_corner c[3];
    float away = 0;
    for (int k = 0; k < 3; k++) {
      const sonde_vertex *v = &m->vertex[f->corner[k]];
      sonde_v3 d = v3_sub(to_world(place, v->p), camera->eye), n = turned(place, v->n);
      away += v3_dot(n, d);
      float facing = v3_dot(n, light->to_sun);
      c[k] = (sonde_corner){v3_dot(d, camera->right),
                            v3_dot(d, camera->down),
                            v3_dot(d, camera->ahead),
                            v->u,
                            v->v,
                            light->ambient * (0.86f + 0.14f * n.z) + light->sun * (facing > 0 ? facing : 0)};
    }
    if (away > 0 && !f->pen.both_sides) continue;
    sonde_raster_triangle(t, c, &paint);
  }
}
