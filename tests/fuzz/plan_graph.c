/* plan_graph.c - makes random graphs (see plan_graph.h): their values, the ops of tensors, and the whole. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cpu/simd.h"
#include "fuzz.h"
#include "plan_makers.h"
#include "sonde_build.h"

int64_t plan_choice(maker *m, int64_t n) {
  m->state = m->state * 6364136223846793005u + 1442695040888963407u;
  uint64_t v = m->at < m->size ? m->data[m->at++] : m->state >> 33;
  if (n > 256 && m->at < m->size) v = v << 8 | m->data[m->at++];
  return (int64_t)(v % (uint64_t)n);
}

int64_t plan_dim(maker *m) {
  static const int64_t dims[] = {1, 2, 3, 4, 5, 8, 16, 17, 33, 64, 130, 1030};
  return dims[plan_choice(m, plan_choice(m, 4) ? 7 : 12)];
}

sonde_shape plan_shape_of(int dtype, int rank, const int64_t *dims) { return sonde_shape_make(dtype, rank, dims); }

sonde_shape plan_any_shape(maker *m, int dtype, int least, int most) {
  int64_t d[SONDE_MAX_RANK];
  int rank = least + (int)plan_choice(m, most - least + 1);
  for (int k = 0; k < rank; k++) d[k] = plan_dim(m);
  sonde_shape s = plan_shape_of(dtype, rank, d);
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

sonde_node *plan_integers(maker *m, const sonde_shape *s, int64_t lo, int64_t hi) {
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
sonde_node *plan_operand(maker *m, sonde_shape s) {
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

sonde_node *plan_any(maker *m, int dtype, int least, int most) {
  for (int tries = 0; tries < 10 && m->n_pool; tries++) {
    sonde_node *x = m->pool[plan_choice(m, m->n_pool)];
    if (x->shape.dtype == dtype && x->shape.rank >= least && x->shape.rank <= most) return x;
  }
  return plan_operand(m, plan_any_shape(m, dtype, least, most));
}

int plan_real(maker *m) { return plan_choice(m, 3) ? F32 : BF16; }
int plan_second(maker *m, int first) { return first == BF16 && plan_choice(m, 2) ? F32 : first; }

sonde_node *plan_call(maker *m, const char *op, int n, sonde_node *const *in, const sonde_attr *at) {
  for (int k = 0; k < n; k++)
    if (!in[k]) return NULL;
  return sonde_op(m->g, op, in, n, at);
}

/* ---- one maker for each kind of op ----------------------------------------------------------------------------- */

/* Also the gradients, of which each input may be broadcast. */
static sonde_node *elementwise(maker *m, const char *op) {
  const sonde_op_def *d = sonde_ops_find(m->ctx, op);
  sonde_node *in[4];
  int dtype = plan_choice(m, 8) ? plan_real(m) : I32;
  sonde_attr at = {{(double)plan_choice(m, 5) * 0.5, (double)plan_choice(m, 3) - 1}, {0}};
  if (!(in[0] = plan_any(m, dtype, 0, 4))) return NULL;
  for (int k = 1; k < d->min_in; k++) {
    sonde_shape s = in[0]->shape;
    s.dtype = plan_choice(m, 8) ? plan_real(m) : I32;
    int drop = plan_choice(m, 3) ? 0 : (int)plan_choice(m, s.rank + 1);
    for (int j = 0; j < s.rank; j++)
      if (!plan_choice(m, 5)) s.dim[j] = 1;
    if (!plan_choice(m, 10) && s.rank < SONDE_MAX_RANK) {       /* the first input is the one that is broadcast */
      memmove(s.dim + 1, s.dim, (size_t)s.rank * sizeof *s.dim);
      s.dim[0] = 2;
      s.rank++;
      drop = 0;
    }
    in[k] = plan_operand(m, plan_shape_of(s.dtype, s.rank - drop, s.dim + drop));
    if (in[k] && !drop && s.rank == in[0]->shape.rank && !plan_choice(m, 4))
      in[k] = dims_op("expand", in[k], &in[0]->shape);
  }
  return plan_call(m, op, d->min_in, in, strcmp(op, "affine") ? NULL : &at);
}

