/* scene.c - puts the world together, maps road coordinates to it, and draws it from the ego car's camera. */
#include "config.h"

#include <string.h>

#include "base/mem.h"
#include "drive/scene_internal.h"

/* ---- where things are ---- */

/* Road coordinates to the world: the road is an arc of curvature `bend` that leaves the origin along x; y changes its
 * sign where traffic keeps left. */
static sonde_v3 to_world(const sonde_look *l, double x, double y, double z) {
  y *= l->side;
  if (l->bend == 0) return v3((float)x, (float)y, (float)z);
  double k = (double)l->bend, s = exact_sin(k * x), c = exact_cos(k * x);
  return v3((float)(s / k - y * s), (float)((1 - c) / k + y * c), (float)z);
}

static void turn_along(const sonde_look *l, double x, float *dx, float *dy) {
  double k = (double)l->bend, s = exact_sin(k * x), c = exact_cos(k * x), a = *dx, b = *dy * l->side;
  *dx = (float)(a * c - b * s), *dy = (float)(a * s + b * c);
}

static void map_mesh(const sonde_look *l, sonde_mesh *m) {
  for (int i = 0; i < m->vertices; i++) {
    sonde_vertex *v = &m->vertex[i];
    double x = (double)v->p.x;
    v->p = to_world(l, x, (double)v->p.y, (double)v->p.z);
    turn_along(l, x, &v->n.x, &v->n.y);
  }
  sonde_mesh_bound(m);
}

sonde_transform sonde_scene_place(const sonde_scene *s, int b, double seconds) {
  sonde_pose p = sonde_traffic_pose(s->traffic, b, seconds);
  float dx = (float)p.dx, dy = (float)p.dy;
  turn_along(&s->look, p.x, &dx, &dy);
  return (sonde_transform){to_world(&s->look, p.x, p.y, 0), dx, dy};
}

/* ---- the camera ---- */

/* The car nods: a damped spring follows its acceleration. */
static int nod(sonde_scene *s, const sonde_traffic *t) {
  if (!(s->pitch = sonde_alloc(sizeof *s->pitch * (size_t)t->steps))) return -1;
  double angle = 0, speed = 0;
  for (int i = 0; i < t->steps; i++) {
    double wanted = 0.0042 * t->pose[i * t->bodies].accel;
    if (i == 0) angle = wanted;
    speed += (90 * (wanted - angle) - 9 * speed) / SONDE_SIM_RATE;
    angle += speed / SONDE_SIM_RATE;
    s->pitch[i] = (float)angle;
  }
  return 0;
}

static float wobble(const sonde_scene *s, double seconds, const double hertz[2], int which) {
  double two_pi = 6.283185307179586;
  return (float)(0.6 * exact_sin(two_pi * hertz[0] * seconds + s->shake_phase[which]) +
                 0.4 * exact_sin(two_pi * hertz[1] * seconds + s->shake_phase[which + 1]));
}

sonde_camera sonde_scene_camera(const sonde_scene *s, double seconds) {
  static const double slow[2] = {1.27, 1.93}, quick[2] = {6.1, 9.7}, roll_rate[2] = {0.8, 1.6};
  const sonde_look *l = &s->look;
  sonde_transform car = sonde_scene_place(s, 0, seconds);
  sonde_pose pose = sonde_traffic_pose(s->traffic, 0, seconds);
  double f = clamp(seconds * SONDE_SIM_RATE, 0, s->traffic->steps - 1);
  float drive = l->shake * (float)clamp(pose.speed / 9, 0.05, 1.4);
  float pitch = l->pitch + s->pitch[(int)f] +
                drive * (0.0016f * wobble(s, seconds, slow, 0) + 0.0007f * wobble(s, seconds, quick, 2));
  float roll = l->roll + drive * 0.0022f * wobble(s, seconds, roll_rate, 4);
  float lift = drive * 0.006f * wobble(s, seconds, slow, 5);
  float sp = (float)exact_sin((double)pitch), cp = (float)exact_cos((double)pitch);
  float sr = (float)exact_sin((double)roll), cr = (float)exact_cos((double)roll);
  sonde_camera c;
  c.eye = v3(car.at.x + car.dx * l->camera_ahead, car.at.y + car.dy * l->camera_ahead, l->camera_height + lift);
  c.ahead = v3(car.dx * cp, car.dy * cp, sp);
  sonde_v3 right = v3(car.dy, -car.dx, 0), up = v3_cross(right, c.ahead);
  c.right = v3_add(v3_scale(right, cr), v3_scale(up, sr));
  c.down = v3_sub(v3_scale(right, sr), v3_scale(up, cr));
  return c;
}

