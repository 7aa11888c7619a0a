/* mesh.h - triangles with normals, textures and tints; simple solids; drawing them from a camera. */
#ifndef SONDE_DRIVE_MESH_H
#define SONDE_DRIVE_MESH_H

#include "drive/texture.h"

/* Parts of a car or a lamp whose look depends on the moment. */
enum { SONDE_PART_FIXED, SONDE_PART_BRAKE, SONDE_PART_TAIL, SONDE_PART_HEAD, SONDE_PART_LAMP };

typedef struct sonde_vertex {
  sonde_v3 p, n;
  float u, v;
} sonde_vertex;
typedef struct sonde_pen {
  uint8_t texture, mode, part, shows;
  uint32_t tint;
  float bias;
  int both_sides;
} sonde_pen;
typedef struct sonde_face {
  int corner[3];
  sonde_pen pen;
} sonde_face;

typedef struct sonde_mesh {
  sonde_vertex *vertex;
  sonde_face *face;
  int vertices, faces, vertex_room, face_room;
  int failed;      /* out of memory: what was added since is missing */
  sonde_pen pen;   /* of what is added next */
  sonde_v3 centre; /* of a ball around it, set by sonde_mesh_bound */
  float radius;
} sonde_mesh;

void sonde_mesh_free(sonde_mesh *m);
void sonde_mesh_reset(sonde_mesh *m); /* empties it, keeps the memory */
void sonde_mesh_bound(sonde_mesh *m);

/* Sets the pen: texture, 0xRRGGBB; solid, one-sided. */
void sonde_mesh_pen(sonde_mesh *m, int texture, uint32_t tint);

/* A quadrilateral with corners in turn; (u, v) is (0, 0) at a, (u, 0) at b, (u, v) at c. Its normal is (b - a) x (d -
 * a), turned towards `out` where that is not zero. */
void sonde_mesh_quad(sonde_mesh *m, const sonde_v3 corner[4], float u, float v, sonde_v3 out);
void sonde_mesh_triangle(sonde_mesh *m, const sonde_v3 corner[3], float u, float v, sonde_v3 out);
/* A box between two corners; uv per metre / `tile`. */
void sonde_mesh_box(sonde_mesh *m, sonde_v3 low, sonde_v3 high, float tile);
/* A tapered tube with rounded light, `sides` around. */
void sonde_mesh_tube(sonde_mesh *m, sonde_v3 a, sonde_v3 b, float ra, float rb, int sides);
/* A ball, as two rings. */
void sonde_mesh_ball(sonde_mesh *m, sonde_v3 centre, float r, float height);
/* A flat disc with its texture mapped once, facing `out`. */
void sonde_mesh_disc(sonde_mesh *m, sonde_v3 centre, sonde_v3 out, float r);
/* A flat ring, seen from both sides. */
void sonde_mesh_ring(sonde_mesh *m, sonde_v3 centre, sonde_v3 out, float inner, float outer, int sides);

typedef struct sonde_camera {
  sonde_v3 eye, right, down, ahead;
} sonde_camera;
typedef struct sonde_light {
  sonde_v3 to_sun;
  float sun, ambient;
  int lamps, braking;
} sonde_light;

/* Where a mesh is: its x axis points along (dx, dy), z up. */
typedef struct sonde_transform {
  sonde_v3 at;
  float dx, dy;
} sonde_transform;

void sonde_mesh_draw(const sonde_mesh *m, sonde_target *t, const sonde_textures *textures, const sonde_camera *camera,
                     const sonde_transform *place, const sonde_light *light, int shows);
/* Whether a ball can be seen at all. */
int sonde_camera_sees(const sonde_camera *c, const sonde_target *t, sonde_v3 centre, float radius);

#endif
