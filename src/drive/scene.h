/* scene.h - the world around the traffic: road, houses, trees, lamps; its light and weather; the dash camera. */
#ifndef SONDE_DRIVE_SCENE_H
#define SONDE_DRIVE_SCENE_H

#include "drive/model.h"

enum { SONDE_DAY, SONDE_DUSK, SONDE_NIGHT, SONDE_TIMES };
extern const char *const sonde_time_name[SONDE_TIMES];

/* What a clip looks like, apart from who drives where. */
typedef struct sonde_look {
  int time, rain, cloudy;
  int side;                                                    /* 1: traffic keeps right, -1: left */
  float bend;                                                  /* curvature of the road, 1/m */
  float camera_height, camera_ahead, wide, pitch, roll, shake; /* wide: half the picture's width / focal length */
  int bonnet;
  float noise;     /* of the sensor, grey levels */
  sonde_v3 to_sun; /* in road coordinates before the bend */
  sonde_light light;
  float tint[3], gain;         /* of the light, and the camera's exposure */
  float fog[3], haze;          /* colour of the far distance; 1/m */
  float zenith[3], horizon[3]; /* of the sky */
} sonde_look;

/* Draws the look of a clip of a domain (0: A, 1: B). */
void sonde_look_draw(sonde_look *l, uint64_t seed, int domain);

/* A stretch of the road with what stands beside it: solids, and what lies flat on the ground (marks, light, shadow). */
typedef struct sonde_chunk {
  sonde_mesh solid, flat;
} sonde_chunk;

typedef struct sonde_scene {
  const sonde_traffic *traffic;
  const sonde_textures *textures;
  sonde_look look;
  int chunks;
  sonde_chunk *chunk;
  sonde_mesh body[SONDE_BODIES]; /* of vehicles; people are made anew for each frame */
  sonde_mesh bonnet, ring;       /* ring: the far skyline */
  sonde_mesh beam;               /* light on the road before another car */
  float *pitch;                  /* of the camera, per step of the traffic */
  float shake_phase[8];
} sonde_scene;

/* The traffic and the textures must outlive the scene. ENOMEM. */
int sonde_scene_make(sonde_scene *s, const sonde_traffic *traffic, const sonde_textures *textures,
                     const sonde_look *look, uint64_t seed, sonde_error *err);
void sonde_scene_free(sonde_scene *s);

/* Where a body, and the camera, is at a time, in the world; b: 0 is the ego car. */
sonde_transform sonde_scene_place(const sonde_scene *s, int b, double seconds);
sonde_camera sonde_scene_camera(const sonde_scene *s, double seconds);

/* A frame into a cleared target whose focal length and centre are set. scratch: a mesh for people, emptied here. */
void sonde_scene_render(const sonde_scene *s, double seconds, sonde_target *t, sonde_mesh *scratch);

#endif
