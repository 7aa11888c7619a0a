/* experts.c - what a mixture of experts needs beside products: the choice of the largest scores, the order of tokens by
 * expert, and the weighted sum of what the experts give. The products are in grouped.c.
 *
 * Of N tokens each goes to k experts, so there are always R = N k rows: nothing is dropped, and which rows an expert
 * has is data (offsets), not shape. */
#include "ops/common.h"

#include <math.h>
#include <string.h>

#include "cpu/simd.h"
#include "ops/families.h"

typedef struct row_job {
  const sonde_call *c;
  int64_t n, group;
  void (*row)(const sonde_call *c, int64_t n);
} row_job;

static void row_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const row_job *j = arg;
  for (int64_t n = tile * j->group; n < (tile + 1) * j->group && n < j->n; n++) j->row(j->c, n);
}

static int run_rows(const sonde_call *c, int64_t n, int64_t width, void (*row)(const sonde_call *c, int64_t n)) {
  row_job j = {c, n, sonde_row_tile(width), row};
  sonde_pool_run(c->pool, sonde_parts(n, j.group), row_tile, &j);
  return SONDE_OK;
}

static int64_t last_of(const sonde_shape *s) { return s->dim[s->rank - 1]; }

/* Whether all axes but the last are equal. */
static int same_rows(const sonde_shape *a, const sonde_shape *b) {
  sonde_shape s = *b;
  if (a->rank < 1 || a->rank != b->rank) return 0;
  s.dim[s.rank - 1] = last_of(a);
  return sonde_shape_equal(a, &s);
}

static int outside(const sonde_call *c, const char *what, const int32_t *x, int64_t n, int64_t end) {
  for (int64_t k = 0; k < n; k++)
    if (x[k] < 0 || x[k] >= end)
      return sonde_fail(c->err, SONDE_EINVAL, "%s %d at position %lld; it must be 0 to %lld", what, (int)x[k],
                        (long long)k, (long long)end - 1);
  return SONDE_OK;
}

/* ---- top_k ------------------------------------------------------------------------------------------- */

static int top_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  int rc = sonde_need_dtype("top_k", "x", &in[0], SONDE_F32, err);
  if (rc) return rc;
  if (in[0].rank < 1) return sonde_fail(err, SONDE_ESHAPE, "top_k: x is a scalar; at least one axis is needed");
  if (a->i[0] < 1 || a->i[0] > last_of(&in[0]) || a->i[0] > INT32_MAX)
    return sonde_fail(err, SONDE_EINVAL, "top_k: the %lld largest of %s; it must be 1 to the last axis",
                      (long long)a->i[0], sonde_shown(&in[0]).text);
  *out = in[0];
  out->dtype = SONDE_I32;
  out->dim[out->rank - 1] = a->i[0];
  return SONDE_OK;
}

/* Descending; NaN is below every number, so that a row of NaN still has a choice. */
static int above(float x, float y) { return x > y || (isnan(y) && !isnan(x)); }

/* Insertion into the list so far: an equal value stays behind those of lower places. */
static void top_row(const sonde_call *c, int64_t n) {
  const int64_t width = last_of(&c->in_shape[0]), k = last_of(&c->out_shape[0]);
  const float *x = (const float *)c->in[0] + n * width;
  int32_t *best = (int32_t *)c->out[0] + n * k;
  int64_t found = 0;
  for (int64_t v = 0; v < width; v++) {
    if (found == k && !above(x[v], x[best[k - 1]])) continue;
    int64_t at = found < k ? found++ : k - 1;
    for (; at > 0 && above(x[v], x[best[at - 1]]); at--) best[at] = best[at - 1];
    best[at] = (int32_t)v;
  }
}

static int top_run(const sonde_call *c) {
  int64_t width = last_of(&c->in_shape[0]);
  return run_rows(c, sonde_shape_count(&c->in_shape[0]) / width, width, top_row);
}

static double top_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return (double)sonde_shape_count(&in[0]);
}

