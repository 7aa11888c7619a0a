/* optimizer.c - the tile table over all parameters, gradient norms in a fixed order, and the update. */
#include "train/optimizer.h"

#include <math.h>
#include <string.h>

#include "base/crash.h"
#include "base/mem.h"

enum { TILE = 16384, MAX_STATES = 8 };

typedef struct tile { int32_t param; int64_t offset, n; } tile;

typedef struct slot {            /* what belongs to one parameter */
  float *weight;
  sonde_tensor *grad, *state[MAX_STATES];
  int32_t block, decayed;
} slot;

struct sonde_optim {
  sonde_pool *pool;
  sonde_params *params;
  sonde_optim_opts opts;
  slot *slots;
  int64_t n_slots;
  tile *tiles;
  int64_t n_tiles;
  double *tile_sum;              /* sum of squares of each tile */
  double *block_norm;
  double norm;                   /* of the last sonde_optim_norm */
  double scale, lr;              /* of the update that runs */
  int64_t step;
};

static int is_decayed(int role) {
  return role != SONDE_ROLE_EMBED && role != SONDE_ROLE_GAIN && role != SONDE_ROLE_BIAS;
}

static int make_slot(sonde_optim *o, int64_t i, sonde_error *err) {
  const sonde_param *p = sonde_params_at(o->params, i);
  slot *s = &o->slots[i];
  sonde_shape shape = sonde_tensor_shape(p->value);
  s->weight = sonde_tensor_data(p->value);
  s->block = p->block;
  s->decayed = o->opts.decay_all || is_decayed(p->role);
  if (p->role == SONDE_ROLE_BUFFER || (o->opts.frozen && o->opts.frozen[i])) return SONDE_OK;
  if (!(s->grad = sonde_tensor_new(&shape, err))) return sonde_wrap(err, "gradient of %s", p->name);
  for (int k = 0; k < o->opts.functions->states; k++)
    if (!(s->state[k] = sonde_tensor_new(&shape, err)))
      return sonde_wrap(err, "optimizer state of %s", p->name);
  return SONDE_OK;
}

/* Numbers of a parameter that is trained; 0 for one that is not. */
static int64_t elements(const slot *s) {
  if (!s->grad) return 0;
  sonde_shape shape = sonde_tensor_shape(s->grad);
  return sonde_shape_count(&shape);
}

static int make_tiles(sonde_optim *o, sonde_error *err) {
  for (int64_t i = 0; i < o->n_slots; i++) o->n_tiles += (elements(&o->slots[i]) + TILE - 1) / TILE;
  o->tiles = sonde_alloc((size_t)o->n_tiles * sizeof *o->tiles);
  o->tile_sum = sonde_alloc((size_t)o->n_tiles * sizeof *o->tile_sum);
  o->block_norm = sonde_alloc((size_t)(o->opts.blocks + 1) * sizeof *o->block_norm);
  if (!o->tiles || !o->tile_sum || !o->block_norm)
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the optimizer");
  tile *t = o->tiles;
  for (int64_t i = 0; i < o->n_slots; i++) {
    int64_t count = elements(&o->slots[i]);
    for (int64_t at = 0; at < count; at += TILE)
      *t++ = (tile){(int32_t)i, at, count - at < TILE ? count - at : TILE};
  }
  return SONDE_OK;
}

sonde_optim *sonde_optim_new(sonde_params *params, sonde_pool *pool, const sonde_optim_opts *opts,
                             sonde_error *err) {
  const sonde_optimizer *f = opts->functions;
  if (f->states < 0 || f->states > MAX_STATES) {
    sonde_fail(err, SONDE_EUNSUP, "the optimizer asks for %d states a parameter; 0 to %d are possible",
               f->states, MAX_STATES);
    return NULL;
  }
  sonde_optim *o = sonde_alloc(sizeof *o);
  if (!o) {
    sonde_fail(err, SONDE_ENOMEM, "no memory for the optimizer");
    return NULL;
  }
  o->pool = pool;
  o->params = sonde_params_ref(params);
  o->opts = *opts;
  o->n_slots = sonde_params_count(params);
  o->slots = sonde_alloc((size_t)o->n_slots * sizeof *o->slots);
  int code = o->slots || !o->n_slots ? SONDE_OK : sonde_fail(err, SONDE_ENOMEM, "no memory for the optimizer");
  for (int64_t i = 0; i < o->n_slots && code == SONDE_OK; i++) code = make_slot(o, i, err);
  if (code == SONDE_OK) code = make_tiles(o, err);
  o->opts.frozen = NULL;
  if (code == SONDE_OK) return o;
  sonde_optim_free(o);
  return NULL;
}

