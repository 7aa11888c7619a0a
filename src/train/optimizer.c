/* optimizer.c - the tables of tiles over all parameters, gradient norms in a fixed order, and the update. */
#include "train/optimizer.h"

#include <math.h>
#include <string.h>

#include "base/crash.h"
#include "base/mem.h"
#include "tensor/tensor.h"

enum { TILE = 16384, MAX_STATES = 8, LINE = 64 };

typedef struct tile { int32_t param; int64_t offset, n; } tile;

typedef struct slot {            /* what belongs to one parameter */
  sonde_parameter is;            /* as the plugin sees it */
  float *w, *x[MAX_STATES];      /* weight and states, and ... */
  const float *g;                /* ... gradient, while an update runs */
  sonde_tensor *weight;
  sonde_tensor *grad, *state[MAX_STATES];
  int32_t block, decayed, whole;
  sonde_factors factors;
} slot;

struct sonde_optim {
  sonde_pool *pool;
  sonde_params *params;
  sonde_optim_opts opts;
  sonde_optimizer plugin;
  slot *slots;
  int64_t n_slots;
  tile *tiles, *work;            /* of gradient norms; of updates, where some parameters come whole */
  int64_t n_tiles, n_work;
  char *scratch;                 /* scratch_bytes for each thread */
  int64_t scratch_bytes;
  double *tile_sum;              /* sum of squares of each tile */
  double *block_norm;
  int measures;                  /* whether the update that runs is measured; then, of each tile of work: */
  double *moved, *weighed;       /* sums of squares of the change, and of the weights before it */
  double *ratio;                 /* [blocks], and as many of room */
  float *before;                 /* [threads, most]: a tile's weights before its update */
  int64_t most;                  /* numbers of the largest tile of work */
  double norm;                   /* of the update that runs */
  double scale, lr;
  int64_t step;
};

static int is_decayed(const sonde_optim_opts *o, int role) {
  switch (role) {
    case SONDE_ROLE_EMBED: return o->decay_embeddings;
    case SONDE_ROLE_GAIN:
    case SONDE_ROLE_BIAS: return o->decay_gains;
    default: return 1;
  }
}

/* Whether a parameter has state k, and of which shape. */
static int state_shape(const sonde_optim_opts *o, const sonde_parameter *p, int k, sonde_shape *shape) {
  *shape = p->shape;
  return !o->functions->state_shape || o->functions->state_shape(p, k, o->values, shape);
}

static int is_whole(const sonde_optim_opts *o, const sonde_parameter *p) {
  return o->functions->whole && o->functions->whole(p, o->values);
}

/* Bytes of scratch for each thread that the update of a parameter needs. */
static int64_t scratch_of(const sonde_optim_opts *o, const sonde_parameter *p) {
  if (!is_whole(o, p) || !o->functions->scratch) return 0;
  return (o->functions->scratch(p, o->values) + LINE - 1) / LINE * LINE;
}

static sonde_parameter parameter_of(const sonde_param *p) {
  return (sonde_parameter){sizeof(sonde_parameter), p->role, p->name, sonde_tensor_shape(p->value)};
}

static int make_states(sonde_optim *o, slot *s, sonde_error *err) {
  for (int k = 0; k < o->plugin.states; k++) {
    sonde_shape shape;
    if (!state_shape(&o->opts, &s->is, k, &shape)) continue;
    if (!s->whole && !sonde_shape_equal(&shape, &s->is.shape))
      return sonde_fail(err, SONDE_EBUG,
                        "the optimizer gives state '%s' of %s another shape, but takes the parameter in tiles",
                        o->plugin.state_names[k], s->is.name);
    if (!(s->state[k] = sonde_tensor_new(&shape, err))) return sonde_wrap(err, "optimizer state of %s", s->is.name);
  }
  return SONDE_OK;
}

static int make_slot(sonde_optim *o, int64_t i, sonde_error *err) {
  const sonde_param *p = sonde_params_at(o->params, i);
  slot *s = &o->slots[i];
  s->is = parameter_of(p);
  s->weight = p->value;
  s->block = p->block;
  s->decayed = is_decayed(&o->opts, p->role);
  s->factors = o->opts.factors ? o->opts.factors[i] : (sonde_factors){1, 1};
  if (!sonde_param_trained(p)) return SONDE_OK;
  if (!(s->grad = sonde_tensor_new(&s->is.shape, err))) return sonde_wrap(err, "gradient of %s", p->name);
  s->whole = is_whole(&o->opts, &s->is);
  int64_t scratch = scratch_of(&o->opts, &s->is);
  if (scratch > o->scratch_bytes) o->scratch_bytes = scratch;
  return make_states(o, s, err);
}

/* Numbers of a parameter that is trained; 0 for one that is not. */
static int64_t elements(const slot *s) {
  if (!s->grad) return 0;
  sonde_shape shape = sonde_tensor_shape(s->grad);
  return sonde_shape_count(&shape);
}