/* ---- take_along, put_along --------------------------------------------------------------------------- */

static int take_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in, (void)a;
  int rc = sonde_need_dtype("take_along", "x", &in[0], SONDE_F32, err);
  if (!rc) rc = sonde_need_dtype("take_along", "the index", &in[1], SONDE_I32, err);
  if (rc) return rc;
  *out = in[1];
  out->dtype = SONDE_F32;
  return same_rows(&in[0], &in[1]) ? SONDE_OK
                                   : sonde_fail(err, SONDE_ESHAPE,
                                                "take_along: x %s and index %s; needed are [.., C] and [.., K]",
                                                sonde_shown(&in[0]).text, sonde_shown(&in[1]).text);
}

static int take_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)n_in, (void)a;
  *low = 0, *high = last_of(&in[0]) - 1;
  return k == 1;
}

static int take_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  sonde_shape s = sonde_node_shape(x.in[0]);
  sonde_attr columns = {{0}, {last_of(&s)}};
  sonde_node *in[2] = {x.in[1], dout[0]};
  din[0] = sonde_op(g, "put_along", in, 2, &columns);
  return sonde_rule_end(g);
}

static void take_row(const sonde_call *c, int64_t n) {
  const int64_t width = last_of(&c->in_shape[0]), k = last_of(&c->in_shape[1]);
  const float *x = (const float *)c->in[0] + n * width;
  const int32_t *index = (const int32_t *)c->in[1] + n * k;
  float *y = (float *)c->out[0] + n * k;
  for (int64_t j = 0; j < k; j++) y[j] = x[index[j]];
}

static int take_run(const sonde_call *c) {
  const sonde_shape *x = &c->in_shape[0], *index = &c->in_shape[1];
  int64_t n = sonde_shape_count(index);
  int rc = outside(c, "index", c->in[1], n, last_of(x));
  return rc ? rc : run_rows(c, n / last_of(index), last_of(index), take_row);
}

static int put_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  int rc = sonde_need_dtype("put_along", "the index", &in[0], SONDE_I32, err);
  if (!rc) rc = sonde_need_dtype("put_along", "x", &in[1], SONDE_F32, err);
  if (rc) return rc;
  if (in[0].rank < 1 || !sonde_shape_equal(&in[0], &in[1]))
    return sonde_fail(err, SONDE_ESHAPE, "put_along: index %s and x %s; both must be [.., K]",
                      sonde_shown(&in[0]).text, sonde_shown(&in[1]).text);
  *out = in[1];
  out->dim[out->rank - 1] = a->i[0];
  if (a->i[0] < 1 || a->i[0] > INT32_MAX || sonde_shape_count(out) < 0)
    return sonde_fail(err, SONDE_EINVAL, "put_along: %lld columns in the result; it must be 1 to %d",
                      (long long)a->i[0], INT32_MAX);
  return SONDE_OK;
}

static int put_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)in, (void)n_in;
  *low = 0, *high = a->i[0] - 1;
  return k == 0;
}

static int put_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[2] = {dout[0], sonde_inputs_of(self).in[0]};
  din[1] = sonde_op(g, "take_along", in, 2, NULL);
  return sonde_rule_end(g);
}

static void put_row(const sonde_call *c, int64_t n) {
  const int64_t width = last_of(&c->out_shape[0]), k = last_of(&c->in_shape[0]);
  const int32_t *index = (const int32_t *)c->in[0] + n * k;
  const float *x = (const float *)c->in[1] + n * k;
  float *y = (float *)c->out[0] + n * width;
  memset(y, 0, (size_t)width * sizeof *y);
  for (int64_t j = 0; j < k; j++) y[index[j]] += x[j];
}

static int put_run(const sonde_call *c) {
  const sonde_shape *index = &c->in_shape[0];
  int64_t n = sonde_shape_count(index), width = last_of(&c->out_shape[0]);
  int rc = outside(c, "index", c->in[0], n, width);
  return rc ? rc : run_rows(c, n / last_of(index), width, put_row);
}

