/* fcd.c - reads SUMO's trajectories, a stream of XML elements, by expat. */
#include "config.h"

#include "drive/fcd.h"

#include <string.h>

#include "base/mem.h"
#include "drive/exact.h"

void sonde_fcd_free(sonde_fcd *f) {
  if (!f) return;
  for (int i = 0; i < f->tracks; i++) sonde_release(f->track[i].point);
  sonde_release(f->track), sonde_release(f->from), sonde_release(f->present), sonde_release(f->path);
  sonde_release(f);
}

#ifndef HAVE_EXPAT

sonde_fcd *sonde_fcd_read(const char *path, sonde_error *err) {
  sonde_fail(err, SONDE_EUNSUP, "'%s': this build reads no trajectories: install libexpat1-dev, and build again", path);
  return NULL;
}

#else

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include "io/unpack.h"

enum { CHUNK_BYTES = 1 << 16, LONGEST_TAG = 1 << 20 };
static const double FARTHEST = 1e6, FASTEST = 120; /* metres; m/s */

typedef struct reader {
  sonde_fcd *f;
  XML_Parser xml;
  sonde_error *err;
  int failed, depth;
  int64_t quiet;        /* bytes since the last element began */
  sonde_map *by_name;   /* of a body -> its track + 1 */
  double expected, way; /* metres: speed times time, and what bodies went */
} reader;

static unsigned long line_of(const reader *r) {
#if XML_MAJOR_VERSION > 2 || XML_MINOR_VERSION >= 9
  return (unsigned long)XML_GetCurrentLineNumber64(r->xml);
#else
  return XML_GetCurrentLineNumber(r->xml);
#endif
}

static void refuse(reader *r, int code, const char *text) {
  if (r->failed) return;
  r->failed = sonde_fail(r->err, code, "'%s', line %lu: %s", r->f->path, line_of(r), text);
  XML_StopParser(r->xml, XML_FALSE);
}

static void no_memory(reader *r) {
  refuse(r, SONDE_ENOMEM, "no memory for the trajectories");
}

/* ---- attributes ---- */

static const char *attribute(const char **list, const char *name) {
  for (; *list; list += 2)
    if (!strcmp(*list, name)) return list[1];
  return NULL;
}

static double number(reader *r, const char **list, const char *name, double most) {
  const char *text = attribute(list, name);
  char *end = NULL, what[160];
  double x = text ? strtod(text, &end) : 0;
  if (text && end != text && !*end && fabs(x) <= most) return x;
  if (text)
    snprintf(what, sizeof what, "'%s' is '%.*s', no number up to %g", name, (int)strcspn(text, "\r\n") % 40, text,
             most);
  else
    snprintf(what, sizeof what, "an element has no '%s'", name);
  refuse(r, SONDE_EFORMAT, what);
  return 0;
}

/* ---- bodies ---- */

static int has(const char *text, const char *word) {
  for (; *text; text++) {
    size_t k = 0;
    while (word[k] && (text[k] | 32) == word[k]) k++;
    if (!word[k]) return 1;
  }
  return 0;
}

static int shape_of(const char *type, uint32_t colour) {
  if (!strncmp(type, "car", 3) && type[3] >= '0' && type[3] < '0' + SONDE_CAR_SHAPES && !type[4]) return type[3] - '0';
  if (has(type, "bus") || has(type, "coach")) return 5;
  if (has(type, "truck") || has(type, "trailer")) return 4;
  if (has(type, "van") || has(type, "deliver")) return 3;
  return (int)(colour % 3);
}

static sonde_body body_of(const char *name, const char *type, int person) {
  sonde_draws d = draws_new(0, name);
  uint32_t colour = (uint32_t)draw_int(&d, 1 << 24);
  double height = draw(&d, 1.58, 1.86);
  if (person) return (sonde_body){SONDE_PEDESTRIAN, 0, 0.26 * height, 0.3 * height, height, colour};
  if (has(type, "bicycle") || has(type, "bike"))
    return (sonde_body){SONDE_BICYCLE, colour % 2, 1.75, 0.6, height, colour};
  int shape = shape_of(type, colour);
  const double *size = sonde_car_size[shape];
  return (sonde_body){SONDE_VEHICLE, shape, size[0], size[1], size[2], colour};
}

/* Room for one more of `size` bytes in a list; the list, or NULL. */
static void *room(reader *r, void *list, int64_t used, int64_t *have, size_t size) {
  if (used < *have) return list;
  int64_t want = *have * 2 + 64;
  void *p = sonde_grow(list, (size_t)*have * size, (size_t)want * size);
  if (p)
    *have = want;
  else
    no_memory(r);
  return p;
}

