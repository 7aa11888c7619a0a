/* model.h - road users as meshes: x ahead, y to the left, z up, the origin on the ground under the middle. */
#ifndef SONDE_DRIVE_MODEL_H
#define SONDE_DRIVE_MODEL_H

#include "drive/mesh.h"
#include "drive/sim.h"

/* Adds the body to the mesh. phase: of its steps or pedals, radians; effort 0 (stands) to 1.5 (runs). */
void sonde_model_body(sonde_mesh *m, const sonde_body *b, float phase, float effort);

/* The ego car's bonnet, as the camera sees it, around the ego car's middle. */
void sonde_model_bonnet(sonde_mesh *m, uint32_t colour);

#endif
