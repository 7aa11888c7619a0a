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

enum { MOST_VIEWS = 4 };        /* one of each kind */

typedef struct entry {
  sonde_param p;              /* first: what others see */
  sonde_view view[MOST_VIEWS];
} entry;

struct sonde_params {
  sonde_map *map;
  entry **own;                /* those with values of their own, in the order they were made */
  int64_t n_own, cap_own;
  uint64_t seed;
  int refs, sealed, users;    /* users: trainings that run */
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
  sonde_release(p->own);
  sonde_release(p);
}

const sonde_param *sonde_params_find(const sonde_params *p, const char *name) { return sonde_map_get(p->map, name); }
int64_t sonde_params_count(const sonde_params *p) { return p->n_own; }
const sonde_param *sonde_params_at(const sonde_params *p, int64_t i) { return &p->own[i]->p; }
int64_t sonde_params_names(const sonde_params *p) { return sonde_map_count(p->map); }
const sonde_param *sonde_params_named(const sonde_params *p, int64_t i) { return sonde_map_value(p->map, i); }

int64_t sonde_params_elements(const sonde_params *p) {
  int64_t n = 0;
  for (int64_t k = 0; k < sonde_params_count(p); k++) {
    const sonde_param *e = sonde_params_at(p, k);
    if (e->role != SONDE_ROLE_BUFFER) n += sonde_shape_count(&e->value->shape);
  }
  return n;
}

static int make_room(sonde_params *p) {
  if (p->n_own < p->cap_own) return 1;
  int64_t cap = p->cap_own ? 2 * p->cap_own : 64;
  entry **bigger = sonde_grow(p->own, (size_t)p->cap_own * sizeof *bigger, (size_t)cap * sizeof *bigger);
  if (!bigger) return 0;
  p->own = bigger;
  p->cap_own = cap;
  return 1;
}

static entry *make(sonde_params *p, const char *name, const sonde_shape *shape, int role, sonde_init init,
                               int block, sonde_error *err) {
  if (role < 0 || role >= SONDE_ROLE_COUNT) {
    sonde_fail(err, SONDE_EINVAL, "parameter '%s': %d is not a role", name, role);
    return NULL;
  }
  entry *e = sonde_alloc(sizeof *e);
  if (e) e->p.value = sonde_tensor_new(shape, err);
  if (!e || !e->p.value || !make_room(p) || sonde_map_set(p->map, name, e)) {
    if (!e || e->p.value) sonde_fail(err, SONDE_ENOMEM, "parameter '%s': no memory", name);
    if (e) sonde_tensor_free(e->p.value);
    sonde_release(e);
    return NULL;
  }
  e->p.value->lacks = SONDE_LACKS_VALUES;
  e->p.name = sonde_map_key(p->map, sonde_map_count(p->map) - 1);
  e->p.init = init;
  e->p.role = role;
  e->p.block = block;
  e->p.view = e->view;
  p->own[p->n_own++] = e;
  return e;
}

const sonde_param *sonde_params_need(sonde_params *p, const char *name, const sonde_shape *shape, int role,
                                     sonde_init init, int block, sonde_error *err) {
  char t1[160], t2[160];
  const sonde_param *there = sonde_params_find(p, name);
  if (there && sonde_shape_equal(&there->value->shape, shape)) return there;
  if (!there && !p->sealed) {
    const entry *e = make(p, name, shape, role, init, block, err);
    return e ? &e->p : NULL;
  }
  if (there)
    sonde_fail(err, SONDE_ESHAPE, "parameter '%s' is %s; here it is asked for as %s", name,
               sonde_shape_text(&there->value->shape, t1, sizeof t1), sonde_shape_text(shape, t2, sizeof t2));
  else sonde_fail(err, SONDE_EINVAL, "the model has no parameter '%s', and a later trace of it adds none: "
                  "make the model with what needs it", name);
  return NULL;
}

void sonde_params_seal(sonde_params *p) { p->sealed = 1; }

static int check_unused(const sonde_params *p, const char *name, sonde_error *err);

const sonde_param *sonde_params_extend(sonde_params *p, const char *name, const sonde_shape *shape, int role,
                                       sonde_init init, sonde_error *err) {
  if (check_unused(p, name, err)) return NULL;
  const int sealed = p->sealed;
  p->sealed = 0;
  const sonde_param *made = sonde_params_need(p, name, shape, role, init, -1, err);
  p->sealed = sealed;
  return made;
}

/* ---- values ------------------------------------------------------------------------------------------- */

enum { FILL_TILE = 1 << 16 };

typedef struct fill { const sonde_param *p; float *x; sonde_rng rng; float std; int64_t n; } fill;

