/* params.c - see params.h. */
#include "graph/params.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "graph/graph.h"

typedef struct entry {
  sonde_param p;              /* first: the public view */
  int set;                    /* has values: by init or by a loader */
} entry;

struct sonde_params {
  sonde_map *map;
  uint64_t seed;
  int refs, sealed;
};

sonde_params *sonde_params_new(uint64_t seed, sonde_error *err) {
  sonde_params *p = sonde_alloc(sizeof *p);
  if (!p || !(p->map = sonde_map_new())) {
    sonde_release(p);
    sonde_fail(err, SONDE_ENOMEM, "no memory for parameters");
    return NULL;
  }
  p->seed = seed;
  p->refs = 1;
  return p;
}

sonde_params *sonde_params_ref(sonde_params *p) {
  p->refs++;
  return p;
}

void sonde_params_free(sonde_params *p) {
  if (!p || --p->refs > 0) return;
  for (int64_t k = 0; k < sonde_map_count(p->map); k++) {
    entry *e = sonde_map_value(p->map, k);
    sonde_tensor_free(e->p.value);
    sonde_release(e);
  }
  sonde_map_free(p->map);
  sonde_release(p);
}

const sonde_param *sonde_params_find(const sonde_params *p, const char *name) { return sonde_map_get(p->map, name); }
int64_t sonde_params_count(const sonde_params *p) { return sonde_map_count(p->map); }
const sonde_param *sonde_params_at(const sonde_params *p, int64_t i) { return sonde_map_value(p->map, i); }

int64_t sonde_params_elements(const sonde_params *p) {
  int64_t n = 0;
  for (int64_t k = 0; k < sonde_params_count(p); k++) {
    const sonde_param *e = sonde_params_at(p, k);
    if (e->role != SONDE_ROLE_BUFFER) n += sonde_shape_count(&e->value->shape);
  }
  return n;
}

static const sonde_param *make(sonde_params *p, const char *name, const sonde_shape *shape, int role, sonde_init init,
                               int block, sonde_error *err) {
  if (role < 0 || role >= SONDE_ROLE_COUNT) {
    sonde_fail(err, SONDE_EINVAL, "parameter '%s': %d is not a role", name, role);
    return NULL;
  }
  entry *e = sonde_alloc(sizeof *e);
  if (e) e->p.value = sonde_tensor_new(shape, err);
  if (!e || !e->p.value || sonde_map_set(p->map, name, e)) {
    if (!e || e->p.value) sonde_fail(err, SONDE_ENOMEM, "parameter '%s': no memory", name);
    if (e) sonde_tensor_free(e->p.value);
    sonde_release(e);
    return NULL;
  }
  e->p.name = sonde_map_key(p->map, sonde_map_count(p->map) - 1);
  e->p.init = init;
  e->p.role = role;
  e->p.block = block;
  return &e->p;
}

const sonde_param *sonde_params_need(sonde_params *p, const char *name, const sonde_shape *shape, int role,
                                     sonde_init init, int block, sonde_error *err) {
  char t1[160], t2[160];
  const sonde_param *there = sonde_params_find(p, name);
  if (there && sonde_shape_equal(&there->value->shape, shape)) return there;
  if (!there && !p->sealed) return make(p, name, shape, role, init, block, err);
  if (there)
    sonde_fail(err, SONDE_ESHAPE, "parameter '%s' is %s; here it is asked for as %s", name,
               sonde_shape_text(&there->value->shape, t1, sizeof t1), sonde_shape_text(shape, t2, sizeof t2));
  else sonde_fail(err, SONDE_EINVAL, "the model has no parameter '%s', and a later trace of it adds none", name);
  return NULL;
}

void sonde_params_seal(sonde_params *p) { p->sealed = 1; }

static const sonde_param *need_adapter(sonde_params *p, const sonde_param *of, const char *suffix, int64_t rows,
                                       int64_t columns, sonde_init init, sonde_error *err) {
  char name[512];
  int64_t dim[2] = {rows, columns};
  sonde_shape shape = sonde_shape_make(SONDE_F32, 2, dim);
  snprintf(name, sizeof name, "%s.%s", of->name, suffix);
  return make(p, name, &shape, SONDE_ROLE_OTHER, init, of->block, err);
}

