/* kit_optimizer.c - checks of an optimizer's update function, on parameters of N numbers of several kinds, in tiles
 * or whole. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "plugin/kit.h"

enum { N = 1000, STATES = 8, FENCE = 64, MOST = 4096, SCRATCH_FENCE = 256 };
static const float FENCED = 12345.678f;

/* What parameters the checks are made with: the kit's places for an optimizer. */
static const sonde_parameter kinds[] = {
    {sizeof kinds[0], SONDE_ROLE_FFN_IN, "model.layers.0.mlp.up_proj.weight", {SONDE_F32, 2, {40, 25, 1, 1, 1}}},
    {sizeof kinds[0], SONDE_ROLE_FFN_OUT, "model.layers.0.mlp.down_proj.weight", {SONDE_F32, 2, {25, 40, 1, 1, 1}}},
    {sizeof kinds[0], SONDE_ROLE_GAIN, "model.norm.weight", {SONDE_F32, 1, {N, 1, 1, 1, 1}}},
    {sizeof kinds[0], SONDE_ROLE_EMBED, "model.embed_tokens.weight", {SONDE_F32, 2, {50, 20, 1, 1, 1}}},
    {sizeof kinds[0], SONDE_ROLE_HEAD, "lm_head.weight", {SONDE_F32, 2, {20, 50, 1, 1, 1}}},
    {sizeof kinds[0], SONDE_ROLE_BIAS, "model.norm.bias", {SONDE_F32, 1, {N, 1, 1, 1, 1}}},
};

/* One parameter of N numbers: weight, gradient, states; FENCE numbers of a known value around each. */
typedef struct weights {
  _Alignas(64) float all[2 + STATES][FENCE + MOST + FENCE];   /* as a training's arrays are */
  int64_t count[2 + STATES];     /* numbers of each; 0: there is no such state */
  const sonde_parameter *is;
  int states, whole;
  int scratch_fill, scratch_breach;
} weights;

static float *part(weights *p, int i) { return p->all[i] + FENCE; }
static float *weight(weights *p) { return part(p, 0); }
static float *gradient(weights *p) { return part(p, 1); }

static const sonde_optimizer *functions(const kit *k) { return k->entry->plugin->functions; }

/* Numbers of a parameter's state under k->values; 0: it has none. */
static int64_t state_count(const kit *k, const sonde_parameter *p, int state) {
  const sonde_optimizer *f = functions(k);
  sonde_shape shape = p->shape;
  return !f->state_shape || f->state_shape(p, state, k->values, &shape) ? sonde_shape_count(&shape) : 0;
}

static void fence(weights *p, int i) {
  for (int j = 0; j < FENCE; j++) p->all[i][j] = p->all[i][FENCE + p->count[i] + j] = FENCED;
}

static int fill(kit *k, weights *p, int number) {
  sonde_rng rng = sonde_rng_stream(5, "update");
  const sonde_optimizer *f = functions(k);
  memset(p, 0, sizeof *p);
  p->is = &kinds[k->place];
  p->states = f->states;
  p->whole = f->whole && f->whole(p->is, k->values);
  p->scratch_fill = 0xff;
  p->count[0] = p->count[1] = N;
  for (int i = 0; i < p->states; i++) {
    int64_t n = p->count[2 + i] = state_count(k, p->is, i);
    if (n < 0 || n > MOST || (!p->whole && n && n != N))
      return kit_fail(k, "state '%s' of %s has %lld numbers; %s", f->state_names[i], p->is->name, (long long)n,
                      p->whole ? "the kit tries 4096 at most"
                               : "a parameter that comes in tiles must have its own shape there");
  }
  for (int i = 0; i < 2 + STATES; i++) fence(p, i);
  sonde_rng_fill_normal(rng, (uint64_t)(10 * number) * N, weight(p), N, 0, 1, 0);
  sonde_rng_fill_normal(rng, (uint64_t)(10 * number + 1) * N, gradient(p), N, 0, 1, 0);
  return SONDE_PASS;
}

typedef struct setting {
  double scale, lr, decay;
} setting;
static const setting usual = {1, 0.01, 0.1};