/* ---- expert_order ------------------------------------------------------------------------------------ */

static int order_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)n_in;
  int rc = sonde_need_dtype("expert_order", "the index", &in[0], SONDE_I32, err);
  if (rc) return rc;
  int64_t rows = sonde_shape_count(&in[0]);
  if (in[0].rank < 1 || rows > INT32_MAX)
    return sonde_fail(err, SONDE_ESHAPE, "expert_order: index %s; needed is [.., K] with at most %d elements",
                      sonde_shown(&in[0]).text, INT32_MAX);
  if (a->i[0] < 1 || a->i[0] >= INT32_MAX)
    return sonde_fail(err, SONDE_EINVAL, "expert_order: %lld experts; it must be 1 to %d", (long long)a->i[0],
                      INT32_MAX - 1);
  int64_t ends = a->i[0] + 1;
  out[0] = sonde_shape_make(SONDE_I32, 1, &rows);
  out[1] = in[0];
  out[2] = sonde_shape_make(SONDE_I32, 1, &ends);
  return SONDE_OK;
}

static int64_t order_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)in, (void)n_in, (void)out;
  return (a->i[0] + 1) * (int64_t)sizeof(int32_t);
}

/* A counting sort: rows of one expert keep the order of their tokens. */
static int order_run(const sonde_call *c) {
  const int32_t *index = c->in[0];
  const int64_t n = sonde_shape_count(&c->in_shape[0]), k = last_of(&c->in_shape[0]), experts = c->attr->i[0];
  int32_t *token = c->out[0], *place = c->out[1], *next = c->scratch;
  int rc = outside(c, "expert", index, n, experts);
  if (rc) return rc;
  memset(next, 0, (size_t)(experts + 1) * sizeof *next);
  for (int64_t j = 0; j < n; j++) next[index[j] + 1]++;
  for (int64_t e = 0; e < experts; e++) next[e + 1] += next[e];
  if (c->out[2]) memcpy(c->out[2], next, (size_t)(experts + 1) * sizeof *next);
  for (int64_t j = 0; j < n; j++) {
    int32_t to = next[index[j]]++;
    if (token) token[to] = (int32_t)(j / k);
    if (place) place[j] = to;
  }
  return SONDE_OK;
}

/* ---- expert_sum -------------------------------------------------------------------------------------- */

enum { Y = 0, WEIGHT = 1, PLACE = 2, ADDED = 3, PIECE = 512 };

static int sum_inputs(const char *op, const sonde_shape *in, sonde_shape *out, sonde_error *err) {
  int rc = sonde_need_dtype(op, "the weight", &in[WEIGHT], SONDE_F32, err);
  if (!rc) rc = sonde_need_dtype(op, "the place", &in[PLACE], SONDE_I32, err);
  if (rc) return rc;
  if (!sonde_is_real(&in[Y]) || in[Y].rank != 2 || in[PLACE].rank < 1 ||
      !sonde_shape_equal(&in[WEIGHT], &in[PLACE]))
    return sonde_fail(err, SONDE_ESHAPE, "%s: y %s, weight %s and place %s; needed are [R, D], [.., K] and [.., K]", op,
                      sonde_shown(&in[Y]).text, sonde_shown(&in[WEIGHT]).text, sonde_shown(&in[PLACE]).text);
  *out = in[PLACE];
  out->dtype = SONDE_F32;
  out->dim[out->rank - 1] = last_of(&in[Y]);
  return sonde_shape_count(out) >= 0 ? SONDE_OK
                                     : sonde_fail(err, SONDE_ESHAPE, "%s: the result has too many elements", op);
}

static int sum_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  (void)a;
  int rc = sum_inputs("expert_sum", in, out, err);
  if (!rc && n_in > ADDED && (in[ADDED].dtype != SONDE_F32 || !sonde_shape_equal(&in[ADDED], out)))
    rc = sonde_fail(err, SONDE_ESHAPE, "expert_sum: what is added is %s and the result %s; they must be equal",
                    sonde_shown(&in[ADDED]).text, sonde_shown(out).text);
  return rc;
}