static void fill_tile(void *arg, int64_t tile, int worker) {
  fill *f = arg;
  int64_t at = tile * FILL_TILE, n = f->n - at < FILL_TILE ? f->n - at : FILL_TILE;
  float *x = f->x + at;
  (void)worker;
  if (f->p->init.kind == SONDE_INIT_FILL)
    for (int64_t k = 0; k < n; k++) x[k] = (float)f->p->init.a;
  else sonde_rng_fill_normal(f->rng, (uint64_t)at, x, n, 0, f->std, (float)f->p->init.b);
}

static void first_values(const sonde_params *p, const entry *e, sonde_ctx *ctx) {
  char stream[512];
  snprintf(stream, sizeof stream, "init/%s", e->p.name);
  const sonde_shape *s = &e->p.value->shape;
  double std = e->p.init.a;
  int64_t fan_in = s->rank > 1 ? s->dim[s->rank - 1] : 1, fan_out = s->dim[s->rank > 1 ? s->rank - 2 : 0];
  if (e->p.init.kind == SONDE_INIT_XAVIER) std *= sqrt(2.0 / (double)(fan_out + fan_in));
  if (e->p.init.kind == SONDE_INIT_FAN_IN) std /= sqrt((double)fan_in);
  float *x = sonde_tensor_write(e->p.value, NULL);
  fill f = {&e->p, x, sonde_rng_stream(p->seed, stream), (float)std, sonde_shape_count(s)};
  sonde_pool_run(ctx->pool, (f.n + FILL_TILE - 1) / FILL_TILE, fill_tile, &f);
  e->p.value->first = 1;
  if (e->p.role == SONDE_ROLE_BUFFER) e->p.value->lacks = SONDE_LACKS_RESULT;
}

void sonde_params_init(sonde_params *p, sonde_ctx *ctx) {
  for (int64_t k = 0; k < p->n_own; k++)
    if (p->own[k]->p.value->lacks == SONDE_LACKS_VALUES) first_values(p, p->own[k], ctx);
}

int sonde_params_is_set(sonde_params *p, const char *name) {
  const sonde_param *there = sonde_params_find(p, name);
  return there && !there->value->lacks;
}

/* ---- views -------------------------------------------------------------------------------------------- */

const sonde_view *sonde_param_view(const sonde_param *p, int kind) {
  for (int32_t k = 0; k < p->views; k++)
    if (p->view[k].kind == kind) return &p->view[k];
  return NULL;
}

int sonde_param_trained(const sonde_param *p) {
  return p->role != SONDE_ROLE_BUFFER && !sonde_param_view(p, SONDE_VIEW_FREEZE) &&
      !sonde_param_view(p, SONDE_VIEW_SHARE);
}

void sonde_params_use(sonde_params *p) {
  p->users++;
  /* Also what it will not change: a training that goes on, or is shown, reads all of them from its checkpoint. */
  for (int64_t k = 0; k < p->n_own; k++) p->own[k]->p.value->first = 0;
}

void sonde_params_unuse(sonde_params *p) { p->users--; }

/* A training has read the list of parameters and what is trained of it: neither may change under it. */
static int check_unused(const sonde_params *p, const char *name, sonde_error *err) {
  return !p->users ? SONDE_OK
                   : sonde_fail(err, SONDE_EINVAL,
                                "'%s': a training uses these parameters; change views before it begins or after it "
                                "ends",
                                name);
}

/* The parameter that is to get a view of that kind; NULL where that cannot be. */
static entry *to_view(sonde_params *p, const char *name, int kind, sonde_error *err) {
  static const char *const what[] = {"shares a value", "has a mask", "has low-rank factors", "is frozen"};
  entry *e = sonde_map_get(p->map, name);
  if (check_unused(p, name, err)) return NULL;
  if (!e) sonde_fail(err, SONDE_EINVAL, "there is no parameter '%s' to put a view on", name);
  else if (e->p.role == SONDE_ROLE_BUFFER) sonde_fail(err, SONDE_EINVAL,
                                                      "'%s' is a buffer: it is computed, and has no views", name);
  else if (sonde_param_view(&e->p, kind)) sonde_fail(err, SONDE_EINVAL, "'%s' %s already", name, what[kind]);
  else return e;
  return NULL;
}

static void put_view(entry *e, sonde_view view) { e->view[e->p.views++] = view; }

/* A parameter that serves a view of `of`. */
static entry *make_part(sonde_params *p, const entry *of, const char *suffix, const sonde_shape *shape, int role,
                        sonde_init init, sonde_error *err) {
  char name[512];
  snprintf(name, sizeof name, "%s.%s", of->p.name, suffix);
  entry *e = make(p, name, shape, role, init, of->p.block, err);
  if (e) e->p.of = &of->p;
  return e;
}