/* Scratch between fences, full of what `fill` says. */
static unsigned char *make_scratch(const kit *k, const weights *p, int64_t *bytes) {
  const sonde_optimizer *f = functions(k);
  *bytes = p->whole && f->scratch ? f->scratch(p->is, k->values) : 0;
  unsigned char *room = sonde_alloc((size_t)*bytes + 2 * SCRATCH_FENCE);
  if (room)
    memset(room, 0xa7, (size_t)*bytes + 2 * SCRATCH_FENCE),
        memset(room + SCRATCH_FENCE, p->scratch_fill, (size_t)*bytes);
  return room;
}

static int is_breached(const unsigned char *room, int64_t bytes) {
  for (int j = 0; j < SCRATCH_FENCE; j++)
    if (room[j] != 0xa7 || room[SCRATCH_FENCE + bytes + j] != 0xa7) return 1;
  return 0;
}

/* Elements [at, at + n) of one update. */
static void update_part(const kit *k, const sonde_value *values, weights *p, int64_t at, int64_t n, int64_t step,
                        setting s) {
  float *state[STATES];
  int64_t bytes = 0;
  for (int i = 0; i < p->states; i++) state[i] = p->count[2 + i] ? part(p, 2 + i) + at : NULL;
  unsigned char *room = make_scratch(k, p, &bytes);
  sonde_update u = {.size = sizeof u, .n = n, .w = weight(p) + at, .g = gradient(p) + at, .state = state,
                    .grad_scale = s.scale, .lr = s.lr, .weight_decay = s.decay, .step = step, .parameter = p->is,
                    .offset = at, .scratch = p->whole && room ? room + SCRATCH_FENCE : NULL};
  functions(k)->update(&u, values);
  p->scratch_breach |= room && is_breached(room, bytes);
  sonde_release(room);
}

static void update(const kit *k, weights *p, int64_t step, setting s) { update_part(k, k->values, p, 0, N, step, s); }

static int update_bits(kit *k, const sonde_value *values, uint64_t *bits, sonde_error *err) {
  weights p;
  sonde_value *kept = k->values;
  k->values = (sonde_value *)(uintptr_t)values;
  int outcome = fill(k, &p, 0);
  for (int step = 1; step <= 3 && outcome == SONDE_PASS; step++) {
    update_part(k, values, &p, 0, N, step, usual);
    for (int j = 0; j < N; j++) gradient(&p)[j] += 0.1f * weight(&p)[j];
  }
  k->values = kept;
  const unsigned char *b = (const unsigned char *)weight(&p);
  for (size_t j = 0; j < N * sizeof(float); j++) *bits = (*bits ^ b[j]) * 0x100000001b3u;
  return outcome == SONDE_PASS ? SONDE_OK : sonde_fail(err, SONDE_EBUG, "%.600s", k->why);
}

static int check_update(kit *k) {
  weights p;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  update(k, &p, 1, usual);
  for (int j = 0; j < N; j++)
    if (!isfinite(weight(&p)[j]))
      return kit_fail(k, "after one update with N(0, 1) weights and gradients a weight is not finite");
  return SONDE_PASS;
}

/* f = sum_j h_j w_j^2 / 2 with h between 0.1 and 1. */
static int check_descent(kit *k) {
  enum { STEPS = 100 };
  weights p;
  double first = 0, last = 0;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  for (int step = 0; step <= STEPS; step++) {
    last = 0;
    for (int j = 0; j < N; j++) {
      float h = 0.1f + 0.9f * (float)j / N;
      gradient(&p)[j] = h * weight(&p)[j];
      last += 0.5 * (double)h * (double)weight(&p)[j] * (double)weight(&p)[j];
    }
    if (!step) first = last;
    if (step < STEPS) update(k, &p, step + 1, (setting){1, 0.01, 0});
  }
  if (!(last < 0.95 * first))
    return kit_fail(k, "%d steps on a quadratic bowl take its height from %.4g to %.4g", STEPS, first, last);
  return SONDE_PASS;
}