static int sum_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)n_in, (void)a;
  *low = 0, *high = in[Y].dim[0] - 1;
  return k == PLACE;
}

/* Elements [at, at + n) of the sum of weighted rows. */
static void sum_piece(const sonde_call *c, float *to, const int32_t *place, const float *weight, int64_t at,
                      int64_t n) {
  const sonde_simd_table *s = sonde_simd_get();
  const int64_t width = last_of(&c->in_shape[Y]), k = last_of(&c->in_shape[PLACE]);
  float wide[PIECE];
  for (int64_t j = 0; j < k; j++) {
    const float *x = sonde_row_in(s, c->in[Y], c->in_shape[Y].dtype, place[j] * width + at, n, wide);
    if (j) s->common.axpy(to, x, weight[j], n);
    else s->common.scale(to, x, weight[j], n);
  }
}

/* What is added comes last, as it would in an op of its own: the bits are the same. */
static void sum_row(const sonde_call *c, int64_t n) {
  const int64_t width = last_of(&c->in_shape[Y]), k = last_of(&c->in_shape[PLACE]);
  const float *weight = (const float *)c->in[WEIGHT] + n * k;
  const int32_t *place = (const int32_t *)c->in[PLACE] + n * k;
  float sum[PIECE];
  for (int64_t at = 0; at < width; at += PIECE) {
    int64_t m = width - at < PIECE ? width - at : PIECE;
    float *to = (float *)c->out[0] + n * width + at;
    if (c->n_in <= ADDED) {
      sum_piece(c, to, place, weight, at, m);
      continue;
    }
    sum_piece(c, sum, place, weight, at, m);
    const float *added = (const float *)c->in[ADDED] + n * width + at;
    for (int64_t v = 0; v < m; v++) to[v] = added[v] + sum[v];
  }
}

static int sum_run(const sonde_call *c) {
  const sonde_shape *place = &c->in_shape[PLACE];
  int64_t n = sonde_shape_count(place), k = last_of(place);
  int rc = outside(c, "place", c->in[PLACE], n, c->in_shape[Y].dim[0]);
  return rc ? rc : run_rows(c, n / k, k * last_of(&c->in_shape[Y]), sum_row);
}

static double sum_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)out, (void)a;
  return (double)last_of(&in[Y]) * (2.0 * (double)sonde_shape_count(&in[PLACE]) + (n_in > ADDED ? 1 : 0));
}

static int sum_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  sonde_node *in[4] = {x.in[Y], x.in[WEIGHT], x.in[PLACE], dout[0]};
  sonde_node *both = sonde_op(g, "expert_sum_grad", in, 4, NULL);
  din[Y] = both;
  din[WEIGHT] = sonde_result(both, 1);
  if (x.n > ADDED) din[ADDED] = dout[0];
  return sonde_rule_end(g);
}

/* ---- expert_sum_grad --------------------------------------------------------------------------------- */

enum { DOUT = 3 };

static int sum_grad_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out, sonde_error *err) {
  sonde_shape sum;
  (void)n_in, (void)a;
  int rc = sum_inputs("expert_sum_grad", in, &sum, err);
  if (!rc) rc = sonde_need_dtype("expert_sum_grad", "dout", &in[DOUT], SONDE_F32, err);
  if (!rc && !sonde_shape_equal(&in[DOUT], &sum))
    rc = sonde_fail(err, SONDE_ESHAPE, "expert_sum_grad: dout is %s; needed is %s", sonde_shown(&in[DOUT]).text,
                    sonde_shown(&sum).text);
  if (!rc && sonde_shape_count(&in[PLACE]) > INT32_MAX)
    rc = sonde_fail(err, SONDE_ESHAPE, "expert_sum_grad: place %s has more than %d elements",
                    sonde_shown(&in[PLACE]).text, INT32_MAX);
  out[0] = in[Y];
  out[0].dtype = SONDE_F32;
  out[1] = in[WEIGHT];
  return rc;
}

