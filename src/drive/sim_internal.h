/* sim_internal.h - what the simulator's files share: a situation is laid out (sim_layout.c), then run (sim.c). */
#ifndef SONDE_DRIVE_SIM_INTERNAL_H
#define SONDE_DRIVE_SIM_INTERNAL_H

#include "drive/exact.h"
#include "drive/sim.h"

/* How a body moves. */
enum {
  STAND,  /* parked, waiting */
  ALONG,  /* along the road, dir +1 or -1, at its own speed or behind a leader; may change its lane or brake */
  ACROSS, /* across the road, dir +1 or -1, from t0 on; may stop at `stop` */
  TURN    /* along -x up to a crossing, then a left turn across the ego car's lane */
};

enum { NO_EVENT, CUT_IN, LEADER, TURN_ACROSS, SIDE_CAR, CROSSING_BICYCLE, SWERVE, STEP_OUT, ZEBRA, EVENTS };

typedef struct sonde_script {
  int move;
  double x, y, dir;        /* where it is at t = 0 (ACROSS: until t0) */
  double speed, wish;      /* now, and wanted */
  double t0, lasts, shift; /* a change of lane by `shift` metres from t0 on, or the start of another manoeuvre */
  double brake, slow;      /* from t0 on: deceleration down to the speed `slow` */
  double stop;             /* ACROSS: stops after so many metres; 0: does not */
  double done;             /* metres since t0 (ACROSS), or since t = -before (TURN) */
  double radius, corner;   /* TURN: of the turn; metres from x to where it begins */
  int heeds;               /* ALONG: keeps its distance */
  int across;              /* STAND: heads across the road */
  int fixed;               /* x counts from the place of the encounter, which the aim sets */
} sonde_script;

typedef struct sonde_situation {
  sonde_road road;
  int event, n, actor;
  sonde_body body[SONDE_BODIES];
  sonde_script script[SONDE_BODIES];
  double enter;                /* when the actor comes into the way */
  double reaction, brake_most; /* of the ego driver to the actor, s; m/s2 */
  double distance;             /* that the ego driver would keep to the actor, m */
  double sway, sway_phase;     /* of the ego car in its lane, m */
} sonde_situation;

/* Draws what happens in a clip of the wanted class; then a road and bodies for it. */
int sonde_event_draw(const sonde_sim_spec *spec, sonde_draws *d);
void sonde_situation_draw(sonde_situation *s, const sonde_sim_spec *spec, int event, sonde_draws *d);

/* Solves back from the time to collision that the ego car would have, did it not react, at the moment when the actor
 * comes into its way: sets where that is and when the actor starts. */
void sonde_situation_aim(sonde_situation *s, double lead);

extern const char *const sonde_event_name[EVENTS];

#endif