static int moved(const weights *a, const weights *b) { return memcmp(a->all[0], b->all[0], sizeof a->all[0]) != 0; }

static double distance(weights *a, weights *b) {
  double most = 0;
  for (int j = 0; j < N; j++) most = fmax(most, fabs((double)weight(a)[j] - (double)weight(b)[j]));
  return most;
}

/* The first step goes four times as far with a learning rate four times as high. */
static int check_rate(kit *k) {
  weights start, slow, fast;
  if (fill(k, &start, 0)) return SONDE_FAIL;
  slow = fast = start;
  update(k, &slow, 1, (setting){1, 0.01, 0});
  update(k, &fast, 1, (setting){1, 0.04, 0});
  double ratio = distance(&fast, &start) / distance(&slow, &start);
  if (ratio > 3.9 && ratio < 4.1) return SONDE_PASS;
  return kit_fail(k, "a learning rate four times as high takes %.3g times the step", ratio);
}

static int check_rest(kit *k) {
  weights p, before;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  memset(gradient(&p), 0, N * sizeof(float));
  before = p;
  for (int step = 1; step <= 3; step++) update(k, &p, step, (setting){1, 0.01, 0});
  if (moved(&p, &before)) return kit_fail(k, "weights without gradient and weight decay move");
  if (fill(k, &p, 0)) return SONDE_FAIL;
  before = p;
  update(k, &p, 1, (setting){1, 0, 0.1});
  if (moved(&p, &before)) return kit_fail(k, "a learning rate of 0 moves weights");
  return check_rate(k);
}

static int check_scale(kit *k) {
  weights p, q;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  q = p;
  for (int step = 1; step <= 3; step++) {
    for (int j = 0; j < N; j++) {
      gradient(&p)[j] = weight(&q)[j] * 0.5f + (float)step;   /* scales that differ from step to step */
      gradient(&q)[j] = gradient(&p)[j] * (float)(1 << step);
    }
    update(k, &p, step, usual);
    update(k, &q, step, (setting){1.0 / (1 << step), usual.lr, usual.decay});
  }
  if (distance(&p, &q) > 1e-6)
    return kit_fail(
        k, "grad_scale has no (or another) effect: a gradient of 4 g with grad_scale 1/4 must do what g does");
  return SONDE_PASS;
}

static int check_decay(kit *k) {
  weights p;
  double before = 0, after = 0;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  memset(gradient(&p), 0, N * sizeof(float));
  before = kit_dot(weight(&p), weight(&p), N);
  for (int step = 1; step <= 3; step++) update(k, &p, step, usual);
  after = kit_dot(weight(&p), weight(&p), N);
  if (!(after < before))
    return kit_fail(k, "weight_decay %g does not make weights without gradient smaller", usual.decay);
  return SONDE_PASS;
}

enum { LARGE = 20000 };

/* Three updates of a large parameter, `all`, in tiles of `tile`. */
static void update_large(const kit *k, const weights *like, float *all, int64_t tile) {
  sonde_parameter is = *like->is;
  is.shape = (sonde_shape){SONDE_F32, 2, {LARGE / 50, 50, 1, 1, 1}};
  if (like->is->shape.rank == 1) is.shape = (sonde_shape){SONDE_F32, 1, {LARGE, 1, 1, 1, 1}};
  for (int64_t step = 1; step <= 3; step++)
    for (int64_t at = 0; at < LARGE; at += tile) {
      float *state[STATES];
      for (int i = 0; i < like->states; i++) state[i] = like->count[2 + i] ? all + (2 + i) * LARGE + at : NULL;
      sonde_update u = {.size = sizeof u,
                        .n = tile < LARGE - at ? tile : LARGE - at,
                        .w = all + at,
                        .g = all + LARGE + at,
                        .state = state,
                        .grad_scale = usual.scale,
                        .lr = usual.lr,
                        .weight_decay = usual.decay,
                        .step = step,
                        .parameter = &is,
                        .offset = at};
      functions(k)->update(&u, k->values);
    }
}

