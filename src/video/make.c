/* make.c - one clip from its seed to its file, and the threads that make many. */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "video/encode.h"
#include "video/make.h"

enum { MOVES = 100 }; /* added to what a pixel shows where the body moves */

/* ---- truth ---- */

static int write_flow(const char *path, int width, int height, const float *flow, sonde_error *err) {
  sonde_outfile *f = sonde_outfile_open(path, err);
  if (!f) return err->code;
  int32_t size[2] = {width, height};
  FILE *out = sonde_outfile_stream(f);
  fwrite("PIEH", 1, 4, out);
  fwrite(size, sizeof *size, 2, out);
  fwrite(flow, sizeof *flow * 2, (size_t)width * (size_t)height, out);
  return sonde_outfile_commit(f, err);
}

static int write_mask(const char *path, int width, int height, const uint8_t *shows, sonde_error *err) {
  sonde_outfile *f = sonde_outfile_open(path, err);
  if (!f) return err->code;
  FILE *out = sonde_outfile_stream(f);
  fprintf(out, "P5\n%d %d\n255\n", width, height);
  fwrite(shows, 1, (size_t)width * (size_t)height, out);
  return sonde_outfile_commit(f, err);
}

static int write_truth(const sonde_painter *p, const sonde_scene *s, const sonde_clip_spec *c, int frame, float *flow,
                       uint8_t *shows, sonde_error *err) {
  double t = frame / c->rate;
  size_t n = (size_t)c->width * (size_t)c->height;
  sonde_painter_truth(p, s, t, 1 / c->rate, shows, NULL, flow);
  for (size_t i = 0; i < n; i++)
    if (shows[i] >= SONDE_SHOWS_BODY && sonde_traffic_pose(s->traffic, shows[i] - SONDE_SHOWS_BODY, t).speed > 0.3)
      shows[i] += MOVES;
  char path[4096];
  snprintf(path, sizeof path, "%s/%03d.flo", c->truth, frame);
  int rc = write_flow(path, c->width, c->height, flow, err);
  if (rc < 0) return rc;
  snprintf(path, sizeof path, "%s/%03d.pgm", c->truth, frame);
  return write_mask(path, c->width, c->height, shows, err);
}

/* ---- a clip ---- */

static int record(const sonde_clip_spec *c, const sonde_scene *s, sonde_painter *p, sonde_encoder *e, uint8_t *rgb,
                  const volatile int *stop, sonde_clip_made *made, sonde_error *err) {
  size_t n = (size_t)c->width * (size_t)c->height;
  float *flow = c->truth ? sonde_alloc(n * 2 * sizeof *flow + n) : NULL;
  uint8_t *shows = flow ? (uint8_t *)(flow + 2 * n) : NULL;
  int rc = c->truth && !flow
               ? sonde_fail(err, SONDE_ENOMEM, "no memory for the flow of %d x %d pixels", c->width, c->height)
               : 0;
  sonde_sha256 hash;
  sonde_sha256_init(&hash);
  made->frames = (int)(c->sim.seconds * c->rate + 0.5);
  for (int i = 0; rc == 0 && i < made->frames; i++) {
    if (stop && *stop) rc = sonde_fail(err, SONDE_EINTR, "stopped");
    if (rc < 0) break;
    if ((rc = sonde_painter_frame(p, s, i / c->rate, i, c->sim.seed, rgb, err)) < 0) break;
    sonde_sha256_add(&hash, rgb, n * 3);
    if (e) rc = sonde_encoder_add(e, rgb, err);
    if (rc == 0 && flow) rc = write_truth(p, s, c, i, flow, shows, err);
  }
  sonde_sha256_hex(&hash, made->sha256);
  sonde_release(flow);
  return rc;
}

