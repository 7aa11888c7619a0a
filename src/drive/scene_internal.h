/* scene_internal.h - what the files that build the world share. */
#ifndef SONDE_DRIVE_SCENE_INTERNAL_H
#define SONDE_DRIVE_SCENE_INTERNAL_H

#include "drive/scene.h"

enum { CHUNK = 40 }; /* metres of road */

typedef struct world {
  sonde_scene *s;
  const sonde_road *road;
  sonde_draws d;
  double kerb, outer; /* from the middle to the kerb and to the pavement's outer edge */
  int domain_b;
} world;

/* The chunk that place x of the road belongs to. */
sonde_chunk *world_chunk(const world *w, double x);
int world_at_crossing(const world *w, double x, double margin);

/* scene_road.c: everything; scene_sides.c: what stands beside the road. */
void world_build(world *w);
void world_add_sides(world *w);

#endif