/* A training's tiles are larger than the kit's parameters. */
static int check_large(kit *k, weights *like) {
  int64_t n = (2 + like->states) * LARGE;
  float *large = sonde_alloc((size_t)(2 * n) * sizeof *large), *small = large + n;
  if (!large) return kit_fail(k, "no memory");
  for (int64_t j = 0; j < LARGE; j++) {
    large[j] = small[j] = weight(like)[j % N];
    large[LARGE + j] = small[LARGE + j] = gradient(like)[j % N];
  }
  update_large(k, like, large, LARGE);
  update_large(k, like, small, 1000);
  int same = !memcmp(large, small, (size_t)n * sizeof *large);
  sonde_release(large);
  return same ? SONDE_PASS : kit_fail(k, "a tile of %d numbers gets other bits than tiles of 1000", LARGE);
}

static int check_tiles(kit *k) {
  static const int64_t cut[] = {0, 1, 8, 71, 72, 135, 512, 999, N};
  weights p, q;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  if (p.whole) return kit_skip(k, "it takes the parameter whole");
  q = p;
  for (int step = 1; step <= 3; step++) {
    update(k, &p, step, usual);
    for (int c = (int)(sizeof cut / sizeof cut[0]) - 2; c >= 0; c--)
      update_part(k, k->values, &q, cut[c], cut[c + 1] - cut[c], step, usual);
  }
  for (int i = 0; i < 2 + p.states; i++)
    if (memcmp(part(&p, i), part(&q, i), N * sizeof(float)))
      return kit_fail(k, "the bits depend on how the parameter is cut into tiles");
  return fill(k, &p, 0) ? SONDE_FAIL : check_large(k, &p);
}

/* Another parameter's updates in between, a step that is not the number of calls, and what scratch held must not
 * show. */
static int check_state(kit *k) {
  static const int fills[] = {0xff, 0x00, 0x47};   /* NaN, 0, 51015 */
  weights p, q, other;
  if (fill(k, &p, 0) || fill(k, &other, 1)) return SONDE_FAIL;
  for (int step = 1; step <= 4; step++) update(k, &p, step, usual);
  for (int f = 0; f < 3; f++) {
    if (fill(k, &q, 0)) return SONDE_FAIL;
    q.scratch_fill = fills[f];
    for (int step = 1; step <= 4; step++) {
      for (int j = 0; j < 5 && !f; j++) update(k, &other, 50 * step + j, usual);
      update(k, &q, step, usual);
    }
    if (moved(&p, &q))
      return kit_fail(k, f ? "the result depends on what its scratch held before"
                           : "the result depends on calls for other parameters: something is kept outside the states");
  }
  return SONDE_PASS;
}

static int check_update_guards(kit *k) {
  weights p, before;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  before = p;
  for (int step = 1; step <= 3; step++) update(k, &p, step, usual);
  if (memcmp(gradient(&p), gradient(&before), N * sizeof(float))) return kit_fail(k, "it changes the gradient");
  for (int i = 0; i < 2 + STATES; i++)
    for (int64_t j = 0; j < FENCE + p.count[i] + FENCE; j++) {
      if (j >= FENCE && j < FENCE + p.count[i]) continue;
      if (p.all[i][j] == FENCED) continue;
      const char *name = i == 0             ? "the weights"
                         : i == 1           ? "the gradient"
                         : i - 2 < p.states ? functions(k)->state_names[i - 2]
                                            : "its states";
      return kit_fail(k, "it writes %s %s", j < FENCE ? "before the start of" : "past the end of", name);
    }
  return p.scratch_breach ? kit_fail(k, "it writes outside its scratch") : SONDE_PASS;
}

static int check_update_nan(kit *k) {
  weights p;
  if (fill(k, &p, 0)) return SONDE_FAIL;
  gradient(&p)[17] = NAN;
  update(k, &p, 1, usual);
  if (!isnan(weight(&p)[17])) return kit_fail(k, "it swallows NaN: one in the gradient, none in the weight");
  for (int j = 0; j < N && !p.whole; j++)
    if (j != 17 && isnan(weight(&p)[j])) return kit_fail(k, "a NaN in one gradient spreads to other weights");
  return SONDE_PASS;
}