static sonde_node *dropout(maker *m, const char *op) {
  sonde_attr at = {{0.25 * (double)plan_choice(m, 4)}, {plan_choice(m, 5)}};
  return CALL(op, &at, plan_any(m, F32, 0, 4));
}

static sonde_node *convert(maker *m, const char *op) {
  sonde_attr at = {{0}, {plan_choice(m, 8) ? plan_real(m) : I32}};
  return CALL(op, &at, plan_any(m, plan_choice(m, 8) ? plan_real(m) : I32, 0, 4));
}

static sonde_node *reshape(maker *m, const char *op) {
  sonde_node *x = plan_any(m, plan_real(m), 0, 4);
  if (!x) return NULL;
  sonde_shape s = x->shape;
  int64_t n = sonde_shape_count(&s), part = 1 + plan_choice(m, 8);
  if (plan_choice(m, 2) && n % part == 0) s = SHAPE(F32, part, n / part);
  else if (plan_choice(m, 2) && s.rank < 4) s.dim[s.rank++] = 1;
  else if (plan_choice(m, 2)) s = SHAPE(F32, n);
  return dims_op(op, x, &s);
}

static sonde_node *plain(maker *m, const char *op) { return CALL(op, NULL, plan_any(m, plan_real(m), 0, 4)); }
static sonde_node *by_row(maker *m, const char *op) { return CALL(op, NULL, plan_any(m, F32, 1, 4)); }

static sonde_node *permute(maker *m, const char *op) {
  sonde_node *x = plan_any(m, plan_real(m), 0, 5);
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
  sonde_node *x = plan_any(m, plan_real(m), 1, 4);
  if (!x) return NULL;
  int64_t axis = plan_choice(m, x->shape.rank), n = x->shape.dim[axis], start = plan_choice(m, n);
  sonde_attr at = {{0}, {axis, start, 1 + plan_choice(m, n - start)}};
  if (!strcmp(op, "pad_slice")) at.i[1] = plan_choice(m, 3), at.i[2] = n + at.i[1] + plan_choice(m, 3);
  return CALL(op, &at, x);
}

static sonde_node *concat(maker *m, const char *op) {
  sonde_node *in[3] = {plan_any(m, plan_real(m), 1, 4), NULL, NULL};
  if (!in[0]) return NULL;
  sonde_attr at = {{0}, {plan_choice(m, in[0]->shape.rank)}};
  int n = 1 + (int)plan_choice(m, 3);
  for (int k = 1; k < n; k++) {
    sonde_shape s = in[0]->shape;
    s.dim[at.i[0]] = 1 + plan_choice(m, 4);
    in[k] = plan_operand(m, s);
  }
  return plan_call(m, op, n, in, &at);
}

static sonde_node *reduce(maker *m, const char *op) {
  sonde_node *x = plan_any(m, F32, 0, 4);
  if (!x) return NULL;
  sonde_shape s = x->shape;
  int drop = plan_choice(m, 3) ? 0 : (int)plan_choice(m, s.rank + 1);
  for (int k = 0; k < s.rank; k++)
    if (plan_choice(m, 2)) s.dim[k] = 1;
  s = plan_shape_of(F32, s.rank - drop, s.dim + drop);
  return dims_op(op, x, &s);
}

static sonde_node *expand(maker *m, const char *op) {
  sonde_shape to = plan_any_shape(m, plan_real(m), 0, 4), s = to;
  int drop = plan_choice(m, 3) ? 0 : (int)plan_choice(m, s.rank + 1);
  for (int k = 0; k < s.rank; k++)
    if (plan_choice(m, 2)) s.dim[k] = 1;
  return dims_op(op, plan_operand(m, plan_shape_of(s.dtype, s.rank - drop, s.dim + drop)), &to);
}

static sonde_node *gather(maker *m, const char *op) {
  sonde_shape at = plan_any_shape(m, I32, 0, 3);
  int64_t rows = 1 + plan_choice(m, 9), width = plan_dim(m);
  if (sonde_shape_count(&at) * width > LARGEST) return NULL;
  sonde_node *index = plan_integers(m, &at, 0, rows - 1);
  if (!strcmp(op, "gather")) return CALL(op, NULL, plan_operand(m, SHAPE(plan_real(m), rows, width)), index);
  sonde_attr n = {{0}, {rows}};
  at.dtype = F32;
  at.dim[at.rank++] = width;
  return CALL(op, &n, index, plan_operand(m, at));
}