/* ---- making ---- */

/* The light that a car throws on the road before it, from its front bumper. */
static void make_beam(sonde_mesh *m) {
  sonde_mesh_pen(m, SONDE_T_SPOT, 90);
  m->pen.mode = SONDE_POOL, m->pen.bias = 1.02f;
  sonde_mesh_quad(m, (sonde_v3[4]){{2, -2.6f, 0.02f}, {17, -2.6f, 0.02f}, {17, 2.6f, 0.02f}, {2, 2.6f, 0.02f}}, 1, 1,
                  v3(0, 0, 1));
}

static int failed(const sonde_scene *s) {
  int bad = s->bonnet.failed || s->ring.failed || s->beam.failed;
  for (int i = 0; i < s->chunks; i++) bad |= s->chunk[i].solid.failed || s->chunk[i].flat.failed;
  for (int i = 0; i < SONDE_BODIES; i++) bad |= s->body[i].failed;
  return bad;
}

int sonde_scene_make(sonde_scene *s, const sonde_traffic *traffic, const sonde_textures *textures,
                     const sonde_look *look, uint64_t seed, sonde_error *err) {
  const sonde_road *r = &traffic->road;
  memset(s, 0, sizeof *s);
  s->traffic = traffic, s->textures = textures, s->look = *look;
  int chunks = (int)((r->end - r->begin) / CHUNK) + 1;
  s->chunk = sonde_alloc(sizeof *s->chunk * (size_t)chunks);
  if (!s->chunk || nod(s, traffic)) {
    sonde_scene_free(s);
    return sonde_fail(err, SONDE_ENOMEM, "no memory for %.0f m of road", r->end - r->begin);
  }
  s->chunks = chunks;
  world w = {.s = s, .road = r, .d = draws_new(seed, "world"), .domain_b = look->side < 0};
  w.kerb = r->lanes * r->lane + r->edge, w.outer = w.kerb + r->pavement;
  world_build(&w);
  for (int i = 0; i < chunks; i++) map_mesh(look, &s->chunk[i].solid), map_mesh(look, &s->chunk[i].flat);
  for (int b = 1; b < traffic->bodies; b++)
    if (traffic->body[b].kind == SONDE_VEHICLE) sonde_model_body(&s->body[b], &traffic->body[b], 0, 0);
  if (look->bonnet) sonde_model_bonnet(&s->bonnet, traffic->body[0].colour);
  make_beam(&s->beam);
  for (int i = 0; i < 8; i++) s->shake_phase[i] = (float)draw(&w.d, 0, 6.28);
  if (!failed(s)) return 0;
  sonde_scene_free(s);
  return sonde_fail(err, SONDE_ENOMEM, "no memory for the scene of %d bodies", traffic->bodies);
}

void sonde_scene_free(sonde_scene *s) {
  for (int i = 0; i < s->chunks; i++) sonde_mesh_free(&s->chunk[i].solid), sonde_mesh_free(&s->chunk[i].flat);
  for (int i = 0; i < SONDE_BODIES; i++) sonde_mesh_free(&s->body[i]);
  sonde_mesh_free(&s->bonnet), sonde_mesh_free(&s->ring), sonde_mesh_free(&s->beam);
  sonde_release(s->chunk), sonde_release(s->pitch);
  memset(s, 0, sizeof *s);
}

/* ---- a frame ---- */

typedef struct frame {
  const sonde_scene *s;
  sonde_target *t;
  sonde_camera camera;
  double seconds;
} frame;

static void put(const frame *f, const sonde_mesh *m, const sonde_transform *at, const sonde_light *light, int shows) {
  sonde_mesh_draw(m, f->t, f->s->textures, &f->camera, at, light, shows);
}

static int seen(const frame *f, const sonde_transform *at, const sonde_body *b) {
  return sonde_camera_sees(&f->camera, f->t, v3_add(at->at, v3(0, 0, (float)b->height / 2)), (float)b->length / 2 + 1);
}