static void describe(const sonde_traffic *t, const sonde_look *look, sonde_clip_made *made) {
  made->class_ = t->class_, made->bodies = t->bodies, made->event = t->event;
  made->ttc = t->ttc, made->pet = t->pet, made->event_time = t->event_time, made->alert_time = t->alert_time;
  made->surroundings = t->road.surroundings, made->lanes = t->road.lanes, made->speed = t->pose[0].speed;
  made->look = *look;
  for (int b = 1; b < t->bodies; b++) {
    made->cars += t->body[b].kind == SONDE_VEHICLE;
    made->people += t->body[b].kind == SONDE_PEDESTRIAN;
    made->bicycles += t->body[b].kind == SONDE_BICYCLE;
  }
}

static int in_scene(const sonde_clip_spec *c, const sonde_scene *s, const volatile int *stop, sonde_clip_made *made,
                    sonde_error *err) {
  sonde_painter *p = sonde_painter_new(c->width, c->height, c->samples, err);
  if (!p) return err->code;
  uint8_t *rgb = sonde_alloc((size_t)c->width * (size_t)c->height * 3);
  int rc = rgb ? 0 : sonde_fail(err, SONDE_ENOMEM, "no memory for a frame of %d x %d", c->width, c->height);
  sonde_encoder *e = NULL;
  if (rc == 0 && c->path && !(e = sonde_encoder_open(c->width, c->height, c->rate, err))) rc = err->code;
  if (rc == 0) rc = record(c, s, p, e, rgb, stop, made, err);
  if (rc == 0 && e)
    rc = sonde_encoder_close(e, c->path, err);
  else
    sonde_encoder_abandon(e);
  sonde_release(rgb);
  sonde_painter_free(p);
  return rc;
}

static int make_clip(const sonde_clip_spec *c, const sonde_textures *textures, const volatile int *stop,
                     sonde_clip_made *made, sonde_error *err) {
  if (c->width < 16 || c->height < 16 || c->width > 4096 || c->height > 4096 || c->samples < 1 || c->samples > 4)
    return sonde_fail(err, SONDE_EINVAL, "pictures are 16 to 4096 pixels wide and high, with 1 to 4 samples a side");
  sonde_traffic own = {0};
  const sonde_traffic *traffic = c->given.bodies ? &c->given : &own;
  int rc = c->given.bodies ? 0 : sonde_traffic_make(&c->sim, &own, err);
  if (rc < 0) return rc;
  sonde_look look;
  sonde_scene scene;
  sonde_look_draw(&look, c->sim.seed, c->sim.domain);
  if ((rc = sonde_scene_make(&scene, traffic, textures, &look, c->sim.seed, err)) == 0) {
    describe(traffic, &look, made);
    rc = in_scene(c, &scene, stop, made, err);
    sonde_scene_free(&scene);
  }
  sonde_traffic_free(&own);
  return rc;
}

/* ---- many ---- */

typedef struct job {
  struct job *next;
  int64_t number;
  sonde_clip_spec spec;
  sonde_clip_made made;
} job;

struct sonde_maker {
  pthread_mutex_t lock;
  pthread_cond_t more, done; /* jobs; results */
  int threads, started;
  pthread_t *thread;
  volatile int stop;
  sonde_textures *textures;
  job *first, *last, *made;
  int64_t added, taken;
};

static void free_job(job *j) {
  sonde_release((char *)j->spec.path);
  sonde_release((char *)j->spec.truth);
  sonde_traffic_free(&j->spec.given);
  sonde_release(j);
}

static void *work(void *arg) {
  sonde_maker *m = arg;
  pthread_mutex_lock(&m->lock);
  while (!m->stop) {
    job *j = m->first;
    if (!j) {
      pthread_cond_wait(&m->more, &m->lock);
      continue;
    }
    if (!(m->first = j->next)) m->last = NULL;
    pthread_mutex_unlock(&m->lock);
    sonde_error err = {0};
    j->made.job = j->number;
    int rc = make_clip(&j->spec, m->textures, &m->stop, &j->made, &err);
    if (rc < 0) j->made.error = err;
    pthread_mutex_lock(&m->lock);
    j->next = m->made, m->made = j;
    pthread_cond_signal(&m->done);
  }
  pthread_mutex_unlock(&m->lock);
  return NULL;
}

