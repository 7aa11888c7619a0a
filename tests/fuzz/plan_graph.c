/* plan_graph.c - makes random graphs (see plan_graph.h). */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cpu/simd.h"
#include "fuzz.h"
#include "ops/pointwise.h"
#include "plan_graph.h"
#include "sonde_build.h"

enum { LARGEST = 20000, F32 = SONDE_F32, BF16 = SONDE_BF16, I32 = SONDE_I32 };

int64_t plan_choice(maker *m, int64_t n) {
  m->state = m->state * 6364136223846793005u + 1442695040888963407u;
  uint64_t v = m->at < m->size ? m->data[m->at++] : m->state >> 33;
  if (n > 256 && m->at < m->size) v = v << 8 | m->data[m->at++];
  return (int64_t)(v % (uint64_t)n);
}

static int64_t dim(maker *m) {
  static const int64_t dims[] = {1, 2, 3, 4, 5, 8, 16, 17, 33, 64, 130, 1030};
  return dims[plan_choice(m, plan_choice(m, 4) ? 7 : 12)];
}

static sonde_shape shape(int dtype, int rank, const int64_t *dims) { return sonde_shape_make(dtype, rank, dims); }
#define SHAPE(dtype, ...)                                                                                              \
  shape(dtype, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static sonde_shape any_shape(maker *m, int dtype, int least, int most) {
  int64_t d[SONDE_MAX_RANK];
  int rank = least + (int)plan_choice(m, most - least + 1);
  for (int k = 0; k < rank; k++) d[k] = dim(m);
  sonde_shape s = shape(dtype, rank, d);
  while (sonde_shape_count(&s) > LARGEST / 4)
    for (int k = 0; k < rank; k++) s.dim[k] = s.dim[k] > 5 ? s.dim[k] / 2 : s.dim[k];
  return s;
}

/* ---- values from outside --------------------------------------------------------------------------------------- */

static void fill_values(maker *m, sonde_tensor *t, int64_t lo, int64_t hi) {
  int64_t n = sonde_shape_count(&t->shape), kind = plan_choice(m, 8);
  uint64_t state = m->state ^ (uint64_t)plan_choice(m, 256);
  for (int64_t k = 0; k < n; k++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    double u = (double)(state >> 11) / (double)((uint64_t)1 << 53);
    float x = kind ? (float)(u * 3 - 1.2) : (float)(int)(u * 4 - 2);     /* sometimes whole, with many equals */
    if (t->shape.dtype == F32) ((float *)t->host)[k] = x;
    else if (t->shape.dtype == BF16) sonde_simd_get()->common.to_bf16((uint16_t *)t->host + k, &x, 1);
    else ((int32_t *)t->host)[k] = (int32_t)(lo + (int64_t)(u * (double)(hi - lo + 1)));
  }
}

static sonde_node *keep(maker *m, sonde_node *n) {
  if (n && m->n_pool < MAX_POOL) m->pool[m->n_pool++] = n;
  else if (n) m->pool[plan_choice(m, MAX_POOL)] = n;
  return n;
}

/* An input or a leaf; integers from lo to hi. */
static sonde_node *from_outside(maker *m, const sonde_shape *s, int64_t lo, int64_t hi) {
  sonde_error err = {0};
  char name[16];
  if (m->n_out == MAX_DATA) return NULL;
  snprintf(name, sizeof name, "x%d", m->n_out);
  sonde_tensor *t = sonde_tensor_new(s, &err);
  FUZZ_CHECK(t != NULL);
  fill_values(m, t, lo, hi);
  sonde_node *n = plan_choice(m, 2) ? sonde_leaf(m->g, name, t) : sonde_input(m->g, name, s);
  m->out[m->n_out++] = (outside){n, t, NULL};
  return n;
}

static sonde_node *integers(maker *m, const sonde_shape *s, int64_t lo, int64_t hi) {
  return from_outside(m, s, lo, hi);
}

static sonde_node *cast(sonde_node *x, int dtype) {
  sonde_attr at = {{0}, {dtype}};
  return x ? sonde_op(x->g, "cast", &x, 1, &at) : NULL;
}

static sonde_node *dims_op(const char *op, sonde_node *x, const sonde_shape *s) {
  sonde_attr at = {{0}, {s->rank}};
  memcpy(at.i + 1, s->dim, sizeof s->dim);
  return x ? sonde_op(x->g, op, &x, 1, &at) : NULL;
}

/* A value of that shape: one that is there, one made from it, or a new one. */
static sonde_node *operand(maker *m, sonde_shape s) {
  for (int tries = 0; tries < 12 && m->n_pool; tries++) {
    sonde_node *x = m->pool[plan_choice(m, m->n_pool)];
    if (x->shape.dtype != s.dtype && tries < 6) continue;
    if (x->shape.dtype == I32 || s.dtype == I32) continue;
    if (!sonde_shape_equal(&x->shape, &s)) {
      if (sonde_shape_count(&x->shape) != sonde_shape_count(&s)) continue;
      x = dims_op("reshape", x, &s);
    }
    return x->shape.dtype == s.dtype ? x : cast(x, s.dtype);
  }
  if (!plan_choice(m, 6)) return sonde_constant(m->g, &s, s.dtype == I32 ? 2 : (double)plan_choice(m, 4) * 0.5);
  return from_outside(m, &s, -3, 3);
}

static sonde_node *any(maker *m, int dtype, int least, int most) {
  for (int tries = 0; tries < 10 && m->n_pool; tries++) {
    sonde_node *x = m->pool[plan_choice(m, m->n_pool)];
    if (x->shape.dtype == dtype && x->shape.rank >= least && x->shape.rank <= most) return x;
  }
  return operand(m, any_shape(m, dtype, least, most));
}

static int real(maker *m) { return plan_choice(m, 3) ? F32 : BF16; }

static sonde_node *call(maker *m, const char *op, int n, sonde_node *const *in, const sonde_attr *at) {
  for (int k = 0; k < n; k++)
    if (!in[k]) return NULL;
  return sonde_op(m->g, op, in, n, at);
}
#define CALL(op, at, ...) \
  call(m, op, (int)(sizeof((sonde_node *[]){__VA_ARGS__}) / sizeof(sonde_node *)), (sonde_node *[]){__VA_ARGS__}, at)

/* ---- one maker for each kind of op ----------------------------------------------------------------------------- */

typedef sonde_node *(*make_fn)(maker *m, const char *op);

/* Also the gradients, of which each input may be broadcast. */
static sonde_node *elementwise(maker *m, const char *op) {
  const sonde_op_def *d = sonde_ops_find(m->ctx, op);
  sonde_node *in[4];
  int dtype = plan_choice(m, 8) ? real(m) : I32;
  sonde_attr at = {{(double)plan_choice(m, 5) * 0.5, (double)plan_choice(m, 3) - 1}, {0}};
  if (!(in[0] = any(m, dtype, 0, 4))) return NULL;
  for (int k = 1; k < d->min_in; k++) {
    sonde_shape s = in[0]->shape;
    s.dtype = plan_choice(m, 8) ? real(m) : I32;
    int drop = plan_choice(m, 3) ? 0 : (int)plan_choice(m, s.rank + 1);
    for (int j = 0; j < s.rank; j++)
      if (!plan_choice(m, 5)) s.dim[j] = 1;
    if (!plan_choice(m, 10) && s.rank < SONDE_MAX_RANK) {       /* the first input is the one that is broadcast */
      memmove(s.dim + 1, s.dim, (size_t)s.rank * sizeof *s.dim);
      s.dim[0] = 2;
      s.rank++;
      drop = 0;
    }
    in[k] = operand(m, shape(s.dtype, s.rank - drop, s.dim + drop));
    if (in[k] && !drop && s.rank == in[0]->shape.rank && !plan_choice(m, 4))
      in[k] = dims_op("expand", in[k], &in[0]->shape);
  }
  return call(m, op, d->min_in, in, strcmp(op, "affine") ? NULL : &at);
}

static sonde_node *dropout(maker *m, const char *op) {
  sonde_attr at = {{0.25 * (double)plan_choice(m, 4)}, {plan_choice(m, 5)}};
  return CALL(op, &at, any(m, F32, 0, 4));
}

static sonde_node *convert(maker *m, const char *op) {
  sonde_attr at = {{0}, {plan_choice(m, 8) ? real(m) : I32}};
  return CALL(op, &at, any(m, plan_choice(m, 8) ? real(m) : I32, 0, 4));
}

static sonde_node *reshape(maker *m, const char *op) {
  sonde_node *x = any(m, real(m), 0, 4);
  if (!x) return NULL;
  sonde_shape s = x->shape;
  int64_t n = sonde_shape_count(&s), part = 1 + plan_choice(m, 8);
  if (plan_choice(m, 2) && n % part == 0) s = SHAPE(F32, part, n / part);
  else if (plan_choice(m, 2) && s.rank < 4) s.dim[s.rank++] = 1;
  else if (plan_choice(m, 2)) s = SHAPE(F32, n);
  return dims_op(op, x, &s);
}

static sonde_node *plain(maker *m, const char *op) { return CALL(op, NULL, any(m, real(m), 0, 4)); }
static sonde_node *by_row(maker *m, const char *op) { return CALL(op, NULL, any(m, F32, 1, 4)); }

static sonde_node *permute(maker *m, const char *op) {
  sonde_node *x = any(m, real(m), 0, 5);
  if (!x) return NULL;
  sonde_attr at = {{0}, {x->shape.rank, 0, 1, 2, 3, 4}};
  for (int k = x->shape.rank; k > 1; k--) {
    int64_t j = 1 + plan_choice(m, k), t = at.i[k];
    at.i[k] = at.i[j];
    at.i[j] = t;
  }
  return CALL(op, &at, x);
}

static sonde_node *slice(maker *m, const char *op) {
  sonde_node *x = any(m, real(m), 1, 4);
  if (!x) return NULL;
  int64_t axis = plan_choice(m, x->shape.rank), n = x->shape.dim[axis], start = plan_choice(m, n);
  sonde_attr at = {{0}, {axis, start, 1 + plan_choice(m, n - start)}};
  if (!strcmp(op, "pad_slice")) at.i[1] = plan_choice(m, 3), at.i[2] = n + at.i[1] + plan_choice(m, 3);
  return CALL(op, &at, x);
}

static sonde_node *concat(maker *m, const char *op) {
  sonde_node *in[3] = {any(m, real(m), 1, 4), NULL, NULL};
  if (!in[0]) return NULL;
  sonde_attr at = {{0}, {plan_choice(m, in[0]->shape.rank)}};
  int n = 1 + (int)plan_choice(m, 3);
  for (int k = 1; k < n; k++) {
    sonde_shape s = in[0]->shape;
    s.dim[at.i[0]] = 1 + plan_choice(m, 4);
    in[k] = operand(m, s);
  }
  return call(m, op, n, in, &at);
}

static sonde_node *reduce(maker *m, const char *op) {
  sonde_node *x = any(m, F32, 0, 4);
  if (!x) return NULL;
  sonde_shape s = x->shape;
  int drop = plan_choice(m, 3) ? 0 : (int)plan_choice(m, s.rank + 1);
  for (int k = 0; k < s.rank; k++)
    if (plan_choice(m, 2)) s.dim[k] = 1;
  s = shape(F32, s.rank - drop, s.dim + drop);
  return dims_op(op, x, &s);
}

static sonde_node *expand(maker *m, const char *op) {
  sonde_shape to = any_shape(m, real(m), 0, 4), s = to;
  int drop = plan_choice(m, 3) ? 0 : (int)plan_choice(m, s.rank + 1);
  for (int k = 0; k < s.rank; k++)
    if (plan_choice(m, 2)) s.dim[k] = 1;
  return dims_op(op, operand(m, shape(s.dtype, s.rank - drop, s.dim + drop)), &to);
}

static sonde_node *gather(maker *m, const char *op) {
  sonde_shape at = any_shape(m, I32, 0, 3);
  int64_t rows = 1 + plan_choice(m, 9), width = dim(m);
  if (sonde_shape_count(&at) * width > LARGEST) return NULL;
  sonde_node *index = integers(m, &at, 0, rows - 1);
  if (!strcmp(op, "gather")) return CALL(op, NULL, operand(m, SHAPE(real(m), rows, width)), index);
  sonde_attr n = {{0}, {rows}};
  at.dtype = F32;
  at.dim[at.rank++] = width;
  return CALL(op, &n, index, operand(m, at));
}

static sonde_node *row_pair(maker *m, const char *op) {
  sonde_node *x = any(m, F32, 1, 4);
  return x ? CALL(op, NULL, x, operand(m, x->shape)) : NULL;
}

static sonde_node *cross_entropy(maker *m, const char *op) {
  sonde_node *x = any(m, F32, 1, 4);
  if (!x) return NULL;
  sonde_shape per = shape(F32, x->shape.rank - 1, x->shape.dim), ids = per;
  ids.dtype = I32;
  sonde_node *targets = integers(m, &ids, -1, x->shape.dim[x->shape.rank - 1] - 1);
  if (strcmp(op, "cross_entropy")) return CALL(op, NULL, x, targets, operand(m, per));
  sonde_node *y = CALL(op, NULL, x, targets);
  return plan_choice(m, 2) ? y : sonde_result(y, 1);
}

static sonde_node *matmul(maker *m, const char *op) {
  int64_t lead = 1 + plan_choice(m, 3), r = dim(m), k = dim(m), c = dim(m);
  if (lead * r * k > LARGEST || k * c > LARGEST || lead * r * c > LARGEST) return NULL;
  int rank = 2 + (int)plan_choice(m, 2), shared = rank > 2 && plan_choice(m, 2), ta = !shared && plan_choice(m, 2) == 0;
  int tb = (int)plan_choice(m, 2), f32 = !strcmp(op, "matmul_f32"), dtype = f32 ? F32 : real(m);
  int add = !plan_choice(m, 4);
  sonde_shape a = ta ? SHAPE(dtype, lead, k, r) : SHAPE(dtype, lead, r, k),
              b = tb ? SHAPE(dtype, lead, c, k) : SHAPE(dtype, lead, k, c);
  if (rank == 2) a = shape(dtype, 2, a.dim + 1);
  if (rank == 2 || shared) b = shape(dtype, 2, b.dim + 1);
  sonde_shape y = rank == 2 ? SHAPE(F32, r, c) : SHAPE(F32, lead, r, c);
  sonde_attr at = {{0}, {ta, tb, add || f32 ? F32 : real(m)}};
  sonde_node *in[3] = {operand(m, a), operand(m, b), add ? operand(m, y) : NULL};
  return call(m, op, add ? 3 : 2, in, &at);
}

/* A norm, or its gradient op on the norm's own inputs and statistics; often with a factor behind it. */
static sonde_node *norm(maker *m, const char *op) {
  int layer = !strncmp(op, "layernorm", 9), gradient = strstr(op, "_grad") != NULL;
  sonde_node *x = any(m, real(m), 1, 4);
  if (!x) return NULL;
  sonde_shape row = SHAPE(F32, x->shape.dim[x->shape.rank - 1]);
  sonde_attr at = {{1e-2}, {0}};
  sonde_node *gain = operand(m, row), *y, *dy;
  y = layer ? CALL("layernorm", &at, x, gain, operand(m, row)) : CALL("rmsnorm", &at, x, gain);
  if (!y) return NULL;
  if (!gradient)
    return plan_choice(m, 3) ? sonde_affine(y, 0.5 * (double)plan_choice(m, 4), 0)
                             : sonde_result(y, (int)plan_choice(m, 2 + layer));
  dy = operand(m, shape(plan_choice(m, 3) ? F32 : BF16, x->shape.rank, x->shape.dim));
  y = layer ? CALL(op, &at, x, gain, sonde_result(y, 1), sonde_result(y, 2), dy)
            : CALL(op, &at, x, gain, sonde_result(y, 1), dy);
  return y ? sonde_result(y, (int)plan_choice(m, 2 + layer)) : NULL;
}

static sonde_shape heads(maker *m, int dtype) {
  return SHAPE(dtype, 1 + plan_choice(m, 2), 1 + plan_choice(m, 6), 1 + plan_choice(m, 3), 2 * (1 + plan_choice(m, 5)));
}

static sonde_node *rope(maker *m, const char *op) {
  sonde_shape x = heads(m, real(m)), one = SHAPE(I32, 1);
  sonde_attr at = {{100, plan_choice(m, 2) ? 1 : -1, 0.5 * (double)plan_choice(m, 3)}, {plan_choice(m, 9)}};
  sonde_node *in[3] = {operand(m, x), NULL, NULL};
  int n = 1;
  if (plan_choice(m, 2)) in[n++] = operand(m, SHAPE(F32, 1 + plan_choice(m, x.dim[3] / 2)));
  if (plan_choice(m, 2)) {
    sonde_shape each = SHAPE(I32, x.dim[0], x.dim[1]);
    in[n++] = integers(m, plan_choice(m, 2) ? &one : &each, 0, 9);
  }
  return call(m, op, n, in, &at);
}

static sonde_node *frequencies(maker *m, const char *op) {
  const int64_t scheme = plan_choice(m, 5);
  sonde_attr at = {{4, scheme < 3 ? 1 : 32, scheme < 3 ? 4 : 1, 16}, {2 * (1 + plan_choice(m, 8)), scheme}};
  sonde_shape one = SHAPE(F32, 1);
  return CALL(op, &at, sonde_constant(m->g, &one, 100 + (double)plan_choice(m, 100)));
}

static sonde_node *by_length(maker *m, const char *op) {
  sonde_attr at = {{0}, {1 + plan_choice(m, 5), 1 + plan_choice(m, 5), plan_choice(m, 2)}};
  int64_t n = dim(m);
  return CALL(op, &at, operand(m, SHAPE(F32, n)), operand(m, SHAPE(F32, n)));
}

static sonde_node *starts_of(maker *m, const char *op, int64_t batch, int64_t length) {
  sonde_shape tokens = SHAPE(I32, batch, length);
  sonde_attr at = {{0}, {1}};
  sonde_node *in[1] = {integers(m, &tokens, 0, 4)};
  return sonde_result(call(m, op, 1, in, &at), (int)plan_choice(m, 2));
}
static sonde_node *documents(maker *m, const char *op) {
  return starts_of(m, op, 1 + plan_choice(m, 3), 1 + plan_choice(m, 9));
}

static sonde_node *positions(maker *m, const char *op) {
  sonde_shape one = SHAPE(I32, 1);
  sonde_node *in[2] = {operand(m, SHAPE(real(m), 1 + plan_choice(m, 3), 1 + plan_choice(m, 5), 1 + plan_choice(m, 4)))};
  int from = (int)plan_choice(m, 2);
  if (from) in[1] = integers(m, &one, 0, 9);
  return call(m, op, 1 + from, in, NULL);
}

static sonde_node *largest(maker *m, const char *op) {
  int64_t n = 1 + plan_choice(m, 9);
  sonde_attr at = {{0}, {1 + plan_choice(m, n)}};
  return CALL(op, &at, operand(m, SHAPE(F32, 1 + plan_choice(m, 5), n)));
}

static sonde_node *slopes_of(maker *m, int64_t heads) {
  sonde_attr at = {{0}, {heads}};
  sonde_shape one = SHAPE(F32, 1);
  return CALL("alibi_slopes", &at, sonde_constant(m->g, &one, 1 + (double)plan_choice(m, 8)));
}
static sonde_node *slopes(maker *m, const char *op) {
  (void)op;
  return slopes_of(m, 1 + plan_choice(m, 9));
}

/* Lists of some of 6 blocks of 3 keys, for queries [B, T, H, Dh]. */
static sonde_node *lists_of(maker *m, const sonde_shape *q) {
  sonde_shape lists = SHAPE(I32, q->dim[0], q->dim[1], q->dim[2], 2 + plan_choice(m, 3));
  return integers(m, &lists, -1, 5);
}

static void take_pattern(maker *m, sonde_attr *at, int listed) {
  at->i[1] = plan_choice(m, 4);
  at->i[2] = plan_choice(m, 3);
  at->i[3] = listed ? 3 : plan_choice(m, 5);
  at->i[4] = at->i[3] ? plan_choice(m, 4) : 0;
}

static sonde_node *attention(maker *m, const char *op) {
  int64_t groups = 1 + plan_choice(m, 2);
  sonde_shape k = heads(m, F32), q = k;
  int causal = (int)plan_choice(m, 2);
  if (!plan_choice(m, 4)) k.dim[1] = q.dim[1] = 130;
  q.dim[1] -= plan_choice(m, q.dim[1]);
  q.dim[2] *= groups;
  int listed = causal && !plan_choice(m, 4);
  sonde_attr at = {{0.5 * (double)plan_choice(m, 3), (double)plan_choice(m, 2)}, {causal}};
  if (causal) take_pattern(m, &at, listed);
  int dq = real(m), dk = real(m), dv = plan_choice(m, 2) ? dk : real(m);
  sonde_node *in[8] = {operand(m, shape(dq, 4, q.dim)), operand(m, shape(dk, 4, k.dim)),
                       operand(m, shape(dv, 4, k.dim))};
  int more = 0;
  if (listed) in[3] = in[6] = lists_of(m, &q), more++;
  else if (causal && plan_choice(m, 2)) in[3] = in[6] = starts_of(m, "document_starts", q.dim[0], q.dim[1]), more++;
  if (causal && plan_choice(m, 2)) in[3 + more] = in[6 + more] = slopes_of(m, q.dim[2]), more++;
  sonde_node *y = call(m, "attention", 3 + more, in, &at);
  if (!y) return NULL;
  in[3] = y;
  in[4] = sonde_result(y, 1);
  in[5] = operand(m, shape(real(m), 4, q.dim));
  if (!strcmp(op, "attention_grad")) return sonde_result(call(m, op, 6 + more, in, &at), (int)plan_choice(m, 3));
  return sonde_result(y, !plan_choice(m, 4));
}

/* The choice of blocks; the weights and what they are like. */
static sonde_node *measures(maker *m, const char *op) {
  sonde_shape k = heads(m, real(m)), q = k, thresholds = SHAPE(F32, 1 + plan_choice(m, 3), 2), one = SHAPE(I32, 1);
  int64_t every = 1 + plan_choice(m, 3), n = 2;
  q.dim[2] *= 1 + plan_choice(m, 2);
  sonde_node *in[6] = {operand(m, q), operand(m, k)};
  if (!strncmp(op, "attention_blocks", 16)) {
    sonde_attr at = {{0}, {every * (1 + plan_choice(m, 3)), plan_choice(m, 4), every}};
    in[n++] = in[0];
    if (!strcmp(op, "attention_blocks_cached")) {
      q.dim[1] = 1 + plan_choice(m, q.dim[1]);
      in[2] = operand(m, q);
      in[n++] = integers(m, &one, 0, k.dim[1] - q.dim[1]);
    } else if (plan_choice(m, 2)) {
      in[n++] = starts_of(m, "document_starts", q.dim[0], q.dim[1]);
    }
    return call(m, op, (int)n, in, &at);
  }
  sonde_attr at = {{0, (double)plan_choice(m, 2)}, {1}};
  int listed = (int)plan_choice(m, 2);
  take_pattern(m, &at, listed);
  if (!strcmp(op, "attention_spread")) in[n++] = operand(m, thresholds);
  if (listed) in[n++] = lists_of(m, &q);
  sonde_node *y = call(m, op, (int)n, in, &at);
  return y && !strcmp(op, "attention_spread") ? sonde_result(y, (int)plan_choice(m, 4)) : y;
}

static sonde_node *cached(maker *m, const char *op) {
  sonde_shape x = heads(m, real(m)), cache = x, one = SHAPE(I32, 1);
  cache.dtype = F32;
  cache.dim[1] += 3;
  sonde_node *at = integers(m, &one, 0, 3), *k = operand(m, cache), *v = operand(m, cache);
  if (!strcmp(op, "cache_write")) return CALL(op, NULL, k, operand(m, x), at);
  sonde_attr a = {{0, (double)plan_choice(m, 2)}, {1}};
  take_pattern(m, &a, 0);
  x.dim[2] *= 1 + plan_choice(m, 2);
  sonde_node *q = operand(m, x);
  return plan_choice(m, 2) ? CALL(op, &a, q, k, v, at) : CALL(op, &a, q, k, v, slopes_of(m, x.dim[2]), at);
}

static sonde_node *loss(maker *m, const char *op) {
  int64_t n = dim(m), d = dim(m), v = dim(m);
  int dtype = real(m);
  if (n * d > LARGEST || v * d > LARGEST || n * v > LARGEST) return NULL;
  sonde_shape ids = SHAPE(I32, n);
  sonde_node *in[4] = {operand(m, SHAPE(dtype, n, d)), operand(m, SHAPE(dtype, v, d)), integers(m, &ids, -1, v - 1),
                       operand(m, SHAPE(F32, n))};
  sonde_attr at = {{2.0 * (double)plan_choice(m, 2)}, {0}};
  if (!strcmp(op, "lm_loss")) return call(m, op, 3, in, &at);
  sonde_node *y = call(m, op, 4, in, &at);
  return y ? sonde_result(y, (int)plan_choice(m, 3)) : NULL;
}

/* -p log q. */
int64_t plan_graph_divergence(sonde_ctx *ctx) {
  sonde_error err = {0};
  sonde_graph *g = sonde_graph_new(ctx, &err);
  const sonde_shape s = SHAPE(F32, 1, SONDE_POINTWISE_STRETCH, 1);
  sonde_node *in[4] = {sonde_input(g, "log_p", &s), sonde_input(g, "p", &s), sonde_input(g, "log_q", &s),
                       sonde_input(g, "q", &s)};
  int64_t number = sonde_pointwise_of(in, 4, sonde_neg(sonde_mul(in[1], in[2])), sonde_neg(in[1]), &err);
  sonde_graph_free(g);
  FUZZ_CHECK(number > 0);
  return number;
}

static sonde_node *teaching(maker *m, const char *op) {
  int64_t n = dim(m), d = dim(m), v = dim(m), k = 1 + plan_choice(m, v < 4 ? v : 4);
  int dtype = real(m), cached = strstr(op, "cached") != NULL, of_grad = strstr(op, "grad") != NULL;
  if (n * d > LARGEST || v * d > LARGEST || n * v > LARGEST) return NULL;
  sonde_node *x = operand(m, SHAPE(dtype, n, d)), *w = operand(m, SHAPE(dtype, v, d));
  sonde_attr top = {{1 + (double)plan_choice(m, 2), 2.0 * (double)plan_choice(m, 2)}, {k}};
  if (!strcmp(op, "teacher_top")) return CALL(op, &top, x, w);
  sonde_shape ids = SHAPE(I32, n), kept = SHAPE(I32, n, k);
  sonde_node *in[7] = {x, w, integers(m, &ids, -1, v - 1), operand(m, SHAPE(dtype, n, d)),
                       operand(m, SHAPE(dtype, v, d)), operand(m, SHAPE(F32, n)), operand(m, SHAPE(F32, n))};
  if (cached) in[3] = integers(m, &kept, 0, v - 1), in[4] = operand(m, SHAPE(F32, n, k + 1));
  sonde_attr at = {{top.f[0], top.f[1]}, {plan_graph_divergence(m->ctx)}};
  if (!cached && plan_choice(m, 2)) at.i[1] = k;
  sonde_node *y = call(m, op, of_grad ? 7 : 5, in, &at);
  return y ? sonde_result(y, (int)plan_choice(m, of_grad ? 4 : 2)) : NULL;
}

static sonde_node *along(maker *m, const char *op) {
  sonde_node *x = any(m, F32, 1, 4);
  if (!x) return NULL;
  int64_t width = x->shape.dim[x->shape.rank - 1];
  sonde_attr at = {{0}, {1 + plan_choice(m, width < 6 ? width : 6)}};
  if (!strcmp(op, "top_k")) return CALL(op, &at, x);
  sonde_shape index = x->shape;
  index.dtype = I32;
  if (!strcmp(op, "put_along")) return CALL(op, &at, integers(m, &index, 0, at.i[0] - 1), x);
  index.dim[index.rank - 1] = at.i[0];
  return CALL(op, NULL, x, integers(m, &index, 0, width - 1));
}

/* Choices of experts, and tokens in their order. */
static sonde_node *order_of(maker *m, int64_t experts) {
  sonde_shape s = any_shape(m, I32, 1, 3);
  sonde_attr at = {{0}, {experts}};
  return CALL("expert_order", &at, integers(m, &s, 0, experts - 1));
}
static sonde_node *expert_order(maker *m, const char *op) {
  (void)op;
  return sonde_result(order_of(m, 1 + plan_choice(m, 6)), (int)plan_choice(m, 3));
}

static sonde_node *grouped(maker *m, const char *op) {
  int64_t experts = 1 + plan_choice(m, 5), k = dim(m), n = dim(m);
  sonde_node *order = order_of(m, experts), *offsets = sonde_result(order, 2);
  if (!offsets || order->shape.dim[0] * (k > n ? k : n) > LARGEST || experts * k * n > LARGEST) return NULL;
  int64_t rows = order->shape.dim[0];
  int dtype = real(m), turned = (int)plan_choice(m, 2), add = !plan_choice(m, 4);
  sonde_attr at = {{0}, {turned}};
  sonde_node *a = operand(m, SHAPE(dtype, rows, k));
  if (!strcmp(op, "grouped_outer")) return CALL(op, NULL, a, operand(m, SHAPE(dtype, rows, n)), offsets);
  sonde_node *in[4] = {a, operand(m, turned ? SHAPE(dtype, experts, n, k) : SHAPE(dtype, experts, k, n)), offsets,
                       add ? operand(m, SHAPE(F32, rows, n)) : NULL};
  return call(m, op, add ? 4 : 3, in, &at);
}

static sonde_node *expert_sum(maker *m, const char *op) {
  sonde_shape place = any_shape(m, I32, 1, 3), weight = place;
  int64_t rows = 1 + plan_choice(m, 9), width = dim(m);
  if (sonde_shape_count(&place) * width > LARGEST) return NULL;
  weight.dtype = F32;
  sonde_shape sum = weight;
  sum.dim[sum.rank - 1] = width;
  int gradient = !strcmp(op, "expert_sum_grad"), more = gradient || plan_choice(m, 2);
  sonde_node *in[4] = {operand(m, SHAPE(real(m), rows, width)), operand(m, weight), integers(m, &place, 0, rows - 1),
                       more ? operand(m, sum) : NULL};
  sonde_node *y = call(m, op, more ? 4 : 3, in, NULL);
  return gradient ? sonde_result(y, (int)plan_choice(m, 2)) : y;
}

static const struct { const char *op; make_fn make; } makers[] = {
    {"dropout", dropout}, {"cast", convert}, {"reshape", reshape}, {"detach", plain}, {"permute", permute},
    {"slice", slice},
    {"pad_slice", slice}, {"concat", concat}, {"sum", reduce}, {"amax", reduce}, {"expand", expand}, {"gather", gather},
    {"scatter_add", gather}, {"softmax", by_row}, {"softmax_grad", row_pair}, {"log_softmax", by_row},
    {"log_softmax_grad", row_pair}, {"cross_entropy", cross_entropy}, {"cross_entropy_grad", cross_entropy},
    {"matmul", matmul},
    {"rmsnorm", norm}, {"rmsnorm_grad", norm}, {"layernorm", norm}, {"layernorm_grad", norm}, {"rope", rope},
    {"rope_frequencies", frequencies}, {"rope_by_length", by_length}, {"attention", attention},
    {"attention_grad", attention}, {"attention_cached", cached}, {"document_starts", documents},
    {"positions", positions}, {"alibi_slopes", slopes}, {"attention_blocks", measures},
    {"attention_blocks_cached", measures}, {"attention_weights", measures}, {"attention_spread", measures},
    {"cache_write", cached}, {"lm_loss", loss}, {"lm_loss_grad", loss}, {"argmax", by_row},
    {"top_k", along}, {"take_along", along}, {"put_along", along}, {"expert_order", expert_order},
    {"grouped_matmul", grouped}, {"grouped_outer", grouped}, {"expert_sum", expert_sum},
    {"expert_sum_grad", expert_sum}, {"matmul_f32", matmul}, {"topk_mask", largest},
    {"distill", teaching}, {"distill_grad", teaching}, {"distill_cached", teaching}, {"distill_cached_grad", teaching},
    {"teacher_top", teaching},
};

static make_fn maker_of(const sonde_op_def *d) {
  for (size_t k = 0; k < sizeof makers / sizeof makers[0]; k++)
    if (!strcmp(makers[k].op, d->name)) return makers[k].make;
  return d->flags & SONDE_OP_ELEMENTWISE && !d->shape && d->min_in == d->max_in ? elementwise : NULL;
}

const char *plan_graph_lacks(sonde_ctx *ctx) {
  for (int k = 0; k < sonde_ops_count(ctx); k++)
    if (!maker_of(sonde_ops_at(ctx, k))) return sonde_ops_at(ctx, k)->name;
  return NULL;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

/* d(a value's sum)/d(some values inside and outside). Ops without a rule end it, and nothing else. */
static void differentiate(maker *m) {
  sonde_error err = {0};
  sonde_node *y = any(m, F32, 0, 4), *wrt[3], *d[3];
  int n = 1 + (int)plan_choice(m, 3);
  for (int k = 0; k < n; k++) wrt[k] = m->pool[plan_choice(m, m->n_pool)];
  for (int k = 0; k < n; k++)
    if (wrt[k]->shape.dtype == I32) return;
  sonde_node *dy = plan_choice(m, 2) ? NULL : operand(m, y->shape);
  if (sonde_grad(y, dy, wrt, n, d, &err)) return;
  for (int k = 0; k < n; k++) keep(m, d[k]);
}

static int too_large(const maker *m) {
  int64_t sum = 0;
  for (int64_t k = 0; k < m->g->count; k++) sum += sonde_shape_count(&m->g->node[k]->shape);
  return sum > 100 * LARGEST || m->g->count > 1500;
}

int plan_graph_make(maker *m) {
  sonde_error err = {0};
  int ops = 2 + (int)plan_choice(m, 24), n_ops = sonde_ops_count(m->ctx);
  FUZZ_CHECK((m->g = sonde_graph_new(m->ctx, &err)) != NULL);
  for (int k = 0; k < 3; k++) {
    sonde_shape s = any_shape(m, F32, 1, 4);
    keep(m, from_outside(m, &s, 0, 0));
  }
  for (int k = 0; k < ops && !too_large(m); k++) {
    char scope[16];
    int block = (int)plan_choice(m, 4) - 1;
    const sonde_op_def *d =
        sonde_ops_at(m->ctx, plan_choice(m, 3) ? (int)plan_choice(m, n_ops) : (int)plan_choice(m, n_ops / 2));
    snprintf(scope, sizeof scope, "blocks.%d", block);
    sonde_graph_scope(m->g, block < 0 ? NULL : scope, block);
    sonde_node *made = maker_of(d)(m, d->name);
    if (sonde_graph_error(m->g, &err)) {
      fprintf(stderr, "%s\n", err.text);
      abort();
    }
    keep(m, made);
    if (!plan_choice(m, 6)) differentiate(m);
  }
  if (!plan_choice(m, 3)) differentiate(m);
  for (int k = 1 + (int)plan_choice(m, MAX_OUTPUTS - 1); k > 0; k--)
    m->want[m->n_want++] = m->pool[plan_choice(m, m->n_pool)];
  return !sonde_graph_error(m->g, &err) && !too_large(m);
}

void plan_graph_free(maker *m) {
  for (int k = 0; k < m->n_out; k++) {
    sonde_tensor_free(m->out[k].tensor);
    sonde_release(m->out[k].saved);
  }
  sonde_graph_free(m->g);
}