void sonde_optim_free(sonde_optim *o) {
  if (!o) return;
  for (int64_t i = 0; o->slots && i < o->n_slots; i++) {
    sonde_tensor_free(o->slots[i].grad);
    for (int k = 0; k < MAX_STATES; k++) sonde_tensor_free(o->slots[i].state[k]);
  }
  sonde_release(o->slots);
  sonde_release(o->tiles);
  sonde_release(o->tile_sum);
  sonde_release(o->block_norm);
  sonde_params_free(o->params);
  sonde_release(o);
}

sonde_tensor *sonde_optim_grad(const sonde_optim *o, int64_t param) { return o->slots[param].grad; }
sonde_tensor *sonde_optim_state(const sonde_optim *o, int64_t param, int state) {
  return o->slots[param].state[state];
}
int sonde_optim_states(const sonde_optim *o) { return o->opts.functions->states; }
const char *sonde_optim_state_name(const sonde_optim *o, int state) {
  return o->opts.functions->state_names[state];
}
int sonde_optim_decayed(const sonde_optim *o, int64_t param) { return o->slots[param].decayed; }

int64_t sonde_optim_bytes(const sonde_optim *o) {
  int64_t bytes = 0;
  for (int64_t i = 0; i < o->n_slots; i++) bytes += 4 * elements(&o->slots[i]);
  return bytes * (1 + o->opts.functions->states);
}

/* Sixteen running sums in f64: one order on every instruction set, and squares that can neither overflow nor vanish. */
static double sum_of_squares(const float *x, int64_t n) {
  double lane[16] = {0};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int k = 0; k < 16; k++) lane[k] += (double)x[i + k] * (double)x[i + k];
  for (int k = 0; i < n; i++, k++) lane[k] += (double)x[i] * (double)x[i];
  for (int width = 8; width; width /= 2)
    for (int k = 0; k < width; k++) lane[k] += lane[k + width];
  return lane[0];
}

static void norm_tile(void *arg, int64_t index, int worker) {
  sonde_optim *o = arg;
  const tile *t = &o->tiles[index];
  (void)worker;
  o->tile_sum[index] =
      sum_of_squares((const float *)sonde_tensor_data(o->slots[t->param].grad) + t->offset, t->n);
}

sonde_grad_norm sonde_optim_norm(sonde_optim *o, double scale) {
  double total = 0;
  sonde_pool_run(o->pool, o->n_tiles, norm_tile, o);
  for (int32_t b = 0; b < o->opts.blocks; b++) o->block_norm[b] = 0;
  for (int64_t i = 0; i < o->n_tiles; i++) {
    int32_t block = o->slots[o->tiles[i].param].block;
    total += o->tile_sum[i];
    if (block >= 0 && block < o->opts.blocks) o->block_norm[block] += o->tile_sum[i];
  }
  for (int32_t b = 0; b < o->opts.blocks; b++) o->block_norm[b] = scale * sqrt(o->block_norm[b]);
  o->norm = scale * sqrt(total);
  return (sonde_grad_norm){o->norm, o->block_norm};
}

static void update_tile(void *arg, int64_t index, int worker) {
  sonde_optim *o = arg;
  const tile *t = &o->tiles[index];
  const slot *s = &o->slots[t->param];
  float *state[MAX_STATES];
  (void)worker;
  for (int k = 0; k < o->opts.functions->states; k++)
    state[k] = (float *)sonde_tensor_data(s->state[k]) + t->offset;
  const float *grad = (const float *)sonde_tensor_data(s->grad) + t->offset;
  sonde_update u = {sizeof u, t->n,  s->weight + t->offset, grad, state, o->scale,
                    o->lr,    s->decayed ? o->opts.weight_decay : 0, o->step};
  o->opts.functions->update(&u, o->opts.values);
}

void sonde_optim_update(sonde_optim *o, double scale, double lr, int64_t step) {
  double clip = o->opts.clip;
  o->scale = clip > 0 && o->norm > clip ? scale * (clip / o->norm) : scale;
  o->lr = lr;
  o->step = step;
  sonde_doing("the optimizer's update", NULL, "", o->opts.functions->update);
  sonde_pool_run(o->pool, o->n_tiles, update_tile, o);
  sonde_doing_nothing();
}