/* Cuts every parameter into tiles; with `whole` those that the plugin asks for come in one. */
static tile *cut(const sonde_optim *o, int whole, int64_t *n) {
  *n = 0;
  for (int64_t i = 0; i < o->n_slots; i++) {
    int64_t count = elements(&o->slots[i]);
    *n += whole && o->slots[i].whole ? count > 0 : (count + TILE - 1) / TILE;
  }
  tile *tiles = sonde_alloc((size_t)*n * sizeof *tiles), *t = tiles;
  for (int64_t i = 0; t && i < o->n_slots; i++) {
    int64_t count = elements(&o->slots[i]), most = whole && o->slots[i].whole ? count : TILE;
    for (int64_t at = 0; at < count; at += most)
      *t++ = (tile){(int32_t)i, at, count - at < most ? count - at : most};
  }
  return tiles;
}

static int make_tiles(sonde_optim *o, sonde_error *err) {
  o->tiles = cut(o, 0, &o->n_tiles);
  o->work = cut(o, 1, &o->n_work);
  o->tile_sum = sonde_alloc((size_t)o->n_tiles * sizeof *o->tile_sum);
  o->block_norm = sonde_alloc((size_t)(o->opts.blocks + 1) * sizeof *o->block_norm);
  o->scratch = sonde_alloc((size_t)(o->scratch_bytes * sonde_pool_threads(o->pool)) + LINE);
  if (!o->tiles || !o->work || !o->tile_sum || !o->block_norm || !o->scratch)
    return sonde_fail(err, SONDE_ENOMEM, "no memory for the optimizer");
  return SONDE_OK;
}