int sonde_params_mask(sonde_params *p, const char *name, sonde_error *err) {
  entry *e = to_view(p, name, SONDE_VIEW_MASK, err);
  if (!e) return err->code;
  entry *mask = make_part(p, e, "mask", &e->p.value->shape, SONDE_ROLE_BUFFER, (sonde_init){SONDE_INIT_FILL, 1, 0},
                          err);
  if (!mask) return err->code;
  float *m = sonde_tensor_write(mask->p.value, NULL);      /* new: no device has it */
  for (int64_t k = 0, n = sonde_shape_count(&mask->p.value->shape); k < n; k++) m[k] = 1;
  mask->p.value->first = 1;
  put_view(e, (sonde_view){SONDE_VIEW_MASK, &mask->p, NULL, 0});
  return SONDE_OK;
}

int sonde_params_gather(sonde_params *p, const char *name, sonde_error *err) {
  const entry *e = sonde_map_get(p->map, name);
  if (check_unused(p, name, err)) return err->code;
  if (!e || e->p.role == SONDE_ROLE_BUFFER)
    return sonde_fail(err, SONDE_EINVAL, "there is no parameter '%s' to gather gradients of", name);
  const sonde_init zero = {SONDE_INIT_FILL, 0, 0};
  const entry *sum = make_part(p, e, "gathered", &e->p.value->shape, SONDE_ROLE_BUFFER, zero, err);
  if (!sum) return err->code;
  sonde_tensor_changed(sum->p.value);      /* its zeros are values */
  return SONDE_OK;
}

int sonde_params_low_rank(sonde_params *p, sonde_ctx *ctx, const char *name, int64_t rank, double scale,
                          sonde_error *err) {
  entry *e = to_view(p, name, SONDE_VIEW_LOW_RANK, err);
  if (!e) return err->code;
  const sonde_shape *s = &e->p.value->shape;
  if (!isfinite(scale))
    return sonde_fail(err, SONDE_EINVAL, "the scale of low-rank factors of '%s' must be a finite number, not %g", name,
                      scale);
  const int64_t out = s->rank > 1 ? s->dim[s->rank - 2] : 0, in = s->rank > 1 ? s->dim[s->rank - 1] : 0;
  if (s->rank < 2 || rank < 1 || rank > out || rank > in)
    return sonde_fail(err, SONDE_EINVAL,
                      "low-rank factors of rank %lld do not fit '%s': the rank is 1 to the smaller side of a matrix",
                      (long long)rank, name);
  sonde_init fan_in = {SONDE_INIT_FAN_IN, 1, 0}, zero = {SONDE_INIT_FILL, 0, 0};
  sonde_shape a_shape = *s, b_shape = *s;
  a_shape.dim[s->rank - 2] = b_shape.dim[s->rank - 1] = rank;
  const entry *a = make_part(p, e, "lora_a", &a_shape, SONDE_ROLE_OTHER, fan_in, err);
  const entry *b = a ? make_part(p, e, "lora_b", &b_shape, SONDE_ROLE_OTHER, zero, err) : NULL;
  if (!b) return err->code;
  put_view(e, (sonde_view){SONDE_VIEW_LOW_RANK, &a->p, &b->p, scale});
  if (e->p.value->lacks) return SONDE_OK;
  first_values(p, a, ctx);
  first_values(p, b, ctx);
  return SONDE_OK;
}

/* The parameter whose value this one reads. */
static entry *root_of(sonde_params *p, entry *e) {
  const sonde_view *share = e ? sonde_param_view(&e->p, SONDE_VIEW_SHARE) : NULL;
  return share ? sonde_map_get(p->map, share->a->name) : e;
}