sonde_maker *sonde_maker_new(int threads, sonde_error *err) {
  sonde_maker *m = sonde_alloc(sizeof *m);
  if (m) m->threads = threads, m->thread = sonde_alloc(sizeof *m->thread * (size_t)threads);
  if (!m || !m->thread) {
    sonde_release(m);
    return sonde_fail(err, SONDE_ENOMEM, "no memory for %d threads", threads), NULL;
  }
  if (!(m->textures = sonde_textures_new(err))) {
    sonde_release(m->thread);
    sonde_release(m);
    return NULL;
  }
  pthread_condattr_t a;
  pthread_condattr_init(&a);
  pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->more, NULL);
  pthread_cond_init(&m->done, &a);
  pthread_condattr_destroy(&a);
  return m;
}

static void free_list(job *j) {
  while (j) {
    job *next = j->next;
    free_job(j);
    j = next;
  }
}

void sonde_maker_free(sonde_maker *m) {
  if (!m) return;
  pthread_mutex_lock(&m->lock);
  m->stop = 1;
  pthread_cond_broadcast(&m->more);
  pthread_mutex_unlock(&m->lock);
  for (int i = 0; i < m->started; i++) pthread_join(m->thread[i], NULL);
  free_list(m->first);
  free_list(m->made);
  pthread_cond_destroy(&m->more);
  pthread_cond_destroy(&m->done);
  pthread_mutex_destroy(&m->lock);
  sonde_textures_free(m->textures);
  sonde_release(m->thread);
  sonde_release(m);
}

static int start(sonde_maker *m, sonde_error *err) {
  while (m->started < m->threads) {
    int rc = pthread_create(&m->thread[m->started], NULL, work, m);
    if (rc && m->started == 0) return sonde_fail(err, SONDE_ENOMEM, "cannot start a thread: %s", strerror(rc));
    if (rc) break;
    m->started++;
  }
  return 0;
}

static void give_up(job *j) { /* the traffic stays the caller's */
  j->spec.given = (sonde_traffic){0};
  free_job(j);
}

int sonde_maker_add(sonde_maker *m, const sonde_clip_spec *spec, sonde_error *err) {
  job *j = sonde_alloc(sizeof *j);
  if (j) {
    j->spec = *spec;
    j->spec.path = spec->path ? sonde_strdup(spec->path) : NULL;
    j->spec.truth = spec->truth ? sonde_strdup(spec->truth) : NULL;
  }
  if (!j || (spec->path && !j->spec.path) || (spec->truth && !j->spec.truth)) {
    if (j) give_up(j);
    return sonde_fail(err, SONDE_ENOMEM, "no memory for a clip");
  }
  int rc = start(m, err);
  if (rc < 0) {
    give_up(j);
    return rc;
  }
  pthread_mutex_lock(&m->lock);
  j->number = m->added++;
  if (m->last)
    m->last->next = j;
  else
    m->first = j;
  m->last = j;
  pthread_cond_signal(&m->more);
  pthread_mutex_unlock(&m->lock);
  return 0;
}

int sonde_maker_next(sonde_maker *m, double seconds, sonde_clip_made *made) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  seconds = seconds > 0 ? fmin(seconds, 3600) : 0;      /* what would not fit a time, and what is no number */
  int64_t ns = until.tv_nsec + (int64_t)(seconds * 1e9);
  until.tv_sec += ns / 1000000000, until.tv_nsec = ns % 1000000000;
  pthread_mutex_lock(&m->lock);
  int timed_out = 0;
  while (!m->made && m->taken < m->added && !timed_out)
    timed_out = pthread_cond_timedwait(&m->done, &m->lock, &until) != 0;
  job *j = m->made;
  if (j) {
    m->made = j->next, m->taken++;
    *made = j->made;
  }
  pthread_mutex_unlock(&m->lock);
  if (j) free_job(j);
  return j != NULL;
}