static void put_body(const frame *f, int b, sonde_mesh *scratch) {
  const sonde_body *body = &f->s->traffic->body[b];
  sonde_transform at = sonde_scene_place(f->s, b, f->seconds);
  if (!seen(f, &at, body)) return;
  sonde_pose p = sonde_traffic_pose(f->s->traffic, b, f->seconds);
  sonde_light light = f->s->look.light;
  light.braking = p.accel < -0.9 && body->kind == SONDE_VEHICLE;
  if (body->kind == SONDE_VEHICLE && p.speed == 0 && p.accel == 0) light.lamps = 0; /* parked */
  const sonde_mesh *m = &f->s->body[b];
  if (body->kind != SONDE_VEHICLE) {
    double way = p.x * p.dx + p.y * p.dy, stride = body->kind == SONDE_PEDESTRIAN ? 0.84 * body->height : 4.6;
    double effort = body->kind == SONDE_PEDESTRIAN ? clamp(p.speed / 1.4, 0, 1.4) : 1;
    sonde_mesh_reset(scratch);
    sonde_model_body(scratch, body, (float)(6.283185307179586 * way / stride), (float)effort);
    if (body->kind == SONDE_PEDESTRIAN &&
        fabs(p.y) > f->s->traffic->road.lanes * f->s->traffic->road.lane + f->s->traffic->road.edge)
      at.at.z = 0.12f; /* on the pavement */
    m = scratch;
  }
  put(f, m, &at, &light, SONDE_SHOWS_BODY + b);
}

/* A shadow of `size`, moved by (mx, my) along the ground. */
static void put_shade(const frame *f, int round, const sonde_transform *at, float length, float width, float mx,
                      float my, sonde_mesh *scratch) {
  sonde_transform p = *at;
  p.at.x += mx, p.at.y += my;
  sonde_mesh_reset(scratch);
  sonde_mesh_pen(scratch, round ? SONDE_T_SPOT : SONDE_T_PATCH, round ? 170 : 200);
  scratch->pen.mode = SONDE_SHADOW, scratch->pen.bias = 1.02f;
  float a = length / 2, b = width / 2;
  sonde_mesh_quad(scratch, (sonde_v3[4]){{-a, -b, 0.02f}, {a, -b, 0.02f}, {a, b, 0.02f}, {-a, b, 0.02f}}, 1, 1,
                  v3(0, 0, 1));
  put(f, scratch, &p, &f->s->look.light, SONDE_SHOWS_GROUND);
}

/* Under every body, and where the sun casts it. */
static void put_shades(const frame *f, int b, sonde_mesh *scratch) {
  const sonde_body *body = &f->s->traffic->body[b];
  const sonde_light *l = &f->s->look.light;
  sonde_transform at = sonde_scene_place(f->s, b, f->seconds);
  if (!seen(f, &at, body)) return;
  float length = (float)body->length, width = (float)body->width, height = (float)body->height;
  int person = body->kind != SONDE_VEHICLE;
  put_shade(f, person, &at, length * (person ? 1.5f : 1.12f), width * (person ? 1.6f : 1.22f), 0, 0, scratch);
  if (l->sun > 0.3f && l->to_sun.z > 0.2f) {
    float k = height * 0.42f / l->to_sun.z;
    put_shade(f, person, &at, length + k, width + k, -l->to_sun.x * k, -l->to_sun.y * k, scratch);
  }
  if (l->lamps && !person && sonde_traffic_pose(f->s->traffic, b, f->seconds).speed > 0.1) {
    at.at.x += at.dx * length / 2, at.at.y += at.dy * length / 2;
    put(f, &f->s->beam, &at, l, SONDE_SHOWS_GROUND);
  }
}

void sonde_scene_render(const sonde_scene *s, double seconds, sonde_target *t, sonde_mesh *scratch) {
  frame f = {s, t, sonde_scene_camera(s, seconds), seconds};
  const sonde_look *l = &s->look;
  sonde_transform origin = {{0, 0, 0}, 1, 0}, car = sonde_scene_place(s, 0, seconds);
  t->night = l->light.lamps && l->time != SONDE_DAY;
  put(&f, &s->bonnet, &car, &l->light, SONDE_SHOWS_BONNET);
  for (int b = 1; b < s->traffic->bodies; b++) put_body(&f, b, scratch);
  for (int i = 0; i < s->chunks; i++)
    if (sonde_camera_sees(&f.camera, t, s->chunk[i].solid.centre, s->chunk[i].solid.radius))
      put(&f, &s->chunk[i].solid, &origin, &l->light, SONDE_SHOWS_WORLD);
  for (int i = 0; i < s->chunks; i++)
    if (sonde_camera_sees(&f.camera, t, s->chunk[i].flat.centre, s->chunk[i].flat.radius))
      put(&f, &s->chunk[i].flat, &origin, &l->light, SONDE_SHOWS_GROUND);
  for (int b = 1; b < s->traffic->bodies; b++) put_shades(&f, b, scratch);
  sonde_transform far = {{f.camera.eye.x, f.camera.eye.y, 0}, 1, 0};
  put(&f, &s->ring, &far, &l->light, SONDE_SHOWS_WORLD);
}