static sonde_node *row_pair(maker *m, const char *op) {
  sonde_node *x = plan_any(m, F32, 1, 4);
  return x ? CALL(op, NULL, x, plan_operand(m, x->shape)) : NULL;
}

static sonde_node *cross_entropy(maker *m, const char *op) {
  sonde_node *x = plan_any(m, F32, 1, 4);
  if (!x) return NULL;
  sonde_shape per = plan_shape_of(F32, x->shape.rank - 1, x->shape.dim), ids = per;
  ids.dtype = I32;
  sonde_node *targets = plan_integers(m, &ids, -1, x->shape.dim[x->shape.rank - 1] - 1);
  if (strcmp(op, "cross_entropy")) return CALL(op, NULL, x, targets, plan_operand(m, per));
  sonde_node *y = CALL(op, NULL, x, targets);
  return plan_choice(m, 2) ? y : sonde_result(y, 1);
}

static sonde_node *matmul(maker *m, const char *op) {
  int64_t lead = 1 + plan_choice(m, 3), r = plan_dim(m), k = plan_dim(m), c = plan_dim(m);
  if (lead * r * k > LARGEST || k * c > LARGEST || lead * r * c > LARGEST) return NULL;
  int rank = 2 + (int)plan_choice(m, 2), shared = rank > 2 && plan_choice(m, 2), ta = !shared && plan_choice(m, 2) == 0;
  int tb = (int)plan_choice(m, 2), f32 = !strcmp(op, "matmul_f32"), dtype = f32 ? F32 : plan_real(m);
  int add = !plan_choice(m, 4), second = plan_second(m, dtype);
  sonde_shape a = ta ? SHAPE(dtype, lead, k, r) : SHAPE(dtype, lead, r, k),
              b = tb ? SHAPE(second, lead, c, k) : SHAPE(second, lead, k, c);
  if (rank == 2) a = plan_shape_of(dtype, 2, a.dim + 1);
  if (rank == 2 || shared) b = plan_shape_of(second, 2, b.dim + 1);
  sonde_shape y = rank == 2 ? SHAPE(F32, r, c) : SHAPE(F32, lead, r, c);
  sonde_attr at = {{0}, {ta, tb, add || f32 ? F32 : plan_real(m)}};
  sonde_node *in[3] = {plan_operand(m, a), plan_operand(m, b), add ? plan_operand(m, y) : NULL};
  return plan_call(m, op, add ? 3 : 2, in, &at);
}

static const plan_maker makers[] = {
    {"dropout", dropout}, {"cast", convert}, {"reshape", reshape}, {"detach", plain}, {"permute", permute},
    {"slice", slice}, {"pad_slice", slice}, {"concat", concat}, {"sum", reduce}, {"amax", reduce},
    {"expand", expand}, {"gather", gather}, {"scatter_add", gather}, {"softmax", by_row},
    {"softmax_grad", row_pair}, {"log_softmax", by_row}, {"log_softmax_grad", row_pair},
    {"cross_entropy", cross_entropy}, {"cross_entropy_grad", cross_entropy}, {"matmul", matmul}, {"argmax", by_row},
    {"matmul_f32", matmul},
    {NULL, NULL},
};

static plan_make maker_of(const sonde_op_def *d) {
  const plan_maker *const tables[] = {makers, plan_makers_of_models};
  for (int t = 0; t < 2; t++)
    for (const plan_maker *row = tables[t]; row->op; row++)
      if (!strcmp(row->op, d->name)) return row->make;
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
  sonde_node *y = plan_any(m, F32, 0, 4), *wrt[3], *d[3];
  int n = 1 + (int)plan_choice(m, 3);
  for (int k = 0; k < n; k++) wrt[k] = m->pool[plan_choice(m, m->n_pool)];
  for (int k = 0; k < n; k++)
    if (wrt[k]->shape.dtype == I32) return;
  sonde_node *dy = plan_choice(m, 2) ? NULL : plan_operand(m, y->shape);
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
    sonde_shape s = plan_any_shape(m, F32, 1, 4);
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