static sonde_fcd_track *new_track(reader *r, const char *name, const char *type, int person) {
  sonde_fcd *f = r->f;
  int64_t have = f->track_room;
  sonde_fcd_track *list = room(r, f->track, f->tracks, &have, sizeof *list);
  if (!list) return NULL;
  f->track = list, f->track_room = (int)have;
  sonde_fcd_track *t = &list[f->tracks];
  *t = (sonde_fcd_track){.body = body_of(name, type ? type : "", person), .first = f->steps - 1};
  if (sonde_map_set(r->by_name, name, (void *)(intptr_t)(f->tracks + 1)) < 0) no_memory(r);
  f->tracks++;
  return t;
}

static void add_point(reader *r, sonde_fcd_track *t, sonde_fcd_point p) {
  int64_t have = t->room;
  sonde_fcd_point *list = room(r, t->point, t->points, &have, sizeof *list);
  if (!list) return;
  t->point = list, t->room = (int)have;
  if (t->points) {
    const sonde_fcd_point *q = &list[t->points - 1];
    double x = (double)p.x - (double)q->x, y = (double)p.y - (double)q->y;
    r->way += sqrt(x * x + y * y);
    r->expected += 0.5 * ((double)p.speed + (double)q->speed) * r->f->step;
  }
  list[t->points++] = p;
}

static void body(reader *r, const char **list, int person) {
  sonde_fcd *f = r->f;
  const char *name = attribute(list, "id");
  if (!f->steps || !name) {
    refuse(r, SONDE_EFORMAT, f->steps ? "an element has no 'id'" : "a body outside of a timestep");
    return;
  }
  double angle = number(r, list, "angle", 1e4) * 0.017453292519943295; /* clockwise from +y */
  double x = number(r, list, "x", FARTHEST), y = number(r, list, "y", FARTHEST);
  double speed = number(r, list, "speed", FASTEST);
  if (r->failed) return;
  sonde_fcd_point p = {(float)x, (float)y, (float)exact_sin(angle), (float)exact_cos(angle), (float)fmax(speed, 0)};
  intptr_t known = (intptr_t)sonde_map_get(r->by_name, name);
  sonde_fcd_track *t = known ? &f->track[known - 1] : NULL;
  if (t && t->first + t->points == f->steps) {
    refuse(r, SONDE_EFORMAT, "a body is twice in one timestep");
    return;
  }
  if (!t || t->first + t->points != f->steps - 1) t = new_track(r, name, attribute(list, "type"), person);
  if (f->presents == SONDE_FCD_MOST || (t && f->presents - f->from[f->steps - 1] == SONDE_FCD_CROWD)) {
    refuse(r, SONDE_ELIMIT, "more bodies than are read: at most 2^25 points, 4000 at a time");
    return;
  }
  int *there = t ? room(r, f->present, f->presents, &f->present_room, sizeof *there) : NULL;
  if (!there) return;
  f->present = there, f->present[f->presents++] = (int)(t - f->track);
  add_point(r, t, p);
}

/* ---- elements ---- */

static void timestep(reader *r, const char **list) {
  sonde_fcd *f = r->f;
  double time = number(r, list, "time", 1e7), step = time - f->begin;
  if (r->failed) return;
  if (f->steps == 0) f->begin = time;
  if (f->steps == 1) f->step = step;
  if (f->steps == 1 && !(step >= 0.0099 && step <= 0.501)) {
    refuse(r, SONDE_EFORMAT, "steps must be 0.01 to 0.5 s: give sumo --step-length 0.1");
    return;
  }
  if (f->steps > 1 && !(fabs(step - f->steps * f->step) < 0.3 * f->step)) {
    refuse(r, SONDE_EFORMAT, "the timesteps are not evenly spaced");
    return;
  }
  int64_t have = f->step_room;
  int64_t *from = room(r, f->from, f->steps + 1, &have, sizeof *from);
  if (!from) return;
  f->from = from, f->step_room = (int)have;
  from[f->steps++] = f->presents;
  from[f->steps] = f->presents;
}