static int check_update_leaks(kit *k) {
  weights p;
  kit_memory seen = {0};
  if (fill(k, &p, 0)) return SONDE_FAIL;
  for (int round = 0; round < KIT_ROUNDS; round++) {
    update(k, &p, 1 + round, usual);
    kit_memory_look(&seen, round);
  }
  if (kit_memory_lost(&seen))
    return kit_fail(k, "it loses memory: %lld bytes with each update", (long long)kit_memory_lost(&seen));
  return SONDE_PASS;
}

static double update_ms(const kit *k) {
  enum { LONG = 1 << 20, RUNS = 9 };
  static const double enough_ms = 500;
  static const sonde_parameter is = {sizeof is, SONDE_ROLE_FFN_IN, "model.layers.0.mlp.up_proj.weight",
                                     {SONDE_F32, 2, {1024, 1024, 1, 1, 1}}};
  const sonde_optimizer *f = functions(k);
  int whole = f->whole && f->whole(&is, k->values), room = 1;
  float *data = sonde_alloc(2 * LONG * sizeof *data), *state[8] = {NULL};
  void *scratch = sonde_alloc(whole && f->scratch ? (size_t)f->scratch(&is, k->values) + 1 : 1);
  double ms[RUNS], all = 0;
  int n = 0;
  for (int i = 0; i < f->states; i++) {
    int64_t count = state_count(k, &is, i);
    if (count > 0) room = (state[i] = sonde_alloc((size_t)count * sizeof *data)) && room;
  }
  if (data && scratch && room) {
    for (int j = 0; j < LONG; j++) data[j] = data[LONG + j] = (float)(j % 17) - 8;
    for (; n < RUNS && all < enough_ms; n++) {
      sonde_update u = {.size = sizeof u,
                        .n = LONG,
                        .w = data,
                        .g = data + LONG,
                        .state = state,
                        .grad_scale = 1,
                        .lr = 1e-3,
                        .weight_decay = 0.1,
                        .step = n + 1,
                        .parameter = &is,
                        .scratch = scratch};
      double start = kit_now_ms();
      f->update(&u, k->values);
      all += ms[n] = kit_now_ms() - start;
    }
  }
  for (int i = 0; i < f->states; i++) sonde_release(state[i]);
  sonde_release(scratch);
  sonde_release(data);
  return n ? kit_median(ms, n) : -1;
}

static const kit_named checks[] = {
    {"schema", check_schema, KIT_ONCE, 0},
    {"run", check_update, KIT_VARIANTS, 1},
    {"descent", check_descent, KIT_PLACES, 0},
    {"options", check_options, KIT_ONCE, 0},
    {"rest", check_rest, KIT_VARIANTS, 0},
    {"scale", check_scale, KIT_VARIANTS, 0},
    {"decay", check_decay, KIT_VARIANTS, 0},
    {"tiles", check_tiles, KIT_VARIANTS, 0},
    {"reload", check_state, KIT_VARIANTS, 0},
    {"guards", check_update_guards, KIT_VARIANTS, 0},
    {"leaks", check_update_leaks, KIT_PLACES, 0},
    {"nan", check_update_nan, KIT_VARIANTS, 0},
    {NULL, NULL, KIT_ONCE, 0},
};

/* In the order of the parameters. */
static const kit_place places[] = {
    {.text = "parameter = model.layers.0.mlp.up_proj.weight"},
    {.text = "parameter = model.layers.0.mlp.down_proj.weight"},
    {.text = "parameter = model.norm.weight"},
    {.text = "parameter = model.embed_tokens.weight"},
    {.text = "parameter = lm_head.weight"},
    {.text = "parameter = model.norm.bias"},
};
_Static_assert(sizeof places / sizeof places[0] == sizeof kinds / sizeof kinds[0], "a place for each parameter");

const kit_kind kit_optimizer = {
    .checks = checks,
    .place = places,
    .places = sizeof places / sizeof places[0],
    .bits = update_bits,
    .ms = update_ms,
    .work = "an update of 2^20 numbers",
};