/* first[r] .. first[r+1] are the places in `from` of the choices that have row r, in rising order. */
typedef struct choices {
  int32_t *first, *from;
} choices;

static choices choices_of(const sonde_call *c) {
  return (choices){c->scratch, (int32_t *)c->scratch + c->in_shape[Y].dim[0] + 1};
}

static int64_t sum_grad_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return (in[Y].dim[0] + 1 + sonde_shape_count(&in[PLACE])) * (int64_t)sizeof(int32_t);
}

static void sort_choices(const sonde_call *c) {
  const int32_t *place = c->in[PLACE];
  const int64_t n = sonde_shape_count(&c->in_shape[PLACE]), rows = c->in_shape[Y].dim[0];
  choices s = choices_of(c);
  memset(s.first, 0, (size_t)(rows + 1) * sizeof *s.first);
  for (int64_t j = 0; j < n; j++) s.first[place[j] + 1]++;
  for (int64_t r = 0; r < rows; r++) s.first[r + 1] += s.first[r];
  for (int64_t j = 0; j < n; j++) s.from[s.first[place[j]]++] = (int32_t)j;
  for (int64_t r = rows; r > 0; r--) s.first[r] = s.first[r - 1];   /* each start had moved to the next one's */
  s.first[0] = 0;
}

/* dy[r] = sum of weight dout over the choices of row r: one, as expert_order has them */
static void dy_row(const sonde_call *c, int64_t r) {
  const sonde_simd_table *s = sonde_simd_get();
  const int64_t width = last_of(&c->in_shape[Y]), k = last_of(&c->in_shape[PLACE]);
  const choices of = choices_of(c);
  const float *weight = c->in[WEIGHT], *dout = c->in[DOUT];
  const int32_t first = of.first[r], end = of.first[r + 1];
  float wide[PIECE];
  for (int64_t at = 0; at < width; at += PIECE) {
    int64_t n = width - at < PIECE ? width - at : PIECE;
    float *dy = sonde_row_out(c->out[0], c->out_shape[0].dtype, r * width + at, wide);
    if (first == end) memset(dy, 0, (size_t)n * sizeof *dy);
    for (int32_t j = first; j < end; j++) {
      const float *from = dout + of.from[j] / k * width + at;
      if (j > first) s->common.axpy(dy, from, weight[of.from[j]], n);
      else s->common.scale(dy, from, weight[of.from[j]], n);
    }
    sonde_row_done(s, c->out[0], c->out_shape[0].dtype, r * width + at, n, dy);
  }
}

/* dweight[n, j] = y[place[n, j]] . dout[n] */
static void dweight_row(const sonde_call *c, int64_t n) {
  const sonde_simd_table *s = sonde_simd_get();
  const int64_t width = last_of(&c->in_shape[Y]), k = last_of(&c->in_shape[PLACE]);
  const int32_t *place = (const int32_t *)c->in[PLACE] + n * k;
  const float *dout = (const float *)c->in[DOUT] + n * width;
  float *dw = (float *)c->out[1] + n * k, wide[PIECE];
  for (int64_t j = 0; j < k; j++) {
    dw[j] = 0;
    for (int64_t at = 0; at < width; at += PIECE) {
      int64_t m = width - at < PIECE ? width - at : PIECE;
      dw[j] += s->common.dot(sonde_row_in(s, c->in[Y], c->in_shape[Y].dtype, place[j] * width + at, m, wide), dout + at,
                             m);
    }
  }
}

/* Whether each row is chosen once, as expert_order has it. */
static int is_each_once(const sonde_call *c) {
  const int64_t rows = c->in_shape[Y].dim[0];
  const choices of = choices_of(c);
  int64_t r = 0;
  while (r < rows && of.first[r + 1] - of.first[r] == 1) r++;
  return r == rows;
}

