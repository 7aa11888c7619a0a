/* kit_optimizer.c - checks of an optimizer's update function, on vectors of numbers alone. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "plugin/kit.h"

enum { N = 1000, STATES = 8, FENCE = 64 };
static const float FENCED = 12345.678f;

/* One parameter of N numbers: weight, gradient, states; FENCE numbers of a known value around each. */
typedef struct weights {
  _Alignas(64) float all[2 + STATES][FENCE + N + FENCE];   /* as a training's arrays are */
  int states;
} weights;

static float *part(weights *p, int i) { return p->all[i] + FENCE; }
static float *weight(weights *p) { return part(p, 0); }
static float *gradient(weights *p) { return part(p, 1); }

static const sonde_optimizer *functions(const kit *k) { return k->entry->plugin->functions; }

static void fill(const kit *k, weights *p, int number) {
  sonde_rng rng = sonde_rng_stream(5, "update");
  p->states = functions(k)->states;
  for (int i = 0; i < 2 + STATES; i++)
    for (int j = 0; j < FENCE + N + FENCE; j++) p->all[i][j] = j < FENCE || j >= FENCE + N ? FENCED : 0;
  sonde_rng_fill_normal(rng, (uint64_t)(10 * number) * N, weight(p), N, 0, 1, 0);
  sonde_rng_fill_normal(rng, (uint64_t)(10 * number + 1) * N, gradient(p), N, 0, 1, 0);
}

typedef struct setting {
  double scale, lr, decay;
} setting;
static const setting usual = {1, 0.01, 0.1};

/* Elements [at, at + n) of one update. */
static void update_part(const kit *k, const sonde_value *values, weights *p, int64_t at, int64_t n, int64_t step,
                        setting s) {
  float *state[STATES];
  for (int i = 0; i < p->states; i++) state[i] = part(p, 2 + i) + at;
  sonde_update u = {.size = sizeof u, .n = n, .w = weight(p) + at, .g = gradient(p) + at, .state = state,
                    .grad_scale = s.scale, .lr = s.lr, .weight_decay = s.decay, .step = step};
  functions(k)->update(&u, values);
}

static void update(const kit *k, weights *p, int64_t step, setting s) { update_part(k, k->values, p, 0, N, step, s); }

int kit_update_bits(kit *k, const sonde_value *values, uint64_t *bits) {
  weights p;
  fill(k, &p, 0);
  for (int step = 1; step <= 3; step++) {
    update_part(k, values, &p, 0, N, step, usual);
    for (int j = 0; j < N; j++) gradient(&p)[j] += 0.1f * weight(&p)[j];
  }
  *bits = 0xcbf29ce484222325u;
  const unsigned char *b = (const unsigned char *)weight(&p);
  for (size_t j = 0; j < N * sizeof(float); j++) *bits = (*bits ^ b[j]) * 0x100000001b3u;
  return SONDE_OK;
}

int check_update(kit *k) {
  weights p;
  fill(k, &p, 0);
  update(k, &p, 1, usual);
  for (int j = 0; j < N; j++)
    if (!isfinite(weight(&p)[j]))
      return kit_fail(k, "after one update with N(0, 1) weights and gradients a weight is not finite");
  return SONDE_PASS;
}