int sonde_params_adapt(sonde_params *p, const char *name, int64_t rank, double scale, sonde_error *err) {
  entry *e = sonde_map_get(p->map, name);
  if (!e) return sonde_fail(err, SONDE_EINVAL, "there is no parameter '%s' to put adapters on", name);
  const sonde_shape *s = &e->p.value->shape;
  if (s->rank != 2 || rank < 1 || rank > s->dim[0] || rank > s->dim[1])
    return sonde_fail(err, SONDE_EINVAL,
                      "adapters of rank %lld do not fit '%s': the rank is 1 to the smaller side of a matrix",
                      (long long)rank, name);
  if (e->p.a) return sonde_fail(err, SONDE_EINVAL, "'%s' has adapters already", name);
  sonde_init fan_in = {SONDE_INIT_FAN_IN, 1, 0}, zero = {SONDE_INIT_FILL, 0, 0};
  const sonde_param *a = need_adapter(p, &e->p, "lora_a", rank, s->dim[1], fan_in, err);
  const sonde_param *b = a ? need_adapter(p, &e->p, "lora_b", s->dim[0], rank, zero, err) : NULL;
  if (!b) return err->code;
  e->p.a = a;
  e->p.b = b;
  e->p.scale = scale;
  return SONDE_OK;
}

enum { FILL_TILE = 1 << 16 };

typedef struct fill { const sonde_param *p; sonde_rng rng; float std; int64_t n; } fill;

static void fill_tile(void *arg, int64_t tile, int worker) {
  fill *f = arg;
  int64_t at = tile * FILL_TILE, n = f->n - at < FILL_TILE ? f->n - at : FILL_TILE;
  float *x = (float *)f->p->value->data + at;
  (void)worker;
  if (f->p->init.kind == SONDE_INIT_FILL)
    for (int64_t k = 0; k < n; k++) x[k] = (float)f->p->init.a;
  else sonde_rng_fill_normal(f->rng, (uint64_t)at, x, n, 0, f->std, (float)f->p->init.b);
}

void sonde_params_init(sonde_params *p, sonde_ctx *ctx) {
  for (int64_t k = 0; k < sonde_params_count(p); k++) {
    entry *e = sonde_map_value(p->map, k);
    if (e->set) continue;
    char stream[512];
    snprintf(stream, sizeof stream, "init/%s", e->p.name);
    const sonde_shape *s = &e->p.value->shape;
    double std = e->p.init.a;
    int64_t fan_in = s->rank > 1 ? s->dim[1] : 1;
    if (e->p.init.kind == SONDE_INIT_XAVIER) std *= sqrt(2.0 / (double)(s->dim[0] + fan_in));
    if (e->p.init.kind == SONDE_INIT_FAN_IN) std /= sqrt((double)fan_in);
    fill f = {&e->p, sonde_rng_stream(p->seed, stream), (float)std, sonde_shape_count(s)};
    sonde_pool_run(ctx->pool, (f.n + FILL_TILE - 1) / FILL_TILE, fill_tile, &f);
    e->set = e->p.role != SONDE_ROLE_BUFFER;
  }
}

void sonde_params_loaded(sonde_params *p, const char *name) {
  entry *e = sonde_map_get(p->map, name);
  if (e) e->set = 1;
}

int sonde_params_is_set(const sonde_params *p, const char *name) {
  const entry *e = sonde_map_get(p->map, name);
  return e && e->set;
}

const sonde_param *sonde_params_not_finite(const sonde_params *p) {
  for (int64_t k = 0; k < sonde_params_count(p); k++) {
    const sonde_param *e = sonde_params_at(p, k);
    const float *x = e->value->data;
    for (int64_t i = 0, n = sonde_shape_count(&e->value->shape); i < n; i++)
      if (!isfinite(x[i])) return e;
  }
  return NULL;
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const sonde_param *const *)a)->name, (*(const sonde_param *const *)b)->name);
}

int sonde_params_sha256(const sonde_params *p, char hex[65]) {
  int64_t n = sonde_params_count(p);
  const sonde_param **order = sonde_alloc((size_t)(n ? n : 1) * sizeof *order);
  if (!order) return SONDE_ENOMEM;
  for (int64_t k = 0; k < n; k++) order[k] = sonde_params_at(p, k);
  qsort(order, (size_t)n, sizeof *order, by_name);
  sonde_sha256 s;
  sonde_sha256_init(&s);
  for (int64_t k = 0; k < n; k++) {
    sonde_sha256_add(&s, order[k]->name, strlen(order[k]->name) + 1);
    sonde_sha256_add(&s, order[k]->value->shape.dim, sizeof order[k]->value->shape.dim);
    sonde_sha256_add(&s, order[k]->value->data, (size_t)order[k]->value->bytes);
  }
  sonde_sha256_hex(&s, hex);
  sonde_release(order);
  return 0;
}
