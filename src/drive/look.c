/* look.c - draws light, weather and camera of a clip. The two domains differ in all three (doc/video.md). */
#include "config.h"

#include <string.h>

#include "drive/scene.h"

const char *const sonde_time_name[SONDE_TIMES] = {"day", "dusk", "night"};

static void set3(float out[3], double r, double g, double b) {
  out[0] = (float)r, out[1] = (float)g, out[2] = (float)b;
}

static void draw_light(sonde_look *l, sonde_draws *d) {
  double azimuth = draw(d, 0, 6.28), high = l->time == SONDE_DUSK ? draw(d, 0.1, 0.25) : draw(d, 0.5, 1.1);
  double c = exact_cos(high);
  l->to_sun = v3((float)(c * exact_cos(azimuth)), (float)(c * exact_sin(azimuth)), (float)exact_sin(high));
  l->light.to_sun = l->to_sun;
  if (l->time == SONDE_DAY) {
    l->light.sun = l->cloudy ? 0.08f : 0.8f, l->light.ambient = l->cloudy ? 0.95f : 0.62f;
    if (l->rain) l->light.sun = 0, l->light.ambient = 0.78f;
    set3(l->tint, l->cloudy ? 0.97 : 1.04, 1, l->cloudy ? 1.03 : 0.96);
    set3(l->zenith, l->cloudy ? 150 : 74, l->cloudy ? 158 : 124, l->cloudy ? 168 : 196);
    set3(l->horizon, l->cloudy ? 204 : 202, l->cloudy ? 208 : 216, l->cloudy ? 212 : 228);
  } else if (l->time == SONDE_DUSK) {
    l->light.sun = l->rain || l->cloudy ? 0 : 0.22f, l->light.ambient = 0.42f;
    set3(l->tint, 1.08, 0.92, 0.88);
    set3(l->zenith, 62, 74, 112);
    set3(l->horizon, l->cloudy ? 170 : 226, l->cloudy ? 140 : 154, l->cloudy ? 132 : 104);
  } else {
    l->light.sun = 0, l->light.ambient = 0.2f;
    set3(l->tint, 0.86, 0.9, 1.06);
    set3(l->zenith, 10, 12, 22);
    set3(l->horizon, 46, 44, 50);
  }
  l->light.lamps = l->time != SONDE_DAY || l->rain;
  for (int i = 0; i < 3; i++) l->fog[i] = l->horizon[i] * (l->rain ? 0.92f : 1);
  l->haze = (float)(l->rain                  ? draw(d, 0.009, 0.016)
                    : l->time == SONDE_NIGHT ? draw(d, 0.002, 0.005)
                                             : draw(d, 0.0015, 0.004));
  l->gain = (float)draw(d, 0.92, 1.06) * (l->time == SONDE_NIGHT ? 1.15f : 1);
}

void sonde_look_draw(sonde_look *l, uint64_t seed, int domain) {
  sonde_draws draws = draws_new(seed, "look"), *d = &draws;
  memset(l, 0, sizeof *l);
  double u = draw(d, 0, 1);
  l->time = domain == 0 ? (u < 0.62   ? SONDE_DAY
                           : u < 0.82 ? SONDE_DUSK
                                      : SONDE_NIGHT)
                        : (u < 0.34  ? SONDE_DAY
                           : u < 0.6 ? SONDE_DUSK
                                     : SONDE_NIGHT);
  l->rain = draw_chance(d, domain == 0 ? 0.1 : 0.35);
  l->cloudy = l->rain || draw_chance(d, domain == 0 ? 0.3 : 0.5);
  l->side = domain == 0 ? 1 : -1;
  double radius = draw(d, 140, 700), side = draw_chance(d, 0.5) ? 1 : -1;
  if (draw_chance(d, 0.6)) l->bend = (float)(side / radius);
  if (domain == 0) { /* behind the mirror of a car: a moderate lens, no bonnet in the picture */
    l->camera_height = (float)draw(d, 1.18, 1.36), l->wide = (float)draw(d, 0.62, 0.74);
    l->pitch = (float)draw(d, -0.03, 0.02), l->bonnet = 0;
  } else { /* lower on the dashboard of another car: a wide lens that sees the bonnet */
    l->camera_height = (float)draw(d, 1.22, 1.42), l->wide = (float)draw(d, 0.95, 1.15);
    l->pitch = (float)draw(d, -0.06, -0.02), l->bonnet = 1;
  }
  l->camera_ahead = 0.45f;
  l->roll = (float)draw(d, -0.012, 0.012);
  l->shake = (float)(domain == 0 ? draw(d, 0.6, 1.2) : draw(d, 1, 1.8));
  draw_light(l, d);
  l->noise = (float)((domain == 0 ? draw(d, 1.2, 2.2) : draw(d, 1.8, 3)) * (l->time == SONDE_NIGHT ? 1.7 : 1));
}