/* Both gradients of token n, whose rows no other one has: its dout is read from memory once. */
static void token_row(const sonde_call *c, int64_t n) {
  const int32_t *place = (const int32_t *)c->in[PLACE] + n * last_of(&c->in_shape[PLACE]);
  for (int64_t j = 0; c->out[0] && j < last_of(&c->in_shape[PLACE]); j++) dy_row(c, place[j]);
  if (c->out[1]) dweight_row(c, n);
}

static int sum_grad_run(const sonde_call *c) {
  const sonde_shape *place = &c->in_shape[PLACE];
  const int64_t n = sonde_shape_count(place), k = last_of(place), rows = c->in_shape[Y].dim[0],
                width = last_of(&c->in_shape[Y]);
  int rc = outside(c, "place", c->in[PLACE], n, rows);
  if (rc) return rc;
  sort_choices(c);
  if (is_each_once(c)) return run_rows(c, n / k, k * width, token_row);
  if (c->out[0]) run_rows(c, rows, width, dy_row);
  return c->out[1] ? run_rows(c, n / k, k * width, dweight_row) : SONDE_OK;
}

static double sum_grad_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return 3.0 * (double)last_of(&in[Y]) * (double)sonde_shape_count(&in[PLACE]);
}

const sonde_op_def sonde_ops_experts[] = {
    {.size = sizeof(sonde_op_def), .name = "top_k", .min_in = 1, .max_in = 1, .n_out = 1,
     .doc = "places i32 of the largest values along the last axis, in falling order, of equals the lower first, NaN "
            "last: [.., C] -> [.., K]. i0: K",
     .shape = top_shape, .run = top_run, .flops = top_flops},
    {.size = sizeof(sonde_op_def), .name = "take_along", .min_in = 2, .max_in = 2, .n_out = 1,
     .doc = "x [.., C], index i32 [.., K] -> [.., K]: x at the index along the last axis; a run refuses an index "
            "outside [0, C)",
     .shape = take_shape, .grad = take_grad, .run = take_run, .flops = sonde_no_flops, .range = take_range},
    {.size = sizeof(sonde_op_def), .name = "put_along", .min_in = 2, .max_in = 2, .n_out = 1,
     .doc = "index i32 [.., K], x [.., K] -> [.., C]: zeros to which x is added at the index along the last axis. "
            "i0: C",
     .shape = put_shape, .grad = put_grad, .run = put_run, .range = put_range},
    {.size = sizeof(sonde_op_def), .name = "expert_order", .min_in = 1, .max_in = 1, .n_out = 3,
     .doc = "index i32 [.., K], the experts of each token -> the tokens in the order of their experts, i32 [R], R of "
            "all choices; the row there of each choice, i32 [.., K]; where each expert's rows begin, i32 [E + 1]. "
            "i0: E",
     .shape = order_shape, .scratch = order_scratch, .run = order_run, .flops = sonde_no_flops, .range = put_range},
    {.size = sizeof(sonde_op_def), .name = "expert_sum", .min_in = 3, .max_in = 4, .n_out = 1,
     .flags = SONDE_OP_BF16_IN | SONDE_OP_INPLACE,
     .doc = "y [R, D], weight [.., K], place i32 [.., K] -> [.., D], the sum of weight y[place] over the K (added to a "
            "fourth input)",
     .shape = sum_shape, .grad = sum_grad, .run = sum_run, .flops = sum_flops, .range = sum_range, .adds = ADDED},
    {.size = sizeof(sonde_op_def), .name = "expert_sum_grad", .min_in = 4, .max_in = 4, .n_out = 2,
     .flags = SONDE_OP_BF16_IN | SONDE_OP_BF16_OUT,
     .doc = "of expert_sum: y, weight, place and dout [.., D] -> dy [R, D] and dweight [.., K]",
     .shape = sum_grad_shape, .scratch = sum_grad_scratch, .run = sum_grad_run, .flops = sum_grad_flops,
     .range = sum_range},
    {0}};