static void XMLCALL element(void *arg, const char *name, const char **list) {
  reader *r = arg;
  r->quiet = 0;
  if (r->failed) return;
  if (r->depth++ == 0) {
    if (strcmp(name, "fcd-export")) refuse(r, SONDE_EFORMAT, "is not what sumo --fcd-output writes: no <fcd-export>");
  } else if (!strcmp(name, "timestep")) {
    timestep(r, list);
  } else if (!strcmp(name, "vehicle") || !strcmp(name, "person")) {
    body(r, list, *name == 'p');
    if (r->f->steps) r->f->from[r->f->steps] = r->f->presents;
  }
}

static void XMLCALL element_end(void *arg, const char *name) {
  reader *r = arg;
  (void)name;
  r->depth--;
}

static void XMLCALL document_type(void *arg, const char *name, const char *system, const char *public, int internal) {
  (void)name, (void)system, (void)public, (void)internal;
  refuse(arg, SONDE_EFORMAT, "has a document type, which trajectories have not");
}

static int parse(reader *r, sonde_unpack *in, sonde_error *err) {
  for (;;) {
    char *buffer = XML_GetBuffer(r->xml, CHUNK_BYTES);
    if (!buffer) return sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s'", r->f->path);
    int64_t n = sonde_unpack_read(in, buffer, CHUNK_BYTES, err);
    if (n < 0) return (int)n;
    r->quiet += n;
    if (XML_ParseBuffer(r->xml, (int)n, n == 0) != XML_STATUS_OK && !r->failed)
      refuse(r, SONDE_EFORMAT, XML_ErrorString(XML_GetErrorCode(r->xml)));
    if (!r->failed && r->quiet > LONGEST_TAG) refuse(r, SONDE_EFORMAT, "a megabyte without an element");
    if (r->failed) return r->failed;
    if (n == 0) return 0;
  }
}

/* Whether cars meet oncoming ones on their right. */
static int keeps_left(const sonde_fcd *f) {
  enum { LOOKS = 200, MOST = 300 };
  int64_t right = 0, left = 0;
  for (int s = 0, stride = f->steps / LOOKS + 1; s < f->steps; s += stride)
    for (int64_t a = f->from[s]; a < f->from[s + 1] && a < f->from[s] + MOST; a++)
      for (int64_t b = f->from[s]; b < a; b++) {
        const sonde_fcd_track *t = &f->track[f->present[a]], *u = &f->track[f->present[b]];
        if (t->body.kind != SONDE_VEHICLE || u->body.kind != SONDE_VEHICLE) continue;
        const sonde_fcd_point *p = &t->point[s - t->first], *q = &u->point[s - u->first];
        float x = q->x - p->x, y = q->y - p->y, along = x * p->dx + y * p->dy, off = y * p->dx - x * p->dy;
        int meets = p->dx * q->dx + p->dy * q->dy < -0.97f && fabsf(along) < 20 && fabsf(off) > 1.5f && fabsf(off) < 9;
        left += meets && off > 0, right += meets && off < 0;
      }
  return right > left;
}

static int check(const reader *r, sonde_error *err) {
  sonde_fcd *f = r->f;
  if (f->steps < 2 || !f->presents) return sonde_fail(err, SONDE_EFORMAT, "'%s' has no trajectories", f->path);
  if (r->expected > 100 && !(r->way > 0.7 * r->expected && r->way < 1.5 * r->expected))
    return sonde_fail(err, SONDE_EFORMAT, "'%s': bodies move %.3g m at speeds that make %.3g m: positions must be in "
                      "metres (without --fcd-output.geo), speeds in m/s", f->path, r->way, r->expected);
  f->keeps_left = keeps_left(f);
  return 0;
}

sonde_fcd *sonde_fcd_read(const char *path, sonde_error *err) {
  reader r = {.f = sonde_alloc(sizeof *r.f), .err = err, .xml = XML_ParserCreate(NULL), .by_name = sonde_map_new()};
  int rc = -1;
  if (!r.f || !r.xml || !r.by_name || !(r.f->path = sonde_strdup(path))) {
    sonde_fail(err, SONDE_ENOMEM, "no memory to read '%s'", path);
  } else {
    XML_SetUserData(r.xml, &r);
    XML_SetElementHandler(r.xml, element, element_end);
    XML_SetStartDoctypeDeclHandler(r.xml, document_type);
    sonde_unpack *in = sonde_unpack_open(path, err);
    rc = in ? parse(&r, in, err) : -1;
    sonde_unpack_close(in);
    if (rc == 0) rc = check(&r, err);
  }
  if (r.xml) XML_ParserFree(r.xml);
  sonde_map_free(r.by_name);
  if (rc == 0) return r.f;
  sonde_fcd_free(r.f);
  return NULL;
}

#endif