int sonde_params_share(sonde_params *p, const char *name, const char *source, sonde_error *err) {
  char t1[160], t2[160];
  entry *e = to_view(p, name, SONDE_VIEW_SHARE, err), *other = root_of(p, sonde_map_get(p->map, source));
  if (!e) return err->code;
  if (!other) return sonde_fail(err, SONDE_EINVAL, "there is no parameter '%s' for '%s' to share", source, name);
  if (e == other) return sonde_fail(err, SONDE_EINVAL, "'%s' cannot share its own value", name);
  if (e->p.views || e->p.of)
    return sonde_fail(err, SONDE_EINVAL, "'%s' has views or serves one: it must share a value before that", name);
  for (int64_t k = 0; k < sonde_params_names(p); k++) {
    const sonde_view *share = sonde_param_view(sonde_params_named(p, k), SONDE_VIEW_SHARE);
    if (share && share->a == &e->p)
      return sonde_fail(err, SONDE_EINVAL, "'%s' cannot share '%s': '%s' shares it itself", name, source,
                        sonde_params_named(p, k)->name);
  }
  if (other->p.role == SONDE_ROLE_BUFFER || !sonde_shape_equal(&e->p.value->shape, &other->p.value->shape))
    return sonde_fail(err, SONDE_EINVAL, "'%s' %s cannot share '%s' %s%s", name,
                      sonde_shape_text(&e->p.value->shape, t1, sizeof t1), source,
                      sonde_shape_text(&other->p.value->shape, t2, sizeof t2),
                      other->p.role == SONDE_ROLE_BUFFER ? ", a buffer" : "");
  int64_t at = 0;
  while (p->own[at] != e) at++;
  memmove(p->own + at, p->own + at + 1, (size_t)(--p->n_own - at) * sizeof *p->own);
  sonde_tensor_free(e->p.value);
  e->p.value = sonde_tensor_ref(other->p.value);
  put_view(e, (sonde_view){SONDE_VIEW_SHARE, &other->p, NULL, 0});
  return SONDE_OK;
}

int sonde_params_freeze(sonde_params *p, const char *name, int on, sonde_error *err) {
  entry *e = sonde_map_get(p->map, name);
  int code = check_unused(p, name, err);
  if (code) return code;
  if (!on && e) {
    int32_t kept = 0;
    for (int32_t k = 0; k < e->p.views; k++)
      if (e->view[k].kind != SONDE_VIEW_FREEZE) e->view[kept++] = e->view[k];
    e->p.views = kept;
    return SONDE_OK;
  }
  if (e && sonde_param_view(&e->p, SONDE_VIEW_SHARE))
    return sonde_fail(err, SONDE_EINVAL, "'%s' shares the value of '%s': freeze that", name,
                      sonde_param_view(&e->p, SONDE_VIEW_SHARE)->a->name);
  if (!(e = to_view(p, name, SONDE_VIEW_FREEZE, err))) return err->code;
  put_view(e, (sonde_view){SONDE_VIEW_FREEZE, NULL, NULL, 0});
  return SONDE_OK;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

const sonde_param *sonde_params_not_finite(const sonde_params *p) {
  for (int64_t k = 0; k < sonde_params_count(p); k++) {
    const sonde_param *e = sonde_params_at(p, k);
    const float *x = sonde_tensor_read(e->value, NULL);
    if (x && !sonde_all_finite(x, sonde_shape_count(&e->value->shape))) return e;
  }
  return NULL;
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(const sonde_param *const *)a)->name, (*(const sonde_param *const *)b)->name);
}

/* Of the parameters that `takes` takes, or of all; hex is "" where those are none. */
static int hash_of(const sonde_params *p, int (*takes)(const sonde_param *), char hex[65]) {
  int64_t n = 0, done = 0;
  const sonde_param **order = sonde_alloc((size_t)(p->n_own ? p->n_own : 1) * sizeof *order);
  if (!order) return SONDE_ENOMEM;
  for (int64_t k = 0; k < sonde_params_count(p); k++)
    if (!takes || takes(sonde_params_at(p, k))) order[n++] = sonde_params_at(p, k);
  qsort(order, (size_t)n, sizeof *order, by_name);
  sonde_sha256 s;
  sonde_sha256_init(&s);
  for (int64_t k = 0; k < n; k++) {
    sonde_sha256_add(&s, order[k]->name, strlen(order[k]->name) + 1);
    sonde_sha256_add(&s, order[k]->value->shape.dim, sizeof order[k]->value->shape.dim);
    const void *x = sonde_tensor_read(order[k]->value, NULL);
    if (!x) break;
    sonde_sha256_add(&s, x, (size_t)order[k]->value->bytes);
    done++;
  }
  sonde_sha256_hex(&s, hex);
  if (!n && takes) *hex = 0;
  sonde_release(order);
  return done == n ? SONDE_OK : SONDE_EIO;
}

int sonde_params_sha256(const sonde_params *p, char hex[65]) { return hash_of(p, NULL, hex); }

/* Of buffers masks alone are a beginning: others are computed, from parameters or in training. */
static int is_given(const sonde_param *e) {
  const sonde_view *mask = e->of ? sonde_param_view(e->of, SONDE_VIEW_MASK) : NULL;
  return !e->value->lacks && !e->value->first && (e->role != SONDE_ROLE_BUFFER || (mask && mask->a == e));
}

int sonde_params_given_sha256(const sonde_params *p, char hex[65]) { return hash_of(p, is_given, hex); }
