/* gather.c - rows of a table by index, and the sum of rows back into a table (an embedding's gradient). */
#include "ops/common.h"

#include <string.h>

#include "cpu/simd.h"
#include "ops/families.h"

static int check_indices(const sonde_call *c, const int32_t *index, int64_t n, int64_t rows) {
  for (int64_t k = 0; k < n; k++)
    if (index[k] < 0 || index[k] >= rows)
      return sonde_fail(c->err, SONDE_EINVAL, "index %d at position %lld; it must be 0 to %lld", (int)index[k],
                        (long long)k, (long long)rows - 1);
  return SONDE_OK;
}

/* ---- gather ------------------------------------------------------------------------------------------ */

static int gather_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                        sonde_error *err) {
  (void)n_in, (void)a;
  int rc = sonde_need_dtype("gather", "the index", &in[1], SONDE_I32, err);
  if (rc) return rc;
  if (in[0].rank != 2 || in[1].rank >= SONDE_MAX_RANK)
    return sonde_fail(err, SONDE_ESHAPE,
                      "gather: table %s and index %s; needed are [V, D] and a rank of at most %d",
                      sonde_shown(&in[0]).text, sonde_shown(&in[1]).text, SONDE_MAX_RANK - 1);
  *out = in[1];
  out->dtype = in[0].dtype;
  out->dim[out->rank++] = in[0].dim[1];
  return sonde_shape_count(out) >= 0
             ? SONDE_OK
             : sonde_fail(err, SONDE_ESHAPE, "gather: the result has too many elements");
}

static int gather_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_inputs x = sonde_inputs_of(self);
  sonde_attr rows = {{0}, {sonde_node_shape(x.in[0]).dim[0]}};
  sonde_node *in[2] = {x.in[1], dout[0]};
  din[0] = sonde_op(g, "scatter_add", in, 2, &rows);
  return sonde_rule_end(g);
}

static int gather_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)n_in, (void)a;
  *low = 0, *high = in[0].dim[0] - 1;
  return k == 1;
}

typedef struct lookup {
  const char *table;
  const int32_t *index;
  char *out;
  int64_t n, bytes, group; /* bytes of a row; rows a tile */
  int64_t narrowed;        /* numbers of a row that is rounded to bf16 on the way; 0: it is copied */
} lookup;

static void gather_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const lookup *l = arg;
  const sonde_simd *simd = &sonde_simd_get()->common;
  for (int64_t k = tile * l->group; k < (tile + 1) * l->group && k < l->n; k++) {
    const char *row = l->table + l->index[k] * l->bytes;
    if (l->narrowed)
      simd->to_bf16((uint16_t *)(void *)l->out + k * l->narrowed, (const float *)(const void *)row, l->narrowed);
    else memcpy(l->out + k * l->bytes, row, (size_t)l->bytes);
  }
}

static int gather_run(const sonde_call *c) {
  const sonde_shape *table = &c->in_shape[0];
  lookup l = {c->in[0],
              c->in[1],
              c->out[0],
              sonde_shape_count(&c->in_shape[1]),
              table->dim[1] * sonde_dtype_size(table->dtype),
              sonde_row_tile(table->dim[1]),
              table->dtype != c->out_shape[0].dtype ? table->dim[1] : 0};
  int rc = check_indices(c, l.index, l.n, table->dim[0]);
  if (!rc) sonde_pool_run(c->pool, sonde_parts(l.n, l.group), gather_tile, &l);
  return rc;
}

/* ---- scatter_add ------------------------------------------------------------------------------------- */

static int scatter_shape(const sonde_shape *in, int n_in, const sonde_attr *a, sonde_shape *out,
                         sonde_error *err) {
  (void)n_in;
  int rc = sonde_need_dtype("scatter_add", "the index", &in[0], SONDE_I32, err);
  if (!rc) rc = sonde_need_dtype("scatter_add", "dy", &in[1], SONDE_F32, err);
  if (rc) return rc;
  sonde_shape lead = in[1];
  if (lead.rank) lead.dim[--lead.rank] = 1;
  if (in[1].rank == 0 || !sonde_shape_equal(&lead, &in[0]))
    return sonde_fail(err, SONDE_ESHAPE,
                      "scatter_add: index %s and dy %s; dy must be the index's shape and [D]",
                      sonde_shown(&in[0]).text, sonde_shown(&in[1]).text);
  *out = sonde_shape_make(SONDE_F32, 2, (int64_t[]){a->i[0], in[1].dim[in[1].rank - 1]});
  if (a->i[0] < 1 || a->i[0] > INT32_MAX || sonde_shape_count(out) < 0)
    return sonde_fail(err, SONDE_EINVAL, "scatter_add: %lld rows in the result; it must be 1 to %d",
                      (long long)a->i[0], INT32_MAX);
  return SONDE_OK;
}

