/* bind_clips.c - clips of the driving simulator in Lua. */
#include "config.h"

#include <math.h>

#include "base/mem.h"
#include "drive/fcd.h"
#include "graph/graph.h"
#include "script/script.h"
#include "video/encode.h"
#include "video/make.h"

static void free_maker(void *p) {
  sonde_maker_free(p);
}
static const luaL_Reg maker_methods[];
static const sonde_lua_type maker_type = {"clip maker", free_maker, maker_methods};

/* core.clip_maker() -> maker, with as many threads as the runtime */
static int core_clip_maker(lua_State *L) {
  sonde_error err = {0};
  int threads = sonde_ctx_threads(sonde_lua_ctx(L));
  sonde_lua_box *box = sonde_lua_new(L, &maker_type, 0);
  if (!(box->p = sonde_maker_new(threads, &err))) sonde_lua_raise(L, &err);
  return 1;
}

/* core.clip_encoder() -> the versions of the libraries that write clips; raises where they are missing */
static int core_clip_encoder(lua_State *L) {
  sonde_error err = {0};
  char versions[80];
  sonde_lua_check(L, sonde_encoder_ready(versions, &err), &err);
  lua_pushstring(L, versions);
  return 1;
}

/* core.clip_classes() -> their names, in order */
static int core_clip_classes(lua_State *L) {
  lua_createtable(L, SONDE_CLIP_CLASSES, 0);
  for (int i = 0; i < SONDE_CLIP_CLASSES; i++) {
    lua_pushstring(L, sonde_clip_class[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- trajectories ---- */

typedef struct trajectories {
  sonde_fcd *fcd;
  sonde_sim_spec spec;
  sonde_found found;
} trajectories;

static void free_trajectories(void *p) {
  trajectories *t = p;
  sonde_fcd_free(t->fcd);
  sonde_found_free(&t->found);
  sonde_release(t);
}
static const luaL_Reg trajectories_methods[];
static const sonde_lua_type trajectories_type = {"trajectories", free_trajectories, trajectories_methods};

static sonde_sim_spec to_sim(lua_State *L, int table) {
  return (sonde_sim_spec){.seed = (uint64_t)sonde_lua_field_integer(L, table, "seed", 0, 0, INT64_MAX),
                          .class_ = (int)sonde_lua_field_integer(L, table, "class", 0, 0, SONDE_CLIP_CLASSES - 1),
                          .domain = (int)sonde_lua_field_integer(L, table, "domain", 0, 0, 1),
                          .seconds = sonde_lua_field_number(L, table, "seconds", 3),
                          .event_from = sonde_lua_field_number(L, table, "event_from", 1.4),
                          .event_to = sonde_lua_field_number(L, table, "event_to", 2.7)};
}

/* core.clip_trajectories(path, {seed, seconds, event_from, event_to, most}) -> trajectories: of a file that sumo
 * --fcd-output wrote, the situations that make clips, at most `most` of each class */
static int core_clip_trajectories(lua_State *L) {
  sonde_error err = {0};
  const char *path = sonde_lua_string(L, 1);
  lua_settop(L, 2);
  sonde_lua_options(L, 2);
  sonde_sim_spec spec = to_sim(L, 2);
  int most = (int)sonde_lua_field_integer(L, 2, "most", 1, 1, 100000);
  sonde_lua_box *box = sonde_lua_new(L, &trajectories_type, 0);
  trajectories *t = box->p = sonde_alloc(sizeof *t);
  if (!t) return sonde_lua_fail(L, "no memory for trajectories");
  t->spec = spec;
  if (!(t->fcd = sonde_fcd_read(path, &err))) sonde_lua_raise(L, &err);
  sonde_lua_check(L, sonde_fcd_find(t->fcd, &spec, most, &t->found, &err), &err);
  return 1;
}

/* trajectories:counts() -> how many situations there are of each class, in their order */
static int trajectories_counts(lua_State *L) {
  const trajectories *t = sonde_lua_handle(L, 1, &trajectories_type);
  lua_createtable(L, SONDE_CLIP_CLASSES, 0);
  for (int c = 0; c < SONDE_CLIP_CLASSES; c++) {
    lua_pushinteger(L, t->found.n[c]);
    lua_rawseti(L, -2, c + 1);
  }
  return 1;
}

static const luaL_Reg trajectories_methods[] = {{"counts", trajectories_counts}, {NULL, NULL}};

/* The n-th situation (from 1) of the class as traffic. */
static void to_traffic(lua_State *L, int arg, int class_, int64_t n, sonde_traffic *given) {
  sonde_error err = {0};
  const trajectories *t = sonde_lua_handle(L, arg, &trajectories_type);
  if (n < 1 || n > t->found.n[class_])
    sonde_lua_fail(L, "there are %d situations of class '%s', not %lld", t->found.n[class_], sonde_clip_class[class_],
                   (long long)n);
  sonde_lua_check(L, sonde_fcd_traffic(t->fcd, &t->found.list[class_][n - 1], &t->spec, given, &err), &err);
}

/* ---- making ---- */

/* maker:add{seed, class (from 0), domain (0, 1), seconds, event_from, event_to, width, height, samples, rate, path,
 * truth}[, trajectories, n]; see make.h. The n-th situation of the class among trajectories in place of one that is
 * drawn */
static int maker_add(lua_State *L) {
  sonde_error err = {0};
  lua_settop(L, 4);
  sonde_lua_options(L, 2);
  sonde_clip_spec c = {.sim = to_sim(L, 2),
                       .width = (int)sonde_lua_field_integer(L, 2, "width", 480, 16, 4096),
                       .height = (int)sonde_lua_field_integer(L, 2, "height", 270, 16, 4096),
                       .samples = (int)sonde_lua_field_integer(L, 2, "samples", 2, 1, 4),
                       .rate = sonde_lua_field_number(L, 2, "rate", 15),
                       .path = sonde_lua_field_string(L, 2, "path", NULL),
                       .truth = sonde_lua_field_string(L, 2, "truth", NULL)};
  sonde_maker *m = sonde_lua_handle(L, 1, &maker_type);
  if (!lua_isnoneornil(L, 3)) to_traffic(L, 3, c.sim.class_, sonde_lua_integer(L, 4, 1, INT32_MAX), &c.given);
  int rc = sonde_maker_add(m, &c, &err);
  if (rc < 0) sonde_traffic_free(&c.given);
  sonde_lua_check(L, rc, &err);
  return 0;
}

static void set_finite(lua_State *L, const char *key, double x) {
  if (isfinite(x)) sonde_lua_set_number(L, key, x);
}

/* maker:next(seconds) -> what was made, or nil: {job (from 0), error} or {job, sha256, frames, class, what, ttc, pet,
 * time_of_event, time_of_alert, speed, cars, people, bicycles, surroundings, lanes, light, rain, keeps_left}. ttc and
 * pet are absent where they are infinite. */
static int maker_next(lua_State *L) {
  static const char *const places[] = {"city", "suburb", "country"};
  sonde_maker *m = sonde_lua_handle(L, 1, &maker_type);
  double seconds = sonde_lua_number(L, 2);
  sonde_clip_made made;
  if (!sonde_maker_next(m, seconds, &made)) return 0;
  lua_createtable(L, 0, 20);
  sonde_lua_set_integer(L, "job", made.job);
  if (made.error.code) {
    sonde_lua_set_string(L, "error", made.error.text);
    return 1;
  }
  sonde_lua_set_string(L, "sha256", made.sha256);
  sonde_lua_set_integer(L, "frames", made.frames);
  sonde_lua_set_string(L, "class", sonde_clip_class[made.class_]);
  sonde_lua_set_string(L, "what", made.event);
  set_finite(L, "ttc", made.ttc);
  set_finite(L, "pet", made.pet);
  if (made.class_ != SONDE_BACKGROUND) {
    set_finite(L, "time_of_event", made.event_time);
    set_finite(L, "time_of_alert", made.alert_time);
  }
  set_finite(L, "speed", made.speed);
  sonde_lua_set_integer(L, "cars", made.cars);
  sonde_lua_set_integer(L, "people", made.people);
  sonde_lua_set_integer(L, "bicycles", made.bicycles);
  sonde_lua_set_string(L, "surroundings", places[made.surroundings]);
  sonde_lua_set_integer(L, "lanes", made.lanes);
  sonde_lua_set_string(L, "light", sonde_time_name[made.look.time]);
  sonde_lua_set_flag(L, "rain", made.look.rain);
  sonde_lua_set_flag(L, "keeps_left", made.look.side < 0);
  return 1;
}

static const luaL_Reg maker_methods[] = {{"add", maker_add}, {"next", maker_next}, {NULL, NULL}};

void sonde_bind_clips(lua_State *L) {
  static const luaL_Reg functions[] = {{"clip_maker", core_clip_maker},
                                       {"clip_encoder", core_clip_encoder},
                                       {"clip_classes", core_clip_classes},
                                       {"clip_trajectories", core_clip_trajectories},
                                       {NULL, NULL}};
  sonde_lua_functions(L, functions);
}