sonde_optim *sonde_optim_new(sonde_params *params, sonde_pool *pool, const sonde_optim_opts *opts,
                             sonde_error *err) {
  const sonde_optimizer plugin = *opts->functions;
  if (plugin.states < 0 || plugin.states > MAX_STATES) {
    sonde_fail(err, SONDE_EUNSUP, "the optimizer asks for %d states a parameter; 0 to %d are possible",
               plugin.states, MAX_STATES);
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
  o->plugin = plugin;
  o->n_slots = sonde_params_count(params);
  o->slots = sonde_alloc((size_t)o->n_slots * sizeof *o->slots);
  int code = o->slots || !o->n_slots ? SONDE_OK : sonde_fail(err, SONDE_ENOMEM, "no memory for the optimizer");
  for (int64_t i = 0; i < o->n_slots && code == SONDE_OK; i++) code = make_slot(o, i, err);
  if (code == SONDE_OK) code = make_tiles(o, err);
  o->opts.factors = NULL;
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
  sonde_release(o->work);
  sonde_release(o->scratch);
  sonde_release(o->tile_sum);
  sonde_release(o->block_norm);
  sonde_release(o->moved);
  sonde_release(o->weighed);
  sonde_release(o->ratio);
  sonde_release(o->before);
  sonde_params_free(o->params);
  sonde_release(o);
}

sonde_tensor *sonde_optim_grad(const sonde_optim *o, int64_t param) {
  return param < o->n_slots ? o->slots[param].grad : NULL;
}
sonde_tensor *sonde_optim_state(const sonde_optim *o, int64_t param, int state) {
  return param < o->n_slots ? o->slots[param].state[state] : NULL;
}
int sonde_optim_states(const sonde_optim *o) { return o->plugin.states; }
const char *sonde_optim_state_name(const sonde_optim *o, int state) {
  return o->plugin.state_names[state];
}
int sonde_optim_decayed(const sonde_optim *o, int64_t param) { return o->slots[param].decayed; }

int64_t sonde_optim_bytes(const sonde_optim *o) {
  int64_t bytes = o->scratch_bytes * sonde_pool_threads(o->pool);
  for (int64_t i = 0; i < o->n_slots; i++) {
    bytes += 4 * elements(&o->slots[i]);
    for (int k = 0; k < o->plugin.states; k++)
      if (o->slots[i].state[k]) bytes += sonde_tensor_bytes(o->slots[i].state[k]);
  }
  return bytes;
}

int64_t sonde_optim_forecast(const sonde_params *params, sonde_pool *pool, const sonde_optim_opts *opts) {
  int64_t bytes = 0, scratch = 0;
  for (int64_t i = 0; i < sonde_params_count(params); i++) {
    const sonde_param *p = sonde_params_at(params, i);
    if (!sonde_param_trained(p)) continue;
    sonde_parameter is = parameter_of(p);
    sonde_shape shape;
    int64_t own = scratch_of(opts, &is);
    bytes += sonde_shape_bytes(&is.shape);
    for (int k = 0; k < opts->functions->states; k++)
      if (state_shape(opts, &is, k, &shape)) bytes += sonde_shape_bytes(&shape);
    if (own > scratch) scratch = own;
  }
  return bytes + scratch * sonde_pool_threads(pool);
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
  o->tile_sum[index] = sum_of_squares(o->slots[t->param].g + t->offset, t->n);
}

static sonde_grad_norm norm_of(sonde_optim *o, double scale) {
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

static double sum_of_squared_differences(const float *x, const float *y, int64_t n) {
  double lane[16] = {0}, sum = 0;
  for (int64_t i = 0; i < n; i += 16)
    for (int64_t k = 0; k < 16 && i + k < n; k++) {
      double d = (double)x[i + k] - (double)y[i + k];
      lane[k] += d * d;
    }
  for (int k = 0; k < 16; k++) sum += lane[k];
  return sum;
}

static void update_tile(void *arg, int64_t index, int worker) {
  sonde_optim *o = arg;
  const tile *t = &o->work[index];
  const slot *s = &o->slots[t->param];
  float *state[MAX_STATES];
  for (int k = 0; k < o->plugin.states; k++)
    state[k] = s->x[k] ? s->x[k] + t->offset : NULL;
  const sonde_update u = {
      .size = sizeof u, .n = t->n, .w = s->w + t->offset, .g = s->g + t->offset,
      .state = state, .grad_scale = o->scale, .lr = o->lr * s->factors.lr,
      .weight_decay = s->decayed ? o->opts.weight_decay * s->factors.weight_decay : 0, .step = o->step,
      .parameter = &s->is, .offset = t->offset, .scratch = s->whole ? o->scratch + worker * o->scratch_bytes : NULL};
  if (!o->measures) {
    o->plugin.update(&u, o->opts.values);
    return;
  }
  float *before = o->before + worker * o->most;
  memcpy(before, u.w, (size_t)u.n * sizeof *before);
  o->plugin.update(&u, o->opts.values);
  o->weighed[index] = sum_of_squares(before, u.n);
  o->moved[index] = sum_of_squared_differences(u.w, before, u.n);
}

int sonde_optim_measure(sonde_optim *o, sonde_error *err) {
  for (int64_t i = 0; i < o->n_work; i++)
    if (o->work[i].n > o->most) o->most = o->work[i].n;
  o->moved = sonde_alloc((size_t)(o->n_work + 1) * sizeof *o->moved);
  o->weighed = sonde_alloc((size_t)(o->n_work + 1) * sizeof *o->weighed);
  o->ratio = sonde_alloc((size_t)(2 * o->opts.blocks + 1) * sizeof *o->ratio);
  o->before = sonde_alloc((size_t)(o->most * sonde_pool_threads(o->pool) + 1) * sizeof *o->before);
  if (o->moved && o->weighed && o->ratio && o->before) return SONDE_OK;
  return sonde_fail(err, SONDE_ENOMEM, "no memory for the optimizer");
}

static sonde_skipped decide(const sonde_update_block *b, double norm) {
  if (!isfinite(b->loss)) return SONDE_SKIPPED_LOSS;
  if (!isfinite(norm)) return SONDE_SKIPPED_GRADIENT;
  return b->loss_bound > 0 && b->loss > b->loss_bound ? SONDE_SKIPPED_BOUND : SONDE_UPDATED;
}

/* The gradients for the norm; then weights and states, which are written. */
static int read_gradients(sonde_optim *o, sonde_error *err) {
  for (int64_t i = 0; i < o->n_slots; i++)
    if (o->slots[i].grad && !(o->slots[i].g = sonde_tensor_read(o->slots[i].grad, err))) return SONDE_EIO;
  return SONDE_OK;
}

static int write_weights(sonde_optim *o, sonde_error *err) {
  for (int64_t i = 0; i < o->n_slots; i++) {
    slot *s = &o->slots[i];
    if (s->grad && !(s->w = sonde_tensor_write(s->weight, err))) return SONDE_EIO;
    for (int k = 0; k < o->plugin.states; k++)
      if (s->state[k] && !(s->x[k] = sonde_tensor_write(s->state[k], err))) return SONDE_EIO;
  }
  return SONDE_OK;
}

/* The tiles in their order, so that the sums are the same at any number of threads. */
static const double *ratios(sonde_optim *o) {
  double *moved = o->ratio, *weighed = o->ratio + o->opts.blocks;
  memset(o->ratio, 0, (size_t)(2 * o->opts.blocks) * sizeof *o->ratio);
  for (int64_t i = 0; i < o->n_work; i++) {
    int32_t block = o->slots[o->work[i].param].block;
    if (block >= 0 && block < o->opts.blocks) moved[block] += o->moved[i], weighed[block] += o->weighed[i];
  }
  for (int32_t b = 0; b < o->opts.blocks; b++) o->ratio[b] = weighed[b] > 0 ? sqrt(moved[b] / weighed[b]) : 0;
  return o->ratio;
}

int sonde_optim_update(sonde_optim *o, const sonde_update_block *block, sonde_update_result *result, sonde_error *err) {
  const double clip = o->opts.clip, scale = block->scale;
  int code = read_gradients(o, err);
  if (code) return code;
  result->ratio = NULL;
  result->norm = norm_of(o, scale);
  result->skipped = decide(block, o->norm);
  if (result->skipped || (code = write_weights(o, err))) return code;
  o->scale = clip > 0 && o->norm > clip ? scale * (clip / o->norm) : scale;
  o->lr = block->lr;
  o->step = block->step;
  o->measures = block->measured;
  sonde_doing("the optimizer's update", NULL, "", o->plugin.update);
  sonde_pool_run(o->pool, o->n_work, update_tile, o);
  sonde_doing_nothing();
  result->ratio = block->measured ? ratios(o) : NULL;
  return SONDE_OK;
}