static int scatter_range(const sonde_shape *in, int n_in, const sonde_attr *a, int k, int64_t *low, int64_t *high) {
  (void)in, (void)n_in;
  *low = 0, *high = a->i[0] - 1;
  return k == 0;
}

static int scatter_grad(sonde_graph *g, sonde_node *self, sonde_node *const *dout, sonde_node **din) {
  sonde_node *in[2] = {dout[0], sonde_inputs_of(self).in[0]};
  din[1] = sonde_op(g, "gather", in, 2, NULL);
  return sonde_rule_end(g);
}

/* first[v] .. first[v+1] are the places in `order` of the positions that hold index v, in rising order. */
static int64_t scatter_scratch(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)a;
  return (int64_t)sizeof(int64_t) * (out[0].dim[0] + 1 + sonde_shape_count(&in[0]));
}

typedef struct scatter {
  const float *dy;
  float *out;
  const int64_t *first, *order;
  int64_t rows, width, group;
} scatter;

static void scatter_tile(void *arg, int64_t tile, int worker) {
  (void)worker;
  const scatter *s = arg;
  const sonde_simd *simd = &sonde_simd_get()->common;
  size_t bytes = (size_t)s->width * sizeof(float);
  for (int64_t v = tile * s->group; v < (tile + 1) * s->group && v < s->rows; v++) {
    float *row = s->out + v * s->width;
    int64_t k = s->first[v], end = s->first[v + 1];
    if (k == end) memset(row, 0, bytes);
    else memcpy(row, s->dy + s->order[k++] * s->width, bytes);
    for (; k < end; k++) simd->axpy(row, s->dy + s->order[k] * s->width, 1, s->width);
  }
}

/* Counting sort of the positions by index, then each row of the table is written once: its sum has the order
 * of the positions, whatever thread takes it. */
static int scatter_run(const sonde_call *c) {
  const int32_t *index = c->in[0];
  int64_t n = sonde_shape_count(&c->in_shape[0]), rows = c->out_shape[0].dim[0],
          width = c->out_shape[0].dim[1];
  int rc = check_indices(c, index, n, rows);
  if (rc) return rc;
  int64_t *first = c->scratch, *order = first + rows + 1;
  memset(first, 0, (size_t)(rows + 1) * sizeof *first);
  for (int64_t k = 0; k < n; k++) first[index[k] + 1]++;
  for (int64_t v = 0; v < rows; v++) first[v + 1] += first[v];
  for (int64_t k = 0; k < n; k++) order[first[index[k]]++] = k;
  for (int64_t v = rows; v > 0; v--)
    first[v] = first[v - 1]; /* the fill moved each start to the next one's */
  first[0] = 0;
  scatter s = {c->in[1], c->out[0], first, order, rows, width, sonde_row_tile(width)};
  sonde_pool_run(c->pool, sonde_parts(rows, s.group), scatter_tile, &s);
  return SONDE_OK;
}

static double scatter_flops(const sonde_shape *in, int n_in, const sonde_shape *out, const sonde_attr *a) {
  (void)n_in, (void)out, (void)a;
  return (double)sonde_shape_count(&in[1]);
}

const sonde_op_def sonde_ops_gather[] = {
    {.size = sizeof(sonde_op_def), .name = "gather", .min_in = 2, .max_in = 2, .n_out = 1,
     .flags = SONDE_OP_BF16_OUT,
     .doc = "rows of table [V, D] by index i32 [..] -> [.., D]; a run refuses an index outside [0, V)",
     .shape = gather_shape, .grad = gather_grad, .run = gather_run, .flops = sonde_no_flops,
     .range = gather_range},
    {.size = sizeof(sonde_op_def), .name = "scatter_add", .min_in = 2, .max_in = 2, .n_out = 1,
     .doc = "index i32 [..], dy [.., D] -> [V, D]: row v is the sum of dy's rows with index v: i0 = V",
     .shape = scatter_shape, .grad = scatter_grad, .scratch = scatter_scratch, .run = scatter_run,
     .flops = scatter_flops, .range = scatter_range},
    {0},
};