/* f = sum_j h_j w_j^2 / 2 with h between 0.1 and 1. */
int check_descent(kit *k) {
  enum { STEPS = 100 };
  weights p;
  double first = 0, last = 0;
  fill(k, &p, 0);
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

int check_rest(kit *k) {
  weights p, before;
  fill(k, &p, 0);
  memset(gradient(&p), 0, N * sizeof(float));
  before = p;
  for (int step = 1; step <= 3; step++) update(k, &p, step, (setting){1, 0.01, 0});
  if (moved(&p, &before)) return kit_fail(k, "weights without gradient and weight decay move");
  fill(k, &p, 0);
  before = p;
  update(k, &p, 1, (setting){1, 0, 0.1});
  if (moved(&p, &before)) return kit_fail(k, "a learning rate of 0 moves weights");
  return SONDE_PASS;
}

static double distance(weights *a, weights *b) {
  double most = 0;
  for (int j = 0; j < N; j++) most = fmax(most, fabs((double)weight(a)[j] - (double)weight(b)[j]));
  return most;
}

int check_scale(kit *k) {
  weights p, q;
  fill(k, &p, 0);
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

int check_decay(kit *k) {
  weights p;
  double before = 0, after = 0;
  fill(k, &p, 0);
  memset(gradient(&p), 0, N * sizeof(float));
  before = kit_dot(weight(&p), weight(&p), N);
  for (int step = 1; step <= 3; step++) update(k, &p, step, usual);
  after = kit_dot(weight(&p), weight(&p), N);
  if (!(after < before))
    return kit_fail(k, "weight_decay %g does not make weights without gradient smaller", usual.decay);
  return SONDE_PASS;
}

int check_tiles(kit *k) {
  static const int64_t cut[] = {0, 1, 8, 71, 72, 135, 512, 999, N};
  weights p, q;
  fill(k, &p, 0);
  q = p;
  for (int step = 1; step <= 3; step++) {
    update(k, &p, step, usual);
    for (int c = (int)(sizeof cut / sizeof cut[0]) - 2; c >= 0; c--)
      update_part(k, k->values, &q, cut[c], cut[c + 1] - cut[c], step, usual);
  }
  for (int i = 0; i < 2 + p.states; i++)
    if (memcmp(part(&p, i), part(&q, i), N * sizeof(float)))
      return kit_fail(k, "the bits depend on how the parameter is cut into tiles");
  return SONDE_PASS;
}

/* Another parameter's updates in between, and a step that is not the number of calls, must not show. */
int check_state(kit *k) {
  weights p, q, other;
  fill(k, &p, 0);
  fill(k, &other, 1);
  q = p;
  for (int step = 1; step <= 4; step++) update(k, &p, step, usual);
  for (int step = 1; step <= 4; step++) {
    for (int j = 0; j < 5; j++) update(k, &other, 50 * step + j, usual);
    update(k, &q, step, usual);
  }
  if (moved(&p, &q))
    return kit_fail(k, "the result depends on calls for other parameters: something is kept outside the states");
  return SONDE_PASS;
}

int check_update_guards(kit *k) {
  weights p, before;
  fill(k, &p, 0);
  before = p;
  for (int step = 1; step <= 3; step++) update(k, &p, step, usual);
  if (memcmp(gradient(&p), gradient(&before), N * sizeof(float))) return kit_fail(k, "it changes the gradient");
  for (int i = 0; i < 2 + STATES; i++)
    for (int j = 0; j < FENCE + N + FENCE; j++) {
      if (j >= FENCE && j < FENCE + N) continue;
      if (p.all[i][j] == FENCED) continue;
      const char *name = i == 0             ? "the weights"
                         : i == 1           ? "the gradient"
                         : i - 2 < p.states ? functions(k)->state_names[i - 2]
                                            : "its states";
      return kit_fail(k, "it writes %s %s", j < FENCE ? "before the start of" : "past the end of", name);
    }
  return SONDE_PASS;
}

int check_update_nan(kit *k) {
  weights p;
  fill(k, &p, 0);
  gradient(&p)[17] = NAN;
  update(k, &p, 1, usual);
  if (!isnan(weight(&p)[17])) return kit_fail(k, "it swallows NaN: one in the gradient, none in the weight");
  for (int j = 0; j < N; j++)
    if (j != 17 && isnan(weight(&p)[j])) return kit_fail(k, "a NaN in one gradient spreads to other weights");
  return SONDE_PASS;
}

int check_update_leaks(kit *k) {
  weights p;
  kit_memory seen = {0};
  fill(k, &p, 0);
  for (int round = 0; round < KIT_ROUNDS; round++) {
    update(k, &p, 1 + round, usual);
    kit_memory_look(&seen, round);
  }
  if (kit_memory_lost(&seen))
    return kit_fail(k, "it loses memory: %lld bytes with each update", (long long)kit_memory_lost(&seen));
  return SONDE_PASS;
}
