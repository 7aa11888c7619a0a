/* attention_test.c - attention and its gradient against the T x T matrix in double precision: masks, windows, starts of
 * documents, shared key heads, more keys than queries, odd sizes, f32 and bf16, on every instruction set, same bits at
 * any thread count. */
#include "config.h"
#include "kernel.h"


typedef struct setting {
  int64_t b, t, tk, h, kv, d;
  int causal;
  int64_t window;
  double scale;
  int starts;      /* DOCUMENTS, ANY; 0: none */
  double cap;      /* on scores; 0: none */
  int slopes;      /* whether distance costs */
  int64_t sinks, size, stride, listed;     /* of blocks of keys; listed: how many a query sees; 0: none */
} setting;

/* Rows cut into documents of growing length, and starts in no order, past the end and below 0 too. */
enum { DOCUMENTS = 1, ANY = 2 };

static const setting settings[] = {
    {1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {2, 5, 5, 2, 2, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {1, 70, 70, 2, 1, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 130, 130, 1, 1, 8, 1, 0, 0.3, 0, 0, 0, 0, 0, 0, 0},
    {2, 3, 200, 4, 2, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 64, 129, 2, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {1, 150, 150, 3, 1, 8, 1, 33, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 9, 300, 1, 1, 3, 1, 140, 0, 0, 0, 0, 0, 0, 0, 0},
    {1, 66, 66, 2, 2, 5, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 20, 20, 1, 1, 256, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {1, 193, 193, 2, 2, 64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    {2, 420, 420, 2, 1, 8, 1, 0, 0, DOCUMENTS, 0, 0, 0, 0, 0, 0},
    {2, 150, 150, 2, 2, 6, 1, 0, 0, ANY, 0, 0, 0, 0, 0, 0},
    {2, 70, 260, 2, 1, 8, 1, 0, 0, DOCUMENTS, 0, 0, 0, 0, 0, 0},
    {1, 300, 300, 1, 1, 4, 1, 50, 0, DOCUMENTS, 0, 0, 0, 0, 0, 0}, {2, 5, 5, 2, 2, 4, 1, 0, 2, 0, 1.5, 0, 0, 0, 0, 0},
    {1, 193, 193, 2, 1, 64, 1, 0, 0, 0, 0.5, 0, 0, 0, 0, 0}, {1, 64, 129, 2, 2, 10, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0},
    {2, 150, 260, 2, 1, 6, 1, 33, 0.7, DOCUMENTS, 1, 0, 0, 0, 0, 0},
    {2, 150, 150, 4, 2, 8, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0}, {1, 9, 300, 3, 1, 6, 1, 140, 0.7, 0, 1.5, 1, 0, 0, 0, 0},
    {2, 200, 200, 2, 1, 8, 1, 0, 0, DOCUMENTS, 0, 1, 0, 0, 0, 0},
    {1, 300, 300, 2, 1, 8, 1, 40, 0, 0, 0, 0, 5, 0, 0, 0}, {2, 200, 260, 1, 1, 6, 1, 7, 0, 0, 1.5, 0, 70, 0, 0, 0},
    {1, 420, 420, 2, 2, 8, 1, 0, 0, 0, 0, 1, 3, 16, 5, 0}, {2, 150, 150, 2, 1, 1, 1, 9, 0, ANY, 0, 0, 2, 7, 3, 0},
    {2, 300, 300, 2, 1, 8, 1, 0, 0, 0, 0, 0, 0, 20, 0, 3}, {1, 70, 200, 4, 2, 5, 1, 6, 0.4, 0, 0, 1, 1, 64, 0, 2},
    {1, 131, 131, 1, 1, 3, 1, 0, 0, 0, 0, 0, 0, 1, 0, 4},
    {1, 260, 260, 2, 1, 64, 1, 0, 0, DOCUMENTS, 0, 0, 0, 8, 4, 0}};
enum { SETTINGS = sizeof settings / sizeof *settings };

/* The input `starts`: key places in row b, by query. */
static int32_t start_at(const setting *s, int64_t b, int64_t i) {
  int64_t start = 0, length = 1 + 2 * b, last = i + s->tk - s->t;
  if (s->starts == ANY) return (int32_t)((i * 37 + b * 11) % (s->tk + 40)) - 20;
  for (; start + length <= last; length += 5) start += length;
  return (int32_t)start;
}

/* The input `blocks`: the start, then numbers, some of which are no block. */
static int32_t block_at(const setting *s, int64_t b, int64_t i, int64_t h, int64_t k) {
  if (k == 0) return (int32_t)(b * 3);
  return (int32_t)((i / 11 * 7 + b * 5 + h * 3 + k * k * 13) % (s->tk / s->size + 2)) - 1;
}

/* Whether query i of head h sees key j in a block of keys. */
static int in_a_block(const setting *s, int64_t b, int64_t i, int64_t h, int64_t start, int64_t j) {
  int64_t block = (j - start) / s->size, own = (i + s->tk - s->t - start) / s->size;
  if (s->stride && (own - block) % s->stride == 0) return 1;
  for (int64_t k = 1; k <= s->listed; k++)
    if (block_at(s, b, i, h, k) == block) return 1;
  return 0;
}

static int sees(const setting *s, int64_t b, int64_t i, int64_t h, int64_t j) {
  int64_t last = i + s->tk - s->t, start = s->listed ? block_at(s, b, i, h, 0) : s->starts ? start_at(s, b, i) : 0;
  start = start > last ? last : start < 0 ? 0 : start;
  if (!s->causal || j == last) return 1;
  if (j > last || j < start) return 0;
  return (s->window ? j > last - s->window : !s->size) || j < start + (s->window || s->size ? s->sinks : 0) ||
         (s->size && in_a_block(s, b, i, h, start, j));
}

/* The input `slopes`: of head h; one that grows with the distance too. */
static float slope_at(int64_t h) { return h == 1 ? -0.01f : 0.3f / (float)(h + 1); }

typedef struct truth { double *out, *lse, *entropy, *p, *score, *dq, *dk, *dv; } truth;

static int64_t place(int64_t b, int64_t t, int64_t h, int64_t length, int64_t heads, int64_t d) {
  return ((b * length + t) * heads + h) * d;
}

/* One query head: probabilities, result, and what it adds to the gradients. dout may be NULL. */
static void naive_head(const setting *s, const kernel *k, const void *dout, const sonde_shape *dout_shape,
                       truth *w, int64_t b, int64_t h) {
  int64_t kv = h / (s->h / s->kv), d = s->d;
  double scale = s->scale != 0 ? s->scale : 1 / sqrt((double)d);
  for (int64_t i = 0; i < s->t; i++) {
    int64_t q = place(b, i, h, s->t, s->h, d);
    double top = -INFINITY, total = 0, delta = 0;
    for (int64_t j = 0; j < s->tk; j++) {
      w->p[j] = 0;
      if (!sees(s, b, i, h, j)) continue;
      for (int64_t c = 0; c < d; c++)
        w->p[j] += scale * kernel_in(k, 0, q + c) * kernel_in(k, 1, place(b, j, kv, s->tk, s->kv, d) + c);
      if (s->cap != 0) w->p[j] = s->cap * tanh(w->p[j] / s->cap);
      w->score[j] = w->p[j];
      if (s->slopes) w->p[j] -= (double)slope_at(h) * (double)(i + s->tk - s->t - j);
      if (w->p[j] > top) top = w->p[j];
    }
    for (int64_t j = 0; j < s->tk; j++) total += w->p[j] = sees(s, b, i, h, j) ? exp(w->p[j] - top) : 0;
    w->lse[(b * s->h + h) * s->t + i] = top + log(total);
    for (int64_t j = 0; j < s->tk; j++) {
      w->p[j] /= total;
      if (w->p[j] > 0) w->entropy[(b * s->h + h) * s->t + i] -= w->p[j] * log(w->p[j]);
      for (int64_t c = 0; c < d; c++)
        w->out[q + c] += w->p[j] * kernel_in(k, 2, place(b, j, kv, s->tk, s->kv, d) + c);
    }
    if (!dout) continue;
    for (int64_t c = 0; c < d; c++) delta += w->out[q + c] * kernel_at(dout, dout_shape, q + c);
    for (int64_t j = 0; j < s->tk; j++) {
      int64_t key = place(b, j, kv, s->tk, s->kv, d);
      double dp = 0;
      for (int64_t c = 0; c < d; c++) dp += kernel_at(dout, dout_shape, q + c) * kernel_in(k, 2, key + c);
      double ds = w->p[j] * (dp - delta) * scale;
      if (s->cap != 0) ds *= 1 - w->score[j] * w->score[j] / (s->cap * s->cap);
      for (int64_t c = 0; c < d; c++) {
        w->dq[q + c] += ds * kernel_in(k, 1, key + c);
        w->dk[key + c] += ds * kernel_in(k, 0, q + c);
        w->dv[key + c] += w->p[j] * kernel_at(dout, dout_shape, q + c);
      }
    }
  }
}

static truth naive(const setting *s, const kernel *k, const void *dout, const sonde_shape *dout_shape) {
  int64_t nq = s->b * s->t * s->h * s->d, nk = s->b * s->tk * s->kv * s->d;
  const int64_t queries = s->b * s->h * s->t;
  truth w = {zeros(nq * 8),    zeros(queries * 8), zeros(queries * 8), zeros(s->tk * 8),
             zeros(s->tk * 8), zeros(nq * 8),      zeros(nk * 8),      zeros(nk * 8)};
  for (int64_t b = 0; b < s->b; b++)
    for (int64_t h = 0; h < s->h; h++) naive_head(s, k, dout, dout_shape, &w, b, h);
  return w;
}

static void drop(truth *w) {
  free(w->out), free(w->lse), free(w->entropy), free(w->p), free(w->score), free(w->dq), free(w->dk), free(w->dv);
}

static void add_more(kernel *k, const setting *s) {
  if (s->starts) {
    kernel_input(k, shape_of(SONDE_I32, 2, s->b, s->t, 0, 0), 5);
    for (int64_t at = 0; at < s->b * s->t; at++) ((int32_t *)k->x[k->n_in - 1])[at] = start_at(s, at / s->t, at % s->t);
  }
  if (s->listed) {
    int64_t row = 1 + s->listed, n = s->b * s->t * s->h;
    kernel_input(k, shape_of(SONDE_I32, 4, s->b, s->t, s->h, row), 5);
    for (int64_t at = 0; at < n * row; at++)
      ((int32_t *)k->x[k->n_in - 1])[at] =
          block_at(s, at / row / s->h / s->t, at / row / s->h % s->t, at / row % s->h, at % row);
  }
  if (s->slopes) {
    kernel_input(k, shape_of(SONDE_F32, 1, s->h, 0, 0, 0), 6);
    for (int64_t h = 0; h < s->h; h++) ((float *)k->x[k->n_in - 1])[h] = slope_at(h);
  }
}

static kernel inputs_of(const setting *s, int type) {
  kernel k = {.def = op_named(sonde_ops_attention, "attention"),
              .attr = {{s->scale, s->cap}, {s->causal, s->window, s->sinks, s->size, s->stride}}};
  kernel_input(&k, shape_of(type, 4, s->b, s->t, s->h, s->d), 1);
  kernel_input(&k, shape_of(type, 4, s->b, s->tk, s->kv, s->d), 2);
  kernel_input(&k, shape_of(type, 4, s->b, s->tk, s->kv, s->d), 3);
  return k;
}

static kernel forward_of(const setting *s, int type) {
  kernel k = inputs_of(s, type);
  add_more(&k, s);
  return k;
}

/* The same inputs, the forward results and an upstream gradient. */
static kernel backward_of(const setting *s, int type, int dout_type, const kernel *f) {
  kernel k = inputs_of(s, type);
  k.def = op_named(sonde_ops_attention, "attention_grad");
  for (int r = 0; r < 2; r++) {
    kernel_input(&k, f->out[r], 9);
    memcpy(k.x[k.n_in - 1], f->y[r], (size_t)sonde_shape_bytes(&f->out[r]));
  }
  kernel_input(&k, shape_of(dout_type, 4, s->b, s->t, s->h, s->d), 4);
  add_more(&k, s);
  return k;
}

static void compare(const kernel *k, int result, const double *want, double tolerance, const char *isa,
                    int at) {
  char what[80];
  snprintf(what, sizeof what, "%s, setting %d, %s result %d", isa, at, k->def->name, result);
  int64_t n = sonde_shape_count(&k->out[result]);
  for (int64_t i = 0; i < n; i++) assert_near(kernel_out(k, result, i), want[i], tolerance, what, i);
}

/* bf16: the inputs are exact, what is rounded on the way are probabilities and their gradients (8 bits). */
static void both_ways(const char *isa, int at, int type, int out_type, int dout_type) {
  const setting *s = &settings[at];
  double near = type == SONDE_F32 ? 2e-6 : 6e-3,
         grad_near = type == SONDE_F32 && out_type == SONDE_F32 ? 1e-5 : 2e-2;
  kernel f = forward_of(s, type);
  f.out_type = out_type;
  assert_int_equal(kernel_run(&f, 2), 0);
  kernel b = backward_of(s, type, dout_type, &f);
  assert_int_equal(kernel_run(&b, 2), 0);
  truth w = naive(s, &f, b.x[5], &b.in[5]);
  compare(&f, 0, w.out, out_type == SONDE_F32 ? near : 6e-3, isa, at);
  compare(&f, 1, w.lse, 3e-6, isa, at);
  compare(&f, 2, w.entropy, 5e-6, isa, at);
  compare(&b, 0, w.dq, grad_near, isa, at);
  compare(&b, 1, w.dk, grad_near, isa, at);
  compare(&b, 2, w.dv, grad_near * 2, isa, at);
  drop(&w);
  kernel_free(&f);
  kernel_free(&b);
}

static void against_naive(const char *isa) {
  for (int at = 0; at < SETTINGS; at++) {
    both_ways(isa, at, SONDE_F32, SONDE_F32, SONDE_F32);
    both_ways(isa, at, SONDE_BF16, SONDE_BF16, SONDE_BF16);
    both_ways(isa, at, SONDE_BF16, SONDE_F32, SONDE_F32);
  }
}
static void test_against_naive(void **state) { (void)state; on_every_isa(against_naive); }

static void same_bits(const char *isa) {
  (void)isa;
  static const int which[] = {11, 16, 24, 26};
  for (int v = 0; v < 8; v++) {
    const setting *s = &settings[which[v / 2]];
    kernel f = forward_of(s, v % 2);
    kernel_same_bits(&f);
    kernel b = backward_of(s, v % 2, v % 2, &f);
    kernel_same_bits(&b);
    kernel_free(&f);
    kernel_free(&b);
  }
}
static void test_same_bits(void **state) { (void)state; on_every_isa(same_bits); }

static void test_unread_results(void **state) {
  (void)state;
  for (int type = 0; type < 2; type++) {
    kernel f = forward_of(&settings[2], type);
    assert_int_equal(kernel_run(&f, 1), 0);
    kernel b = backward_of(&settings[2], type, type, &f), part = backward_of(&settings[2], type, type, &f);
    assert_int_equal(kernel_run(&b, 1), 0);
    for (int unread = 1; unread < 8; unread++) {
      part.unread = unread;
      assert_int_equal(kernel_run(&part, 1), 0);
      for (int r = 0; r < 3; r++)
        if (!(unread >> r & 1)) assert_memory_equal(part.y[r], b.y[r], (size_t)sonde_shape_bytes(&b.out[r]));
    }
    for (int unread = 0; unread < 8; unread++) {
      kernel some = forward_of(&settings[2], type);
      some.unread = unread;
      assert_int_equal(kernel_run(&some, 1), 0);
      for (int r = 0; r < 3; r++)
        if (!(unread >> r & 1)) assert_memory_equal(some.y[r], f.y[r], (size_t)sonde_shape_bytes(&f.out[r]));
      kernel_free(&some);
    }
    kernel_free(&f), kernel_free(&b), kernel_free(&part);
  }
}

/* A NaN in a value reaches every query that sees its key. (Queries of the same block may get it too: 0 x
 * NaN is NaN.) */
static void nan_in_value(const char *isa) {
  (void)isa;
  const setting *s = &settings[6];
  kernel f = forward_of(s, SONDE_F32);
  ((float *)f.x[2])[place(0, 40, 0, s->tk, s->kv, s->d)] = NAN;
  assert_int_equal(kernel_run(&f, 2), 0);
  for (int64_t i = 40; i < 40 + s->window; i++)
    assert_true(isnan(kernel_out(&f, 0, place(0, i, 1, s->t, s->h, s->d))));
  kernel_free(&f);
}
static void test_nan_in_value(void **state) { (void)state; on_every_isa(nan_in_value); }

/* What is NaN has no entropy of 0, which would look like weights that all lie on one key. */
static void nan_in_key(const char *isa) {
  (void)isa;
  const setting *s = &settings[6];
  kernel f = forward_of(s, SONDE_F32);
  ((float *)f.x[1])[place(0, 40, 0, s->tk, s->kv, s->d)] = NAN;
  assert_int_equal(kernel_run(&f, 2), 0);
  for (int64_t i = 40; i < 40 + s->window; i++)
    for (int r = 1; r < 3; r++) assert_true(isnan(kernel_out(&f, r, i)));
  kernel_free(&f);
}
static void test_nan_in_key(void **state) { (void)state; on_every_isa(nan_in_key); }

/* All weight is on one key: exactly 1, forward and backward, however large the scores are. */
static void large_scores(const char *isa) {
  enum { T = 2, D = 2 };
  const setting s = {1, T, T, 1, 1, D, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (float size = 1e4f; size < 1e21f; size *= 10) {
    kernel f = forward_of(&s, SONDE_F32);
    const float q[T * D] = {1, 2, 1, 1}, k[T * D] = {size * 1.1f, size / 3, size * 1.3f, size * 0.7f};
    const float v[T * D] = {1, 2, 3, 4};
    memcpy(f.x[0], q, sizeof q), memcpy(f.x[1], k, sizeof k), memcpy(f.x[2], v, sizeof v);
    assert_int_equal(kernel_run(&f, 2), 0);
    kernel b = backward_of(&s, SONDE_F32, SONDE_F32, &f);
    memcpy(b.x[0], q, sizeof q), memcpy(b.x[1], k, sizeof k), memcpy(b.x[2], v, sizeof v);
    for (int i = 0; i < T * D; i++) ((float *)b.x[5])[i] = 1;
    assert_int_equal(kernel_run(&b, 2), 0);
    for (int i = 0; i < T; i++)
      for (int c = 0; c < D; c++) {
        assert_near(kernel_out(&f, 0, i * D + c), v[D + c], 0, isa, i);
        assert_near(kernel_out(&b, 2, i * D + c), i ? 2 : 0, 0, isa, i);
      }
    for (int i = 0; i < T; i++) assert_near(kernel_out(&f, 2, i), 0, 0, isa, i);
    kernel_free(&f), kernel_free(&b);
  }
}
static void test_large_scores(void **state) { (void)state; on_every_isa(large_scores); }

/* Documents in one row give what each of them gives alone, to rounding; with starts that cut nothing, the same bits. */
static void alone(const char *isa) {
  enum { T = 300, CUT = 131, D = 8 };
  const setting whole = {1, T, T, 1, 1, D, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
                part = {1, T - CUT, T - CUT, 1, 1, D, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (int type = 0; type < 2; type++) {
    kernel row = inputs_of(&whole, type), own = inputs_of(&part, type), plain = inputs_of(&whole, type);
    kernel_input(&row, shape_of(SONDE_I32, 2, 1, T, 0, 0), 5);
    int32_t *start = row.x[3];
    memset(start, 0, T * sizeof *start);
    assert_int_equal(kernel_run(&row, 2), 0);
    assert_int_equal(kernel_run(&plain, 2), 0);
    for (int r = 0; r < 2; r++) assert_memory_equal(row.y[r], plain.y[r], (size_t)sonde_shape_bytes(&row.out[r]));
    for (int t = CUT; t < T; t++) start[t] = CUT;
    for (int in = 0; in < 3; in++) {
      int64_t size = type == SONDE_F32 ? 4 : 2;
      memcpy(own.x[in], (char *)row.x[in] + CUT * D * size, (size_t)((T - CUT) * D * size));
    }
    assert_int_equal(kernel_run(&row, 2), 0);
    assert_int_equal(kernel_run(&own, 2), 0);
    for (int64_t i = 0; i < (T - CUT) * D; i++)
      assert_near(kernel_out(&row, 0, CUT * D + i), kernel_out(&own, 0, i), type == SONDE_F32 ? 1e-6 : 6e-3, isa, i);
    kernel_free(&row), kernel_free(&own), kernel_free(&plain);
  }
}
static void test_alone(void **state) { (void)state; on_every_isa(alone); }

/* A block of keys that no query of a block sees is not computed with: NaN there would come through, as 0 x NaN. */
static void skipped(const char *isa) {
  enum { T = 512, CUT = 256 };
  const setting s = {1, T, T, 1, 1, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  (void)isa;
  for (int type = 0; type < 2; type++) {
    kernel f = inputs_of(&s, type);
    kernel_input(&f, shape_of(SONDE_I32, 2, 1, T, 0, 0), 5);
    for (int t = 0; t < T; t++) ((int32_t *)f.x[3])[t] = t < CUT ? 0 : CUT;
    for (int i = 0; i < CUT * 4; i++)
      for (int in = 1; in < 3; in++) {
        if (type == SONDE_F32) ((float *)f.x[in])[i] = NAN;
        else ((uint16_t *)f.x[in])[i] = 0x7fc0;
      }
    assert_int_equal(kernel_run(&f, 2), 0);
    for (int64_t i = 0; i < T * 4; i++) assert_int_equal(!!isnan(kernel_out(&f, 0, i)), i < CUT * 4);
    kernel_free(&f);
  }
}
static void test_skipped(void **state) { (void)state; on_every_isa(skipped); }

/* What sees everything gives the same bits as no pattern: a window or blocks as long as the row, all blocks listed, a
 * stride of one. */
static void test_all_is_full(void **state) {
  (void)state;
  enum { T = 300, H = 2 };
  static const setting full = {1, T, T, H, 1, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  static const setting same[] = {
      {1, T, T, H, 1, 16, 1, T, 0, 0, 0, 0, 0, 0, 0, 0}, {1, T, T, H, 1, 16, 1, 5 * T, 0, 0, 0, 0, 9, 0, 0, 0},
      {1, T, T, H, 1, 16, 1, 0, 0, 0, 0, 0, 0, 17, 1, 0}, {1, T, T, H, 1, 16, 1, 0, 0, 0, 0, 0, 0, T, 4, 0},
      {1, T, T, H, 1, 16, 1, 0, 0, 0, 0, 0, 0, 23, 0, 14}};
  for (int type = 0; type < 2; type++) {
    kernel f = forward_of(&full, type);
    assert_int_equal(kernel_run(&f, 2), 0);
    kernel g = backward_of(&full, type, type, &f);
    assert_int_equal(kernel_run(&g, 2), 0);
    for (size_t v = 0; v < sizeof same / sizeof *same; v++) {
      kernel a = forward_of(&same[v], type);
      for (int64_t at = 0; same[v].listed && at < T * H * 15; at++)
        ((int32_t *)a.x[3])[at] = (int32_t)(at % 15 ? at % 15 - 1 : 0);
      assert_int_equal(kernel_run(&a, 2), 0);
      for (int r = 0; r < 2; r++) assert_memory_equal(a.y[r], f.y[r], (size_t)sonde_shape_bytes(&f.out[r]));
      kernel b = backward_of(&same[v], type, type, &a);
      if (same[v].listed) memcpy(b.x[6], a.x[3], (size_t)sonde_shape_bytes(&a.in[3]));
      assert_int_equal(kernel_run(&b, 2), 0);
      for (int r = 0; r < 3; r++) assert_memory_equal(b.y[r], g.y[r], (size_t)sonde_shape_bytes(&g.out[r]));
      kernel_free(&a), kernel_free(&b);
    }
    kernel_free(&f), kernel_free(&g);
  }
}

/* Query heads that read one key head give what they give with a copy of it each. */
static void test_groups_are_copies(void **state) {
  (void)state;
  enum { T = 150, H = 4, D = 8 };
  static const setting shared = {2, T, T, H, 1, D, 1, 40, 0, 0, 0, 0, 3, 0, 0, 0};
  static const setting copied = {2, T, T, H, H, D, 1, 40, 0, 0, 0, 0, 3, 0, 0, 0};
  for (int type = 0; type < 2; type++) {
    kernel one = inputs_of(&shared, type), all = inputs_of(&copied, type);
    int64_t size = type == SONDE_F32 ? 4 : 2;
    for (int in = 1; in < 3; in++)
      for (int64_t row = 0; row < 2 * T * H; row++)
        memcpy((char *)all.x[in] + row * D * size, (char *)one.x[in] + row / H * D * size, (size_t)(D * size));
    assert_int_equal(kernel_run(&one, 2), 0);
    assert_int_equal(kernel_run(&all, 2), 0);
    for (int r = 0; r < 2; r++) assert_memory_equal(one.y[r], all.y[r], (size_t)sonde_shape_bytes(&one.out[r]));
    kernel_free(&one), kernel_free(&all);
  }
}

/* Blocks of keys that are not seen are not computed with, forward and backward: NaN there would come through. */
static void skipped_blocks(const char *isa) {
  enum { T = 640, SEEN = 64, OWN = 512 };
  const setting patterns[] = {{1, T, T, 1, 1, 4, 1, OWN / 4, 0, 0, 0, 0, SEEN, 0, 0, 0},
                              {1, T, T, 1, 1, 4, 1, 0, 0, 0, 0, 0, 0, SEEN, 8, 0}};
  (void)isa;
  for (int v = 0; v < 4; v++) {
    kernel f = forward_of(&patterns[v / 2], v % 2);
    for (int64_t i = SEEN * 4; i < (OWN - OWN / 4) * 4; i++)
      for (int in = 1; in < 3; in++) {
        if (v % 2 == SONDE_F32) ((float *)f.x[in])[i] = NAN;
        else ((uint16_t *)f.x[in])[i] = 0x7fc0;
      }
    assert_int_equal(kernel_run(&f, 2), 0);
    kernel b = backward_of(&patterns[v / 2], v % 2, v % 2, &f);
    for (int in = 1; in < 3; in++)
      memcpy(b.x[in], f.x[in], (size_t)sonde_shape_bytes(&f.in[in]));
    assert_int_equal(kernel_run(&b, 2), 0);
    for (int64_t i = OWN * 4; i < (OWN + SEEN) * 4; i++)
      assert_true(!isnan(kernel_out(&f, 0, i)) && !isnan(kernel_out(&b, 0, i)));
    kernel_free(&f), kernel_free(&b);
  }
}
static void test_skipped_blocks(void **state) { (void)state; on_every_isa(skipped_blocks); }

static void test_patterns_refused(void **state) {
  (void)state;
  const setting s = {2, 20, 20, 2, 1, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const struct { sonde_shape lists; int64_t i[5]; const char *why; } wrong[] = {
      {shape_of(SONDE_I32, 4, 2, 20, 2, 4), {0, 0, 0, 4, 0}, "causal"},
      {shape_of(SONDE_I32, 4, 2, 20, 2, 4), {1, 0, 0, 0, 0}, "size"},
      {shape_of(SONDE_I32, 4, 2, 20, 1, 4), {1, 0, 0, 4, 0}, "lists of blocks"},
      {shape_of(SONDE_I32, 4, 2, 19, 2, 4), {1, 0, 0, 4, 0}, "lists of blocks"},
      {shape_of(SONDE_I32, 4, 2, 20, 2, 1), {1, 0, 0, 4, 0}, "lists of blocks"},
      {shape_of(SONDE_F32, 4, 2, 20, 2, 4), {1, 0, 0, 4, 0}, "slopes"},
      {shape_of(SONDE_I32, 2, 2, 20, 0, 0), {1, 0, -1, 0, 0}, "sinks"},
      {shape_of(SONDE_I32, 2, 2, 20, 0, 0), {1, 0, 0, 0, 3}, "size"}};
  for (size_t v = 0; v < sizeof wrong / sizeof *wrong; v++) {
    sonde_error err = {0};
    kernel k = inputs_of(&s, SONDE_F32);
    k.in[3] = wrong[v].lists;
    memcpy(k.attr.i, wrong[v].i, sizeof wrong[v].i);
    assert_int_not_equal(k.def->shape(k.in, 4, &k.attr, k.out, &err), 0);
    assert_non_null(strstr(err.text, wrong[v].why));
    kernel_free(&k);
  }
}

static void refused(int64_t tq, int64_t tk, int64_t h, int64_t kv, int64_t d, double scale, double cap, int causal,
                    int64_t window, int code) {
  const sonde_op_def *def = op_named(sonde_ops_attention, "attention");
  sonde_shape in[3] = {shape_of(SONDE_F32, 4, 1, tq, h, d), shape_of(SONDE_F32, 4, 1, tk, kv, d),
                       shape_of(SONDE_F32, 4, 1, tk, kv, d)},
              out[SONDE_MAX_OUT];
  sonde_attr at = {{scale, cap}, {causal, window}};
  sonde_error err = {0};
  assert_int_equal(def->shape(in, 3, &at, out, &err), code);
  if (code) assert_non_null(strstr(err.text, "attention"));
}

static void test_refusals(void **state) {
  (void)state;
  refused(4, 4, 2, 1, 8, 0, 0, 1, 0, 0);
  refused(4, 3, 2, 1, 8, 0, 0, 1, 0, SONDE_ESHAPE);
  refused(4, 4, 3, 2, 8, 0, 0, 1, 0, SONDE_ESHAPE);
  refused(4, 4, 2, 2, 257, 0, 0, 1, 0, SONDE_ESHAPE);
  refused(4, 4, 2, 2, 8, -1, 0, 1, 0, SONDE_EINVAL);
  refused(4, 4, 2, 2, 8, NAN, 0, 1, 0, SONDE_EINVAL);
  refused(4, 4, 2, 2, 8, 0, -1, 1, 0, SONDE_EINVAL);
  refused(4, 4, 2, 2, 8, 0, NAN, 1, 0, SONDE_EINVAL);
  refused(4, 4, 2, 2, 8, 0, 0, 0, 3, SONDE_EINVAL);
  refused(4, 4, 2, 2, 8, 0, 0, 1, -3, SONDE_EINVAL);
}

static void test_starts_refused(void **state) {
  (void)state;
  const setting s = {2, 4, 4, 1, 1, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const sonde_shape wrong[] = {shape_of(SONDE_F32, 2, 2, 4, 0, 0), shape_of(SONDE_I32, 2, 2, 5, 0, 0),
                               shape_of(SONDE_I32, 1, 8, 0, 0, 0)};
  sonde_error err = {0};
  for (int v = 0; v < 4; v++) {
    kernel k = inputs_of(&s, SONDE_F32);
    k.in[3] = v < 3 ? wrong[v] : shape_of(SONDE_I32, 2, 2, 4, 0, 0);
    k.attr.i[0] = v < 3;
    assert_int_equal(k.def->shape(k.in, 4, &k.attr, k.out, &err), v < 3 ? SONDE_ESHAPE : SONDE_EINVAL);
    assert_non_null(strstr(err.text, "starts"));
    kernel_free(&k);
  }
}

static void test_slopes_refused(void **state) {
  (void)state;
  const setting s = {2, 4, 4, 2, 1, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const struct { sonde_shape in[2]; int n; } wrong[] = {
      {{shape_of(SONDE_F32, 1, 1, 0, 0, 0)}, 1}, {{shape_of(SONDE_F32, 2, 2, 1, 0, 0)}, 1},
      {{shape_of(SONDE_BF16, 1, 2, 0, 0, 0)}, 1},
      {{shape_of(SONDE_F32, 1, 2, 0, 0, 0), shape_of(SONDE_I32, 2, 2, 4, 0, 0)}, 2},
      {{shape_of(SONDE_F32, 1, 2, 0, 0, 0), shape_of(SONDE_F32, 1, 2, 0, 0, 0)}, 2}};
  sonde_error err = {0};
  for (size_t v = 0; v <= sizeof wrong / sizeof *wrong; v++) {
    kernel k = inputs_of(&s, SONDE_F32);
    int last = v == sizeof wrong / sizeof *wrong, n = last ? 1 : wrong[v].n;
    for (int j = 0; j < n; j++) k.in[3 + j] = last ? shape_of(SONDE_F32, 1, 2, 0, 0, 0) : wrong[v].in[j];
    k.attr.i[0] = !last;
    assert_int_equal(k.def->shape(k.in, 3 + n, &k.attr, k.out, &err), last ? SONDE_EINVAL : SONDE_ESHAPE);
    assert_non_null(strstr(err.text, "slopes"));
    kernel_free(&k);
  }
}

static void test_flops(void **state) {
  (void)state;
  sonde_shape in[3] = {shape_of(SONDE_F32, 4, 2, 10, 3, 8), shape_of(SONDE_F32, 4, 2, 10, 3, 8),
                       shape_of(SONDE_F32, 4, 2, 10, 3, 8)};
  sonde_attr at = {{0}, {1, 0}};
  const sonde_op_def *f = op_named(sonde_ops_attention, "attention"),
                     *b = op_named(sonde_ops_attention, "attention_grad");
  assert_true(f->flops(in, 3, NULL, &at) ==
              2 * 3 * 55.0 * (4 * 8 + 4)); /* 55 pairs, two products and the softmax */
  at.i[1] = 2;
  assert_true(b->flops(in, 6, NULL, &at) == 2 * 3 * 19.0 * (10 * 8 + 6));
  at.i[2] = 3;                                  /* 5 keys, once there are as many */
  assert_true(b->flops(in, 6, NULL, &at) == 2 * 3 * 40.0 * (10 * 8 + 6));
  at = (sonde_attr){{0}, {1, 0, 0, 3, 2}};      /* blocks of 3, every other one: 19 in own ones, 9 and 3 before them */
  assert_true(b->flops(in, 6, NULL, &at) == 2 * 3 * 31.0 * (10 * 8 + 6));
  sonde_shape with[4] = {in[0], in[1], in[2], shape_of(SONDE_I32, 4, 2, 10, 3, 3)};
  at = (sonde_attr){{0}, {1, 0, 0, 3, 0}};      /* two blocks: 19, and 3 for each query but the first 3 */
  assert_true(f->flops(with, 4, NULL, &at) == 2 * 3 * 40.0 * (4 * 8 + 4));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_naive),  cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_unread_results), cmocka_unit_test(test_nan_in_value),
      cmocka_unit_test(test_nan_in_key),     cmocka_unit_test(test_large_scores),
      cmocka_unit_test(test_alone),          cmocka_unit_test(test_skipped),
      cmocka_unit_test(test_refusals),       cmocka_unit_test(test_starts_refused),
      cmocka_unit_test(test_slopes_refused),
      cmocka_unit_test(test_all_is_full),    cmocka_unit_test(test_groups_are_copies),
      cmocka_unit_test(test_skipped_blocks), cmocka_unit_test(test_patterns_refused),
      cmocka_unit_test(test_flops)};
  return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
